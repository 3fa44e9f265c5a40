package main

import (
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gitseal/gitseal/test/sandbox/state"
)

// startGitOnly brings up a sandbox that adopts a cluster, and so starts nothing
// but the Git server.
func startGitOnly(t *testing.T, args ...string) *state.Sandbox {
	t.Helper()
	dir, foreign := t.TempDir(), filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(foreign, []byte("kind: Config\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	up := program(t, append([]string{"up", "--dir", dir, "--assets", "/nowhere", "--detach"}, args...)...)
	up.Env = append(up.Env, "KUBECONFIG="+foreign)
	return startDetached(t, up, dir)
}

// git returns a command that asks nobody for credentials, and leaves nothing
// behind that tidies up while the directory is removed.
func git(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", append([]string{"-c", "maintenance.auto=false"}, args...)...)
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com",
	}
	return cmd
}

// newWorktree is a repository with two commits, too large for a single chunk.
func newWorktree(t *testing.T) (dir, firstCommit string) {
	t.Helper()
	dir = t.TempDir()
	noise := make([]byte, 3<<20)
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "noise"), noise, 0o600); err != nil {
		t.Fatal(err)
	}
	mustRun(t, git(t, dir, "init", "--quiet", "--initial-branch=main"))
	mustRun(t, git(t, dir, "add", "."))
	mustRun(t, git(t, dir, "commit", "--quiet", "--message=first"))
	firstCommit = strings.TrimSpace(mustRun(t, git(t, dir, "rev-parse", "HEAD")))
	mustRun(t, git(t, dir, "commit", "--quiet", "--allow-empty", "--message=second"))
	return dir, firstCommit
}

func withCredentials(url, user, password string) string {
	return strings.Replace(url, "http://", "http://"+user+":"+password+"@", 1)
}

func TestGitServer(t *testing.T) {
	open, closed := startGitOnly(t), startGitOnly(t, "--basic-auth", "ann:secret")
	worktree, firstCommit := newWorktree(t)

	tests := map[string]struct {
		url     string
		refused bool
	}{
		"an open repository needs no credentials": {
			url: open.Git.URL + "/app.git",
		},
		"the suffix may be left out": {
			url: open.Git.URL + "/short",
		},
		"a private repository refuses a stranger": {
			url: open.Git.URL + "/private-app.git", refused: true,
		},
		"a private repository refuses a wrong password": {
			url: withCredentials(open.Git.URL, "git", "wrong") + "/private-app.git", refused: true,
		},
		"a private repository lets its user in": {
			url: withCredentials(open.Git.URL, "git", "sandbox") + "/private-app.git",
		},
		"with credentials chosen every repository needs them": {
			url: closed.Git.URL + "/app.git", refused: true,
		},
		"chosen credentials open an ordinary repository": {
			url: withCredentials(closed.Git.URL, "ann", "secret") + "/app.git",
		},
		"chosen credentials replace those of private repositories": {
			url: withCredentials(closed.Git.URL, "git", "sandbox") + "/private-app.git", refused: true,
		},
		"a name must not leave the directory": {
			url: open.Git.URL + "/..%2fapp.git", refused: true,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			out, err := output(git(t, worktree, "push", "--quiet", test.url, "main"))
			if refused := err != nil; refused != test.refused {
				t.Fatalf("git push %s: refused = %v, want %v\n%s", test.url, refused, test.refused, out)
			}
			if test.refused {
				return
			}
			clone := t.TempDir()
			mustRun(t, git(t, clone, "clone", "--quiet", test.url, "."))
			bare := t.TempDir()
			mustRun(t, git(t, bare, "init", "--quiet", "--bare"))
			// By commit, which is how an operator fetches a pinned revision.
			mustRun(t, git(t, bare, "fetch", "--quiet", "--depth=1", test.url, firstCommit))
		})
	}
}

func TestRepoMakesAnEmptyRepositoryOnce(t *testing.T) {
	s := startGitOnly(t)
	for range 2 {
		url := strings.TrimSpace(mustRun(t, program(t, "repo", "--dir", s.Dir, "app")))
		if want := s.Git.URL + "/app.git"; url != want {
			t.Errorf("repo printed %q, want %q", url, want)
		}
		if out := mustRun(t, git(t, t.TempDir(), "ls-remote", url)); out != "" {
			t.Errorf("git ls-remote = %q, want nothing", out)
		}
	}
	if out, err := output(program(t, "repo", "--dir", s.Dir, "../app")); err == nil {
		t.Errorf("repo made %q:\n%s", "../app", out)
	}
	if out, err := output(git(t, t.TempDir(), "ls-remote", s.Git.URL+"/absent.git")); err == nil {
		t.Errorf("git ls-remote of an absent repository succeeded: %s", out)
	}
}

func TestForeignClusterIsAdoptedNotStarted(t *testing.T) {
	s := startGitOnly(t)
	if len(s.Processes) != 0 || s.APIServer != nil || s.Etcd != nil {
		t.Errorf("state = %+v, want no control plane", s)
	}
	if got, err := os.ReadFile(s.Kubeconfig); err != nil || string(got) != "kind: Config\n" {
		t.Errorf("kubeconfig = %q, %v, want the copy", got, err)
	}
	wantCleanDown(t, s.Dir)
}
