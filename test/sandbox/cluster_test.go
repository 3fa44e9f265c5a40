package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gitseal/gitseal/test/sandbox/state"
)

const workloads = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      initContainers: [{name: first, image: any}, {name: beside, image: any, restartPolicy: Always}]
      containers: [{name: web, image: any}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: stuck}
spec:
  selector: {matchLabels: {app: stuck}}
  template:
    metadata: {labels: {app: stuck, sandbox.gitseal.dev/fate: never-ready}}
    spec: {containers: [{name: stuck, image: any}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: good}
spec:
  template:
    spec: {restartPolicy: Never, containers: [{name: good, image: any}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: bad}
spec:
  backoffLimit: 0
  template:
    metadata: {labels: {sandbox.gitseal.dev/fate: fail}}
    spec: {restartPolicy: Never, containers: [{name: bad, image: any}]}
`

func kubectl(t *testing.T, s *state.Sandbox, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), s.Kubectl, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+s.Kubeconfig, "HOME="+t.TempDir())
	return cmd
}

func TestClusterRunsWorkloads(t *testing.T) {
	dir := t.TempDir()
	s := startDetached(t, program(t, "up", "--dir", dir, "--assets", assets(t), "--detach"), dir)

	apply := kubectl(t, s, "apply", "-f", "-")
	apply.Stdin = strings.NewReader(workloads)
	mustRun(t, apply)
	for _, claim := range []string{
		"deployment/web --for=condition=Available",
		"deployment/stuck --for=condition=Available=False",
		"job/good --for=condition=Complete",
		"job/bad --for=condition=Failed",
		"deployment/stuck --for=jsonpath={.status.replicas}=1",
		"pod --for=jsonpath={.spec.nodeName} --all",
	} {
		mustRun(t, kubectl(t, s, append([]string{"wait", "--timeout=3m"}, strings.Fields(claim)...)...))
	}
	// A finished deletion shows that pods go, and the garbage collector works.
	mustRun(t, kubectl(t, s, "delete", "--timeout=3m", "--cascade=foreground", "deployment/web", "job/good"))

	if metrics := mustRun(t, kubectl(t, s, "get", "--raw", "/metrics")); !strings.Contains(metrics, "apiserver_request_total") {
		t.Error("GET /metrics has no apiserver_request_total")
	}
	// Impersonation of somebody without rights shows that RBAC decides.
	if out, err := output(kubectl(t, s, "--as=nobody", "get", "pods")); err == nil || !strings.Contains(out, "Forbidden") {
		t.Errorf("get pods as nobody: %v, want Forbidden\n%s", err, out)
	}
	wantRawSecret(t, s)
	wantCleanDown(t, dir)
}

// wantRawSecret reads etcd as the leak tests do.
func wantRawSecret(t *testing.T, s *state.Sandbox) {
	t.Helper()
	mustRun(t, kubectl(t, s, "create", "secret", "generic", "seen", "--from-literal=key=plain-canary"))
	key := base64.StdEncoding.EncodeToString([]byte(s.Etcd.Prefix + "secrets/default/seen"))
	response, err := http.Post(s.Etcd.URL+"/v3/kv/range", "application/json", strings.NewReader(`{"key":"`+key+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var found struct {
		Kvs []struct {
			Value []byte `json:"value"`
		} `json:"kvs"`
	}
	if err := json.NewDecoder(response.Body).Decode(&found); err != nil {
		t.Fatal(err)
	}
	if len(found.Kvs) != 1 || !bytes.Contains(found.Kvs[0].Value, []byte("plain-canary")) {
		t.Errorf("etcd has %d values for the Secret, want 1 with its content", len(found.Kvs))
	}
}

func wantCleanDown(t *testing.T, dir string) {
	t.Helper()
	mustRun(t, program(t, "down", "--dir", dir))
	wantNoProcess(t, dir)
	if out := mustRun(t, program(t, "down", "--dir", dir)); !strings.Contains(out, "no sandbox runs") {
		t.Errorf("the second down printed %q, want that no sandbox runs", out)
	}
}

func TestNothingOutlivesAKilledSupervisor(t *testing.T) {
	dir := t.TempDir()
	up := program(t, "up", "--dir", dir, "--assets", assets(t), "--detach")
	s := startDetached(t, up, dir)
	if len(s.Processes) != 5 {
		t.Errorf("%d processes, want 5", len(s.Processes))
	}
	if out, err := output(program(t, up.Args[1:]...)); err == nil || !strings.Contains(out, "already") {
		t.Errorf("a second up in the same directory: %v, want an error\n%s", err, out)
	}

	if err := s.Supervisor.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	poll(t, time.Minute, "all processes are gone", func() bool { return len(processesNaming(t, dir)) == 0 })
	mustRun(t, program(t, "down", "--dir", dir))
	if again, err := state.Read(dir); again != nil || err != nil {
		t.Errorf("state.Read after down = %v, %v, want none", again, err)
	}
}

func TestUpReportsTheProgramThatDied(t *testing.T) {
	dir := t.TempDir()
	var out bytes.Buffer
	up := program(t, "up", "--dir", dir, "--assets", assets(t))
	up.Stdout, up.Stderr = &out, &out
	if err := up.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopSandbox(t, dir) })
	poll(t, 5*time.Minute, "the sandbox is ready", func() bool {
		s, err := state.Read(dir)
		return err == nil && s != nil && s.Ready
	})
	for _, p := range readState(t, dir).Processes {
		if p.Name == "kube-scheduler" {
			_ = p.Signal(syscall.SIGKILL)
		}
	}
	if err := up.Wait(); err == nil {
		t.Error("up ended without an error")
	}
	if !strings.Contains(out.String(), "kube-scheduler died: signal: killed") {
		t.Errorf("up did not say who died:\n%s", &out)
	}
	wantNoProcess(t, dir)
}

func TestAHaltedProgramComesBackWithItsData(t *testing.T) {
	dir := t.TempDir()
	s := startDetached(t, program(t, "up", "--dir", dir, "--assets", assets(t), "--detach"), dir)
	mustRun(t, kubectl(t, s, "create", "configmap", "kept"))
	for _, name := range []string{"etcd", "kube-apiserver"} {
		for range 2 { // the second time it is down already
			mustRun(t, program(t, "halt", "--dir", dir, name))
		}
		if out, err := output(kubectl(t, s, "--request-timeout=2s", "get", "configmap", "kept")); err == nil {
			t.Errorf("without %s the ConfigMap was read:\n%s", name, out)
		}
		mustRun(t, program(t, "resume", "--dir", dir, name))
		poll(t, 5*time.Minute, "the ConfigMap is there again", func() bool {
			_, err := output(kubectl(t, s, "--request-timeout=20s", "get", "configmap", "kept"))
			return err == nil
		})
	}
	if out, err := output(program(t, "halt", "--dir", dir, "nobody")); err == nil {
		t.Errorf("halt of a program that is not there succeeded:\n%s", out)
	}
	mustRun(t, program(t, "halt", "--dir", dir, "kube-apiserver"))
	wantCleanDown(t, dir)
}

func TestUpShowsTheEndOfTheLogOfWhatCannotStart(t *testing.T) {
	dir, broken := t.TempDir(), t.TempDir()
	for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"} {
		writeScript(t, broken, name, "exec sleep 60")
	}
	writeScript(t, broken, "etcd", `for i in 1 2 3; do for j in 0 1 2 3 4 5 6 7 8 9; do echo "line $i$j"; done; done; exit 3`)

	for _, mode := range []string{"--detach=false", "--detach"} {
		out, err := output(program(t, "up", "--dir", dir, "--assets", broken, mode))
		if err == nil {
			t.Fatalf("up %s succeeded:\n%s", mode, out)
		}
		for text, want := range map[string]bool{"etcd died: exit status 3": true, "line 20": true, "line 39": true, "line 19": false} {
			if strings.Contains(out, text) != want {
				t.Errorf("up %s: output contains %q: %v, want %v\n%s", mode, text, !want, want, out)
			}
		}
		wantNoProcess(t, dir)
	}
}

func TestUpSaysHowToGetMissingPrograms(t *testing.T) {
	out, err := output(program(t, "up", "--dir", t.TempDir(), "--assets", t.TempDir()))
	if err == nil || !strings.Contains(out, "make control-plane") {
		t.Errorf("up without programs: %v, want an error that names `make control-plane`\n%s", err, out)
	}
}

func TestInterruptEndsForegroundInPeace(t *testing.T) {
	dir := t.TempDir()
	up := program(t, "up", "--dir", dir, "--assets", assets(t))
	if err := up.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopSandbox(t, dir) })
	poll(t, 2*time.Minute, "the API server runs", func() bool {
		s, err := state.Read(dir)
		return err == nil && s != nil && len(s.Processes) >= 2
	})
	if err := up.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := up.Wait(); err != nil {
		t.Errorf("up ended with %v, want success", err)
	}
	wantNoProcess(t, dir)
}

func TestEnvtestAssetsAloneServeObjects(t *testing.T) {
	dir, envtest := t.TempDir(), t.TempDir()
	for _, name := range []string{"etcd", "kube-apiserver", "kubectl"} {
		if err := os.Symlink(filepath.Join(assets(t), name), filepath.Join(envtest, name)); err != nil {
			t.Fatal(err)
		}
	}
	up := program(t, "up", "--dir", dir, "--assets", t.TempDir(), "--detach")
	up.Env = append(up.Env, "KUBEBUILDER_ASSETS="+envtest)
	t.Cleanup(func() { stopSandbox(t, dir) })
	if out := mustRun(t, up); !strings.Contains(out, "workloads will not become ready") {
		t.Errorf("up did not say what is missing:\n%s", out)
	}
	s := readState(t, dir)
	mustRun(t, kubectl(t, s, "create", "configmap", "any"))
	wantCleanDown(t, dir)
}
