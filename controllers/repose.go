package controllers

import (
	"context"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// repose is the state in which a run found nothing to do: what was wanted, what
// the watches had told by then, and the ApplySet that the Application recorded.
// As long as none of it changes there is nothing to look at, however many
// objects there are.
type repose struct {
	wanted *wanted
	news   uint64
	parent *v1alpha1.Application
}

// atRest reports whether nothing has happened since a run found nothing to do.
func (r *ApplicationReconciler) atRest(ctx context.Context, run *run, w *wanted) bool {
	at := run.memory.rest
	return at.wanted == w && at.news == run.news && same(at.parent, run.app) &&
		run.blocked == nil && !run.requested() && len(r.claimants(ctx, run)) == 0
}

// settle notes that a run found nothing to do. What only time or a person can
// tell of is looked at each time: what is waited for, fought over, about to go,
// to be confirmed, or of a kind that is not served.
func (r *run) settle(w *wanted, err error) {
	r.memory.rest = repose{}
	idle := err == nil && r.changed+r.pruned == 0 && r.progress == "" && r.again == 0 && r.blocked == nil
	if idle && len(r.contested)+len(r.leaving) == 0 && r.confirmation == nil && !r.unserved {
		parent := &v1alpha1.Application{}
		parent.Finalizers, parent.Labels, parent.Annotations = r.base.Finalizers, r.base.Labels, r.base.Annotations
		r.memory.rest = repose{wanted: w, news: r.news, parent: parent}
	}
}
