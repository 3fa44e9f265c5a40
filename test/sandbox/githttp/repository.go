package githttp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// validName keeps names inside one directory and out of git's option parsing.
var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,99}$`)

// repositorySettings make a repository pushable over HTTP and fetchable by
// commit. Git must not tidy up by itself: it does so in a process of its own
// that would outlive the sandbox.
var repositorySettings = [][2]string{
	{"http.receivepack", "true"},
	{"uploadpack.allowReachableSHA1InWant", "true"},
	{"uploadpack.allowAnySHA1InWant", "true"},
	{"uploadpack.allowFilter", "true"},
	{"receive.autogc", "false"},
	{"gc.auto", "0"},
	{"maintenance.auto", "false"},
}

// Create makes the bare repository NAME.git below dir, unless it exists.
func Create(ctx context.Context, dir, name string) error {
	name = strings.TrimSuffix(name, ".git")
	if !validName.MatchString(name) {
		return fmt.Errorf("repository name %q: want %s", name, validName)
	}
	path := repositoryPath(dir, name)
	if exists(path) {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	// Made aside and renamed, so that no request sees it half made.
	scratch, err := os.MkdirTemp(dir, ".new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	if err := initialise(ctx, scratch); err != nil {
		return fmt.Errorf("create repository %q: %w", name, err)
	}
	if err := os.Rename(scratch, path); err != nil && !exists(path) {
		return err
	}
	return nil
}

func initialise(ctx context.Context, path string) error {
	if err := git(ctx, path, "init", "--quiet", "--bare", "--initial-branch=main"); err != nil {
		return err
	}
	for _, setting := range repositorySettings {
		if err := git(ctx, path, "config", setting[0], setting[1]); err != nil {
			return err
		}
	}
	return nil
}

func git(ctx context.Context, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	cmd.Env = gitEnvironment(dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(string(out)))
	}
	return nil
}

// gitEnvironment keeps the settings of the user and the machine out.
func gitEnvironment(home string) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + home,
		"GIT_CONFIG_NOSYSTEM=1",
		"GIT_CONFIG_GLOBAL=" + os.DevNull,
	}
}

func repositoryPath(dir, name string) string { return filepath.Join(dir, name+".git") }

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
