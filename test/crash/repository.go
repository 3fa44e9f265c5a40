package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// repository is the Git repository of a cell, written straight into the
// server's directory. Main points at one of its revisions.
type repository struct {
	dir     string
	url     string
	commits []string
}

// newRepository makes one commit for each set of files.
func (w *world) newRepository(ctx context.Context, cell string, revisions []map[string]string) (*repository, error) {
	r := &repository{dir: filepath.Join(w.rig.Sandbox.Git.Dir, cell+".git"), url: w.rig.Sandbox.Git.URL + "/" + cell + ".git"}
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return nil, err
	}
	if _, err := r.git(ctx, "", "init", "--quiet", "--bare", "--initial-branch=main"); err != nil {
		return nil, err
	}
	var stream strings.Builder
	for i, files := range revisions {
		message := fmt.Sprintf("revision %d", i)
		fmt.Fprintf(&stream, "commit refs/heads/revision-%d\ncommitter Test Author <author@example.com> %d +0000\ndata %d\n%s\n", i, 1_900_000_000+i, len(message), message)
		if i > 0 {
			fmt.Fprintf(&stream, "from refs/heads/revision-%d\n", i-1)
		}
		stream.WriteString("deleteall\n")
		for name, content := range files {
			content = strings.ReplaceAll(w.orSealed(content), "CELL", cell)
			fmt.Fprintf(&stream, "M 100644 inline %s\ndata %d\n%s\n", name, len(content), content)
		}
	}
	if _, err := r.git(ctx, stream.String(), "fast-import", "--quiet"); err != nil {
		return nil, err
	}
	for i := range revisions {
		commit, err := r.git(ctx, "", "rev-parse", fmt.Sprintf("refs/heads/revision-%d", i))
		if err != nil {
			return nil, err
		}
		r.commits = append(r.commits, commit)
	}
	return r, r.point(ctx, 0)
}

func (w *world) orSealed(content string) string {
	if sealed, ok := w.sealed[content]; ok {
		return sealed
	}
	return content
}

// point moves main to a revision.
func (r *repository) point(ctx context.Context, revision int) error {
	_, err := r.git(ctx, "", "update-ref", "refs/heads/main", r.commits[revision])
	return err
}

func (r *repository) git(ctx context.Context, stdin string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, "git", args...)
	c.Dir = r.dir
	c.Env = append(slices.Clone(os.Environ()), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull)
	c.Stdin = strings.NewReader(stdin)
	out, err := c.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("git %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out)), nil
}
