package controllers

import (
	"context"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/source"
)

// Fields that Applications are looked up by, so that nothing goes through all
// of them.
const (
	byDependency = "dependsOn"  // NAMESPACE/NAME
	byApplySet   = "applySet"   // the ID of its ApplySet
	byRepository = "repository" // as source.RepositoryKey has it
)

var indexes = map[string]client.IndexerFunc{
	byDependency: func(o client.Object) []string {
		app := o.(*v1alpha1.Application)
		var names []string
		for _, d := range app.Spec.DependsOn {
			names = append(names, dependency(app, d).String())
		}
		return names
	},
	byApplySet: func(o client.Object) []string {
		return []string{o.GetLabels()[v1alpha1.ApplySetIDLabel]}
	},
	byRepository: func(o client.Object) []string {
		return []string{source.RepositoryKey(o.(*v1alpha1.Application).Spec.Source.Git.URL)}
	},
}

// indexed lists the Applications with a value in a field, from the cache and
// without copying them: they must not be changed.
func (r *ApplicationReconciler) indexed(ctx context.Context, field, value string) []v1alpha1.Application {
	var found v1alpha1.ApplicationList
	if value == "" {
		return nil
	}
	if err := r.Client.List(ctx, &found, client.MatchingFields{field: value}, client.UnsafeDisableDeepCopy); err != nil {
		return nil
	}
	return found.Items
}

// PollRepository asks for a look, as it is from a moment on, at the repository
// that a URL names in one way or another. It returns how many Applications
// follow that repository. It never blocks on a server.
func (r *ApplicationReconciler) PollRepository(ctx context.Context, url string, at time.Time) int {
	following := r.indexed(ctx, byRepository, source.RepositoryKey(url))
	for i := range following {
		r.signals.Poll(client.ObjectKeyFromObject(&following[i]), at)
	}
	return len(following)
}
