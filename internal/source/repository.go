package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
)

// repository is one (URL, credentials): the server's last answer and the
// objects fetched so far.
type repository struct {
	store *Store
	address
	auth *Credentials
	used time.Time // guarded by Store.mu

	turn chan struct{} // held by who talks to the server

	mu      sync.Mutex // guards what follows, never held while waiting
	rt      http.RoundTripper
	asked   uint64 // questions put to the server so far
	answer  answer
	objects *objects
	// lineages are the answers that were worked out.
	lineages map[kinship]Lineage
}

// answer is what the server said, or why it did not.
type answer struct {
	question uint64 // 0: never asked
	at       time.Time
	refs     *packp.AdvRefs
	err      error
}

func newRepository(s *Store, a address, c *Credentials) *repository {
	return &repository{store: s, address: a, auth: c, turn: make(chan struct{}, 1), objects: s.newObjects()}
}

// snapshot answers from what is at hand where that is fresh enough, and asks
// the server otherwise. Who waits while somebody else asks takes that answer.
func (r *repository) snapshot(ctx context.Context, req Request) (*Snapshot, error) {
	r.mu.Lock()
	arrived := r.asked
	r.mu.Unlock()
	if s, ok, err := r.known(req, arrived); ok {
		return s, err
	}
	release, err := take(ctx, r.turn)
	if err != nil {
		return nil, r.failed(ctx, err)
	}
	defer release()
	if s, ok, err := r.known(req, arrived); ok {
		return s, err
	}
	end, err := take(ctx, r.store.sessions)
	if err != nil {
		return nil, r.failed(ctx, err)
	}
	defer end()
	s, err := r.update(ctx, req.Ref)
	if err != nil {
		return nil, r.failed(ctx, err)
	}
	return s, nil
}

// take waits for a place and gives it back when release is called.
func take(ctx context.Context, places chan struct{}) (release func(), err error) {
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// known answers without the server, if the last answer was asked for no earlier
// than the request allows, or after the caller arrived.
func (r *repository) known(req Request, arrived uint64) (s *Snapshot, known bool, err error) {
	r.mu.Lock()
	ans, objs := r.answer, r.objects
	r.mu.Unlock()
	shared := ans.question > arrived
	fresh := ans.question > 0 && !req.NotBefore.IsZero() && !ans.at.Before(req.NotBefore)
	switch {
	case !shared && !fresh:
		return nil, false, nil
	case ans.err != nil:
		return nil, true, ans.err
	}
	t, err := resolve(r.address, req.Ref, ans.refs)
	if err != nil {
		return nil, true, err
	}
	c, err := r.load(objs, t)
	if err != nil {
		return nil, false, nil
	}
	return r.view(objs, ans, t, c), true, nil
}

// load finds a commit, its root directory and the tag that stands for it.
func (r *repository) load(objs *objects, t target) (commit, error) {
	if objs.broken.Load() {
		return commit{}, errMissing
	}
	c, err := objs.commit(t.hash, r.store.limits.ObjectBytes)
	if err != nil {
		return commit{}, err
	}
	if _, _, err = objs.find(c.tree); err == nil && !t.annotated().IsZero() {
		_, _, err = objs.find(t.annotated())
	}
	return c, err
}

func (r *repository) view(objs *objects, ans answer, t target, c commit) *Snapshot {
	s := newSnapshot(r.address, objs, ans.at, t, c, r.store.limits)
	s.origin, s.want = r, t.want
	return s
}

// update asks the server, and fetches the commit where it is not at hand.
func (r *repository) update(ctx context.Context, ref v1alpha1.GitRef) (*Snapshot, error) {
	s, ans, err := r.ask(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = s.Close() }()
	t, err := resolve(r.address, ref, ans.refs)
	if err != nil {
		return nil, err
	}
	objs := r.current()
	if c, err := r.load(objs, t); err == nil {
		return r.view(objs, ans, t, c), nil
	}
	if snap, err := r.fetch(ctx, s, ans, objs, t); err == nil || !renewable(err) {
		return snap, err
	}
	// The store and the server do not go together any more, for instance after
	// a history was rewritten. Begin anew, once.
	again, ans, err := r.ask(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = again.Close() }()
	if t, err = resolve(r.address, ref, ans.refs); err != nil {
		return nil, err
	}
	return r.fetch(ctx, again, ans, r.renew(), t)
}

// renewable reports whether a fetch may pass without what was fetched before.
func renewable(err error) bool {
	return errors.Is(err, errMissing) || errors.Is(err, errCorrupt) || errors.Is(err, errServer) || errors.Is(err, errProtocol)
}

// ask opens a session and lists branches and tags. Everyone who waits gets the
// answer, and the failure too unless it is this caller's context that ended.
func (r *repository) ask(ctx context.Context) (session, answer, error) {
	r.mu.Lock()
	r.asked++
	question := r.asked
	r.mu.Unlock()
	at := r.store.clock.Now()
	s, err := r.open(ctx)
	var refs *packp.AdvRefs
	if err == nil {
		if refs, err = advertise(ctx, s, r.store.limits.RefBytes); err != nil {
			_ = s.Close()
		}
	}
	ans := answer{question: question, at: at, refs: refs}
	if err != nil {
		if ctx.Err() != nil {
			return nil, ans, err
		}
		ans.err = r.failed(ctx, err)
	}
	r.mu.Lock()
	r.answer = ans
	r.mu.Unlock()
	return s, ans, ans.err
}

func (r *repository) open(ctx context.Context) (session, error) {
	s, err := r.connect(ctx)
	if err != nil || r.store.gate == nil {
		return s, err
	}
	return gated{session: s, gate: r.store.gate, url: r.address.String()}, nil
}

func (r *repository) connect(ctx context.Context) (session, error) {
	if r.scheme == "ssh" {
		s, err := newSSHSession(ctx, r.store.dir, r.address, r.auth, r.store.limits.Stall)
		if err != nil {
			return nil, err
		}
		return s, nil
	}
	rt, err := r.transport()
	if err != nil {
		return nil, err
	}
	s, err := newHTTPSession(rt, r.address, r.auth, r.store.limits.Stall)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// transport is made once, so that connections with a CA are used again.
func (r *repository) transport() (http.RoundTripper, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rt == nil {
		rt, err := httpTransport(r.store.rt, r.auth)
		if err != nil {
			return nil, err
		}
		r.rt = rt
	}
	return r.rt, nil
}

// current returns the objects to add to, begun anew when they have grown.
func (r *repository) current() *objects {
	r.mu.Lock()
	o := r.objects
	r.mu.Unlock()
	o.mu.RLock()
	grown := o.bytes > r.store.limits.StoreBytes || len(o.packs) >= r.store.limits.Fetches
	o.mu.RUnlock()
	if grown || o.broken.Load() {
		return r.renew()
	}
	return o
}

// renew begins a new store. Snapshots keep the old one until they go.
func (r *repository) renew() *objects {
	fresh := r.store.newObjects()
	r.mu.Lock()
	old := r.objects
	r.objects = fresh
	r.mu.Unlock()
	old.mu.RLock()
	defer old.mu.RUnlock()
	r.store.cache.forget(func(l located) bool { return slices.Contains(old.packs, l.pack) })
	r.store.trees.forget(func(t treeID) bool { return t.database == old.number })
	return fresh
}

// fetch downloads one commit: alone, if the server sends it alone.
func (r *repository) fetch(ctx context.Context, s session, ans answer, objs *objects, t target) (*Snapshot, error) {
	able := ans.refs.Capabilities
	exact := t.name != ""
	if !exact {
		t.want, exact = advertised(ans.refs, t.hash)
	}
	exact = exact || able.Supports(capability.AllowReachableSHA1InWant) || able.Supports("allow-any-sha1-in-want")
	w := want{hashes: []plumbing.Hash{t.want}, shallow: true, maxBytes: r.store.limits.FileBytes}
	if !exact {
		w.hashes, w.shallow = tips(ans.refs), false
		objs = r.renew()
	}
	objs.mu.RLock()
	w.have = append(w.have, objs.fetched...)
	objs.mu.RUnlock()
	err := r.download(ctx, s, able, w, objs, t.hash)
	if err != nil && (t.name != "" || !errors.Is(err, errServer) || ctx.Err() != nil) {
		return nil, err
	}
	c, loadErr := r.load(objs, t)
	switch {
	case loadErr == nil:
		return r.view(objs, ans, t, c), nil
	case t.name == "" && (err != nil || !exact) && (errors.Is(loadErr, errMissing) || errors.Is(loadErr, errLeftOut)):
		return nil, failure.Stallf(v1alpha1.ReasonSourceInvalid, "repository %s has no commit %s that a branch or tag leads to", r.address, t.hash).
			WithHint("push it, or correct spec.source.git.ref.commit")
	}
	return nil, loadErr
}

func (r *repository) download(ctx context.Context, s session, able *capability.List, w want, objs *objects, h plumbing.Hash) error {
	end, err := take(ctx, r.store.downloads)
	if err != nil {
		return err
	}
	defer end()
	file, err := r.store.scratch()
	if err != nil {
		return fmt.Errorf("%w: %w", errScratch, err)
	}
	var p *pack
	err = download(ctx, s, able, w, r.store.limits.FetchBytes, func(src io.Reader) error {
		var err error
		p, err = writePack(ctx, src, file, objs, r.store.cache, r.store.limits)
		return err
	})
	if err != nil {
		_ = file.Close()
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("%w: %w", errScratch, err)
	}
	objs.add(p, info.Size(), able.Supports(capability.Filter), h)
	return nil
}
