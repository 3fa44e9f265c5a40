package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/test/rig"
)

// variety holds what defaulting, keyed lists, sets, atomic maps and subresources
// make of managed fields.
const variety = `apiVersion: v1
kind: Service
metadata: {name: dns}
spec:
  selector: {app: web}
  ports: [{port: 53, name: tcp}, {port: 53, protocol: UDP, name: udp}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, creationTimestamp: null}
spec:
  serviceName: db
  replicas: 0
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      securityContext: {}
      nodeSelector: {kubernetes.io/os: linux}
      containers:
        - name: db
          image: registry.example/db:1
          command: [run, it]
          ports: [{containerPort: 5432}, {containerPort: 53, protocol: UDP}]
          env: [{name: A, value: "1"}, {name: B, valueFrom: {configMapKeyRef: {name: settings, key: key, optional: true}}}]
          resources: {limits: {cpu: 100m, memory: 64Mi}}
          readinessProbe: {httpGet: {path: /, port: 80}}
          volumeMounts: [{name: data, mountPath: /data}, {name: tmp, mountPath: /tmp}]
      volumes: [{name: tmp, emptyDir: {}}]
  volumeClaimTemplates:
    - metadata: {name: data}
      spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
status: {}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec: {podSelector: {}, policyTypes: [Ingress], ingress: []}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: db}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: StatefulSet, name: db}
  minReplicas: 1
  maxReplicas: 3
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: db}
spec: {maxUnavailable: 1, selector: {matchLabels: {app: db}}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec:
  schedule: "0 0 * * *"
  jobTemplate:
    spec:
      template:
        spec: {restartPolicy: Never, containers: [{name: c, image: registry.example/c:1}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, annotations: {example.com/a: b}}
spec:
  rules: [{host: a.example, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: mine}
automountServiceAccountToken: false
imagePullSecrets: [{name: pull}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: empty}
`

// patches lists what the operator behind a proxy sent to change objects of a
// namespace, for good or to try.
func patches(proxy *rig.Proxy, namespace string) []string {
	var sent []string
	for _, a := range proxy.Asked(func(a rig.Asked) bool {
		ours := strings.Contains(a.Path, "/namespaces/"+namespace+"/") || strings.Contains(a.Path, "/customresourcedefinitions/gubbins.")
		told := strings.Contains(a.Path, "/applications/") || strings.Contains(a.Path, "/events/")
		return ours && a.Method == http.MethodPatch && !told
	}) {
		sent = append(sent, a.Path+"?"+a.Query)
	}
	return sent
}

// looked waits until the operator has been through the whole pipeline once
// more, because somebody asked for a sync.
func (s *story) looked() {
	s.t.Helper()
	at := strconv.FormatInt(time.Now().UnixNano(), 10)
	s.kubectl("", "-n", s.ns, "annotate", "--overwrite", "application", s.app.Name, v1alpha1.AnnotationSyncRequestedAt+"="+at)
	eventually(s.t, "the sync that was asked for", func(ctx context.Context) error {
		app, err := s.read(ctx)
		if err != nil || app.Status.LastHandledSyncAt != at {
			return errors.Join(err, fmt.Errorf("status.lastHandledSyncAt is %q", app.Status.LastHandledSyncAt))
		}
		return nil
	})
}

// restart stops the operator of the package, lets things happen meanwhile, and
// starts the next one. Who calls it runs alone.
func restart(t *testing.T, meanwhile func()) {
	t.Helper()
	restartAs(t, rig.Launch{}, meanwhile)
}

func restartAs(t *testing.T, how rig.Launch, meanwhile func()) {
	t.Helper()
	if err := operator.Kill(); err != nil {
		t.Fatal(err)
	}
	meanwhile()
	next, err := sandbox.StartOperatorAs(context.Background(), how)
	if err != nil {
		t.Fatal(err)
	}
	operator = next
}

// A restarted operator knows what is in place from the objects' metadata: it
// sends nothing, and yet it finds what happened while it was away.
func TestARestartWritesOnlyWhatIsNotInPlace(t *testing.T) {
	s := newStory(t, "restarted")
	s.everywhere("cluster-admin")
	s.sops()
	s.write(map[string]string{
		"web.yaml": deployment, "service.yaml": service, "variety.yaml": variety, "config.yaml": configMap("settings", "one"),
		"crd.yaml":   fmt.Sprintf(gadgets, "gubbins", "Gubbin"),
		"cr.yaml":    "apiVersion: example.com/v1\nkind: Gubbin\nmetadata: {name: one}\nspec: {size: 3}\n",
		"other.yaml": configMap("other", "one"),
	})
	s.encrypt("db.yaml", plainSecret("db", "drift-secret-value"))
	commit := s.push("first")
	s.create()
	s.waitReady(commit)

	proxy, err := sandbox.Proxy()
	if err != nil {
		t.Fatal(err)
	}
	restartAs(t, rig.Launch{Through: proxy}, func() {}) // it stays open: the operator may stay behind it
	s.looked()
	if sent := patches(proxy, s.ns); len(sent) > 0 {
		t.Errorf("sent after a restart with all in place:\n%s", strings.Join(sent, "\n"))
	}

	restartAs(t, rig.Launch{Through: proxy}, func() {
		s.kubectl("", "-n", s.ns, "patch", "configmap", "settings", "--type=merge", "-p", `{"data":{"key":"changed"}}`)
		s.kubectl("", "-n", s.ns, "delete", "service", "web")
		s.kubectl("", "-n", s.ns, "label", "deployment", "web", v1alpha1.ApplySetPartOfLabel+"-")
		s.write(map[string]string{"other.yaml": configMap("other", "two")})
		commit = s.push("second")
	})
	s.waitReady(commit)
	eventually(t, "what happened meanwhile put right", func(ctx context.Context) error {
		if _, err := get(ctx, s, "web", &corev1.Service{}); err != nil {
			return err
		}
		other, err := get(ctx, s, "other", &corev1.ConfigMap{})
		if err != nil || other.Data["key"] != "two" {
			return errors.Join(err, fmt.Errorf("data %v", other.Data))
		}
		return intact(ctx, s)
	})
	if len(patches(proxy, s.ns)) == 0 {
		t.Error("nothing was sent to put it right: the proxy does not see what is sent")
	}
	restart(t, func() {})
}

// A commit that touches nothing of an Application is new to a restarted
// operator. It does not take it for a reason to put back reported drift.
func TestARestartAtAnUnrelatedCommitLeavesReportedDrift(t *testing.T) {
	s := newStory(t, "restarted-report")
	s.app.Spec.Source.Path, s.app.Spec.Sync.Drift = "app", v1alpha1.DriftReport
	s.write(map[string]string{"app/a.yaml": configMap("a", "1"), "app/b.yaml": configMap("b", "1")})
	commit := s.push("first")
	s.create()
	s.waitReady(commit)
	s.by("mallory", "configmap", "a", `{"data":{"key":"by hand"}}`)
	a := v1alpha1.DriftStatus{ObjectReference: ref("", "ConfigMap", s.ns, "a"), Fields: []string{"data.key"}, Manager: "mallory"}
	b := v1alpha1.DriftStatus{ObjectReference: ref("", "ConfigMap", s.ns, "b"), Fields: []string{"data.key"}, Manager: "mallory"}
	s.drifts(a)
	restart(t, func() {
		s.by("mallory", "configmap", "b", `{"data":{"key":"by hand"}}`)
		s.write(map[string]string{"elsewhere/c.yaml": configMap("c", "1")})
		s.push("unrelated")
	})
	s.drifts(a, b)
	s.waitReady(commit)
	for _, name := range []string{"a", "b"} {
		if o, err := get(t.Context(), s, name, &corev1.ConfigMap{}); err != nil || o.Data["key"] != "by hand" {
			t.Errorf("ConfigMap %s: %v, data %v, want the drift left", name, err, o.Data)
		}
	}
}
