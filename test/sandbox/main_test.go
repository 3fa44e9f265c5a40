package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gitseal/gitseal/test/sandbox/state"
)

// asProgram makes the test binary behave as the program, so that the tests run
// the real thing, in processes of its own, without building it.
const asProgram = "GITSEAL_SANDBOX_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// program returns a command that runs the sandbox, unaware of any cluster that
// the caller of the tests may use.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if name != "KUBECONFIG" && name != "KUBEBUILDER_ASSETS" {
			cmd.Env = append(cmd.Env, entry)
		}
	}
	cmd.Env = append(cmd.Env, asProgram+"=1")
	return cmd
}

// output runs the command and returns what it printed.
func output(cmd *exec.Cmd) (string, error) {
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func mustRun(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := output(cmd)
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	return out
}

// assets is the directory of the control plane's programs.
func assets(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("GITSEAL_ASSETS")
	if dir == "" {
		dir = filepath.Join("..", "..", "bin", "control-plane")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok", "kubectl"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Fatalf("no %s in %s: run `make control-plane` first", name, dir)
		}
	}
	return dir
}

// startDetached brings a sandbox up in the background for the time of a test.
func startDetached(t *testing.T, cmd *exec.Cmd, dir string) *state.Sandbox {
	t.Helper()
	t.Cleanup(func() { stopSandbox(t, dir) })
	t.Log(mustRun(t, cmd))
	return readState(t, dir)
}

// stopSandbox works after the test's context has ended as well.
func stopSandbox(t *testing.T, dir string) {
	t.Helper()
	down := exec.Command(os.Args[0], "down", "--dir", dir)
	down.Env = append(os.Environ(), asProgram+"=1")
	if out, err := output(down); err != nil {
		t.Errorf("down: %v\n%s", err, out)
	}
}

func readState(t *testing.T, dir string) *state.Sandbox {
	t.Helper()
	s, err := state.Read(dir)
	if err != nil || s == nil {
		t.Fatalf("state.Read(%q) = %v, %v, want a sandbox", dir, s, err)
	}
	return s
}

// poll waits for the claim to come true.
func poll(t *testing.T, limit time.Duration, claim string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("not true after %s: %s", limit, claim)
		}
		time.Sleep(pollInterval)
	}
}

// processesNaming lists the processes whose command line or environment names
// the directory: everything that a sandbox starts does.
func processesNaming(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, entry := range entries {
		// Processes come and go meanwhile; one that cannot be read is not ours.
		command, _ := os.ReadFile(filepath.Join(entry, "cmdline"))
		environment, _ := os.ReadFile(filepath.Join(entry, "environ"))
		if bytes.Contains(command, []byte(dir)) || bytes.Contains(environment, []byte(dir)) {
			found = append(found, entry+" "+string(bytes.ReplaceAll(command, []byte{0}, []byte{' '})))
		}
	}
	return found
}

func wantNoProcess(t *testing.T, dir string) {
	t.Helper()
	if left := processesNaming(t, dir); len(left) > 0 {
		t.Errorf("processes left behind:\n%s", strings.Join(left, "\n"))
	}
}

// writeScript puts a stand-in for a program into a directory.
func writeScript(t *testing.T, dir, name, body string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+body+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
}
