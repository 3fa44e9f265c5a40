package rig

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Repo is a working copy whose origin is on the sandbox's Git server.
type Repo struct {
	// Dir is the working copy, URL what an Application names.
	Dir string
	URL string
}

// Repo creates an empty repository on the server and a working copy of it.
func (r *Rig) Repo(ctx context.Context, name string) (*Repo, error) {
	if out, err := r.command(ctx, r.Bin("sandbox"), "repo", "--dir", r.Dir, name).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("create repository %q: %w\n%s", name, err, out)
	}
	repo := &Repo{Dir: filepath.Join(r.Dir, "work", name), URL: r.Sandbox.Git.URL + "/" + name + ".git"}
	if err := os.MkdirAll(repo.Dir, 0o755); err != nil {
		return nil, err
	}
	origin := repo.URL
	if strings.HasPrefix(name, r.Sandbox.Git.PrivatePrefix) {
		origin = strings.Replace(origin, "://", "://"+r.Sandbox.Git.User+":"+r.Sandbox.Git.Password+"@", 1)
	}
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch=main"},
		{"config", "user.name", "Test Author"},
		{"config", "user.email", "author@example.com"},
		{"config", "maintenance.auto", "false"}, // it would go on in the background
		{"remote", "add", "origin", origin},
	} {
		if _, err := repo.Git(ctx, args...); err != nil {
			return nil, err
		}
	}
	return repo, nil
}

// Git runs git in the working copy, without the settings of the user and the
// machine, and returns what it prints.
func (r *Repo) Git(ctx context.Context, args ...string) (string, error) {
	c := exec.CommandContext(ctx, "git", args...)
	c.Dir = r.Dir
	c.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "no_proxy=127.0.0.1")
	out, err := c.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("git %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// Write puts files into the working copy; an empty content removes the file.
func (r *Repo) Write(files map[string]string) error {
	for name, content := range files {
		path := filepath.Join(r.Dir, name)
		if content == "" {
			if err := os.Remove(path); err != nil {
				return err
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Push commits everything in the working copy, pushes it to main and returns
// the commit.
func (r *Repo) Push(ctx context.Context, subject string) (string, error) {
	for _, args := range [][]string{
		{"add", "--all"},
		{"commit", "--quiet", "--allow-empty", "--message", subject},
		{"push", "--quiet", "--force", "origin", "HEAD:main"},
	} {
		if _, err := r.Git(ctx, args...); err != nil {
			return "", err
		}
	}
	return r.Git(ctx, "rev-parse", "HEAD")
}

// Commit writes files, commits and pushes.
func (r *Repo) Commit(ctx context.Context, subject string, files map[string]string) (string, error) {
	if err := r.Write(files); err != nil {
		return "", err
	}
	return r.Push(ctx, subject)
}
