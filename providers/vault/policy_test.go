package vault

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/providers"
)

func TestPolicyAllowsWhatTheUsesTakeAndNothingElse(t *testing.T) {
	mount := "secret"
	db := providers.Use{Ref: providers.Ref{Key: "shop/db"}}
	tests := map[string]struct {
		spec v1alpha1.VaultProvider
		uses []providers.Use
		want string
	}{
		"nothing":                  {want: ""},
		"a value, twice":           {v1alpha1.VaultProvider{Path: &mount}, []providers.Use{db, db}, "path \"secret/data/shop/db\" {\n  capabilities = [\"read\"]\n}\n"},
		"of version 1":             {v1alpha1.VaultProvider{Path: &mount, Version: "v1"}, []providers.Use{db}, "path \"secret/shop/db\" {\n  capabilities = [\"read\"]\n}\n"},
		"a key with its mount":     {uses: []providers.Use{db}, want: "path \"shop/data/db\" {\n  capabilities = [\"read\"]\n}\n"},
		"its metadata":             {v1alpha1.VaultProvider{Path: &mount}, []providers.Use{{Ref: providers.Ref{Key: "shop/db", Metadata: true}}}, "path \"secret/metadata/shop/db\" {\n  capabilities = [\"read\"]\n}\n"},
		"a search by name":         {v1alpha1.VaultProvider{Path: &mount}, []providers.Use{{Find: &providers.Query{Path: "shop", Name: "^db"}}}, "path \"secret/data/shop/*\" {\n  capabilities = [\"read\"]\n}\npath \"secret/metadata/shop/\" {\n  capabilities = [\"list\"]\n}\npath \"secret/metadata/shop/*\" {\n  capabilities = [\"list\"]\n}\n"},
		"a search by tag, for all": {v1alpha1.VaultProvider{Path: &mount}, []providers.Use{{Find: &providers.Query{Tags: map[string]string{"a": "b"}}}}, "path \"secret/data/*\" {\n  capabilities = [\"read\"]\n}\npath \"secret/metadata/\" {\n  capabilities = [\"list\"]\n}\npath \"secret/metadata/*\" {\n  capabilities = [\"list\", \"read\"]\n}\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Policy(tt.spec, tt.uses)
			if diff := cmp.Diff(tt.want, string(got)); err != nil || diff != "" {
				t.Errorf("Policy: %v\n%s", err, diff)
			}
		})
	}
}
