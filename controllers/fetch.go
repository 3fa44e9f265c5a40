package controllers

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/gitseal/gitseal/internal/source"
)

const (
	// longPatience and shortPatience are how long a worker waits for a Git
	// server. A fetch that takes longer goes on by itself, and the Application is
	// queued when it ends.
	longPatience  = time.Second
	shortPatience = 10 * time.Millisecond
	// maxAttempts is how many fetches one reconcile waits for: the second where
	// the first was begun before somebody asked for news.
	maxAttempts = 2
)

// errAsking is returned while a Git server has not answered yet.
var errAsking = errors.New("the repository's server has not answered yet")

// fetching is a fetch that is under way.
type fetching struct {
	generation int64
	left       atomic.Bool   // nobody waits for it any more
	done       chan struct{} // closed when the next two are set
	snapshot   *source.Snapshot
	err        error
}

// fetch asks Git when it is time to, and otherwise answers from memory.
// Applications of one repository come due together, because the answer counts
// from when it was asked for: the first of them asks for all.
func (r *ApplicationReconciler) fetch(ctx context.Context, run *run) (*source.Snapshot, error) {
	m, asked := run.memory, r.signals.asked(run.target.Application)
	for range maxAttempts {
		held := m.snapshot != nil && m.polledSpec == run.app.Generation && !m.polledAt.Before(asked)
		if held && run.now.Before(m.polledAt.Add(run.app.Spec.Source.Git.Interval.Duration)) {
			return m.snapshot, nil
		}
		if err := r.beginFetch(ctx, run, asked); err != nil {
			return nil, err
		}
		if !r.await(ctx, m.fetching) {
			if held { // the poll of a server that is slow; what is known will do
				return m.snapshot, nil
			}
			return nil, errAsking
		}
		f := m.fetching
		m.fetching = nil
		if f.err != nil {
			m.missedAt = r.Clock.Now().Add(1) // what was asked for until now is no news
			return nil, f.err
		}
		m.snapshot, m.polledAt, m.polledSpec = f.snapshot, f.snapshot.Asked, run.app.Generation
		if !m.polledAt.Before(asked) {
			break
		}
	}
	return m.snapshot, nil
}

// beginFetch begins a fetch where none for this spec is under way. It ends by
// itself: the Store bounds its time.
func (r *ApplicationReconciler) beginFetch(ctx context.Context, run *run, asked time.Time) error {
	m, git := run.memory, run.app.Spec.Source.Git
	if m.fetching != nil && m.fetching.generation == run.app.Generation {
		return nil
	}
	credentials, err := r.credentials(ctx, run)
	if err != nil {
		return err
	}
	request := source.Request{
		URL: git.URL, Ref: git.Ref, Credentials: credentials,
		NotBefore: latest(asked, run.now.Add(-git.Interval.Duration/2), m.missedAt),
	}
	f := &fetching{generation: run.app.Generation, done: make(chan struct{})}
	m.fetching = f
	ctx, name := context.WithoutCancel(ctx), run.target.Application
	go func() {
		f.snapshot, f.err = r.Source.Fetch(ctx, request)
		close(f.done)
		if f.left.Load() {
			r.signals.Queue(name)
		}
	}()
	return nil
}

// await waits a while for a fetch, and leaves it to itself where that is not
// enough. Only so many workers wait long at once that others are left for
// Applications whose servers answer.
func (r *ApplicationReconciler) await(ctx context.Context, f *fetching) bool {
	if f.left.Load() {
		return f.ended() // that queues the Application
	}
	patience := shortPatience
	select {
	case r.waiting <- struct{}{}:
		defer func() { <-r.waiting }()
		patience = longPatience
	default:
	}
	timer := r.Clock.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-f.done:
		return true
	case <-timer.C():
	case <-ctx.Done():
	}
	f.left.Store(true)
	return f.ended() // while it was being left
}

func (f *fetching) ended() bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

func latest(times ...time.Time) time.Time { return slices.MaxFunc(times, time.Time.Compare) }
