package vault_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gitseal/gitseal/providers"
)

// A key may repeat the mount and the data/ of version 2. Folders that are called
// like these are walked all the same, and what is found in them is what is read.
func TestFoldersMayBeCalledAsTheMount(t *testing.T) {
	for mount, version := range map[string]string{"twin": "2", "twin1": "1"} {
		must(t, server.MountKV(t.Context(), mount, version))
		t.Cleanup(func() { must(t, server.Root.Sys().Unmount(mount)) })
	}
	for _, key := range []string{"x", "data/x", "twin/x", "twin/data/x"} {
		write(t, "twin/data/"+key, map[string]any{"data": map[string]any{"at": "twin/" + key}})
		write(t, "twin/metadata/"+key, map[string]any{"custom_metadata": map[string]string{"at": key}})
	}
	for _, key := range []string{"x", "data/x", "twin1/x", "twin1/data/x"} {
		write(t, "twin1/"+key, map[string]any{"at": "twin1/" + key})
	}
	must(t, server.Policy(t.Context(), "twins", `
path "twin/*"  { capabilities = ["read", "list"] }
path "twin1/*" { capabilities = ["read", "list"] }
`))
	tests := map[string]struct {
		mount, version string
		query          providers.Query
		want           map[string]string // where what is read lies, by key
	}{
		"the whole engine": {"twin", "v2", providers.Query{},
			map[string]string{"x": "twin/x", "data/x": "twin/data/x", "/twin/x": "twin/twin/x", "/twin/data/x": "twin/twin/data/x"}},
		"the folder":         {"twin", "v2", providers.Query{Path: "twin"}, map[string]string{"/twin/x": "twin/twin/x", "/twin/data/x": "twin/twin/data/x"}},
		"a folder in it":     {"twin", "v2", providers.Query{Path: "twin/data/"}, map[string]string{"/twin/data/x": "twin/twin/data/x"}},
		"by name":            {"twin", "v2", providers.Query{Name: "^twin/x$"}, map[string]string{"/twin/x": "twin/twin/x"}},
		"by tag":             {"twin", "v2", providers.Query{Tags: map[string]string{"at": "twin/x"}}, map[string]string{"/twin/x": "twin/twin/x"}},
		"a path that has it": {"twin", "v2", providers.Query{Path: "twin/twin"}, map[string]string{}},
		"an engine of version 1": {"twin1", "v1", providers.Query{},
			map[string]string{"x": "twin1/x", "data/x": "twin1/data/x", "/twin1/x": "twin1/twin1/x", "/twin1/data/x": "twin1/twin1/data/x"}},
		"without a mount": {"", "v2", providers.Query{Path: "twin"}, map[string]string{
			"twin/x": "twin/x", "twin/data/data/x": "twin/data/x", "twin/twin/x": "twin/twin/x", "twin/data/twin/data/x": "twin/twin/data/x"}},
		"without a mount, a folder": {"", "v2", providers.Query{Path: "twin/twin"}, map[string]string{"twin/twin/x": "twin/twin/x", "twin/data/twin/data/x": "twin/twin/data/x"}},
		"without a mount, with data": {"", "v2", providers.Query{Path: "twin/data/twin"},
			map[string]string{"twin/data/twin/x": "twin/twin/x", "twin/data/twin/data/x": "twin/twin/data/x"}},
		"without a mount, by tag":     {"", "v2", providers.Query{Path: "twin", Tags: map[string]string{"at": "data/x"}}, map[string]string{"twin/data/data/x": "twin/data/x"}},
		"without a mount, version 1":  {"", "v1", providers.Query{Path: "twin1/twin1"}, map[string]string{"twin1/twin1/x": "twin1/twin1/x", "twin1/twin1/data/x": "twin1/twin1/data/x"}},
		"a folder that is not there":  {"twin", "v2", providers.Query{Path: "never"}, map[string]string{}},
		"a folder that is a secret's": {"twin", "v2", providers.Query{Path: "x"}, map[string]string{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			store, _ := appRole(t, map[string]any{"token_policies": "twins"})
			store.Spec.Vault.Version, store.Spec.Vault.Path = tt.version, nil
			if tt.mount != "" {
				store.Spec.Vault.Path = &tt.mount
			}
			p := opened(t, store)
			keys, err := p.(providers.Finder).Find(t.Context(), tt.query)
			must(t, err)
			got := map[string]string{}
			for _, key := range keys {
				value, _, err := read(t, p, providers.Ref{Key: key})
				if err != nil {
					t.Errorf("Get(%q) of what was found: %v", key, err)
				}
				got[key] = value
			}
			want := map[string]string{}
			for key, at := range tt.want {
				want[key] = `{"at":"` + at + `"}`
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("Find(%+v) (-want +got):\n%s", tt.query, diff)
			}
		})
	}
}
