package controllers

import (
	"context"
	"slices"
	"time"

	"github.com/gitseal/gitseal/internal/source"
)

// maxAttempts is how many fetches one reconcile waits for: the second where the
// first was begun before somebody asked for news.
const maxAttempts = 2

// fetching is a fetch that is under way.
type fetching struct {
	errand
	generation int64
	snapshot   *source.Snapshot // once it has ended, as is err
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
		if !r.await(ctx, &m.fetching.errand) {
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
	f := &fetching{generation: run.app.Generation}
	m.fetching = f
	ctx = context.WithoutCancel(ctx)
	r.dispatch(&f.errand, run.target.Application, func() { f.snapshot, f.err = r.Source.Fetch(ctx, request) })
	return nil
}

func latest(times ...time.Time) time.Time { return slices.MaxFunc(times, time.Time.Compare) }
