package signature

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// workshop is a repository in which real programs sign.
type workshop struct {
	t   testing.TB
	dir string
	env []string
}

func newWorkshop(t testing.TB) workshop {
	t.Helper()
	for _, program := range []string{"git", "ssh-keygen", "gpg"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%s is not installed; on Debian: apt-get install git openssh-client gnupg", program)
		}
	}
	dir := t.TempDir()
	w := workshop{t, dir, append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "HOME="+dir,
		"GNUPGHOME="+filepath.Join(dir, "gnupg"), "SSH_AUTH_SOCK=",
		"GIT_AUTHOR_NAME=Ann", "GIT_AUTHOR_EMAIL=ann@example.org", "GIT_COMMITTER_NAME=Ann", "GIT_COMMITTER_EMAIL=ann@example.org")}
	w.run("git", "init", "-q", "-b", "main")
	return w
}

func (w workshop) run(program string, args ...string) string {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), program, args...)
	cmd.Dir, cmd.Env = w.dir, w.env
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		w.t.Fatalf("%s %v: %v: %s", program, args, err, errs.String())
	}
	return string(out)
}

func (w workshop) git(args ...string) string {
	w.t.Helper()
	return strings.TrimSpace(w.run("git", args...))
}

// object returns the bytes of an object.
func (w workshop) object(name string) []byte {
	w.t.Helper()
	return []byte(w.run("git", "cat-file", w.git("cat-file", "-t", name), name))
}

func (w workshop) sshKey(kind ...string) (file, public string) {
	w.t.Helper()
	file = filepath.Join(w.t.TempDir(), "key")
	w.run("ssh-keygen", append([]string{"-q", "-N", "", "-C", "", "-f", file, "-t"}, kind...)...)
	raw, err := os.ReadFile(file + ".pub")
	if err != nil {
		w.t.Fatal(err)
	}
	return file, strings.TrimSpace(string(raw))
}

// commitSSH makes a commit that is signed with a key, and returns its bytes.
func (w workshop) commitSSH(key string) []byte {
	w.t.Helper()
	w.git("-c", "gpg.format=ssh", "-c", "user.signingKey="+key, "commit", "-q", "-S", "--allow-empty", "-m", "signed\n\nwith a body\n")
	return w.object("HEAD")
}
