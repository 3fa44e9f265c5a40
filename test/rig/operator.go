package rig

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// Operator is the operator's program, running as its ServiceAccount.
type Operator struct {
	// LogFile holds what it logs, Scratch its clones, Temp its TMPDIR.
	LogFile string
	Scratch string
	Temp    string
	// MetricsURL serves its metrics.
	MetricsURL string
	// WebhookURL receives webhooks.
	WebhookURL string

	command *exec.Cmd
	ended   chan error
}

// Launch says how an operator runs. The zero value is the program as built, with
// the API server before it.
type Launch struct {
	// Program and Env run something else than bin/gitseal-controller.
	Program string
	Env     []string
	// Through is the proxy by which the API server is reached.
	Through *Proxy
	Args    []string
}

// StartOperator starts the operator with the ServiceAccount's token and waits
// until it answers. Its log is at the highest verbosity.
func (r *Rig) StartOperator(ctx context.Context, args ...string) (*Operator, error) {
	return r.StartOperatorAs(ctx, Launch{Args: args})
}

// StartOperatorAs does as StartOperator, in another way.
func (r *Rig) StartOperatorAs(ctx context.Context, how Launch) (*Operator, error) {
	dir, err := os.MkdirTemp(r.Dir, "operator-")
	if err != nil {
		return nil, err
	}
	kubeconfig, err := r.operatorKubeconfig(ctx, dir, how.Through)
	if err != nil {
		return nil, err
	}
	if how.Program == "" {
		how.Program = r.Bin("gitseal-controller")
	}
	addresses, err := r.freeAddresses(3)
	if err != nil {
		return nil, err
	}
	metrics, health, webhooks := addresses[0], addresses[1], addresses[2]
	o := &Operator{
		LogFile: filepath.Join(dir, "log"), Scratch: filepath.Join(dir, "scratch"), Temp: filepath.Join(dir, "tmp"),
		MetricsURL: "http://" + metrics + "/metrics", WebhookURL: "http://" + webhooks, ended: make(chan error, 1),
	}
	for _, d := range []string{r.Stores(), r.Plugins(), o.Scratch, o.Temp} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	// Appended to, so that what others write into it stays.
	log, err := os.OpenFile(o.LogFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	o.command = exec.Command(how.Program, append([]string{
		"--kubeconfig", kubeconfig, "--scratch", o.Scratch, "--leader-elect=false", "--log-level=debug", "--log-format=text",
		"--metrics-bind-address", metrics, "--health-probe-bind-address", health, "--webhook-bind-address", webhooks,
		"--file-stores", r.Stores(), "--plugins", r.Plugins(),
	}, how.Args...)...)
	o.command.Stdout, o.command.Stderr = log, log
	o.command.Env = append(append(os.Environ(), "TMPDIR="+o.Temp), how.Env...)
	o.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := o.command.Start(); err != nil {
		return nil, fmt.Errorf("start the operator: %w", err)
	}
	go func() { o.ended <- o.command.Wait() }()
	r.operators = append(r.operators, o)
	if err := o.waitReady(ctx, "http://"+health+"/readyz"); err != nil {
		return nil, err
	}
	return o, o.waitReady(ctx, o.MetricsURL)
}

// OperatorConfig is how to reach the API server as the operator's
// ServiceAccount, for an operator that runs in the process of a test.
func (r *Rig) OperatorConfig(ctx context.Context) (*rest.Config, error) {
	path, err := r.operatorKubeconfig(ctx, r.Dir, nil)
	if err != nil {
		return nil, err
	}
	return clientcmd.BuildConfigFromFlags("", path)
}

func (r *Rig) operatorKubeconfig(ctx context.Context, dir string, through *Proxy) (string, error) {
	token, err := r.Kubectl(ctx, "", "create", "token", v1alpha1.OperatorServiceAccount, "--namespace", v1alpha1.OperatorNamespace, "--duration=24h")
	if err != nil {
		return "", err
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["sandbox"] = &clientcmdapi.Cluster{
		Server: r.Config.Host, CertificateAuthority: r.Config.CAFile, CertificateAuthorityData: r.Config.CAData,
	}
	if through != nil {
		config.Clusters["sandbox"] = &clientcmdapi.Cluster{Server: through.URL(), CertificateAuthorityData: through.CA()}
	}
	config.AuthInfos["operator"] = &clientcmdapi.AuthInfo{Token: strings.TrimSpace(token)}
	config.Contexts["operator"] = &clientcmdapi.Context{Cluster: "sandbox", AuthInfo: "operator"}
	config.CurrentContext = "operator"
	path := filepath.Join(dir, "operator.kubeconfig")
	return path, clientcmd.WriteToFile(*config, path)
}

func (o *Operator) waitReady(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if response, err := http.DefaultClient.Do(request); err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case err := <-o.ended:
			return fmt.Errorf("the operator ended: %w\n%s", err, o.log())
		case <-ctx.Done():
			return fmt.Errorf("the operator is not ready: %w\n%s", ctx.Err(), o.log())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (o *Operator) log() []byte {
	raw, _ := os.ReadFile(o.LogFile)
	return raw
}

// Stop ends the operator as Kubernetes would.
func (o *Operator) Stop() error { return o.signal(syscall.SIGTERM) }

// Kill ends the operator without warning.
func (o *Operator) Kill() error { return o.signal(syscall.SIGKILL) }

func (o *Operator) signal(s syscall.Signal) error {
	if err := o.command.Process.Signal(s); err != nil {
		return fmt.Errorf("stop the operator: %w", err)
	}
	select {
	case <-o.ended: //nolint:errcheck // it was told to end; how is no matter
		return nil
	case <-time.After(time.Minute):
		_ = o.command.Process.Kill()
		return fmt.Errorf("the operator did not end within a minute of %s", s)
	}
}

// Freeze stops the process where it is; Thaw lets it go on.
func (o *Operator) Freeze() error { return o.command.Process.Signal(syscall.SIGSTOP) }

// Thaw lets a frozen process go on.
func (o *Operator) Thaw() error { return o.command.Process.Signal(syscall.SIGCONT) }

// Pid is the operator's process id.
func (o *Operator) Pid() int { return o.command.Process.Pid }

// freeAddresses returns addresses of loopback that nobody listens on. A port is
// returned again once all others were.
func (r *Rig) freeAddresses(count int) (addresses []string, err error) {
	for range r.Sandbox.SparePorts {
		port := r.Sandbox.SparePorts[r.taken%len(r.Sandbox.SparePorts)]
		r.taken++
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		defer l.Close() // held until all are found
		if addresses = append(addresses, l.Addr().String()); len(addresses) == count {
			return addresses, nil
		}
	}
	return nil, fmt.Errorf("%d of the sandbox's %d spare ports are free, want %d: run `make build` if it has none", len(addresses), len(r.Sandbox.SparePorts), count)
}
