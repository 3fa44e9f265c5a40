package controllers

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/apply"
)

// recordParent writes, before anything of a new kind or namespace is applied,
// that the ApplySet may hold it (KEP-3659). A crash at any later point leaves
// nothing that a restarted operator would not find.
func (r *ApplicationReconciler) recordParent(ctx context.Context, run *run, items []apply.Item) error {
	kinds, namespaces := recorded(run.app)
	return r.writeParent(ctx, run,
		union(kinds, apply.GroupKinds(items)), union(namespaces, apply.Namespaces(items)))
}

// shrinkParent forgets kinds and namespaces of which no member is left. Kinds
// that are not served now are kept: their API may come back, and with it
// members.
func (r *ApplicationReconciler) shrinkParent(ctx context.Context, run *run, items []apply.Item, unserved []schema.GroupKind) error {
	settled := r.Engine.Settle(items, run.memory.ledger)
	kinds, namespaces := union(unserved, apply.GroupKinds(items)), union(nil, apply.Namespaces(items))
	recordedKinds, recordedNamespaces := recorded(run.app)
	if len(recordedKinds) == len(kinds) && len(recordedNamespaces) == len(namespaces) {
		return nil
	}
	if !settled || len(r.Engine.Leftovers(run.target, run.memory.scopes, items)) > 0 {
		return nil
	}
	if err := r.writeParent(ctx, run, kinds, namespaces); err != nil {
		return err
	}
	_, err := r.watchMembers(ctx, run, items)
	return err
}

func (r *ApplicationReconciler) writeParent(ctx context.Context, run *run, kinds []schema.GroupKind, namespaces []string) error {
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
	parent.Annotations[v1alpha1.ApplySetKindsAnnotation] = formatKinds(kinds)
	parent.Annotations[v1alpha1.ApplySetNamespacesAnnotation] = formatNamespaces(namespaces)
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
	return slices.Equal(a.Finalizers, b.Finalizers) &&
		a.Labels[v1alpha1.ApplySetIDLabel] == b.Labels[v1alpha1.ApplySetIDLabel] &&
		a.Annotations[v1alpha1.ApplySetToolingAnnotation] == b.Annotations[v1alpha1.ApplySetToolingAnnotation] &&
		a.Annotations[v1alpha1.ApplySetKindsAnnotation] == b.Annotations[v1alpha1.ApplySetKindsAnnotation] &&
		a.Annotations[v1alpha1.ApplySetNamespacesAnnotation] == b.Annotations[v1alpha1.ApplySetNamespacesAnnotation]
}

// recorded reads the kinds and namespaces that the parent records. The KEP
// takes the parent's own namespace as given; it is written down here all the
// same where it is used, because an Application whose objects are all
// elsewhere may have no rights in its own namespace.
func recorded(app *v1alpha1.Application) ([]schema.GroupKind, []string) {
	var kinds []schema.GroupKind
	for _, k := range split(app.Annotations[v1alpha1.ApplySetKindsAnnotation]) {
		kinds = append(kinds, schema.ParseGroupKind(k))
	}
	return kinds, split(app.Annotations[v1alpha1.ApplySetNamespacesAnnotation])
}

func split(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}

func formatKinds(kinds []schema.GroupKind) string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = k.String()
	}
	slices.Sort(names)
	return strings.Join(names, ",")
}

func formatNamespaces(namespaces []string) string {
	sorted := slices.Clone(namespaces)
	slices.Sort(sorted)
	return strings.Join(sorted, ",")
}

func union[T comparable](list []T, set map[T]bool) []T {
	all := slices.Clone(list)
	for v := range set {
		all = appendNew(all, v)
	}
	return all
}

func appendNew[T comparable](list []T, v T) []T {
	if slices.Contains(list, v) {
		return list
	}
	return append(list, v)
}

// parents tells which Application an ApplySet belongs to, from the cache.
func (r *ApplicationReconciler) parents(ctx context.Context) func(string) (string, bool) {
	return func(applySet string) (string, bool) {
		var found v1alpha1.ApplicationList
		err := r.Client.List(ctx, &found, client.MatchingLabels{v1alpha1.ApplySetIDLabel: applySet})
		if err != nil || len(found.Items) == 0 {
			return "", false
		}
		app := &found.Items[0]
		return types.NamespacedName{Namespace: app.Namespace, Name: app.Name}.String(), true
	}
}
