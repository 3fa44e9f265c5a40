package external

import (
	"context"
	"maps"
	"strings"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/render"
)

// once reports whether the manifest's Secret is made where it is absent, and
// left alone from then on.
func (m *Manifest) once() bool {
	return m.refresh.policy == refreshCreatedOnce && m.target.creation != createNone
}

// plan gathers what manifests ask for. One whose Secret is made once and is
// there is checked all the same, and asks for nothing.
func (m *Materializer) plan(ctx context.Context, manifests []*Manifest) (p *plan, problems []error) {
	p = &plan{places: map[place]int{}, left: map[*Manifest]render.Object{}}
	for _, manifest := range manifests {
		asked := p
		hollow, there, err := m.there(ctx, manifest)
		switch {
		case err != nil:
			problems = append(problems, err)
		case there:
			p.left[manifest], asked = hollow, &plan{places: map[place]int{}}
		}
		problems = append(problems, asked.gather(manifest, m.Defaults)...)
	}
	return p, problems
}

// there returns, for a manifest whose Secret is made once and is there, what
// stands for that.
func (m *Materializer) there(ctx context.Context, manifest *Manifest) (o render.Object, there bool, err error) {
	if m.Made == nil || !manifest.once() {
		return o, false, nil
	}
	d := newDraft()
	if t := manifest.target.template; t != nil {
		maps.Copy(d.annotations, t.annotations)
		maps.DeleteFunc(d.annotations, func(_, text string) bool { return strings.Contains(text, "{{") })
	}
	o = d.object(manifest, map[string]any{})
	o.Hollow = true
	there, err = m.Made(ctx, o)
	return o, there, err
}

// lasting refuses, for a Secret that is made once, what a store has said last and
// does not say now: nothing would correct it.
func (m *Manifest) lasting(store v1alpha1.StoreReference, kept string) error {
	if kept == "" || !m.once() {
		return nil
	}
	return failure.Waitf(v1alpha1.ReasonStoreUnavailable, "%s %q: what it said last is not made into a Secret that stays as it is: %s", store.Kind, store.Name, kept).
		WithHint("it goes on by itself once the provider answers")
}
