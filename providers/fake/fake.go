// Package fake serves values that stand in the store itself, in plain text, for
// tests and demonstrations. It must never connect to anything.
package fake

import (
	"context"
	"regexp"
	"slices"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
)

const (
	batch = 100
	// failing is what a validationResult says of a store that is not ready.
	failing = 2
)

// Backend serves what stands in spec.provider.fake.
func Backend() providers.Backend {
	return providers.Backend{Open: open, Dialect: providers.Text, Batch: batch}
}

func open(s providers.Store) (providers.Provider, error) {
	if s.Spec.Fake == nil {
		return nil, providers.Invalidf("the store has no fake settings")
	}
	return store{s.Spec.Fake}, nil
}

type store struct{ spec *v1alpha1.FakeProvider }

// Get implements providers.Provider.
func (s store) Get(ctx context.Context, refs []providers.Ref) ([]providers.Result, error) {
	if err := ended(ctx); err != nil {
		return nil, err
	}
	results := make([]providers.Result, len(refs))
	for i, ref := range refs {
		results[i] = s.read(ref)
	}
	return results, nil
}

func ended(ctx context.Context) error {
	if ctx.Err() != nil {
		return &providers.Error{Kind: providers.ErrUnavailable, Detail: "the call was ended"}
	}
	return nil
}

// read looks for exactly that key and version: one that has a version is not
// what is read where none is asked for.
func (s store) read(ref providers.Ref) providers.Result {
	switch {
	case ref.Key == "":
		return providers.Result{Err: providers.Invalidf("a key is missing")}
	case ref.Metadata:
		return providers.Result{Err: providers.Invalidf("a value of a fake store has no metadata")}
	}
	at := slices.IndexFunc(s.spec.Data, func(d v1alpha1.FakeProviderData) bool { return d.Key == ref.Key && d.Version == ref.Version })
	if at < 0 {
		return providers.Result{Err: &providers.Error{Kind: providers.ErrNotFound, Detail: "the store has no value of that key and version"}}
	}
	return providers.Result{Value: secret.NewValue([]byte(s.spec.Data[at].Value)), Version: ref.Version}
}

// Find implements providers.Finder. A key is read without a version later, so
// that those with versions are refused rather than read as something else.
func (s store) Find(ctx context.Context, q providers.Query) ([]string, error) {
	name, err := regexp.Compile(q.Name)
	switch {
	case err != nil:
		return nil, providers.Invalidf("find.name.regexp is no regular expression (RE2)")
	case len(q.Tags) > 0:
		return nil, providers.Invalidf("values of a fake store have no tags to find them by")
	case q.Path != "":
		return nil, providers.Invalidf("values of a fake store have no path to find them by")
	}
	var keys []string
	for _, d := range s.spec.Data {
		switch {
		case !name.MatchString(d.Key):
		case d.Version != "":
			return nil, providers.Invalidf("a key that find would find has a version: name key and version in data")
		default:
			keys = append(keys, d.Key)
		}
	}
	slices.Sort(keys)
	return keys, ended(ctx)
}

// Check implements providers.Checker: it finds what the store says that it finds.
func (s store) Check(ctx context.Context) (string, error) {
	if v := s.spec.ValidationResult; v != nil && *v >= failing {
		return "", providers.Invalidf("its validationResult says that it is not ready")
	}
	return "nobody", ended(ctx)
}
