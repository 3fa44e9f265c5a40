package kubectlplugin

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
)

const defaultBranch = "main"

// workingCopy is what a checked-out repository says about itself.
type workingCopy struct {
	root   string // its directory
	here   string // the directory asked from, relative to root, with slashes
	origin string // may be empty
	branch string
}

// openWorkingCopy finds the repository that dir is in.
func openWorkingCopy(dir string) (*workingCopy, error) {
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	repository, err := git.PlainOpenWithOptions(absolute, &git.PlainOpenOptions{DetectDotGit: true, EnableDotGitCommonDir: true})
	if err != nil {
		return nil, withHint(fmt.Errorf("no Git repository in %s or above", absolute), "run this in the repository that holds the manifests")
	}
	tree, err := repository.Worktree()
	if err != nil {
		return nil, fmt.Errorf("open the repository of %s: %w", absolute, err)
	}
	w := &workingCopy{root: tree.Filesystem.Root(), branch: defaultBranch}
	here, err := filepath.Rel(w.root, absolute)
	if err != nil {
		return nil, fmt.Errorf("place %s in its repository: %w", absolute, err)
	}
	w.here = filepath.ToSlash(here)
	if remote, err := repository.Remote("origin"); err == nil && len(remote.Config().URLs) > 0 {
		w.origin = remote.Config().URLs[0]
	}
	if head, err := repository.Reference(plumbing.HEAD, false); err == nil && head.Target().IsBranch() {
		w.branch = head.Target().Short()
	}
	return w, nil
}

// scpForm is how Git is used to write SSH URLs: user@host:path.
var scpForm = regexp.MustCompile(`^(?:([A-Za-z0-9._-]+)@)?([A-Za-z0-9._-]+):([^/:].*|/[^/].*)$`)

// normaliseURL turns what a remote is called into a URL that an Application
// takes: scp form becomes ssh://, and credentials are taken out.
func normaliseURL(text string) (clean string, stripped bool, err error) {
	if m := scpForm.FindStringSubmatch(text); m != nil && !strings.Contains(text, "://") {
		user := m[1]
		if user == "" {
			user = "git"
		}
		return "ssh://" + user + "@" + m[2] + "/" + strings.TrimPrefix(m[3], "/"), false, nil
	}
	u, err := url.Parse(text)
	if err != nil {
		return "", false, errors.New("not a URL") // the parser's own words quote it, password included
	}
	if u.Host == "" || strings.Trim(u.Path, "/") == "" {
		return "", false, errors.New("not the URL of a repository that a cluster could reach: use https or ssh")
	}
	switch u.Scheme {
	case "http", "https":
		stripped = u.User != nil
		u.User = nil
	case "ssh":
		if _, has := u.User.Password(); has {
			stripped = true
			u.User = url.User(u.User.Username())
		}
	default:
		return "", false, fmt.Errorf("%s is not supported: use https or ssh", u.Scheme)
	}
	return u.String(), stripped, nil
}

func isSSH(url string) bool { return strings.HasPrefix(url, "ssh://") }
