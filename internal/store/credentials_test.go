package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/store"
	"github.com/gitseal/gitseal/providers"
)

func TestATokenIsForTheAudiencesNeededAndThoseOfTheSpec(t *testing.T) {
	named := v1alpha1.ServiceAccountSelector{Name: "app", Audiences: []string{"besides"}}
	tests := map[string]struct {
		account v1alpha1.ServiceAccountSelector
		needed  []string
		want    []string
	}{
		"both":               {named, []string{"needed"}, []string{"needed", "besides"}},
		"those of the spec":  {named, nil, []string{"besides"}},
		"the ones needed":    {v1alpha1.ServiceAccountSelector{Name: "app"}, []string{"needed"}, []string{"needed"}},
		"the API server's":   {v1alpha1.ServiceAccountSelector{Name: "app"}, nil, nil},
		"nobody else's ever": {v1alpha1.ServiceAccountSelector{Name: "other"}, []string{"needed"}, []string{"refused"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench()
			var opened providers.Store
			b.opener.Registry["vault"] = providers.Backend{Open: func(s providers.Store) (providers.Provider, error) {
				opened = s
				return b.shelf, nil
			}}
			auth := &v1alpha1.VaultAuth{Kubernetes: &v1alpha1.VaultKubernetesAuth{Role: "r", ServiceAccountRef: &named}}
			spec := v1alpha1.SecretStoreSpec{Provider: v1alpha1.StoreProvider{Vault: &v1alpha1.VaultProvider{Server: "https://v", Auth: auth}}}
			s := store.Store{Kind: v1alpha1.KindSecretStore, Name: "s", Namespace: "team", Home: "team", Spec: spec}
			if _, err := b.opener.Open(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			_, err := opened.Credentials.Token(t.Context(), tt.account, tt.needed, time.Hour)
			if errors.Is(err, providers.ErrInvalid) {
				b.asked = []string{"refused"}
			} else if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, b.asked); diff != "" {
				t.Errorf("audiences (-want +got):\n%s", diff)
			}
		})
	}
}
