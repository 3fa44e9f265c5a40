package source

import (
	"crypto/sha256"
	"errors"
	"io/fs"
	"path"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"

	"github.com/gitseal/gitseal/internal/failure"
)

// ReadSet is what was looked at in one commit: files by their content,
// directories by the names and kinds in them, what was asked for and was not
// there, all through whatever links led to it. Where all of it is the same in
// another commit, so is everything that was worked out of it.
type ReadSet struct {
	root  plumbing.Hash
	looks []seen
	// lost: something could not be read for a reason that may pass.
	lost bool
}

// look is a question put to the files of a commit: what is at a name, or what
// a directory lists.
type look struct {
	name string
	list bool
}

// trace is what came of it, as a digest.
type trace [20]byte

type seen struct {
	look
	trace trace
}

// recorder notes what is looked at.
type recorder struct {
	mu    sync.Mutex
	looks map[look]trace
	lost  bool
}

func (r *recorder) note(l look, t trace) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.looks[l] = t
}

// failed notes a failure to read what was found.
func (r *recorder) failed(err error) {
	var f *failure.Error
	if !errors.As(err, &f) || f.Class == failure.Stall {
		return // the content is to blame, and that is noted
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lost = true
}

// ReadSet returns what was looked at so far.
func (f *FS) ReadSet() *ReadSet {
	f.reads.mu.Lock()
	defer f.reads.mu.Unlock()
	set := &ReadSet{root: f.s.root, looks: make([]seen, 0, len(f.reads.looks)), lost: f.reads.lost}
	for l, t := range f.reads.looks {
		set.looks = append(set.looks, seen{l, t})
	}
	return set
}

// Unchanged reports whether all that was looked at in another commit of the
// repository is the same in this one. It reads directories, and files only
// where they are symbolic links.
func (s *Snapshot) Unchanged(r *ReadSet) bool {
	if r == nil || r.lost {
		return false
	}
	if r.root == s.root {
		return true
	}
	for _, l := range r.looks {
		if s.look(l.look) != l.trace {
			return false
		}
	}
	return true
}

func (s *Snapshot) look(l look) trace {
	e, err := s.walk("look", l.name)
	if err == nil && l.list {
		return s.traceList(l.name, e)
	}
	return traceOf(e, err)
}

func traceOf(e entry, err error) trace {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return digest("absent")
	case errors.Is(err, fs.ErrInvalid):
		return digest("invalid")
	case err != nil:
		return digest("failed " + err.Error())
	case e.mode == filemode.Dir:
		return digest("directory") // of what is in it, only what is looked at counts
	}
	return digest(e.mode.String() + " " + string(e.hash[:]))
}

// traceList is about names and kinds, not about what is behind them.
func (s *Snapshot) traceList(name string, e entry) trace {
	if e.mode != filemode.Dir {
		return digest("no directory")
	}
	t, err := s.tree(name, e.hash)
	if err != nil {
		return traceOf(e, err)
	}
	text := make([]byte, 0, 64*len(t))
	for _, child := range t {
		text = append(text, child.name...)
		text = append(text, 0)
		text = append(text, child.mode.Bytes()...)
		text = append(text, s.kind(path.Join(name, child.name), child).String()...)
		text = append(text, 0)
	}
	return digest(string(text))
}

func digest(text string) trace {
	sum := sha256.Sum256([]byte(text))
	return trace(sum[:len(trace{})])
}
