package cluster

import "fmt"

// The flags of each program, as functions of where things are.

func (l *layout) etcdFlags() []string {
	return []string{
		"--name=sandbox",
		"--data-dir=" + l.path("etcd"),
		"--listen-client-urls=" + l.etcdURL,
		"--advertise-client-urls=" + l.etcdURL,
		"--listen-peer-urls=" + l.peerURL,
		"--initial-advertise-peer-urls=" + l.peerURL,
		"--initial-cluster=sandbox=" + l.peerURL,
		// The data lives as long as the sandbox: a crash of the machine ends both.
		"--unsafe-no-fsync",
		"--quota-backend-bytes=4294967296",
		"--log-level=warn",
	}
}

func (l *layout) apiServerFlags() []string {
	return []string{
		"--etcd-servers=" + l.etcdURL,
		// Who looks for what must never have been written reads all of the history.
		"--etcd-compaction-interval=2h",
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", l.apiPort),
		"--cert-dir=" + l.path("pki"),
		"--tls-cert-file=" + l.path("pki/apiserver.crt"),
		"--tls-private-key-file=" + l.path("pki/apiserver.key"),
		"--token-auth-file=" + l.path("pki/tokens.csv"),
		"--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + l.path("pki/service-account.pub"),
		"--service-account-signing-key-file=" + l.path("pki/service-account.key"),
		"--service-cluster-ip-range=10.0.0.0/16",
		"--allow-privileged=true",
		// Nothing reaches the API server through the service network.
		"--endpoint-reconciler-type=none",
	}
}

func (l *layout) controllerManagerFlags() []string {
	return []string{
		"--kubeconfig=" + l.path("pki", controllerManagerProgram+".kubeconfig"),
		"--leader-elect=false",
		"--secure-port=0",
		"--controllers=*",
		"--use-service-account-credentials",
		"--service-account-private-key-file=" + l.path("pki/service-account.key"),
		"--root-ca-file=" + l.path("pki/ca.crt"),
		// On a busy machine heartbeats come late; nodes that flap would evict
		// the pods of a test that is only slow.
		"--node-monitor-grace-period=10m",
		"--node-monitor-period=1s",
		"--kube-api-qps=100",
		"--kube-api-burst=200",
	}
}

func (l *layout) schedulerFlags() []string {
	return []string{
		"--kubeconfig=" + l.path("pki", schedulerProgram+".kubeconfig"),
		"--leader-elect=false",
		"--secure-port=0",
	}
}

func (l *layout) kwokFlags() []string {
	return []string{
		"--kubeconfig=" + l.path("pki", kwokProgram+".kubeconfig"),
		"--config=" + l.path("kwok.yaml"),
	}
}
