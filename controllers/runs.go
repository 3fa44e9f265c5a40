package controllers

import (
	"context"
	"errors"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/apply"
	"github.com/gitseal/gitseal/internal/failure"
)

// pending lists the run-once objects of a phase that have not ended well with
// the content that w has for them.
func (r *run) pending(w *wanted, phase string) []apply.Item {
	var pending []apply.Item
	for _, item := range w.items {
		if item.Run == phase && r.runState(item) != v1alpha1.RunSucceeded {
			pending = append(pending, item)
		}
	}
	return pending
}

func (w *wanted) hasRuns() bool {
	return slices.ContainsFunc(w.items, func(i apply.Item) bool { return i.Run != "" })
}

// toRun counts the run-once objects that have not ended well.
func (r *run) toRun(w *wanted) int {
	return len(r.pending(w, v1alpha1.RunPhaseBefore)) + len(r.pending(w, v1alpha1.RunPhaseAfter))
}

// perform takes run-once objects one step on, all at once. The run is gated
// until the last of them has ended well; one that has not stops the sync, once
// it is written down how far the others came.
func (r *ApplicationReconciler) perform(ctx context.Context, run *run, w *wanted, items []apply.Item) error {
	var waiting []apply.Sick
	var errs []error
	for _, item := range items {
		note, err := r.step(ctx, run, w, item)
		if apierrors.IsConflict(err) {
			return err // who works from an outdated Application does nothing more
		}
		errs = append(errs, err)
		if note != "" {
			waiting = append(waiting, apply.Sick{ID: item.ID, Wave: item.SyncWave, Note: note})
		}
	}
	if err := errors.Join(errs...); err != nil || len(waiting) == 0 {
		return err
	}
	run.gated = true
	if s, late := run.overdue(waiting); late {
		return failure.Waitf(v1alpha1.ReasonUnhealthy, "%s has not run to its end: %s", s.ID, s.Note).
			WithHint("what comes after it is applied once it has")
	}
	run.progress = waitingFor("waiting for the end of ", waiting)
	return nil
}

// step looks how far one run-once object has come and does what is next. It
// returns what is waited for, "" once the object has ended well.
//
// That it is started is written down before it is created, and that it has
// ended before anything else is applied. Whatever a crash leaves out is found in
// the cluster by the digest that the object carries. To make room for it that of
// another content is deleted, which may be under way: that it is started is
// written down before that, too, for who is outdated must not.
func (r *ApplicationReconciler) step(ctx context.Context, run *run, w *wanted, item apply.Item) (note string, err error) {
	seen, err := r.Engine.LookRun(ctx, run.target, item, w.runs[item.ID])
	if err != nil {
		return "", err
	}
	switch seen.State {
	case apply.RunAbsent:
		if err := r.remember(ctx, run, w, item, v1alpha1.RunStarted); err != nil {
			return "", err
		}
		if seen, err = r.Engine.StartRun(ctx, run.target, item, run.memory.ledger, w.values); err != nil {
			return "", err
		}
		run.changed++
		run.memory.progressSince = run.now
	case apply.RunOutdated:
		if err := r.remember(ctx, run, w, item, v1alpha1.RunStarted); err != nil {
			return "", err
		}
		run.memory.progressSince = run.now
		return seen.Note, r.Engine.StopRun(ctx, item, seen)
	case apply.RunRunning:
		err = r.remember(ctx, run, w, item, v1alpha1.RunStarted)
	case apply.RunSucceeded:
		return "", r.remember(ctx, run, w, item, v1alpha1.RunSucceeded)
	case apply.RunFailed:
		if err := r.remember(ctx, run, w, item, v1alpha1.RunFailed); err != nil {
			return "", err
		}
		err = failure.Stallf(v1alpha1.ReasonRunFailed, "%s: %s: %s", item.Origin, item.ID, seen.Note).
			WithHint("correct it in Git, or delete the %s in the cluster to run it once more", item.ID.Kind)
	}
	w.runs[item.ID] = seen
	return seen.Note, err
}

// remember writes down how far a run-once object has come, and nothing where
// that is known. Who has not seen the Application's last state may not write: it
// may say that the object has run.
func (r *ApplicationReconciler) remember(ctx context.Context, run *run, w *wanted, item apply.Item, state v1alpha1.RunState) error {
	if run.runState(item) == state {
		return nil
	}
	entry := v1alpha1.RunStatus{ObjectReference: referenceTo(item.ID), Digest: item.Digest(), State: state, Revision: w.inputs.commit}
	if state != v1alpha1.RunStarted {
		entry.EndedAt = &metav1.Time{Time: run.now.Truncate(time.Second)}
	}
	runs := &run.app.Status.Runs
	if at := slices.IndexFunc(*runs, isOf(item)); at >= 0 {
		(*runs)[at] = entry
	} else {
		*runs = append(*runs, entry)
	}
	run.keepRuns(w)
	return r.patchStatus(ctx, run, client.MergeFromWithOptimisticLock{})
}

// keepRuns forgets the run-once objects that are not in Git any more.
func (r *run) keepRuns(w *wanted) {
	r.app.Status.Runs = slices.DeleteFunc(r.app.Status.Runs, func(s v1alpha1.RunStatus) bool {
		return !slices.ContainsFunc(w.items, func(i apply.Item) bool { return i.Run != "" && referenceTo(i.ID) == s.ObjectReference })
	})
}

// runState is how far an item has come with the content it has, "" if it has
// not begun.
func (r *run) runState(item apply.Item) v1alpha1.RunState {
	runs := r.app.Status.Runs
	if at := slices.IndexFunc(runs, isOf(item)); at >= 0 && runs[at].Digest == item.Digest() {
		return runs[at].State
	}
	return ""
}

func isOf(item apply.Item) func(v1alpha1.RunStatus) bool {
	return func(s v1alpha1.RunStatus) bool { return s.ObjectReference == referenceTo(item.ID) }
}
