package apply

import (
	"cmp"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/health"
	"github.com/gitseal/gitseal/internal/render"
)

// syncWave reads the wave that an object asks for.
func syncWave(o render.Object) (int32, error) {
	annotations := o.GetAnnotations()
	for _, name := range []string{v1alpha1.AnnotationSyncWave, v1alpha1.AnnotationArgoSyncWave} {
		text, ok := annotations[name]
		if !ok {
			continue
		}
		wave, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return 0, failure.Stallf(v1alpha1.ReasonObjectInvalid, "%s: %s %q: metadata.annotations[%s] is no whole number of 32 bits", o.Origin, o.GetKind(), o.GetName(), name).
				WithHint(`write it in quotes, for instance "-1"`)
		}
		return int32(wave), nil
	}
	return 0, nil
}

// waveOfMember is the wave that an object in the cluster was applied in.
func waveOfMember(annotation string) int32 {
	wave, err := strconv.ParseInt(annotation, 10, 32)
	if err != nil {
		return 0
	}
	return int32(wave)
}

// checkWaves refuses objects that come before what they cannot be without: the
// definition of their kind, or their namespace.
func checkWaves(items []Item) error {
	needed := map[string]Item{} // by what it brings
	for _, item := range items {
		switch item.ID.GroupKind {
		case kindNamespace:
			needed["namespace "+item.ID.Name] = item
		case kindCRD:
			needed["kind "+item.Brings.Kind+"."+item.Brings.Group] = item
		}
	}
	for _, item := range items {
		for _, need := range []string{"namespace " + item.ID.Namespace, "kind " + item.ID.Kind + "." + item.ID.Group} {
			if first, ok := needed[need]; ok && first.SyncWave > item.SyncWave {
				return failure.Stallf(v1alpha1.ReasonObjectInvalid, "%s: %s is in sync wave %d, before %s in wave %d, which it needs", item.Origin, item.ID, item.SyncWave, first.ID, first.SyncWave).
					WithHint("correct the annotation %s of one of the two", v1alpha1.AnnotationSyncWave)
			}
		}
	}
	return nil
}

// brings is the kind that a CustomResourceDefinition defines.
func brings(o render.Object) schema.GroupKind {
	if o.GroupVersionKind().GroupKind() != kindCRD {
		return schema.GroupKind{}
	}
	group, _, _ := unstructured.NestedString(o.Object, "spec", "group")
	kind, _, _ := unstructured.NestedString(o.Object, "spec", "names", "kind")
	return schema.GroupKind{Group: group, Kind: kind}
}

// NextWave splits items into those of the lowest sync wave and the later ones.
func NextWave(items []Item) (next, later []Item) {
	if len(items) == 0 {
		return nil, nil
	}
	lowest := slices.MinFunc(items, func(a, b Item) int { return cmp.Compare(a.SyncWave, b.SyncWave) }).SyncWave
	for _, i := range items {
		if i.SyncWave == lowest {
			next = append(next, i)
		} else {
			later = append(later, i)
		}
	}
	return next, later
}

// Before selects the items of sync waves lower than one.
func Before(items []Item, wave int32) []Item {
	var before []Item
	for _, i := range items {
		if i.SyncWave < wave {
			before = append(before, i)
		}
	}
	return before
}

// Sick lists those of items that are not healthy, in the order of their waves.
func (l *Ledger) Sick(items []Item) []Sick {
	l.mu.Lock()
	defer l.mu.Unlock()
	var sick []Sick
	for _, i := range items {
		if r, ok := l.records[i.ID]; ok && r.state != health.Current {
			sick = append(sick, Sick{ID: i.ID, Wave: i.SyncWave, State: r.state, Note: r.note})
		}
	}
	slices.SortFunc(sick, func(a, b Sick) int { return cmp.Or(cmp.Compare(a.Wave, b.Wave), compareIDs(a.ID, b.ID)) })
	return sick
}

// Holds reports whether an object was applied.
func (l *Ledger) Holds(id ID) bool {
	_, ok := l.get(id)
	return ok
}
