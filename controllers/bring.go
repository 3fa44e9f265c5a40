package controllers

import (
	"context"
	"time"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/apply"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/health"
)

// bring applies what differs from the desired state. Where nothing does, the
// API server is not asked anything.
func (r *ApplicationReconciler) bring(ctx context.Context, run *run, w *wanted) error {
	if err := r.recordParent(ctx, run, w.items); err != nil {
		return err
	}
	if err := r.watchMembers(ctx, run, w.items); err != nil {
		return err
	}
	ledger := run.memory.ledger
	plan := r.Engine.Compare(w.items, ledger)
	if run.app.Spec.Sync.Drift == v1alpha1.DriftIgnore {
		plan.Drifted = nil
	}
	if plan.Empty() {
		return nil
	}
	if err := r.Engine.Conflicts(run.target, plan.Changed, r.parents(ctx)); err != nil {
		return err
	}
	if err := r.announce(ctx, run, len(plan.Changed)); err != nil {
		return err
	}
	if err := r.Engine.Preflight(ctx, plan.Changed, ledger, w.values); err != nil {
		return err
	}
	if err := r.send(ctx, run, w, plan); err != nil {
		return err
	}
	ledger.Keep(w.items)
	return r.watchBrought(ctx, run, w)
}

func (r *ApplicationReconciler) send(ctx context.Context, run *run, w *wanted, plan apply.Plan) error {
	run.memory.drifted += int32(len(plan.Drifted))
	if run.reason == "" {
		run.reason = v1alpha1.SyncDrift
	}
	changed, err := r.Engine.Apply(ctx, append(plan.Changed, plan.Drifted...), run.memory.ledger, w.values)
	run.changed += changed
	run.memory.progressSince = run.now
	run.memory.judgedAt, run.memory.judgePause = r.Clock.Now(), firstJudgePause
	return err
}

// hold corrects drift from the last good state while a newer one cannot be
// had. Its own troubles are not reported: the reason for holding is.
func (r *ApplicationReconciler) hold(ctx context.Context, run *run) {
	w := run.memory.wanted
	if w == nil || run.app.Spec.Sync.Drift == v1alpha1.DriftIgnore {
		return
	}
	plan := r.Engine.Compare(w.items, run.memory.ledger)
	if len(plan.Drifted) > 0 {
		_ = r.send(ctx, run, w, apply.Plan{Drifted: plan.Drifted})
	}
}

// watchMembers opens the watches over everything that the ApplySet may hold:
// the kinds wanted now, and those that its parent still records.
func (r *ApplicationReconciler) watchMembers(ctx context.Context, run *run, items []apply.Item) error {
	kinds, namespaces := recorded(run.app)
	members, err := r.Engine.MemberScopes(run.target, kinds, namespaces)
	if err != nil {
		return failure.From(err, v1alpha1.ReasonApplyFailed)
	}
	scopes := apply.Scopes(items)
	for _, s := range members {
		scopes = appendNew(scopes, s)
	}
	return r.watch(ctx, run, scopes)
}

// watchBrought adds the watches of kinds that came with the objects
// themselves, once they are served.
func (r *ApplicationReconciler) watchBrought(ctx context.Context, run *run, w *wanted) error {
	brought := false
	for i := range w.items {
		brought = brought || w.items[i].Brought
		w.items[i].Brought = false
	}
	if !brought {
		return nil
	}
	return r.watchMembers(ctx, run, w.items)
}

// prune removes members that the desired state no longer holds.
func (r *ApplicationReconciler) prune(ctx context.Context, run *run, w *wanted) error {
	stale := r.Engine.Stale(run.target, run.memory.scopes, w.items)
	if len(stale) == 0 {
		return r.shrinkParent(ctx, run, w.items)
	}
	if prune := run.app.Spec.Sync.Prune; prune != nil && !*prune {
		return nil
	}
	if limit := pruneLimit(run.app); len(stale) > limit && run.app.Annotations[v1alpha1.AnnotationConfirmPrune] != w.inputs.commit {
		return failure.Stallf(v1alpha1.ReasonPruneBlocked, "%d objects are no longer in Git, more than spec.sync.pruneLimit of %d, the first of them %s", len(stale), limit, stale[0]).
			WithHint("if that is right: kubectl annotate application %s --namespace %s --overwrite %s=%s", run.app.Name, run.app.Namespace, v1alpha1.AnnotationConfirmPrune, w.inputs.commit)
	}
	pruned, err := r.Engine.Prune(ctx, stale)
	run.pruned += pruned
	if run.reason == "" {
		run.reason = v1alpha1.SyncDrift
	}
	return err
}

const defaultPruneLimit = 20

func pruneLimit(app *v1alpha1.Application) int {
	if l := app.Spec.Sync.PruneLimit; l != nil {
		return int(*l)
	}
	return defaultPruneLimit
}

// A rollout changes status many times a second. Health is read as soon as
// there is news of everything that is waited for, and otherwise ever more
// rarely, until everything is healthy.
const (
	minJudgePause   = 250 * time.Millisecond
	firstJudgePause = time.Second
	maxJudgePause   = 8 * time.Second
)

// judge reads the health of what changed and says what is waited for.
func (r *ApplicationReconciler) judge(ctx context.Context, run *run, w *wanted) error {
	m := run.memory
	if unjudged := r.Engine.Unjudged(w.items, m.ledger); len(unjudged) > 0 {
		pause := minJudgePause
		if len(unjudged) < len(m.ledger.Unhealthy()) {
			pause = m.judgePause
		}
		if rest := m.judgedAt.Add(pause).Sub(run.now); rest > 0 {
			run.again = rest
		} else {
			m.judgedAt, m.judgePause = run.now, min(2*m.judgePause, maxJudgePause)
			if err := r.Engine.Judge(ctx, run.target, unjudged, m.ledger); err != nil {
				return err
			}
		}
	}
	return r.verdict(run, m.ledger.Unhealthy())
}

func (r *ApplicationReconciler) verdict(run *run, sick []apply.Sick) error {
	m := run.memory
	if len(sick) == 0 {
		m.progressSince, m.judgePause = time.Time{}, firstJudgePause
		return nil
	}
	if m.progressSince.IsZero() {
		m.progressSince = run.now
	}
	waited := run.now.Sub(m.progressSince)
	for _, s := range sick {
		if s.State == health.Failed || waited >= run.timeout() {
			return failure.Waitf(v1alpha1.ReasonUnhealthy, "%s is not healthy: %s", s.ID, s.Note)
		}
	}
	run.progress = waitingFor(sick)
	run.again = soonest(run.again, run.timeout()-waited)
	return nil
}

func soonest(a, b time.Duration) time.Duration {
	if a == 0 || b < a {
		return b
	}
	return a
}
