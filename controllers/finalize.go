package controllers

import (
	"context"
	"fmt"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/apply"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/live"
)

// errLeaving is returned while an Application's objects are on their way out.
var errLeaving = failure.Waitf(v1alpha1.ReasonDeleting, "waiting for the objects of the Application to go")

// finalize deals with the objects of an Application that is being deleted and
// then lets it go. Where the objects cannot be deleted it stays, and says why.
func (r *ApplicationReconciler) finalize(ctx context.Context, run *run) error {
	if !controllerutil.ContainsFinalizer(run.app, v1alpha1.Finalizer) {
		return nil
	}
	if w := run.memory.wanted; w != nil {
		run.values = w.values // to clean what it says of them
	}
	if err := r.partWithMembers(ctx, run); err != nil {
		return err
	}
	released := run.app.DeepCopy()
	controllerutil.RemoveFinalizer(released, v1alpha1.Finalizer)
	patch := client.MergeFromWithOptions(run.app, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Patch(ctx, released, patch); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("release Application %q: %w", run.target.Application, err)
	}
	r.forget(run.target.Application)
	return nil
}

// partWithMembers deletes the members of the ApplySet, or takes them out of it.
// It returns errLeaving until none is left that it has to do with.
func (r *ApplicationReconciler) partWithMembers(ctx context.Context, run *run) error {
	orphan := run.app.Spec.Sync.DeletionPolicy == v1alpha1.DeletionOrphan
	err := r.watchLeftovers(ctx, run)
	if orphan && denied(err) {
		return nil // who lost access and says Orphan wants the Application gone
	}
	if err != nil {
		return err
	}
	if !r.Engine.Settle(run.memory.scopes, nil, run.memory.ledger) {
		return errLeaving
	}
	if orphan {
		return r.releaseMembers(ctx, run)
	}
	if handed, err := r.handOver(ctx, run, nil); err != nil {
		return err
	} else if handed {
		return run.handingOver()
	}
	stale, leaving := r.Engine.Stale(run.target, run.memory.scopes, nil)
	if len(stale) == 0 {
		return run.waitForLast(leaving)
	}
	if run.pruned, err = r.Engine.Prune(ctx, stale); err != nil {
		return err
	}
	return errLeaving
}

// handingOver says what a deletion waits for while objects are handed over.
func (r *run) handingOver() error {
	if r.crowded == "" {
		return errLeaving
	}
	return failure.Waitf(v1alpha1.ReasonDeleting, "%w: Application %s may declare more of them than its status lists", errLeaving, r.crowded).
		WithHint("see why it does not go on; to suspend or delete it ends the wait")
}

// waitForLast returns errLeaving, and names who is left, while a finalizer keeps
// objects that are to be waited for. Their watches tell when they are gone.
func (r *run) waitForLast(leaving []apply.Member) error {
	if len(leaving) == 0 || r.app.Spec.Sync.DeletionPolicy != v1alpha1.DeletionWait {
		return nil
	}
	return failure.Waitf(v1alpha1.ReasonDeleting, "%w: %s", errLeaving, named(leaving)).
		WithHint("see to what its metadata.finalizers name")
}

// releaseMembers unlabels the members, so that a later Application of the same
// name does not take them for its own and prune them.
func (r *ApplicationReconciler) releaseMembers(ctx context.Context, run *run) error {
	members := r.Engine.Leftovers(run.target, run.memory.scopes, nil)
	if len(members) == 0 {
		return nil
	}
	if err := r.Engine.Release(ctx, members); err != nil && !denied(err) {
		return err
	} else if err != nil {
		return nil
	}
	return errLeaving
}

// watchLeftovers opens the watches over everything that the parent records.
func (r *ApplicationReconciler) watchLeftovers(ctx context.Context, run *run) error {
	scopes, unserved, err := r.Engine.MemberScopes(run.target, recorded(run.app))
	if err != nil {
		return failure.From(err, v1alpha1.ReasonPruneFailed)
	}
	orphan := run.app.Spec.Sync.DeletionPolicy == v1alpha1.DeletionOrphan
	if away, err := r.Engine.Away(ctx, unserved); (err != nil || away) && !orphan {
		return failure.Failf(v1alpha1.ReasonPruneFailed, "the API server cannot say whether objects of kind %s are left", list(unserved, func(p apply.Place) string { return p.GroupKind.String() })).
			WithHint("bring its API back, or delete the APIService if it is gone for good")
	}
	for {
		err := r.Watches.Ensure(ctx, run.target.ApplySet(), scopes)
		run.memory.scopes = scopes
		scope, ok := r.vanished(ctx, run, err)
		if !ok {
			return r.memberRefusal(ctx, err, nil)
		}
		scopes = slices.DeleteFunc(scopes, func(s live.Scope) bool { return s == scope })
	}
}

// denied reports whether err says that the operator, or the ServiceAccount it
// acts as, has no access.
func denied(err error) bool {
	if err == nil {
		return false
	}
	reason := failure.From(err, v1alpha1.ReasonPruneFailed).Reason
	return reason == v1alpha1.ReasonAccessDenied || reason == v1alpha1.ReasonForbidden
}
