package external

import (
	"cmp"
	"maps"
	"slices"

	"github.com/gitseal/gitseal/internal/render"
)

// made is the Secret of a manifest.
type made struct {
	manifest *Manifest
	object   render.Object
}

type secretID struct{ namespace, name string }

func (m *Materializer) target(manifest *Manifest) secretID {
	return secretID{m.Defaults.namespace(manifest.Namespace), manifest.target.name}
}

// merges reports whether a manifest adds to a Secret that need not be its own.
func (m *Manifest) merges() bool { return m.claim() > 0 }

// combine makes one object of all that are the same Secret: one field manager
// applies it, so that one object has to say all of it. How it is applied says
// the one that is not merged into another, or else one that may create it.
func (m *Materializer) combine(secrets []made) (combined []render.Object, problems []error) {
	groups, order := map[secretID][]made{}, []secretID{}
	for _, s := range secrets {
		id := m.target(s.manifest)
		if groups[id] == nil {
			order = append(order, id)
		}
		groups[id] = append(groups[id], s)
	}
	for _, id := range order {
		group := groups[id]
		problems = append(problems, clashes(id, group)...)
		slices.SortStableFunc(group, func(a, b made) int { return cmp.Compare(a.manifest.claim(), b.manifest.claim()) })
		for _, s := range group[1:] {
			add(group[0].object, s.object)
		}
		combined = append(combined, group[0].object)
	}
	return combined, problems
}

// claim orders those who make one Secret: who owns it, who may create it, and
// who adds to it.
func (m *Manifest) claim() int {
	switch m.target.creation {
	case createMerge:
		return 2
	case createOrMerge:
		return 1
	}
	return 0
}

// clashes are keys that two ExternalSecrets put into one Secret.
func clashes(id secretID, group []made) (problems []error) {
	from := map[string]*Manifest{}
	for _, s := range group {
		for _, key := range slices.Sorted(maps.Keys(fields(s.object, "data"))) {
			if first, ok := from[key]; ok {
				problems = append(problems, s.manifest.at("spec.target.name", problemf("rename one of the two keys",
					"key %q of Secret %q is already made by ExternalSecret %q in %s", shorten(key), id.name, first.Name, first.Origin)))
			}
			from[key] = s.manifest
		}
	}
	return problems
}

// add puts the data, labels and annotations of another into a Secret; what it
// has already it keeps.
func add(into, other render.Object) {
	data := fields(into, "data")
	maps.Copy(data, fields(other, "data"))
	for _, marks := range []string{"labels", "annotations"} {
		all := maps.Clone(fields(other, "metadata", marks))
		if len(all) == 0 {
			continue
		}
		if marks == "annotations" {
			maps.DeleteFunc(all, func(key string, _ any) bool { return isCarried(key) })
		}
		maps.Copy(all, fields(into, "metadata", marks))
		if len(all) > 0 {
			fields(into, "metadata")[marks] = all
		}
	}
}

// fields is a map within an object; nil where it is absent.
func fields(o render.Object, path ...string) map[string]any {
	at := o.Object
	for _, name := range path {
		at, _ = at[name].(map[string]any)
	}
	return at
}
