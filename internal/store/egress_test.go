package store_test

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/providers"
)

// What is allowed for the operator's own identity, for instance a metadata
// server, must not be reached by what a tenant writes: with an
// externalTokenEndpoint he would have that identity sent to himself.
func TestWhatIsAllowedIsForStoresOfTheClusterOnly(t *testing.T) {
	strict, allowed := errors.New("strict"), errors.New("allowed")
	dial := func(err error) func(context.Context, string, string) (net.Conn, error) {
		return func(context.Context, string, string) (net.Conn, error) { return nil, err }
	}
	b := newBench()
	var dialled error
	backend := b.shelf.backend()
	b.opener.Registry = providers.Registry{"vault": {Open: func(s providers.Store) (providers.Provider, error) {
		_, dialled = s.Dial(t.Context(), "tcp", "169.254.169.254:80")
		return backend.Open(s)
	}}}
	b.opener.Dial, b.opener.DialAllowed = dial(strict), dial(allowed)
	b.own(func(*v1alpha1.SecretStoreSpec) {})
	b.clusterWide(func(*v1alpha1.SecretStoreSpec) {})
	inGit := b.stores["ClusterSecretStore/c"]
	inGit.Private, inGit.Home = true, "team"
	for name, tt := range map[string]struct {
		ref  string
		want error
	}{"a SecretStore": {"SecretStore/s", strict}, "a ClusterSecretStore": {"ClusterSecretStore/c", allowed}, "one in Git": {"", strict}} {
		s, ok := b.stores[tt.ref]
		if !ok {
			s = inGit
		}
		b.secrets[s.Home+"/vault"] = name // opened anew
		if _, err := b.opener.Open(t.Context(), s); err != nil || !errors.Is(dialled, tt.want) {
			t.Errorf("%s dials with the %v guard, want the %v one: %v", name, dialled, tt.want, err)
		}
	}
}
