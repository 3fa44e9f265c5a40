package external

import (
	"context"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/render"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
)

// maxHits bounds what one find may come to.
const maxHits = 4096

// Materialize resolves what the manifests of a revision ask for and makes their
// Secrets: one Resolve for all that they name, a Find for each search, and one
// Resolve for all that was found. Of what fails it returns a *failure.Error for
// each, joined, without a value; the Secrets are then of no use, the Uses tell
// what was read.
func (m *Materializer) Materialize(ctx context.Context, c Collection) (Result, error) {
	p, problems := m.plan(ctx, c.Manifests)
	if problems = append(m.checkTargets(c), problems...); len(problems) > 0 {
		return Result{}, joined(problems)
	}
	m.resolve(ctx, p)
	if ctx.Err() != nil {
		return Result{}, ctx.Err()
	}
	result := Result{Uses: p.uses(m.Values), Held: p.held(m.Defaults)}
	scene := newScene(c, m.Defaults)
	var secrets []made
	for _, manifest := range c.Manifests {
		if o, there := p.left[manifest]; there {
			secrets = append(secrets, made{manifest, o})
			continue
		}
		b := newBuilder(m, manifest, p, scene)
		object, err := b.build(ctx)
		problems = append(problems, err...)
		if object != nil {
			secrets = append(secrets, made{manifest, *object})
		}
		result.Uses.Resolved += b.resolved
		if !b.epoch.IsZero() {
			result.Uses.Epochs = append(result.Uses.Epochs, b.epoch)
		}
	}
	if ctx.Err() != nil {
		return Result{Uses: result.Uses}, ctx.Err()
	}
	var clashes []error
	result.Secrets, clashes = m.combine(secrets)
	return result, joined(append(problems, clashes...))
}

// resolve fills in the answers of a plan.
func (m *Materializer) resolve(ctx context.Context, p *plan) {
	static := len(p.requests)
	if static > 0 {
		p.answers = m.Resolver.Resolve(ctx, p.asking(0, m.Held, m.Defaults))
	}
	for i := range p.finds {
		f := &p.finds[i]
		f.found, f.err = m.Resolver.Find(ctx, f.searching(m.Held, m.Defaults))
		if f.err == nil && len(f.found.Keys) > maxHits {
			f.err = problemf("narrow path, name.regexp or tags", "finds more than %d keys", maxHits)
		}
		if f.err != nil {
			continue
		}
		for _, key := range f.found.Keys {
			p.askFound(*f, key)
		}
	}
	if len(p.requests) > static {
		p.answers = append(p.answers, m.Resolver.Resolve(ctx, p.asking(static, m.Held, m.Defaults))...)
	}
}

// checkTargets refuses two objects that want to be one Secret, unless one is
// merged into the other.
func (m *Materializer) checkTargets(c Collection) (problems []error) {
	secrets, targets := map[secretID]render.Origin{}, map[secretID]*Manifest{}
	for _, o := range c.Rest {
		if isSecret(o) {
			secrets[secretID{m.Defaults.namespace(o.GetNamespace()), o.GetName()}] = o.Origin
		}
	}
	for _, manifest := range c.Manifests {
		if manifest.target.creation == createNone {
			continue
		}
		n := m.target(manifest)
		if at, ok := secrets[n]; ok {
			problems = append(problems, manifest.at("spec.target.name",
				problemf("rename one of the two", "Secret %q is already in %s", n.name, at)))
		}
		if manifest.merges() {
			continue
		}
		if first, ok := targets[n]; ok {
			problems = append(problems, manifest.at("spec.target.name",
				problemf("rename one of the two, or set creationPolicy Merge for one of them", "Secret %q is already made by ExternalSecret %q in %s", n.name, first.Name, first.Origin)))
		}
		targets[n] = manifest
	}
	return problems
}

func isSecret(o render.Object) bool {
	return o.GetKind() == "Secret" && o.GroupVersionKind().Group == ""
}

// scene is what manifests may refer to in their revision.
type scene struct {
	defaults   Defaults
	generators map[generatorID]Generator
	objects    map[objectID]render.Object
}

type (
	generatorID struct{ kind, namespace, name string }
	objectID    struct{ kind, namespace, name string }
)

func newScene(c Collection, d Defaults) *scene {
	s := &scene{defaults: d, generators: map[generatorID]Generator{}, objects: map[objectID]render.Object{}}
	for _, g := range c.Generators {
		s.generators[generatorID{g.Kind, d.namespace(g.Namespace), g.Name}] = g
	}
	for _, o := range c.Rest {
		if kind := o.GetKind(); o.GroupVersionKind().Group == "" && (kind == "Secret" || kind == "ConfigMap") {
			s.objects[objectID{kind, d.namespace(o.GetNamespace()), o.GetName()}] = o
		}
	}
	return s
}

// missing says that a store knows no such property.
func missing(store v1alpha1.StoreReference, ref providers.Ref, property string) error {
	return failure.Stallf(v1alpha1.ReasonSecretMissing, "key %q of %s %q has no property %q", shorten(ref.Key), store.Kind, store.Name, shorten(property)).
		WithHint("correct the property, or add it at the provider")
}

// known adds values to the set, so that texts can be cleaned of them.
func (m *Materializer) known(values map[string]secret.Value) {
	for _, v := range values {
		m.Values.Add(v, secret.String)
	}
}
