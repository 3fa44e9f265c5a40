package providertest

import (
	"context"
	"slices"
	"testing"

	"github.com/gitseal/gitseal/providers"
)

// finder is the provider, or nil where nothing can be found.
func (tr *trial) finder() providers.Finder {
	tr.t.Helper()
	some := tr.subject.has(FindByName) || tr.subject.has(FindByPath) || tr.subject.has(FindByTags)
	f, ok := tr.open().(providers.Finder)
	if ok != some {
		tr.t.Fatalf("the provider is a Finder: %v, want %v", ok, some)
	}
	return f
}

func (tr *trial) find(f providers.Finder, q providers.Query) ([]string, error) {
	ctx, cancel := context.WithTimeout(tr.t.Context(), patience)
	defer cancel()
	keys, err := f.Find(ctx, q)
	if err != nil {
		tr.inspect(err)
	}
	return keys, err
}

// wantKeys demands what a query finds, and that it can be read.
func (tr *trial) wantKeys(f providers.Finder, q providers.Query, want map[string][]byte) {
	tr.t.Helper()
	keys, err := tr.find(f, q)
	if err != nil {
		tr.t.Errorf("Find(%+v): %v", q, err)
		return
	}
	if !slices.IsSorted(keys) || len(keys) != len(want) {
		tr.t.Errorf("Find(%+v) = %q, want %d keys, sorted", q, keys, len(want))
	}
	for _, key := range keys {
		content, ok := want[key]
		if !ok {
			tr.t.Errorf("Find(%+v) gave the key %q, which does not match", q, key)
			continue
		}
		r, _ := tr.get(f.(providers.Provider), providers.Ref{Key: key})
		tr.want(r, content)
	}
}

// putAll stores contents under keys.
func (tr *trial) putAll(keys ...string) map[string][]byte {
	stored := map[string][]byte{}
	for _, key := range keys {
		stored[key], _ = tr.put(key)
	}
	return stored
}

func findByName(_ *testing.T, tr *trial) {
	f := tr.finder()
	if !tr.subject.has(FindByName) {
		return
	}
	two := tr.putAll(tr.key("db-one"), tr.key("db-two"))
	all := tr.putAll(tr.key("cache"))
	for key, content := range two {
		all[key] = content
	}
	tr.wantKeys(f, providers.Query{Name: "^db-(one|two)-" + tr.name + "$"}, two)
	tr.wantKeys(f, providers.Query{Name: tr.name}, all) // not anchored
	tr.wantKeys(f, providers.Query{Name: "nothing-" + tr.name}, nil)
	everything, err := tr.find(f, providers.Query{})
	for key := range all {
		if err != nil || !slices.Contains(everything, key) {
			tr.t.Errorf("Find of everything lacks %q: %v", key, err)
		}
	}
	_, err = tr.find(f, providers.Query{Name: "a(b"})
	tr.wantKind(err, providers.ErrInvalid)
}

func findByPath(_ *testing.T, tr *trial) {
	f := tr.finder()
	if !tr.subject.has(FindByPath) {
		return
	}
	in, out := tr.key("team"), tr.key("other")
	inside := tr.putAll(tr.subject.Nest(in, "one"), tr.subject.Nest(in, "two"))
	tr.putAll(tr.subject.Nest(out, "one"))
	tr.wantKeys(f, providers.Query{Path: in}, inside)
	tr.wantKeys(f, providers.Query{Path: tr.key("nowhere")}, nil)
	if tr.subject.has(FindByName) {
		one := tr.subject.Nest(in, "one")
		tr.wantKeys(f, providers.Query{Path: in, Name: "one$"}, map[string][]byte{one: inside[one]})
	}
}

func findByTags(_ *testing.T, tr *trial) {
	f := tr.finder()
	if !tr.subject.has(FindByTags) {
		return
	}
	both, one, none := tr.key("both"), tr.key("one"), tr.key("none")
	stored := tr.putAll(both, one, none)
	tr.server.Tag(both, map[string]string{"team": tr.name, "stage": "prod"})
	tr.server.Tag(one, map[string]string{"team": tr.name})
	tr.wantKeys(f, providers.Query{Tags: map[string]string{"team": tr.name}}, map[string][]byte{both: stored[both], one: stored[one]})
	tr.wantKeys(f, providers.Query{Tags: map[string]string{"team": tr.name, "stage": "prod"}}, map[string][]byte{both: stored[both]})
	tr.wantKeys(f, providers.Query{Tags: map[string]string{"team": "nobody-" + tr.name}}, nil)
}

func findInvalid(_ *testing.T, tr *trial) {
	f := tr.finder()
	if f == nil {
		return
	}
	for feature, q := range map[Feature]providers.Query{
		FindByName: {Name: "a"},
		FindByPath: {Path: "a"},
		FindByTags: {Tags: map[string]string{"a": "b"}},
	} {
		if !tr.subject.has(feature) {
			_, err := tr.find(f, q)
			tr.wantKind(err, providers.ErrInvalid)
		}
	}
}

func (tr *trial) check(c providers.Checker) (string, error) {
	ctx, cancel := context.WithTimeout(tr.t.Context(), patience)
	defer cancel()
	identity, err := c.Check(ctx)
	if err != nil {
		tr.inspect(err)
	}
	return identity, err
}

func check(t *testing.T, tr *trial) {
	c, ok := tr.open().(providers.Checker)
	if ok != tr.subject.has(Check) {
		t.Fatalf("the provider is a Checker: %v, want %v", ok, !ok)
	}
	if !ok {
		return
	}
	identity, err := tr.check(c)
	if err != nil || identity == "" {
		t.Errorf("Check = %q, %v, want an identity", identity, err)
	}
	if what := tr.canary.in(identity); what != "" {
		t.Errorf("the identity holds %s", what)
	}
	if tr.subject.has(Outages) {
		tr.server.Outage()
		_, err := tr.check(c)
		tr.wantKind(err, providers.ErrUnavailable)
		tr.server.Recover()
		if _, err := tr.check(c); err != nil {
			t.Errorf("Check after an outage: %v", err)
		}
	}
}
