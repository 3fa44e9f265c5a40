package controllers

import (
	"context"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
)

// dependencies says which of the Applications that this one depends on it has
// to wait for. They are read from the cache; when one becomes ready, its event
// brings the next run.
func (r *ApplicationReconciler) dependencies(ctx context.Context, run *run) error {
	for _, d := range run.app.Spec.DependsOn {
		name := dependency(run.app, d)
		other := &v1alpha1.Application{}
		err := r.Client.Get(ctx, name, other)
		switch {
		case apierrors.IsNotFound(err):
			return failure.Waitf(v1alpha1.ReasonDependencyNotReady, "Application %q in namespace %q, which this one depends on, does not exist", name.Name, name.Namespace)
		case err != nil:
			return failure.Failf(v1alpha1.ReasonDependencyNotReady, "read Application %q: %w", name, err)
		case !isReady(other) && waitsFor(other, run.target.Application):
			continue // or both would wait for ever: what it declares moves to it as this one is pruned
		case !isReady(other):
			if circle := r.circle(ctx, run.target.Application, []types.NamespacedName{name}, map[types.NamespacedName]bool{}); circle != nil {
				return failure.Stallf(v1alpha1.ReasonDependencyNotReady, "spec.dependsOn leads back to this Application: %s", chain(run.target.Application, circle)).
					WithHint("remove one of these entries")
			}
			return failure.Waitf(v1alpha1.ReasonDependencyNotReady, "Application %q in namespace %q, which this one depends on, is not ready", name.Name, name.Namespace)
		}
	}
	return nil
}

// waitsFor reports whether an Application is not ready because another one owns
// an object that it declares.
func waitsFor(app *v1alpha1.Application, owner types.NamespacedName) bool {
	ready := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionReady)
	return ready != nil && ready.Reason == v1alpha1.ReasonObjectConflict && slices.Contains(conflictsOf(app), owner.String())
}

// circle continues a path of dependencies until it comes to an Application, and
// returns nil where none does.
func (r *ApplicationReconciler) circle(ctx context.Context, to types.NamespacedName, path []types.NamespacedName, seen map[types.NamespacedName]bool) []types.NamespacedName {
	last := path[len(path)-1]
	if last == to {
		return path
	}
	app := &v1alpha1.Application{}
	if seen[last] || r.Client.Get(ctx, last, app) != nil {
		return nil
	}
	seen[last] = true
	for _, d := range app.Spec.DependsOn {
		if found := r.circle(ctx, to, append(slices.Clone(path), dependency(app, d)), seen); found != nil {
			return found
		}
	}
	return nil
}

const maxChain = 8

// chain names the Applications of a circle, as far as a message takes them.
func chain(from types.NamespacedName, circle []types.NamespacedName) string {
	names := []string{from.String()}
	for i, n := range circle {
		if i >= maxChain && i < len(circle)-1 {
			if i == maxChain {
				names = append(names, "…")
			}
			continue
		}
		names = append(names, n.String())
	}
	return strings.Join(names, " -> ")
}
