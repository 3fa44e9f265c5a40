// Package source brings commits from Git repositories and shows one commit as
// an fs.FS that is read straight from the object database.
//
// It owns the conversation with Git servers (smart HTTP and SSH), the
// credentials for it, the choice of a commit from a GitRef and every bound on
// what a repository may make the operator download, keep or read. It never
// checks a tree out, runs no program, keeps no name on disk (a pack file is
// unlinked as soon as it is open) and must not look into what the files mean.
//
// Of go-git it uses the wire format and the pack format only. Its transports
// are a process-wide registry without a dialer of ours (SSH) and with server
// text in errors (HTTP), and its pack parser holds each object in memory.
package source

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"k8s.io/utils/clock"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/seam"
)

const (
	packPattern       = "gitseal-pack-*"
	knownHostsPattern = "gitseal-known-hosts-*"
	// idle is how long a repository that nobody asks for is kept.
	idle = time.Hour
)

// Options of a Store.
type Options struct {
	// Dir is scratch space, which must exist. Files of an earlier run are
	// removed from it.
	Dir string
	// Transport carries Git's HTTP. Nil means NewTransport(). With a ca.crt in
	// the credentials it must be an *http.Transport.
	Transport http.RoundTripper
	// Gate sees each question that is asked of a Git server; nil in production.
	Gate seam.Gate
	// Clock decides the age of answers. Nil means the real one.
	Clock clock.PassiveClock
	// Limits bound what a repository may cost. Zero fields mean the default.
	Limits Limits
}

// Request names a repository and what of it is wanted.
type Request struct {
	URL         string
	Ref         v1alpha1.GitRef
	Credentials *Credentials // nil: none
	// NotBefore is when an answer of the server about its branches and tags must
	// have been asked for to be used again, a failure to answer too. Zero asks
	// now.
	NotBefore time.Time
}

// Store fetches commits and keeps them on scratch space.
type Store struct {
	dir    string
	rt     http.RoundTripper
	gate   seam.Gate
	clock  clock.PassiveClock
	limits Limits
	cache  *contentCache
	trees  *treeCache
	begun  atomic.Uint64 // object databases
	// sessions and downloads hold one for each that is on.
	sessions, downloads chan struct{}
	key                 [32]byte // of the in-memory fingerprint of credentials

	mu           sync.Mutex
	repositories map[fingerprint]*repository
}

// New returns a Store that keeps its packs in o.Dir.
func New(o Options) (*Store, error) {
	if o.Dir == "" {
		return nil, errors.New("source: no directory for scratch files given")
	}
	for _, pattern := range []string{packPattern, knownHostsPattern} {
		if err := removeAll(filepath.Join(o.Dir, pattern)); err != nil {
			return nil, err
		}
	}
	s := &Store{
		dir: o.Dir, rt: o.Transport, gate: o.Gate, clock: o.Clock, limits: o.Limits.withDefaults(),
		cache: newContentCache(cacheBytes), trees: newTreeCache(treeCacheBytes),
		sessions: make(chan struct{}, maxSessions), downloads: make(chan struct{}, maxDownloads),
		repositories: map[fingerprint]*repository{},
	}
	if s.rt == nil {
		s.rt = NewTransport()
	}
	if s.clock == nil {
		s.clock = clock.RealClock{}
	}
	if _, err := rand.Read(s.key[:]); err != nil {
		return nil, fmt.Errorf("make fingerprint key: %w", err)
	}
	return s, nil
}

func removeAll(pattern string) error {
	left, err := filepath.Glob(pattern)
	if err != nil {
		return fmt.Errorf("list scratch files: %w", err)
	}
	for _, name := range left {
		if err := os.Remove(name); err != nil {
			return fmt.Errorf("remove scratch file: %w", err)
		}
	}
	return nil
}

// Fetch returns the commit that r asks for. It is safe for concurrent use;
// callers of the same repository with the same credentials share one answer of
// the server and one download. A failure is a *failure.Error.
func (s *Store) Fetch(ctx context.Context, r Request) (*Snapshot, error) {
	a, err := parseAddress(r.URL)
	if err != nil {
		return nil, err
	}
	if err := r.Credentials.fit(a); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.limits.Time)
	defer cancel()
	return s.repository(a, r.Credentials).snapshot(ctx, r)
}

// repository returns the state of one (URL, credentials) and forgets those
// that nobody has asked for in a while.
func (s *Store) repository(a address, c *Credentials) *repository {
	id := c.fingerprint(s.key, a)
	now := s.clock.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for other, r := range s.repositories {
		if other != id && now.Sub(r.used) > idle {
			delete(s.repositories, other)
		}
	}
	r := s.repositories[id]
	if r == nil {
		r = newRepository(s, a, c)
		s.repositories[id] = r
	}
	r.used = now
	return r
}

func (s *Store) newObjects() *objects {
	return &objects{number: s.begun.Add(1), trees: s.trees, commits: map[plumbing.Hash]commit{}}
}

// scratch returns a file that has no name any more: it goes with its last
// descriptor, so that a Snapshot in use outlives the store it came from.
func (s *Store) scratch() (*os.File, error) {
	f, err := os.CreateTemp(s.dir, packPattern)
	if err != nil {
		return nil, fmt.Errorf("create scratch file: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("unlink scratch file: %w", err)
	}
	return f, nil
}

// clean makes one short printable line of text from Git.
func clean(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if runes := []rune(s); len(runes) > limit {
		s = string(runes[:limit])
	}
	return strings.TrimSpace(s)
}
