package controllers

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/apply"
	"github.com/gitseal/gitseal/internal/condition"
	"github.com/gitseal/gitseal/internal/failure"
)

// Two Applications that declare one object: whoever applied it first owns it.
// The other is refused, and lists the object in its status.conflicts. That is
// how the owner learns of it, from the cache of Applications, whichever replica
// looks after the other one; it then lists the object, too.

// maxConflicts is how many a status lists. One that lists as many may declare
// more of them.
const maxConflicts = 100

// conflictsOf names the Applications that an Application's conflicts are with.
func conflictsOf(app *v1alpha1.Application) []string {
	var names []string
	for _, c := range app.Status.Conflicts {
		names = append(names, dependency(app, c.Application).String())
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// conflictNews queues the Applications that another one's conflicts name, when
// those change, and all that wait for one that is gone.
func (r *ApplicationReconciler) conflictNews() handler.EventHandler {
	return handler.Funcs{
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			before, ok1 := e.ObjectOld.(*v1alpha1.Application)
			after, ok2 := e.ObjectNew.(*v1alpha1.Application)
			if ok1 && ok2 && !slices.Equal(before.Status.Conflicts, after.Status.Conflicts) {
				queueAll(q, append(conflictsOf(before), conflictsOf(after)...))
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			gone, ok := e.Object.(*v1alpha1.Application)
			if !ok {
				return
			}
			names := conflictsOf(gone)
			for _, other := range r.indexed(ctx, byConflict, client.ObjectKeyFromObject(gone).String()) {
				names = append(names, client.ObjectKeyFromObject(&other).String())
			}
			queueAll(q, names)
		},
	}
}

func queueAll(q workqueue.TypedRateLimitingInterface[reconcile.Request], names []string) {
	for _, n := range names {
		namespace, name, _ := strings.Cut(n, "/")
		q.Add(reconcile.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}})
	}
}

// claim finds out whose the objects of a plan are, before any is sent. What
// another tool owns is looked at again when something changed, when somebody
// asks, and otherwise rarely: there is no watch that tells.
func (r *ApplicationReconciler) claim(ctx context.Context, run *run, plan *apply.Plan) (err error) {
	m := run.memory
	if m.barred != nil && m.barredFor == m.wanted && !run.requested() && run.now.Sub(m.barredAt) < stalledRetry {
		return m.barred
	}
	m.barred = nil
	changed := len(plan.Changed)
	items, err := r.Engine.Claim(ctx, run.target, slices.Concat(plan.Changed, plan.Drifted), m.ledger, r.rules(run))
	if err != nil {
		if f := failure.From(err, v1alpha1.ReasonApplyFailed); f.Reason == v1alpha1.ReasonOwnedByOther {
			m.barred, m.barredFor, m.barredAt = f, m.wanted, run.now
		}
		return err
	}
	plan.Changed, plan.Drifted = items[:changed:changed], items[changed:]
	return nil
}

func (r *ApplicationReconciler) rules(run *run) apply.Rules {
	return apply.Rules{Adopt: run.app.Spec.Sync.Adopt, Now: run.now, Parent: r.parent}
}

// parent tells which Application an ApplySet belongs to. The cache may be
// behind: what it does not know is asked of the API server, for an Application
// writes its ApplySet down before anything carries its label.
func (r *ApplicationReconciler) parent(ctx context.Context, applySet string) (types.NamespacedName, bool, error) {
	found := v1alpha1.ApplicationList{Items: r.indexed(ctx, byApplySet, applySet)}
	if len(found.Items) == 0 {
		if err := r.Secrets.List(ctx, &found, client.MatchingLabels{v1alpha1.ApplySetIDLabel: applySet}); err != nil {
			return types.NamespacedName{}, false, failure.Failf(v1alpha1.ReasonApplyFailed, "ask which Application an ApplySet belongs to: the API server does not answer")
		}
	}
	for i := range found.Items {
		name := client.ObjectKeyFromObject(&found.Items[i])
		if (apply.Target{Application: name}).ApplySet() == applySet { // whoever else wears the label is no parent
			return name, true, nil
		}
	}
	return types.NamespacedName{}, false, nil
}

// claimants lists what other Applications declare and this one owns, as they
// say in their status.
func (r *ApplicationReconciler) claimants(ctx context.Context, run *run) []apply.Conflict {
	var claims []apply.Conflict
	for _, other := range r.indexed(ctx, byConflict, run.target.Application.String()) {
		held, _ := r.claimsOf(run, &other)
		claims = append(claims, held...)
	}
	sortConflicts(claims)
	return claims
}

// claimsOf lists what another Application declares and this one owns. More:
// there may be others, for its list is full, and it has not looked again since
// what it lists was released. What it lists as the owner is no claim.
func (r *ApplicationReconciler) claimsOf(run *run, other *v1alpha1.Application) (held []apply.Conflict, more bool) {
	name := client.ObjectKeyFromObject(other)
	theirs := apply.Target{Application: name}.ApplySet()
	for _, c := range other.Status.Conflicts {
		if dependency(other, c.Application) != run.target.Application {
			continue
		}
		id := idOf(c.ObjectReference)
		owner, watched := r.Engine.OwnerOf(run.memory.scopes, id)
		if owner == run.target.ApplySet() {
			held = append(held, apply.Conflict{ID: id, Application: name})
		}
		more = more || watched && owner != theirs
	}
	return held, more && len(other.Status.Conflicts) >= maxConflicts
}

// handOver releases members that items do not hold and another Application
// declares, so that they are not pruned: that one takes them as they are. It
// reports whether there were any, or may be more: then the next status of the
// other one, which is an event for this one, tells.
func (r *ApplicationReconciler) handOver(ctx context.Context, run *run, items []apply.Item) (handed bool, err error) {
	var ids []apply.ID
	for _, other := range r.indexed(ctx, byConflict, run.target.Application.String()) {
		if !other.DeletionTimestamp.IsZero() || suspendedAt(&other, run.now) {
			continue
		}
		held, more := r.claimsOf(run, &other)
		for _, c := range held {
			ids = append(ids, c.ID)
		}
		if more {
			run.crowded = client.ObjectKeyFromObject(&other).String()
			run.again = soonest(run.again, stalledRetry)
		}
	}
	if len(ids) == 0 {
		return run.crowded != "", nil
	}
	members := r.Engine.Named(r.Engine.Leftovers(run.target, run.memory.scopes, items), ids)
	return run.crowded != "" || len(members) > 0, r.Engine.Release(ctx, members)
}

// reportConflicts writes down which objects another Application declares, too.
// It reports whether that is news. Nothing is said before it was looked once.
func (r *ApplicationReconciler) reportConflicts(ctx context.Context, run *run, err error) (news bool) {
	m, s := run.memory, &run.app.Status
	refused := apply.Conflicts(err)
	if run.looked || len(refused) > 0 {
		m.conflicts, m.looked = refused, true
	}
	if !m.looked {
		return false
	}
	claims := r.claimants(ctx, run)
	before := s.Conflicts
	s.Conflicts = conflictList(run.app.Namespace, slices.Concat(m.conflicts, claims))
	was := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionConflicted)
	if len(claims) == 0 {
		run.remove(v1alpha1.ConditionConflicted)
	} else {
		message := conflictMessage(claims)
		if was == nil || was.Message != message {
			r.Recorder.Eventf(run.subject(), nil, corev1.EventTypeWarning, v1alpha1.ReasonObjectConflict, "Sync", "%s", message)
		}
		run.set(v1alpha1.ConditionConflicted, metav1.ConditionTrue, v1alpha1.ReasonObjectConflict, message)
	}
	return !slices.Equal(before, s.Conflicts) || (was == nil) != (len(claims) == 0)
}

func conflictMessage(claims []apply.Conflict) string {
	first := claims[0]
	text := fmt.Sprintf("Application %s declares what this one owns: %s", first.Application, first.ID)
	if more := len(claims) - 1; more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	return condition.Shorten(text + ": remove it from one of the two Applications")
}

func sortConflicts(all []apply.Conflict) {
	slices.SortFunc(all, func(a, b apply.Conflict) int {
		return cmp.Or(a.ID.Compare(b.ID), cmp.Compare(a.Application.String(), b.Application.String()))
	})
}

// listed selects those that a status lists, in order. The first with each
// Application is among them, so that each learns of a list that is full.
func listed(all []apply.Conflict) []apply.Conflict {
	if len(all) > maxConflicts {
		seen := map[types.NamespacedName]bool{}
		var first, others []apply.Conflict
		for _, c := range all {
			if seen[c.Application] {
				others = append(others, c)
				continue
			}
			seen[c.Application], first = true, append(first, c)
		}
		all = append(first, others...)[:maxConflicts]
	}
	sortConflicts(all)
	return all
}

func conflictList(namespace string, all []apply.Conflict) []v1alpha1.ConflictStatus {
	var list []v1alpha1.ConflictStatus
	for _, c := range listed(all) {
		other := v1alpha1.ApplicationReference{Name: c.Application.Name}
		if c.Application.Namespace != namespace {
			other.Namespace = c.Application.Namespace
		}
		list = append(list, v1alpha1.ConflictStatus{ObjectReference: referenceTo(c.ID), Application: other})
	}
	return list
}

// tellAdopted records that objects of other tools were taken over.
func (r *ApplicationReconciler) tellAdopted(run *run) {
	if adopted := run.memory.ledger.Adopted(); adopted != "" {
		r.Recorder.Eventf(run.subject(), nil, corev1.EventTypeNormal, "Adopted", "Sync", "Took over %s", condition.Shorten(adopted))
	}
}

func referenceTo(id apply.ID) v1alpha1.ObjectReference {
	return v1alpha1.ObjectReference{Group: id.Group, Kind: id.Kind, Namespace: id.Namespace, Name: id.Name}
}

func idOf(o v1alpha1.ObjectReference) apply.ID {
	return apply.ID{GroupKind: schema.GroupKind{Group: o.Group, Kind: o.Kind}, Namespace: o.Namespace, Name: o.Name}
}
