package main

import (
	"context"
	"fmt"
	"net/http"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/test/rig"
)

// sharedVaultName is the keeper of many Applications that share one
// ClusterSecretStore, and sharedKeys how many keys these read.
const (
	sharedVaultName = "shared-vault"
	sharedKeys      = 50
)

// sharedManifest is an Application's ExternalSecret: its value is due every 10
// to 30 seconds.
func sharedManifest(name string, app int) string {
	return fmt.Sprintf(`apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata:
  name: %s
spec:
  refreshInterval: %ds
  secretStoreRef:
    name: %s
    kind: ClusterSecretStore
  data:
    - secretKey: value
      remoteRef:
        key: %s
        property: %s
`, name, 10+app%21, storeName, keptName(app%sharedKeys), keptProperty(0))
}

// sharedVault is a vaultKeeper that serves all namespaces with one store, and
// can be taken away.
type sharedVault struct {
	*vaultKeeper
	silent *rig.Fault // while whoever asks gets no answer
}

func newSharedVault(ctx context.Context) (keeper, error) {
	k, err := newVaultKeeper(ctx)
	if err != nil {
		return nil, err
	}
	return &sharedVault{vaultKeeper: k}, nil
}

// manifests implements keeper. They are the same for every namespace.
func (k *sharedVault) manifests(string) string {
	return k.store(v1alpha1.OperatorNamespace, fmt.Sprintf("kind: ClusterSecretStore\nmetadata: {name: %s}\nspec:\n  access: [{namespaces: [\"*\"]}]", storeName))
}

// requests counts everything that Vault was asked so far.
func (k *sharedVault) requests() int { return k.vault.Proxy.Count(anything) }

func anything(rig.Asked) bool { return true }

// seal takes Vault away: it says so to whoever asks.
func (k *sharedVault) seal(ctx context.Context) error { return k.vault.Seal(ctx) }

// silence takes Vault away: whoever asks gets no answer.
func (k *sharedVault) silence(context.Context) error {
	k.silent = k.vault.Proxy.Break(anything, rig.Hang)
	return nil
}

// restore brings Vault back, with another value of every key that is in use.
func (k *sharedVault) restore(ctx context.Context, value string) error {
	shut := k.vault.Proxy.Break(anything, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	defer shut.End()
	if err := k.vault.Unseal(ctx); err != nil {
		return err
	}
	for i := range sharedKeys {
		content := map[string]any{keptProperty(0): value}
		if _, err := k.vault.Write(ctx, "secret/data/"+keptName(i), map[string]any{"data": content}); err != nil {
			return err
		}
	}
	if k.silent != nil {
		k.silent.End()
		k.silent = nil
	}
	return nil
}
