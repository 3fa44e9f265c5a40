package fake_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/providers"
	"github.com/gitseal/gitseal/providers/fake"
	"github.com/gitseal/gitseal/providers/providertest"
)

func TestConformance(t *testing.T) {
	const local = "the values stand in the store itself"
	providertest.Run(t, providertest.Subject{
		Backend: fake.Backend(),
		New:     newServer,
		Without: map[providertest.Feature]string{
			providertest.Versions:    "what is read where no version is asked for has none",
			providertest.Metadata:    "nothing is kept beside the value",
			providertest.Binary:      "an object of Kubernetes holds text",
			providertest.Denial:      local,
			providertest.Credentials: local,
			providertest.Sessions:    local,
			providertest.Throttling:  local,
			providertest.RetryAfter:  local,
			providertest.Outages:     local,
			providertest.Network:     local,
			providertest.FindByPath:  "external-secrets.io has no path for it either",
			providertest.FindByTags:  "there are no tags",
		},
		OddKeys: []string{"a b", "/a/../b", "Käse", "%2e%2e", "quote'\"", "a:b@c#d?e&f=g", "-x", "new\nline"},
	})
}

// newServer edits the store in place, as nothing but a test does.
func newServer(*testing.T) *providertest.Server {
	spec := &v1alpha1.FakeProvider{}
	put := func(key, version string, content []byte) {
		spec.Data = slices.DeleteFunc(spec.Data, func(d v1alpha1.FakeProviderData) bool { return d.Key == key && d.Version == version })
		spec.Data = append(spec.Data, v1alpha1.FakeProviderData{Key: key, Version: version, Value: string(content)})
	}
	return &providertest.Server{
		Store: storeOf(spec),
		Put: func(key string, content []byte) string {
			put(key, "", content)
			return ""
		},
		Keep: func(key string, content []byte) string {
			put(key, "v1", content)
			return "v1"
		},
	}
}

func storeOf(spec *v1alpha1.FakeProvider) providers.Store {
	return providers.Store{Spec: v1alpha1.StoreProvider{Fake: spec}}
}

func open(t *testing.T, spec *v1alpha1.FakeProvider) providers.Provider {
	t.Helper()
	p, err := fake.Backend().Open(storeOf(spec))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAStoreOfAnotherProviderIsRefused(t *testing.T) {
	if _, err := fake.Backend().Open(providers.Store{}); !errors.Is(err, providers.ErrInvalid) {
		t.Errorf("Open = %v, want %v", err, providers.ErrInvalid)
	}
}

// A key and a version together name a value; no part of one is taken for a part
// of the other.
func TestKeyAndVersionAreExact(t *testing.T) {
	p := open(t, &v1alpha1.FakeProvider{Data: []v1alpha1.FakeProviderData{
		{Key: "a", Value: "newest"}, {Key: "a", Version: "v1", Value: "first"}, {Key: "b", Version: "v1", Value: "only"},
	}})
	tests := map[string]struct {
		ref  providers.Ref
		want string
		err  error
	}{
		"no version":                        {ref: providers.Ref{Key: "a"}, want: "newest"},
		"a version":                         {ref: providers.Ref{Key: "a", Version: "v1"}, want: "first"},
		"a version that is not there":       {ref: providers.Ref{Key: "a", Version: "v2"}, err: providers.ErrNotFound},
		"no version, where all have one":    {ref: providers.Ref{Key: "b"}, err: providers.ErrNotFound},
		"a version as the end of a key":     {ref: providers.Ref{Key: "av1"}, err: providers.ErrNotFound},
		"the end of a key as the version":   {ref: providers.Ref{Version: "b"}, err: providers.ErrInvalid},
		"a key in other letters":            {ref: providers.Ref{Key: "A"}, err: providers.ErrNotFound},
		"metadata of what is there":         {ref: providers.Ref{Key: "a", Metadata: true}, err: providers.ErrInvalid},
		"a key that is part of another one": {ref: providers.Ref{Key: strings.Repeat("a", 2)}, err: providers.ErrNotFound},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			results, err := p.Get(t.Context(), []providers.Ref{tt.ref})
			if err != nil {
				t.Fatal(err)
			}
			got := results[0]
			if !errors.Is(got.Err, tt.err) || string(got.Value.Reveal()) != tt.want || tt.err == nil && got.Version != tt.ref.Version {
				t.Errorf("Get(%+v) = version %q, %v; want %q, %v", tt.ref, got.Version, got.Err, tt.want, tt.err)
			}
		})
	}
}

// What find finds is read without a version, so that a key with one is not
// passed over in silence.
func TestAKeyWithAVersionIsNotFoundByName(t *testing.T) {
	f := open(t, &v1alpha1.FakeProvider{Data: []v1alpha1.FakeProviderData{
		{Key: "app-b", Value: "x"}, {Key: "app-a", Value: "x"}, {Key: "db", Version: "v1", Value: "x"},
	}}).(providers.Finder)
	keys, err := f.Find(t.Context(), providers.Query{Name: "^app-"})
	if diff := cmp.Diff([]string{"app-a", "app-b"}, keys); err != nil || diff != "" {
		t.Errorf("Find: %v, (-want +got):\n%s", err, diff)
	}
	if _, err := f.Find(t.Context(), providers.Query{}); !errors.Is(err, providers.ErrInvalid) {
		t.Errorf("Find = %v, want %v", err, providers.ErrInvalid)
	}
}

func TestTheValidationResultIsWhatACheckFinds(t *testing.T) {
	for name, tt := range map[string]struct {
		result *int32
		want   error
	}{
		"nothing said": {},
		"ready":        {result: new(int32(0))},
		"unknown":      {result: new(int32(1))},
		"error":        {result: new(int32(2)), want: providers.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := open(t, &v1alpha1.FakeProvider{ValidationResult: tt.result}).(providers.Checker).Check(t.Context())
			if !errors.Is(err, tt.want) {
				t.Errorf("Check = %v, want %v", err, tt.want)
			}
		})
	}
}
