package external

import (
	"errors"

	"github.com/gitseal/gitseal/internal/render"
)

// Collection is what the objects of a revision are to policy External.
type Collection struct {
	Manifests  []*Manifest
	Generators []Generator
	// Stores of group external-secrets.io; they are understood, never applied.
	Stores []render.Object
	// Rest is applied as it is.
	Rest []render.Object
}

// Collect sorts rendered objects. What it refuses is a *failure.Error for each
// problem, joined, of reason SecretInvalid.
func Collect(objects []render.Object) (Collection, error) {
	var c Collection
	var problems []error
	for _, o := range objects {
		gvk := o.GroupVersionKind()
		switch {
		case gvk.Group == GeneratorsGroup:
			g, err := parseGenerator(o)
			problems = append(problems, err)
			c.Generators = append(c.Generators, g)
		case gvk.Group != Group:
			c.Rest = append(c.Rest, o)
		case gvk.Kind == "ExternalSecret":
			m, err := Parse(o)
			problems = append(problems, err)
			c.Manifests = append(c.Manifests, m)
		case gvk.Kind == "SecretStore" || gvk.Kind == "ClusterSecretStore":
			c.Stores = append(c.Stores, o)
		default:
			problems = append(problems, unsupportedKind(o))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return Collection{}, err
	}
	return c, nil
}

func unsupportedKind(o render.Object) error {
	d := newDecoding(o)
	hint := "remove it from this Application"
	switch d.kind {
	case "ClusterExternalSecret":
		hint = "commit an ExternalSecret for each namespace, for instance with Kustomize"
	case "PushSecret", "ClusterPushSecret":
		hint = "remove it: with policy External the provider owns the values, and nothing is written to it"
	}
	d.problem("kind", hint, "is not supported")
	return d.err()
}

func parseGenerator(o render.Object) (Generator, error) {
	d := newDecoding(o)
	g := Generator{Kind: d.kind, Namespace: o.GetNamespace(), Name: d.name, Origin: o.Origin}
	switch {
	case !supportedGenerator(d.kind):
		d.problem("kind", generatorHint, "is not supported")
		return g, d.err()
	case o.GroupVersionKind().Version != "v1alpha1":
		d.problem("apiVersion", "use "+GeneratorsGroup+"/v1alpha1", "is %q, which is not supported", shorten(o.GetAPIVersion()))
		return g, d.err()
	}
	root := d.node("", o.Object)
	for _, field := range []string{"apiVersion", "kind", "metadata", "status"} {
		root.take(field)
	}
	spec := root.child("spec")
	root.done()
	switch d.kind {
	case "Password":
		g.Password = readPassword(spec)
	case "Fake":
		g.Fake = spec.dict("data")
		if controller := spec.text("controller"); controller != "" && controller != "gitseal" {
			d.problem("spec.controller", `remove it, or set it to "gitseal"`, "leaves the generator to another operator")
		}
		if len(g.Fake) == 0 {
			d.problem("spec.data", "give it keys and values", "is empty")
		}
	}
	spec.done()
	return g, d.err()
}

const (
	defaultPasswordLength = 24
	maxPasswordLength     = 4096
)

func readPassword(spec *node) *Password {
	p := &Password{Length: defaultPasswordLength}
	if length := spec.number("length", maxPasswordLength); length != nil && *length > 0 {
		p.Length = *length
	}
	p.Digits, p.Symbols = spec.number("digits", maxPasswordLength), spec.number("symbols", maxPasswordLength)
	p.SymbolCharacters = spec.template("symbolCharacters")
	p.NoUpper, p.AllowRepeat = spec.boolean("noUpper"), spec.boolean("allowRepeat")
	p.SecretKeys = spec.texts("secretKeys")
	for _, key := range p.SecretKeys {
		if problem := invalidKey(key); problem != "" {
			spec.problem("spec.secretKeys", "use letters, digits, '-', '_' and '.' only", "has a key that %s", problem)
		}
	}
	if len(p.SecretKeys) == 0 {
		p.SecretKeys = []string{"password"}
	}
	p.Encoding = spec.enum("encoding", "raw", "base64", "base64url", "base32", "hex")
	return p
}
