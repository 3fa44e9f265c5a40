package controllers

import (
	"context"
	"fmt"
	"time"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/apply"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/health"
)

// stages sends what differs: drift at once, and what changed sync wave after
// sync wave, each when everything in lower ones is healthy. Where that takes
// longer the run ends as gated. No worker waits: the watches bring the next
// run, and a newer revision is not held up.
func (r *ApplicationReconciler) stages(ctx context.Context, run *run, w *wanted, plan apply.Plan) error {
	drifted, rest := plan.Drifted, plan.Changed
	for {
		next, later := apply.NextWave(rest)
		if gated := before(w.items, next); len(gated) > 0 {
			if err := r.send(ctx, run, w, apply.Plan{Drifted: drifted}); err != nil {
				return err
			}
			drifted = nil
			if err := r.gate(ctx, run, gated, next[0].SyncWave); err != nil || run.gated {
				r.hold(ctx, run)
				return err
			}
		}
		if err := r.Engine.Preflight(ctx, rest, run.memory.ledger, w.values); err != nil {
			return err
		}
		if err := r.send(ctx, run, w, apply.Plan{Changed: next, Drifted: drifted}); err != nil {
			return err
		}
		if err := r.watchBrought(ctx, run, w); err != nil || len(later) == 0 {
			return err
		}
		drifted, rest = nil, later
	}
}

// before selects the items that must be healthy before next is applied.
func before(items, next []apply.Item) []apply.Item {
	if len(next) == 0 {
		return nil
	}
	return apply.Before(items, next[0].SyncWave)
}

// gate looks whether items are healthy, so that the sync wave next may be
// applied. Where they are not, the run is gated.
func (r *ApplicationReconciler) gate(ctx context.Context, run *run, items []apply.Item, next int32) error {
	if err := r.look(ctx, run, items); err != nil {
		return err
	}
	ledger := run.memory.ledger
	sick := ledger.Sick(items)
	if len(sick) == 0 {
		// The pause between two looks must not let by what has fallen ill in it.
		if err := r.Engine.Judge(ctx, run.target, r.Engine.Unjudged(items, ledger), ledger); err != nil {
			return err
		}
		sick = ledger.Sick(items)
	}
	if len(sick) == 0 {
		return nil
	}
	run.gated = true
	if s, late := run.overdue(sick); late {
		return failure.Waitf(v1alpha1.ReasonUnhealthy, "%s of sync wave %d is not healthy: %s", s.ID, s.Wave, s.Note).
			WithHint("wave %d is applied once it is", next)
	}
	run.progress = waitingFor(fmt.Sprintf("waiting for sync wave %d: ", sick[0].Wave), sick)
	return nil
}

// overdue returns the first of sick objects, in order, that need not be waited
// for: it has failed, or they have all been waited for long enough. Otherwise
// the run is to come back when they have been.
func (r *run) overdue(sick []apply.Sick) (first apply.Sick, late bool) {
	waited := r.waited()
	for _, s := range sick {
		if s.State == health.Failed || waited >= r.timeout() {
			return s, true
		}
	}
	r.again = soonest(r.again, r.timeout()-waited)
	return first, false
}

// waited is for how long something has been waited for, from now on if nothing
// was.
func (r *run) waited() time.Duration {
	m := r.memory
	if m.progressSince.IsZero() {
		m.progressSince = r.now
	}
	return r.now.Sub(m.progressSince)
}
