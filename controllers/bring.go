package controllers

import (
	"context"
	"errors"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/apply"
	"github.com/gitseal/gitseal/internal/condition"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/live"
)

// bring applies what differs from the desired state. Where nothing does, the
// API server is not asked anything.
func (r *ApplicationReconciler) bring(ctx context.Context, run *run, w *wanted) error {
	if err := r.watchItems(ctx, run, w.items); err != nil {
		r.hold(ctx, run)
		return err
	}
	if err := r.recordParent(ctx, run, w.items); err != nil {
		return err
	}
	plan, err := r.plan(ctx, run, w)
	if err != nil {
		r.hold(ctx, run)
		return err
	}
	if plan.Empty() && run.toRun(w) == 0 {
		run.looked = true
		run.place(w)
		return errors.Join(run.unsent(plan), r.watchBrought(ctx, run, w))
	}
	if run.blocked != nil && len(plan.Changed)+run.toRun(w) > 0 {
		r.hold(ctx, run)
		return run.blocked
	}
	err = r.claim(ctx, run, &plan)
	run.looked = err == nil || run.memory.barred != nil
	if err != nil {
		r.hold(ctx, run)
		return err
	}
	if err := r.announce(ctx, run, w, len(plan.Changed)+run.toRun(w)); err != nil {
		return err
	}
	if err := r.stages(ctx, run, w, plan); err != nil || run.gated {
		return err
	}
	run.place(w)
	return run.unsent(plan)
}

// place notes that everything of w was applied.
func (r *run) place(w *wanted) {
	r.memory.placed, w.settled = w, true
	w.hollow()
}

// unsent says again why drift could not be corrected, while the next try waits.
func (r *run) unsent(plan apply.Plan) error {
	if plan.Failing {
		return r.memory.unsent
	}
	return nil
}

// plan compares the desired state with what was applied, and says what is to
// be sent.
func (r *ApplicationReconciler) plan(ctx context.Context, run *run, w *wanted) (apply.Plan, error) {
	ledger := run.memory.ledger
	if run.reason == v1alpha1.SyncDrift && run.requested() {
		run.reason = v1alpha1.SyncRequested
	}
	restarted := ledger.Len() == 0 && run.inPlace()
	if w.first && restarted && run.reason == v1alpha1.SyncRevision {
		w.carried = r.Engine.Carried(w.items)
	}
	if w.first && restarted && w.material != nil && run.reason == v1alpha1.SyncDrift && !r.Engine.Carried(w.items) {
		// Other values were applied last. Not every store has versions that tell.
		run.reason, w.why = v1alpha1.SyncSecret, v1alpha1.SyncSecret
	}
	left := run.leaves(v1alpha1.DriftIgnore) || run.leaves(v1alpha1.DriftReport)
	r.Engine.Seed(w.items, ledger, left && restarted && !w.carried)
	plan, err := r.examine(ctx, run, w, r.Engine.Compare(w.items, ledger, run.now))
	if len(plan.Contested) > 0 {
		run.again = plan.Again
		run.progress = condition.Shorten(run.redact(fight(plan.Contested[0])))
	}
	return plan, err
}

// inPlace reports whether the status, all that is known after a restart, says
// that the desired state under this very spec was applied.
func (r *run) inPlace() bool {
	synced := meta.FindStatusCondition(r.base.Status.Conditions, v1alpha1.ConditionSynced)
	return synced != nil && synced.Status == metav1.ConditionTrue && synced.ObservedGeneration == r.app.Generation
}

func (r *ApplicationReconciler) send(ctx context.Context, run *run, w *wanted, plan apply.Plan) error {
	if plan.Empty() {
		return nil
	}
	run.memory.drifted += int32(len(plan.Drifted))
	run.memory.ledger.Correcting(plan.Drifted, run.now)
	changed, err := r.Engine.Apply(ctx, append(plan.Changed, plan.Drifted...), run.memory.ledger, w.values)
	run.changed += changed
	r.tell(run, "Corrected", "Corrected drift of ", run.memory.ledger.Corrected(plan.Drifted))
	if len(plan.Changed) > 0 {
		run.memory.progressSince = run.now
	}
	run.memory.judgedAt, run.memory.judgePause = r.Clock.Now(), firstJudgePause
	if errors.Is(err, apply.ErrHollow) {
		r.makeAnew(run, w, nil)
	}
	if err != nil {
		run.memory.unsent = r.clean(run, failure.From(err, v1alpha1.ReasonApplyFailed))
	}
	return err
}

// hold corrects drift from the last good state while a newer one cannot be
// had. Its own troubles are not reported: the reason for holding is.
func (r *ApplicationReconciler) hold(ctx context.Context, run *run) {
	if run.app.Spec.Sync.Drift == v1alpha1.DriftIgnore {
		return
	}
	newest, placed := run.memory.wanted, run.memory.placed
	r.correct(ctx, run, newest)
	if placed != newest {
		r.correct(ctx, run, placed) // what the newest has not replaced yet
	}
}

// correct puts back what is in place as w says but for drift.
func (r *ApplicationReconciler) correct(ctx context.Context, run *run, w *wanted) {
	if w == nil {
		return
	}
	plan, _ := r.examine(ctx, run, w, r.Engine.Compare(w.items, run.memory.ledger, run.now))
	var ours []apply.Item // one that belongs to somebody else by now holds up no other
	for _, item := range plan.Drifted {
		if claimed, err := r.Engine.Claim(ctx, run.target, []apply.Item{item}, run.memory.ledger, r.rules(run)); err == nil {
			ours = append(ours, claimed...)
		}
	}
	_ = r.send(ctx, run, w, apply.Plan{Drifted: ours})
}

// watchItems opens the watches over what is wanted now, in addition to those
// that are open. Whether the others work is for prune to find: a namespace or
// kind that only an older revision used must not stop a new one.
func (r *ApplicationReconciler) watchItems(ctx context.Context, run *run, items []apply.Item) error {
	own := apply.Scopes(items)
	err := r.watch(ctx, run, joined(own, run.memory.scopes))
	gone, ok := unserved(err)
	if ok && apply.BringAgain(items, gone) {
		return r.watchItems(ctx, run, items) // its definition, an item too, brings the kind back
	}
	var w *live.WatchError
	if errors.As(err, &w) && !slices.Contains(own, w.Scope) {
		return nil
	}
	return r.watchRefusal(ctx, err)
}

// watchMembers opens the watches over everything that the ApplySet may hold:
// the places wanted now, and those that its parent still records. It returns
// those whose kind the API server does not serve.
func (r *ApplicationReconciler) watchMembers(ctx context.Context, run *run, items []apply.Item) (unserved []apply.Place, err error) {
	members, unserved, err := r.Engine.MemberScopes(run.target, recorded(run.app))
	if err != nil {
		return nil, failure.From(err, v1alpha1.ReasonApplyFailed)
	}
	own := apply.Scopes(items)
	for {
		err := r.watch(ctx, run, joined(own, members))
		scope, ok := r.vanished(ctx, run, err)
		if !ok || slices.Contains(own, scope) {
			return unserved, r.memberRefusal(ctx, err, own)
		}
		members = slices.DeleteFunc(members, func(s live.Scope) bool { return s == scope })
	}
}

// memberRefusal does as watchRefusal, and says of a place that only the parent
// records what else may be done: with the objects the rights there may have gone.
func (r *ApplicationReconciler) memberRefusal(ctx context.Context, err error, own []live.Scope) error {
	refusal := r.watchRefusal(ctx, err)
	var w *live.WatchError
	if !denied(refusal) || !errors.As(err, &w) || w.Scope.Name != "" || slices.Contains(own, w.Scope) {
		return refusal
	}
	f := failure.From(refusal, v1alpha1.ReasonForbidden)
	return f.WithHint("%s; or, if no object of the Application is left there, take the place out of its annotation %s", f.Hint, v1alpha1.AnnotationPlaces)
}

// joined adds to scopes those of others that cover something else. The same
// objects may be watched in any version of their kind; once is enough.
func joined(scopes, others []live.Scope) []live.Scope {
	all := slices.Clone(scopes)
	for _, o := range others {
		if !slices.ContainsFunc(all, func(s live.Scope) bool {
			return s.Identity == o.Identity && s.Namespace == o.Namespace && s.Resource.GroupResource() == o.Resource.GroupResource()
		}) {
			all = append(all, o)
		}
	}
	return all
}

// unserved returns the scope whose watch failed because the API server does
// not serve its kind.
func unserved(err error) (live.Scope, bool) {
	var w *live.WatchError
	if errors.As(err, &w) && w.Scope.Name == "" && apierrors.IsNotFound(w.Err) {
		return w.Scope, true
	}
	return live.Scope{}, false
}

// vanished returns the scope whose watch failed because it can have no members
// any more: its kind or its namespace is gone. With a namespace go the Roles in
// it, so that its watches are refused and nothing can let them in again.
func (r *ApplicationReconciler) vanished(ctx context.Context, run *run, err error) (live.Scope, bool) {
	if scope, ok := unserved(err); ok {
		return scope, true
	}
	var w *live.WatchError
	if errors.As(err, &w) && w.Scope.Name == "" && w.Scope.Namespace != "" && apierrors.IsForbidden(w.Err) {
		return w.Scope, r.namespaceGone(ctx, run, w.Scope.Namespace)
	}
	return live.Scope{}, false
}

// namespaceGone asks by a dry run of the one thing that the operator may
// create everywhere; it may not read namespaces.
func (r *ApplicationReconciler) namespaceGone(ctx context.Context, run *run, namespace string) bool {
	probe := &eventsv1.Event{
		ObjectMeta:          metav1.ObjectMeta{GenerateName: "gitseal-probe-", Namespace: namespace},
		EventTime:           metav1.NewMicroTime(run.now),
		Type:                corev1.EventTypeNormal,
		Reason:              v1alpha1.ReasonDeleting,
		Action:              v1alpha1.ReasonDeleting,
		ReportingController: reporter,
		ReportingInstance:   reporter,
	}
	err := r.Client.Create(ctx, probe, client.DryRunAll)
	return apierrors.IsNotFound(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
}

// watchBrought adds the watches of kinds that came with the objects
// themselves, once they are served: they are when one of them was applied.
func (r *ApplicationReconciler) watchBrought(ctx context.Context, run *run, w *wanted) error {
	brought := false
	for i := range w.items {
		if w.items[i].Brought && run.memory.ledger.Holds(w.items[i].ID) {
			brought, w.items[i].Brought = true, false
		}
	}
	if !brought {
		return nil
	}
	err := r.watchItems(ctx, run, w.items)
	if slices.ContainsFunc(w.items, func(i apply.Item) bool { return i.Brought && run.memory.ledger.Holds(i.ID) }) {
		run.again = soonest(run.again, servedPause) // it is not served to everybody yet
	}
	return err
}

// servedPause is how soon to try again to watch a kind of which an object was
// applied, but that the API server does not list yet.
const servedPause = time.Second

// prune removes members that the desired state no longer holds.
func (r *ApplicationReconciler) prune(ctx context.Context, run *run, w *wanted) error {
	unserved, err := r.watchMembers(ctx, run, w.items)
	if err != nil {
		return err
	}
	run.unserved = len(unserved) > 0
	settled := r.Engine.Settle(run.memory.scopes, w.items, run.memory.ledger)
	if handed, err := r.handOver(ctx, run, w.items); handed || err != nil {
		return err // their watch calls again once they are gone from here
	}
	stale, leaving := r.Engine.Stale(run.target, run.memory.scopes, w.items)
	run.leaving = leaving
	if !settled { // the watch of what was just applied, and is not wanted any more, calls again
		run.unsettle()
		return nil
	}
	if len(stale) == 0 {
		if err := r.spend(ctx, run, w); err != nil {
			return err
		}
		return r.shrinkParent(ctx, run, w.items, unserved)
	}
	if prune := run.app.Spec.Sync.Prune; prune != nil && !*prune {
		return nil
	}
	if limit := pruneLimit(run.app); len(stale) > limit && run.app.Annotations[v1alpha1.AnnotationConfirmPrune] != confirmedPrune(w, run.app) {
		run.confirmation = &v1alpha1.ConfirmationStatus{Revision: w.inputs.commit, Token: confirmedPrune(w, run.app), Objects: int32(len(stale)), Prune: r.references(stale)}
		return failure.Stallf(v1alpha1.ReasonPruneBlocked, "%d objects are no longer in Git at %s, more than spec.sync.pruneLimit of %d, the first of them %s", len(stale), w.inputs.commit, limit, stale[0]).
			WithHint("if that is right: kubectl gitseal confirm %s --namespace %s", run.app.Name, run.app.Namespace)
	}
	if err := r.announce(ctx, run, w, len(stale)); err != nil {
		return err
	}
	run.pruned, err = r.Engine.Prune(ctx, stale)
	if run.pruned < len(stale) { // somebody changed or deleted one meanwhile
		run.unsettle()
	}
	return err
}

// unsettledPause is how soon to look again after a prune that knew less than the
// API server: watches tell of changes to members, not that they have caught up.
const unsettledPause = 10 * time.Second

// unsettle notes that a prune knows less than the API server.
func (r *run) unsettle() {
	r.unsettled, r.progress = true, "waiting to see what became of the objects that are no longer in Git"
	r.again = soonest(r.again, unsettledPause)
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
	firstJudgePause = 2 * time.Second
	maxJudgePause   = 8 * time.Second
)

// judge reads the health of what changed and says what is waited for.
func (r *ApplicationReconciler) judge(ctx context.Context, run *run, w *wanted) error {
	if err := r.look(ctx, run, w.items); err != nil {
		return err
	}
	sick := run.memory.ledger.Unhealthy()
	if len(sick) == 0 {
		run.memory.progressSince = time.Time{}
		return nil
	}
	if s, late := run.overdue(sick); late {
		return failure.Waitf(v1alpha1.ReasonUnhealthy, "%s is not healthy: %s", s.ID, s.Note)
	}
	run.progress = waitingFor("waiting for ", sick)
	return nil
}

// look reads the health of items of which there is news, where the pause since
// it was read last is over.
func (r *ApplicationReconciler) look(ctx context.Context, run *run, items []apply.Item) error {
	m := run.memory
	unjudged := r.Engine.Unjudged(items, m.ledger)
	if len(unjudged) == 0 {
		return nil
	}
	pause := m.judgePause
	if sick := len(m.ledger.Sick(items)); sick > 0 && len(unjudged) >= sick {
		pause = minJudgePause
	}
	if rest := m.judgedAt.Add(pause).Sub(run.now); rest > 0 {
		run.again = soonest(run.again, rest)
		return nil
	}
	m.judgedAt, m.judgePause = run.now, min(2*m.judgePause, maxJudgePause)
	return r.Engine.Judge(ctx, run.target, unjudged, m.ledger)
}

func soonest(a, b time.Duration) time.Duration {
	if a == 0 || b < a {
		return b
	}
	return a
}
