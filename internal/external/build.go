package external

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/render"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
)

// builder makes the Secret of one manifest.
type builder struct {
	*Materializer
	manifest *Manifest
	plan     *plan
	scene    *scene
	seed     Seed
	ends     time.Time // of the seed's epoch; zero: never
	epoch    time.Time // ends, once something was derived

	values   map[string]secret.Value // of stores and generators, by key
	resolved int
	problems []error
}

func newBuilder(m *Materializer, manifest *Manifest, p *plan, s *scene) *builder {
	b := &builder{Materializer: m, manifest: manifest, plan: p, scene: s, values: map[string]secret.Value{}}
	b.seed, b.ends = manifest.seed(m.Defaults, m.Now)
	return b
}

// fail records an error at a field. Only errors that are the context's may have
// no class, and those end all.
func (b *builder) fail(field string, err error) {
	if err != nil {
		b.problems = append(b.problems, b.manifest.at(field, err))
	}
}

// build returns the Secret, or nil where there is none to apply.
func (b *builder) build(ctx context.Context) (*render.Object, []error) {
	uses := map[generatorRef]int{}
	for i := range b.manifest.dataFrom {
		s := &b.manifest.dataFrom[i]
		switch {
		case s.extract != nil:
			b.extract(ctx, s)
		case s.find != nil:
			b.find(ctx, s)
		case s.generator != nil:
			b.generate(ctx, s, uses[*s.generator])
			uses[*s.generator]++
		}
	}
	for _, e := range b.manifest.data {
		b.entry(e)
	}
	if len(b.problems) > 0 || b.empty() {
		return nil, b.problems
	}
	if !b.manifest.once() {
		b.resolved = len(b.values)
	}
	o := b.object(ctx)
	if len(b.problems) > 0 || b.manifest.target.creation == createNone {
		return nil, b.problems
	}
	return o, nil
}

// empty decides about a manifest none of whose values are there. What lived of
// them goes, or stays as it is because nothing is applied at all.
func (b *builder) empty() bool {
	if len(b.values) > 0 {
		return false
	}
	switch b.manifest.target.deletion {
	case deleteDelete:
		return true
	case deleteRetain:
		b.problems = append(b.problems, b.manifest.at("spec", failure.Stallf(v1alpha1.ReasonSecretMissing,
			"comes to no values at all").WithHint("correct it, or set deletionPolicy Delete or Merge if that may be")))
		return true
	}
	return false
}

// payload returns what a store answered, or false where it is proven missing.
func (b *builder) payload(field string, at place) (payload, bool) {
	at.manifest = b.manifest
	a := b.plan.answer(at)
	if err := cmp.Or(a.Err, b.manifest.lasting(at.store, a.Kept)); err != nil {
		b.fail(field, err)
		return payload{}, false
	}
	return payload{raw: a.Value, dialect: a.Dialect, metadata: at.ref.Metadata}, !a.Missing
}

// unfit says what is wrong with a value that a store gave, by its names.
func unfit(err error, store v1alpha1.StoreReference, ref providers.Ref, property string) error {
	if errors.Is(err, errNoProperty) {
		return missing(store, ref, property)
	}
	subject := "key %q of %s %q "
	args := []any{shorten(ref.Key), store.Kind, store.Name}
	if property != "" {
		subject, args = "property %q of "+subject, append([]any{shorten(property)}, args...)
	}
	return problemf("correct the value at the provider, or what the ExternalSecret takes it for", subject+"%s", append(args, err)...)
}

func (b *builder) entry(e entry) {
	store := b.Defaults.store(b.manifest.storeOr(e.store))
	p, ok := b.payload(e.path, place{store: store, ref: e.remote.ref})
	if !ok {
		return
	}
	v, err := p.property(e.remote.property)
	if err == nil {
		b.Values.Add(v, secret.String)
		v, err = decoded(v, e.remote.decode, e.remote.failNull)
	}
	if err != nil {
		b.fail(e.path, unfit(err, store, e.remote.ref, e.remote.property))
		return
	}
	b.set(map[string]secret.Value{e.secretKey: v})
}

func (b *builder) set(values map[string]secret.Value) {
	b.known(values)
	maps.Copy(b.values, values)
}

func (b *builder) extract(ctx context.Context, s *source) {
	store := b.Defaults.store(b.manifest.storeOr(s.store))
	p, ok := b.payload(s.path, place{store: store, ref: s.extract.ref})
	if !ok {
		return
	}
	values, err := p.all(s.extract.property)
	if err != nil {
		b.fail(s.path+".extract", unfit(err, store, s.extract.ref, s.extract.property))
		return
	}
	b.finish(ctx, s, values, shape{s.extract.unicode, s.extract.decode, s.extract.failNull})
}

func (b *builder) find(ctx context.Context, s *source) {
	i := slices.IndexFunc(b.plan.finds, func(f find) bool { return f.manifest == b.manifest && f.field == s.path+".find" })
	f := b.plan.finds[i]
	if err := cmp.Or(f.err, b.manifest.lasting(f.request.Store, f.found.Kept)); err != nil {
		b.fail(f.field, err)
		return
	}
	values := make(map[string]secret.Value, len(f.found.Keys))
	for _, key := range f.found.Keys {
		ref := providers.Ref{Key: key}
		p, ok := b.payload(f.field, place{store: f.request.Store, ref: ref, found: true})
		if !ok {
			continue
		}
		v, err := p.whole()
		if err != nil {
			b.fail(f.field, unfit(err, f.request.Store, ref, ""))
			continue
		}
		values[key] = v
	}
	if len(b.problems) == 0 {
		b.finish(ctx, s, values, shape{s.find.unicode, s.find.decode, s.find.failNull})
	}
}

// shape is what becomes of keys and values at the end.
type shape struct {
	unicode  bool
	decode   string
	failNull bool
}

// finish rewrites, or else converts the keys of dataFrom's values, checks them,
// and decodes the values.
func (b *builder) finish(ctx context.Context, s *source, values map[string]secret.Value, end shape) {
	b.known(values)
	values, err := b.rewritten(ctx, s.rewrites, values)
	if err != nil {
		b.problems = append(b.problems, err)
		return
	}
	if len(s.rewrites) == 0 && s.generator == nil {
		if values, err = convertKeys(values, end.unicode); err != nil {
			b.fail(s.path, err)
			return
		}
	}
	if err := checkKeys(values); err != nil {
		b.fail(s.path, err)
		return
	}
	b.known(values)
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if values[key], err = decoded(values[key], end.decode, end.failNull); err != nil {
			b.fail(s.path, problemf("correct the value at the provider, or decodingStrategy", "the value of %q %s", shorten(key), err))
			return
		}
	}
	b.set(values)
}

func (b *builder) generate(ctx context.Context, s *source, use int) {
	id := generatorID{s.generator.kind, b.Defaults.namespace(b.manifest.Namespace), s.generator.name}
	g, ok := b.scene.generators[id]
	if !ok {
		b.fail(s.path+".sourceRef.generatorRef", problemf("add it to the revision, in the ExternalSecret's namespace",
			"there is no %s %q in this revision", id.kind, id.name))
		return
	}
	seed := b.seed
	seed.Use = use
	values, err := b.Deriver.Derive(g, seed)
	if err != nil {
		b.fail(s.path, problemf("correct its spec", "%s: %s %q: %s", g.Origin, g.Kind, g.Name, err))
		return
	}
	b.epoch = b.ends
	b.finish(ctx, s, values, shape{decode: decodeNone})
}
