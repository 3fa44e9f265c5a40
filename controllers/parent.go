package controllers

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/apply"
)

// recordParent writes, before anything of a new kind or namespace is applied,
// that the ApplySet may hold it (KEP-3659). A crash at any later point leaves
// nothing that a restarted operator would not find.
func (r *ApplicationReconciler) recordParent(ctx context.Context, run *run, items []apply.Item) error {
	return r.writeParent(ctx, run, union(recorded(run.app), apply.Places(items)))
}

// shrinkParent forgets places in which no member is left. Those whose kind is
// not served now are kept: its API may come back, and with it members.
func (r *ApplicationReconciler) shrinkParent(ctx context.Context, run *run, items []apply.Item, unserved []apply.Place) error {
	places := union(unserved, apply.Places(items))
	if len(recorded(run.app)) == len(places) {
		return nil
	}
	if len(r.Engine.Leftovers(run.target, run.memory.scopes, items)) > 0 {
		return nil
	}
	if err := r.writeParent(ctx, run, places); err != nil {
		return err
	}
	_, err := r.watchMembers(ctx, run, items)
	return err
}

func (r *ApplicationReconciler) writeParent(ctx context.Context, run *run, places []apply.Place) error {
	parent := run.app.DeepCopy()
	controllerutil.AddFinalizer(parent, v1alpha1.Finalizer)
	if parent.Labels == nil {
		parent.Labels = map[string]string{}
	}
	if parent.Annotations == nil {
		parent.Annotations = map[string]string{}
	}
	parent.Labels[v1alpha1.ApplySetIDLabel] = run.target.ApplySet()
	parent.Annotations[v1alpha1.ApplySetToolingAnnotation] = v1alpha1.ApplySetTooling
	parent.Annotations[v1alpha1.ApplySetKindsAnnotation] = list(places, func(p apply.Place) string { return p.GroupKind.String() })
	parent.Annotations[v1alpha1.ApplySetNamespacesAnnotation] = list(places, func(p apply.Place) string { return p.Namespace })
	parent.Annotations[v1alpha1.AnnotationPlaces] = list(places, apply.Place.String)
	patch := client.MergeFromWithOptions(run.app, client.MergeFromWithOptimisticLock{})
	if same(run.app, parent) {
		return nil
	}
	status := run.app.Status.DeepCopy()
	if err := r.Client.Patch(ctx, parent, patch); err != nil {
		return fmt.Errorf("record the ApplySet of Application %q: %w", run.target.Application, err)
	}
	run.app, run.base = parent, parent.DeepCopy()
	status.DeepCopyInto(&run.app.Status)
	return nil
}

func same(a, b *v1alpha1.Application) bool {
	return slices.Equal(a.Finalizers, b.Finalizers) && maps.Equal(a.Labels, b.Labels) && maps.Equal(a.Annotations, b.Annotations)
}

// recorded reads the places that the parent records.
func recorded(app *v1alpha1.Application) []apply.Place {
	var places []apply.Place
	for _, p := range strings.Split(app.Annotations[v1alpha1.AnnotationPlaces], ",") {
		if p != "" {
			places = append(places, apply.ParsePlace(p))
		}
	}
	return places
}

// list writes what text gives for each place, each once and in order, without
// empty ones.
func list(places []apply.Place, text func(apply.Place) string) string {
	var texts []string
	for _, p := range places {
		if t := text(p); t != "" {
			texts = append(texts, t)
		}
	}
	slices.Sort(texts)
	return strings.Join(slices.Compact(texts), ",")
}

func union(a, b []apply.Place) []apply.Place {
	all := slices.Clone(a)
	for _, p := range b {
		if !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	return all
}
