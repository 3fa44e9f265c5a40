package controllers

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/apply"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/health"
)

// stages sends what differs: drift at once, and what changed sync wave after
// sync wave, each when everything in lower ones is healthy. At the very end
// comes what is to run once after everything. Where one of these takes longer
// the run ends as gated: no worker waits, the watches bring the next run, and a
// newer revision is not held up.
func (r *ApplicationReconciler) stages(ctx context.Context, run *run, w *wanted, plan apply.Plan) error {
	early, late := run.pending(w, v1alpha1.RunPhaseBefore), run.pending(w, v1alpha1.RunPhaseAfter)
	next, later := apply.NextWave(slices.Concat(plan.Changed, early))
	if len(early)+len(late)+len(later) == 0 && len(before(w.items, next)) == 0 {
		return r.sendWave(ctx, run, w, plan)
	}
	if err := apply.Fits(slices.Concat(next, later, late), w.values); err != nil {
		return err
	}
	// What cannot be put back now does not hold up what would mend it, and is
	// told of after that.
	unsent := r.send(ctx, run, w, apply.Plan{Drifted: plan.Drifted})
	r.hold(ctx, run)
	for ; len(next) > 0; next, later = apply.NextWave(later) {
		if err := r.stage(ctx, run, w, next); err != nil || run.gated {
			return err
		}
	}
	if unsent != nil {
		return unsent
	}
	for next, later = apply.NextWave(late); len(next) > 0; next, later = apply.NextWave(later) {
		if err := r.gate(ctx, run, w.items, next[0].ID.String()); err != nil || run.gated {
			return err
		}
		if err := r.perform(ctx, run, w, next); err != nil || run.gated {
			return err
		}
	}
	return nil
}

// stage applies what changed of one sync wave. What runs once comes after
// identities, rights and configuration, and before the rest.
func (r *ApplicationReconciler) stage(ctx context.Context, run *run, w *wanted, items []apply.Item) error {
	if err := r.gate(ctx, run, before(w.items, items), fmt.Sprintf("wave %d", items[0].SyncWave)); err != nil || run.gated {
		return err
	}
	var first, runs, rest []apply.Item
	for _, i := range items {
		switch {
		case i.Run != "":
			runs = append(runs, i)
		case i.Wave < apply.WaveRest:
			first = append(first, i)
		default:
			rest = append(rest, i)
		}
	}
	if len(runs) == 0 {
		return r.sendWave(ctx, run, w, apply.Plan{Changed: items})
	}
	if err := r.sendWave(ctx, run, w, apply.Plan{Changed: first}); err != nil {
		return err
	}
	if err := r.perform(ctx, run, w, runs); err != nil || run.gated {
		return err
	}
	return r.sendWave(ctx, run, w, apply.Plan{Changed: rest})
}

// sendWave sends what differs in one sync wave.
func (r *ApplicationReconciler) sendWave(ctx context.Context, run *run, w *wanted, plan apply.Plan) error {
	if err := r.Engine.Preflight(ctx, plan.Changed, run.memory.ledger, w.values); err != nil {
		return err
	}
	if err := r.send(ctx, run, w, plan); err != nil {
		return err
	}
	return r.watchBrought(ctx, run, w)
}

// before selects the items that must be healthy before next is applied.
func before(items, next []apply.Item) []apply.Item {
	if len(next) == 0 {
		return nil
	}
	return apply.Before(items, next[0].SyncWave)
}

// gate looks whether items are healthy, so that what is next may come. Where
// they are not, the run is gated.
func (r *ApplicationReconciler) gate(ctx context.Context, run *run, items []apply.Item, next string) error {
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
			WithHint("%s comes once it is", next)
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
