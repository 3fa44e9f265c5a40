package apply

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/types"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/live"
	"github.com/gitseal/gitseal/internal/render"
)

// A Secret may be somebody else's, and an ExternalSecret only add keys to it:
// what external-secrets.io calls creationPolicy Merge and CreateOrMerge.
// Server-side apply keeps the keys of both apart. So such an item needs no
// object of its own, adopts none, and is parted with by applying nothing.

// mergedInto says whether an object is merged into what is somebody else's, and
// whether that must be there already.
func mergedInto(o render.Object) (merged, awaited bool, err error) {
	annotations := o.GetAnnotations()
	merged = annotations[v1alpha1.AnnotationPrune] == v1alpha1.PruneRelease
	awaited = annotations[v1alpha1.AnnotationApply] == v1alpha1.ApplyMerge
	refuse := func(name, value, needs string) error {
		return failure.Stallf(v1alpha1.ReasonObjectInvalid, "%s: %s %q: annotation %s is %s, which is for %s", o.Origin, o.GetKind(), o.GetName(), name, value, needs).
			WithHint("correct it, or take it away")
	}
	switch {
	case merged && o.GroupVersionKind().GroupKind() != kindSecret:
		return false, false, refuse(v1alpha1.AnnotationPrune, v1alpha1.PruneRelease, "Secrets")
	case awaited && !merged:
		return false, false, refuse(v1alpha1.AnnotationApply, v1alpha1.ApplyMerge,
			"Secrets with annotation "+v1alpha1.AnnotationPrune+": "+v1alpha1.PruneRelease)
	}
	return merged, awaited, nil
}

// standingAgainst are the marks for which an item is refused. One that is
// merged leaves the object to whom it belongs; but it has one place for the
// label of an ApplySet.
func standingAgainst(item Item, marks []mark) []mark {
	if !item.Merged {
		return marks
	}
	return slices.DeleteFunc(marks, func(m mark) bool { return m.tool != anotherApplySet })
}

// borrows says whether an object, a member of ours, is one that we only merged
// into so far. To own it from now on takes what it takes with any object that is
// there: to prune it would delete what is not ours.
func (i Item) borrows(o live.Object) bool {
	return !i.Merged && i.ID.GroupKind == kindSecret && o.Prune == v1alpha1.PruneRelease
}

// unfound says whether an item has nothing yet to be merged into.
func (i Item) unfound() bool { return i.Awaited && i.claim != nil && i.claim.uid == "" }

// awaits is the failure of an item whose object is not there, unless the object
// may come before the item does.
func (i Item) awaits() error {
	if !i.Awaited || i.claim.later {
		return nil
	}
	return i.missing()
}

// due is the item when its turn has come: nothing is before it any more.
func (i Item) due() Item {
	if i.claim != nil && i.claim.later {
		c := *i.claim
		c.later, i.claim = false, &c
	}
	return i
}

func (i Item) missing() error {
	return failure.Waitf(v1alpha1.ReasonTargetMissing, "%s: %s, which it is to be merged into, is not there", i.Origin, i.ID).
		WithHint("create it, put what makes it into a lower sync wave, or use creationPolicy CreateOrMerge")
}

func lowestWave(items []Item) int32 {
	if len(items) == 0 {
		return 0
	}
	next, _ := NextWave(items)
	return next[0].SyncWave
}

// merged says whether a member is somebody else's.
func (m Member) merged() bool {
	return m.object.Prune == v1alpha1.PruneRelease && m.Scope.Resource.GroupResource().String() == "secrets"
}

// letGo takes our fields, the membership among them, out of a member as the
// watch saw it: to apply nothing is to own nothing. It creates no object.
func (e *Engine) letGo(ctx context.Context, m Member) (did bool, err error) {
	client, err := e.clients.REST(m.Scope.Identity)
	if err != nil {
		return false, err
	}
	metadata := map[string]any{"name": m.Key.Name, "namespace": m.Key.Namespace, "uid": m.object.UID}
	if v := m.object.ResourceVersion; v != 0 {
		metadata["resourceVersion"] = strconv.FormatUint(v, 10)
	}
	body, err := json.Marshal(map[string]any{
		"apiVersion": m.Scope.Resource.GroupVersion().String(), "kind": kindSecret.Kind, "metadata": metadata,
	})
	if err != nil {
		return false, fmt.Errorf("write what is left of %s: %w", m, err)
	}
	result := client.Patch(types.ApplyYAMLPatchType).AbsPath(objectPath(m.Scope.Resource, m.Key.Namespace, m.Key.Name)).
		SetHeader("Accept", acceptMetadata).Param("fieldManager", v1alpha1.FieldManager).Param("force", "true").Body(body).Do(ctx)
	return result.Error() == nil, e.deletion(ctx, m, "let go of", "patch", result.Error())
}
