package controllers

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
)

// finalize deals with the objects of an Application that is being deleted and
// then lets it go. Where the objects cannot be deleted it stays, and says why.
func (r *ApplicationReconciler) finalize(ctx context.Context, run *run) error {
	if !controllerutil.ContainsFinalizer(run.app, v1alpha1.Finalizer) {
		return nil
	}
	if run.app.Spec.Sync.DeletionPolicy != v1alpha1.DeletionOrphan {
		err := r.deleteMembers(ctx, run)
		if err != nil && !r.terminating(ctx, run, err) {
			return err
		}
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

func (r *ApplicationReconciler) deleteMembers(ctx context.Context, run *run) error {
	kinds, namespaces := recorded(run.app)
	scopes, err := r.Engine.MemberScopes(run.target, kinds, namespaces)
	if err != nil {
		return failure.From(err, v1alpha1.ReasonPruneFailed)
	}
	if err := r.Watches.Ensure(ctx, run.target.ApplySet(), scopes); err != nil {
		return r.Engine.WatchRefusal(ctx, err)
	}
	run.pruned, err = r.Engine.Prune(ctx, r.Engine.Stale(run.target, scopes, nil))
	return err
}

// terminating reports whether err comes from the Application's namespace being
// deleted as a whole: its Roles may go before the Application does, and
// nothing can bring them back. A dry run of the one thing that the operator
// may create everywhere tells.
func (r *ApplicationReconciler) terminating(ctx context.Context, run *run, err error) bool {
	reason := failure.From(err, v1alpha1.ReasonPruneFailed).Reason
	if reason != v1alpha1.ReasonAccessDenied && reason != v1alpha1.ReasonForbidden {
		return false
	}
	probe := &eventsv1.Event{
		ObjectMeta:          metav1.ObjectMeta{GenerateName: "gitseal-probe-", Namespace: run.app.Namespace},
		EventTime:           metav1.NewMicroTime(run.now),
		Type:                corev1.EventTypeNormal,
		Reason:              v1alpha1.ReasonDeleting,
		Action:              v1alpha1.ReasonDeleting,
		ReportingController: reporter,
		ReportingInstance:   reporter,
	}
	return apierrors.HasStatusCause(r.Client.Create(ctx, probe, client.DryRunAll), corev1.NamespaceTerminatingCause)
}
