package controllers

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/apply"
)

// maxPruneListed is how many objects a status lists that wait to be pruned.
const maxPruneListed = 20

// spend takes a confirmation away once there is nothing left to prune for it.
// It was for what the revision meant then: the same revision under another
// path would mean something else.
func (r *ApplicationReconciler) spend(ctx context.Context, run *run, w *wanted) error {
	if run.app.Annotations[v1alpha1.AnnotationConfirmPrune] != w.inputs.commit {
		return nil
	}
	spent := run.app.DeepCopy()
	delete(spent.Annotations, v1alpha1.AnnotationConfirmPrune)
	patch := client.MergeFromWithOptions(run.app, client.MergeFromWithOptimisticLock{})
	status := run.app.Status.DeepCopy()
	if err := r.Client.Patch(ctx, spent, patch); err != nil {
		return fmt.Errorf("take the spent confirmation off Application %q: %w", run.target.Application, err)
	}
	run.app, run.base = spent, spent.DeepCopy()
	status.DeepCopyInto(&run.app.Status)
	return nil
}

// references names the first of members, as a status may list them.
func (r *ApplicationReconciler) references(members []apply.Member) []v1alpha1.ObjectReference {
	var all []v1alpha1.ObjectReference
	for _, m := range members[:min(len(members), maxPruneListed)] {
		all = append(all, referenceTo(r.Engine.IDOf(m)))
	}
	return all
}
