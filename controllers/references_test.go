package controllers

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/external"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
)

// A value and what describes it have one key and, at some providers, one version.
func TestAPlaceWithSeveralValuesChangesWithEachOfThem(t *testing.T) {
	d, _, _ := externalDesk(t)
	vault := v1alpha1.StoreReference{Kind: v1alpha1.KindSecretStore, Name: "vault"}
	uses := func(value, metadata string) external.Uses {
		return external.Uses{Values: []external.Use{
			{Store: vault, Ref: providers.Ref{Key: "a"}, Token: secret.Token(value)},
			{Store: vault, Ref: providers.Ref{Key: "a", Metadata: true}, Token: secret.Token(metadata)},
		}}
	}
	at := func(c changes) time.Time { return c.at[place{vault, "a", ""}] }
	last, in := d.run(t).changesTo(uses("v", "m")), uses("v", "m")
	for _, tt := range []struct {
		what    string
		now     external.Uses
		changed bool
	}{
		{"nothing", uses("v", "m"), false},
		{"the metadata", uses("v", "other"), true},
		{"nothing since", uses("v", "other"), false},
		{"the value", uses("another", "other"), true},
	} {
		d.clock.Step(time.Hour)
		run := d.run(t)
		run.memory.wanted = &wanted{material: &material{changes: last, uses: in}}
		c := run.changesTo(tt.now)
		if got := at(c) != at(last); got != tt.changed || (c.news[vault] == 1) != tt.changed || len(c.at) != 1 {
			t.Errorf("where %s changed: changed %t, %d news at %d places, want %t", tt.what, got, c.news[vault], len(c.at), tt.changed)
		}
		last, in = c, tt.now
	}
}

func TestReferencesSayWhatIsTakenOfAValue(t *testing.T) {
	d, _, _ := externalDesk(t)
	tests := map[string]struct {
		uses []external.Use
		want []string
	}{
		"all of it":                    {[]external.Use{{}}, nil},
		"some of it":                   {[]external.Use{{Properties: []string{"a", "b"}}}, []string{"a", "b"}},
		"by several":                   {[]external.Use{{Properties: []string{"b"}}, {Properties: []string{"a", "b"}}}, []string{"a", "b"}},
		"by several, and by one all":   {[]external.Use{{Properties: []string{"b"}}, {}}, nil},
		"what describes it":            {[]external.Use{{Ref: providers.Ref{Metadata: true}}}, []string{"metadata"}},
		"a label besides what it says": {[]external.Use{{Ref: providers.Ref{Metadata: true}, Properties: []string{"labels.x"}}, {Properties: []string{"a"}}}, []string{"a", "metadata labels.x"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for i := range tt.uses {
				tt.uses[i].Ref.Key, tt.uses[i].Token = "k", "t"
			}
			refs, _ := d.run(t).changesTo(external.Uses{Values: tt.uses}).references()
			if len(refs) != 1 {
				t.Fatalf("references() = %+v, want one", refs)
			}
			if diff := cmp.Diff(tt.want, refs[0].Properties); diff != "" {
				t.Errorf("properties (-want +got):\n%s", diff)
			}
		})
	}
}
