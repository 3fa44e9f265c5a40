package source

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
)

// Snapshot is one commit. It is safe for concurrent use and stays readable
// whatever happens to the repository and to the Store's files after it.
type Snapshot struct {
	Revision string // "main@sha1:HEX", "v1.2.3@sha1:HEX" or "sha1:HEX"
	Commit   string
	Author   string // "Name <mail>"
	Subject  string // first line of the message
	// Asked is when the server was asked what its branches and tags are.
	Asked time.Time

	// Ref is the branch or tag that was followed, if one was.
	Ref string

	tag    string        // its name, if it is a tag
	origin *repository   // nil: not from one
	want   plumbing.Hash // what the server has it under

	repository address
	commit     plumbing.Hash
	annotated  plumbing.Hash // the tag's own object, if it has one
	objects    *objects
	root       plumbing.Hash
	limits     Limits

	mu      sync.Mutex
	counted map[string]bool // files read, and directories listed with a slash at the end
	listed  int             // files in directories listed
	files   int             // files read
	bytes   int64
}

func newSnapshot(a address, objs *objects, asked time.Time, t target, c commit, l Limits) *Snapshot {
	return &Snapshot{
		Revision: t.revision(c.hash), Commit: c.hash.String(), Author: c.author, Subject: c.subject, Asked: asked, Ref: t.name,
		tag: t.tag, commit: c.hash, annotated: t.annotated(),
		repository: a, objects: objs, root: c.tree, limits: l,
		counted: map[string]bool{},
	}
}

// TagObject is the hash of the annotated tag that led to the commit, "" where
// there is none. A tag may be made anew for the same commit.
func (s *Snapshot) TagObject() string {
	if s.annotated.IsZero() {
		return ""
	}
	return s.annotated.String()
}

// Objects returns the commit as its hash is over it, and the annotated tag that
// was followed to it with its name; nil where there was none.
func (s *Snapshot) Objects() (commit, tag []byte, tagName string, err error) {
	commit, err = s.objects.read(s.commit, plumbing.CommitObject, s.limits.ObjectBytes)
	if err == nil && !s.annotated.IsZero() {
		tag, err = s.objects.read(s.annotated, plumbing.TagObject, s.limits.ObjectBytes)
	}
	if err != nil {
		return nil, nil, "", s.unreadable(s.Revision, err)
	}
	return commit, tag, s.tag, nil
}

// FS returns the commit's files. Symbolic links inside the repository are
// followed; a directory lists a link to a file as a file. All FS of a Snapshot
// share its limits. Errors other than fs.ErrNotExist and fs.ErrInvalid are
// *failure.Error.
func (s *Snapshot) FS() *FS { return &FS{s: s, reads: recorder{looks: map[look]trace{}}} }

func (s *Snapshot) invalid(name, format string, args ...any) *failure.Error {
	return failure.Stallf(v1alpha1.ReasonSourceInvalid, "%q in repository %s %s", name, s.repository, fmt.Sprintf(format, args...))
}

func absentPath(op, name string) error {
	return &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
}

// unreadable gives an error of the object database its meaning for a path.
func (s *Snapshot) unreadable(name string, err error) error {
	switch {
	case errors.Is(err, errLeftOut), errors.Is(err, errTooLarge):
		return s.invalid(name, "is over the limit of %s", bytesText(s.limits.FileBytes)).
			WithHint("split it, or keep it out of what is applied")
	case errors.Is(err, errTreeSize):
		return s.invalid(name, "has more than the limit of %d entries in one directory", s.limits.Entries).
			WithHint("spread them over several directories")
	case errors.Is(err, errTreeNames):
		return s.invalid(name, "has an entry whose name is not allowed or stands twice").
			WithHint("rename it: no \"..\", \".git\" or slash, and only UTF-8")
	}
	// The next Fetch begins a new store, so this may pass.
	s.objects.broken.Store(true)
	return failure.Failf(v1alpha1.ReasonSourceUnavailable, "%q in repository %s could not be read: %w", name, s.repository, err)
}

// tree returns a directory.
func (s *Snapshot) tree(name string, h plumbing.Hash) (tree, error) {
	t, err := s.objects.tree(h, s.limits)
	if err != nil {
		return nil, s.unreadable(name, err)
	}
	return t, nil
}

// walk finds what is at name, through symbolic links. Links are resolved
// against their own directory, name by name, so that none of them can be used
// to step out of the repository and in again.
func (s *Snapshot) walk(op, name string) (entry, error) {
	if !fs.ValidPath(name) {
		return entry{}, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	root := entry{name: ".", mode: filemode.Dir, hash: s.root}
	if name == "." {
		return root, nil
	}
	type place struct {
		entry
		path string
	}
	at := []place{{root, "."}}
	todo := strings.Split(name, "/")
	for links := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		here := at[len(at)-1]
		if part == ".." { // from a link only
			if len(at) == 1 {
				return entry{}, s.leaves(name)
			}
			at = at[:len(at)-1]
			continue
		}
		if len(at) > s.limits.Depth {
			return entry{}, s.invalid(name, "is deeper than the limit of %d directories", s.limits.Depth).
				WithHint("move it up")
		}
		next, err := s.child(op, name, here.path, here.entry, part)
		if err != nil {
			return entry{}, err
		}
		where := path.Join(here.path, part)
		if next.mode != filemode.Symlink {
			at = append(at, place{next, where})
			continue
		}
		if links++; links > maxSymlinks {
			return entry{}, s.invalid(name, "leads through more than %d symbolic links", maxSymlinks).WithHint("remove the cycle of links")
		}
		parts, err := s.link(where, next)
		if err != nil {
			return entry{}, err
		}
		todo = append(parts, todo...)
	}
	return at[len(at)-1].entry, nil
}

// child finds one name in a directory.
func (s *Snapshot) child(op, name, dir string, e entry, part string) (entry, error) {
	if e.mode == filemode.Submodule {
		return entry{}, s.submodule(dir)
	}
	if e.mode != filemode.Dir {
		return entry{}, absentPath(op, name)
	}
	t, err := s.tree(dir, e.hash)
	if err != nil {
		return entry{}, err
	}
	next, ok := t.find(part)
	if !ok {
		return entry{}, absentPath(op, name)
	}
	return next, nil
}

func (s *Snapshot) submodule(name string) error {
	return s.invalid(name, "is a submodule; submodules are not supported").WithHint("vendor the files into the repository")
}

// link returns the steps from a link's directory to what it points to.
func (s *Snapshot) link(name string, e entry) ([]string, error) {
	raw, err := s.objects.read(e.hash, plumbing.BlobObject, 4096)
	if err != nil {
		return nil, s.unreadable(name, err)
	}
	parts, ok := linkParts(name, string(raw))
	if !ok {
		return nil, s.leaves(name)
	}
	return parts, nil
}

func (s *Snapshot) leaves(name string) error {
	return s.invalid(name, "is a symbolic link that leaves the repository").
		WithHint("replace it with the file itself or with a link to a file in the repository")
}

// linkParts splits the destination of the link at name into single steps. It
// is not ok if a step leaves the root, also if a later one comes back. Where a
// step is a link itself, only walk sees where ".." leads.
func linkParts(name, destination string) ([]string, bool) {
	if destination == "" || destination[0] == '/' || strings.ContainsRune(destination, 0) {
		return nil, false
	}
	depth := strings.Count(name, "/")
	var parts []string
	for _, p := range strings.Split(destination, "/") {
		switch p {
		case "", ".":
			continue
		case "..":
			if depth--; depth < 0 {
				return nil, false
			}
		default:
			depth++
		}
		parts = append(parts, p)
	}
	return parts, true
}

func bytesText(n int64) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}
