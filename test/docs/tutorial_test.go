package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/gitseal/gitseal/test/rig"
)

var tutorial = regexp.MustCompile("(?s)```bash tutorial\n(.*?)```")

// TestTheTutorialWorksAsItIsTyped runs the commands of README.md, in order, on
// a sandbox, and looks for what they should have printed.
func TestTheTutorialWorksAsItIsTyped(t *testing.T) {
	t.Parallel()
	blocks := tutorial.FindAllStringSubmatch(read(t, "README.md"), -1)
	if len(blocks) != 6 {
		t.Fatalf("README.md has %d blocks of the tutorial, want 6", len(blocks))
	}
	var script strings.Builder
	for _, b := range blocks {
		script.WriteString(b[1])
	}
	r := start(t)
	repository, err := r.Repo(t.Context(), "hello")
	if err != nil {
		t.Fatal(err)
	}
	out := typeIn(t, r, script.String(), repository.URL)
	for _, want := range []string{
		"password: ENC[AES256_GCM,", "hello is ready at main@sha1:", "Ready          True", "\nsame\n",
		`PolicyViolated: deploy/oops.yaml:1: Secret "oops" carries plain data`, "\nrefused\n", "encrypted deploy/oops.yaml",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the tutorial does not print %q", want)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}

func start(t *testing.T) *rig.Rig {
	t.Helper()
	r, err := rig.Start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	operator, err := r.StartOperator(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = operator.Stop() })
	return r
}

// typeIn runs a script in which read asks for a password.
func typeIn(t *testing.T, r *rig.Rig, script, url string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tutorial.sh")
	if err := os.WriteFile(path, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", path)
	c.Dir = t.TempDir()
	c.Stdin = strings.NewReader("correct horse battery staple\n")
	c.Env = append(os.Environ(), "URL="+url, "KUBECONFIG="+r.Sandbox.Kubeconfig,
		"PATH="+r.Bin("")+":"+r.Bin("control-plane")+":"+os.Getenv("PATH"), "HOME="+c.Dir, "KUBECACHEDIR="+c.Dir,
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "no_proxy=127.0.0.1",
		"GIT_AUTHOR_NAME=Reader", "GIT_AUTHOR_EMAIL=reader@example.com", "GIT_COMMITTER_NAME=Reader", "GIT_COMMITTER_EMAIL=reader@example.com")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("the tutorial ends with %v:\n%s", err, out)
	}
	return string(out)
}
