package vault

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/providers"
)

// Policy writes a policy of Vault or OpenBao, as HCL, that lets a token do what
// the uses take and nothing else: to read keys, and to list where keys are
// searched for. What a token may do with itself, Vault's policy default says.
func Policy(spec v1alpha1.VaultProvider, uses []providers.Use) ([]byte, error) {
	e, err := engineOf(&spec)
	if err != nil {
		return nil, err
	}
	g := grants{}
	for _, u := range uses {
		if err := g.add(e, u); err != nil {
			return nil, err
		}
	}
	return []byte(g.String()), nil
}

// grants are capabilities by path.
type grants map[string]map[string]bool

func (g grants) grant(path string, capabilities ...string) {
	if g[path] == nil {
		g[path] = map[string]bool{}
	}
	for _, c := range capabilities {
		g[path][c] = true
	}
}

func (g grants) add(e engine, u providers.Use) error {
	if u.Find != nil {
		return g.search(e, *u.Find)
	}
	place := e.data
	if u.Ref.Metadata {
		place = e.metadata
	}
	at, err := place(u.Ref.Key)
	if err != nil {
		return fmt.Errorf("key %q: %w", u.Ref.Key, err)
	}
	if pattern(at) {
		return fmt.Errorf("key %q: %w", u.Ref.Key, providers.Invalidf("a policy of Vault cannot name this key alone: it has a \"*\" at its end, a segment \"+\", or \"{{\""))
	}
	g.grant(at, "read")
	return nil
}

// pattern reports whether a policy takes a path for more than one:
// https://developer.hashicorp.com/vault/docs/concepts/policies
func pattern(path string) bool {
	return strings.HasSuffix(path, "*") || strings.Contains(path, "{{") || slices.Contains(strings.Split(path, "/"), "+")
}

// search allows to list a folder and all below it, and to read what is found:
// a name is a regular expression, which Vault does not know.
func (g grants) search(e engine, q providers.Query) error {
	mount, folder, err := e.folder(q.Path)
	if err != nil {
		return fmt.Errorf("find.path %q: %w", q.Path, err)
	}
	data, metadata := e.at(mount, ofData, folder), e.at(mount, ofMetadata, folder)
	if pattern(metadata) {
		return fmt.Errorf("find.path %q: %w", q.Path, providers.Invalidf("a policy of Vault cannot name this folder alone"))
	}
	g.grant(metadata, "list")
	g.grant(metadata+"*", "list")
	g.grant(data+"*", "read")
	if len(q.Tags) > 0 {
		g.grant(metadata+"*", "read")
	}
	return nil
}

// String is the policy, in HCL, sorted.
func (g grants) String() string {
	var b strings.Builder
	for _, at := range slices.Sorted(maps.Keys(g)) {
		var capabilities []string
		for _, c := range slices.Sorted(maps.Keys(g[at])) {
			capabilities = append(capabilities, strconv.Quote(c))
		}
		fmt.Fprintf(&b, "path %q {\n  capabilities = [%s]\n}\n", at, strings.Join(capabilities, ", "))
	}
	return b.String()
}
