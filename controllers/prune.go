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

// confirmedPrune is what a confirmation must hold: what was shown is for one
// revision under one spec. The same revision under another path means something
// else.
func confirmedPrune(w *wanted, app *v1alpha1.Application) string {
	return fmt.Sprintf("%s/%d", w.inputs.commit, app.Generation)
}

// spend takes confirmations away once they have served: that of a prune when
// nothing is left to prune, that of a rewrite when the status names the
// revision. Until then a crash must not ask again.
func (r *ApplicationReconciler) spend(ctx context.Context, run *run, w *wanted) error {
	annotations, source := run.app.Annotations, run.base.Status.Source
	pruned := annotations[v1alpha1.AnnotationConfirmPrune] == confirmedPrune(w, run.app)
	rewrite := annotations[v1alpha1.AnnotationConfirmRewrite]
	rewritten := rewrite != "" && source != nil && source.Revision == rewrite
	if !pruned && !rewritten {
		return nil
	}
	spent := run.app.DeepCopy()
	if pruned {
		delete(spent.Annotations, v1alpha1.AnnotationConfirmPrune)
	}
	if rewritten {
		delete(spent.Annotations, v1alpha1.AnnotationConfirmRewrite)
	}
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
