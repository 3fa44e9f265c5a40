package vault_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/providers"
	"github.com/gitseal/gitseal/providers/vault"
)

// A policy is right if Vault lets its holder do what was asked for, and no more.
func TestThePolicyIsEnoughAndNoMore(t *testing.T) {
	for _, key := range []string{"shop/db", "shop/api", "teams/a/one", "teams/a/deep/two", "teams/b/one"} {
		put(t, key, map[string]any{"a": key})
	}
	write(t, "secret/metadata/teams/a/one", map[string]any{"custom_metadata": map[string]string{"stage": "prod"}})
	find := providers.Query{Path: "teams/a", Name: "one", Tags: map[string]string{"stage": "prod"}}
	mount := "secret"
	policy, err := vault.Policy(v1alpha1.VaultProvider{Path: &mount}, []providers.Use{
		{Ref: providers.Ref{Key: "shop/db"}}, {Ref: providers.Ref{Key: "shop/db", Version: "1"}},
		{Ref: providers.Ref{Key: "shop/api", Metadata: true}}, {Find: &find},
	})
	must(t, err)
	want := `path "secret/data/shop/db" {
  capabilities = ["read"]
}
path "secret/data/teams/a/*" {
  capabilities = ["read"]
}
path "secret/metadata/shop/api" {
  capabilities = ["read"]
}
path "secret/metadata/teams/a/" {
  capabilities = ["list"]
}
path "secret/metadata/teams/a/*" {
  capabilities = ["list", "read"]
}
`
	if diff := cmp.Diff(want, string(policy)); diff != "" {
		t.Errorf("Policy (-want +got):\n%s", diff)
	}
	must(t, server.Policy(t.Context(), "least", string(policy)))
	store, _ := appRole(t, map[string]any{"token_policies": "least"})
	p := opened(t, store)
	for _, ref := range []providers.Ref{{Key: "shop/db"}, {Key: "shop/api", Metadata: true}, {Key: "teams/a/deep/two"}} {
		if _, _, err := read(t, p, ref); err != nil {
			t.Errorf("Get(%+v) = %v, want a value", ref, err)
		}
	}
	for _, ref := range []providers.Ref{{Key: "shop/api"}, {Key: "shop/db", Metadata: true}, {Key: "teams/b/one"}} {
		if _, _, err := read(t, p, ref); !errors.Is(err, providers.ErrDenied) {
			t.Errorf("Get(%+v) = %v, want ErrDenied", ref, err)
		}
	}
	keys, err := p.(providers.Finder).Find(t.Context(), find)
	if diff := cmp.Diff([]string{"teams/a/one"}, keys); diff != "" || err != nil {
		t.Errorf("Find: %v (-want +got):\n%s", err, diff)
	}
	if _, err := p.(providers.Finder).Find(t.Context(), providers.Query{Path: "teams"}); !errors.Is(err, providers.ErrDenied) {
		t.Errorf("Find in another folder = %v, want ErrDenied", err)
	}
}

func TestThePolicyOfOtherEngines(t *testing.T) {
	mount := "kv"
	tests := map[string]struct {
		spec v1alpha1.VaultProvider
		use  providers.Use
		want string
		kind error
	}{
		"version 1": {v1alpha1.VaultProvider{Path: &mount, Version: "v1"}, providers.Use{Ref: providers.Ref{Key: "a/b"}},
			"path \"kv/a/b\" {\n  capabilities = [\"read\"]\n}\n", nil},
		"version 1, all of it": {v1alpha1.VaultProvider{Path: &mount, Version: "v1"}, providers.Use{Find: &providers.Query{}},
			"path \"kv/\" {\n  capabilities = [\"list\"]\n}\npath \"kv/*\" {\n  capabilities = [\"list\", \"read\"]\n}\n", nil},
		"version 2, all of it": {v1alpha1.VaultProvider{Path: &mount}, providers.Use{Find: &providers.Query{}},
			"path \"kv/data/*\" {\n  capabilities = [\"read\"]\n}\npath \"kv/metadata/\" {\n  capabilities = [\"list\"]\n}\npath \"kv/metadata/*\" {\n  capabilities = [\"list\"]\n}\n", nil},
		"the mount in the key":          {v1alpha1.VaultProvider{}, providers.Use{Ref: providers.Ref{Key: "kv/a"}}, "path \"kv/data/a\" {\n  capabilities = [\"read\"]\n}\n", nil},
		"nowhere to find":               {v1alpha1.VaultProvider{}, providers.Use{Find: &providers.Query{}}, "", providers.ErrInvalid},
		"a key that would be a pattern": {v1alpha1.VaultProvider{Path: &mount}, providers.Use{Ref: providers.Ref{Key: "a*"}}, "", providers.ErrInvalid},
		"a segment that would be one":   {v1alpha1.VaultProvider{Path: &mount}, providers.Use{Ref: providers.Ref{Key: "a/+/b"}}, "", providers.ErrInvalid},
		"a key that is none":            {v1alpha1.VaultProvider{Path: &mount}, providers.Use{Ref: providers.Ref{Key: "../x"}}, "", providers.ErrInvalid},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := vault.Policy(tt.spec, []providers.Use{tt.use})
			if string(got) != tt.want || !errors.Is(err, tt.kind) {
				t.Errorf("Policy = %s, %v, want %s, %v", got, err, tt.want, tt.kind)
			}
		})
	}
}
