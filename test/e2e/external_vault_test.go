package e2e

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/test/rig"
)

// vaultStory is a story whose values stand in a real Vault.
type vaultStory struct {
	*story
	vault *rig.Vault
}

// onVault gives a story a Vault of its own, and a role there that may read
// what is below shop/.
func (s *story) onVault() *vaultStory {
	s.t.Helper()
	ctx := s.t.Context()
	vault, err := rig.StartVault(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = vault.Close() })
	v := &vaultStory{story: s, vault: vault}
	must := func(err error) {
		s.t.Helper()
		if err != nil {
			s.t.Fatal(err)
		}
	}
	must(vault.MountKV(ctx, "kv", "2"))
	must(vault.EnableAuth(ctx, "approle", "approle"))
	must(vault.Policy(ctx, "shop", `path "kv/data/shop/*" { capabilities = ["read"] }`))
	_, err = vault.Write(ctx, "auth/approle/role/shop", map[string]any{"token_policies": "shop"})
	must(err)
	role, err := vault.Root.Logical().ReadWithContext(ctx, "auth/approle/role/shop/role-id")
	must(err)
	id, err := vault.Write(ctx, "auth/approle/role/shop/secret-id", nil)
	must(err)
	s.letRead("approle")
	s.kubectl("", "-n", s.ns, "create", "secret", "generic", "approle", "--from-literal=secret-id="+id.Data["secret_id"].(string))
	s.app.Spec.Secrets.Policy = v1alpha1.PolicyExternal
	s.write(map[string]string{"store.yaml": fmt.Sprintf(`apiVersion: external-secrets.io/v1beta1
kind: SecretStore
metadata: {name: vault}
spec:
  provider:
    vault:
      server: %s
      path: kv
      version: v2
      caBundle: %s
      auth:
        appRole:
          path: approle
          roleId: %s
          secretRef: {name: approle, key: secret-id}
  retrySettings: {maxRetries: 1, retryInterval: 10ms}
`, vault.Proxy.URL(), base64.StdEncoding.EncodeToString(vault.Proxy.CA()), role.Data["role_id"])})
	return v
}

func (v *vaultStory) put(key string, data map[string]any) {
	v.t.Helper()
	if _, err := v.vault.Write(v.t.Context(), "kv/data/"+key, map[string]any{"data": data}); err != nil {
		v.t.Fatal(err)
	}
}

// asked checks how often Vault was asked in all.
func (v *vaultStory) asked(when string, logins, reads int) {
	v.t.Helper()
	if l, r := v.vault.Proxy.Count(rig.VaultLogins), v.vault.Proxy.Count(rig.VaultReads); l != logins || r != reads {
		v.t.Errorf("%s: %d logins and %d reads, want %d and %d", when, l, r, logins, reads)
	}
}

const shopSecrets = `apiVersion: external-secrets.io/v1beta1
kind: ExternalSecret
metadata: {name: db}
spec:
  refreshInterval: 1h
  secretStoreRef: {name: vault, kind: SecretStore}
  target:
    name: db-credentials
    template:
      engineVersion: v2
      data:
        url: "postgres://{{ .user }}:{{ .password }}@db"
  data:
    - {secretKey: user, remoteRef: {key: shop/db, property: user}}
    - {secretKey: password, remoteRef: {key: shop/db, property: password}}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: all}
spec:
  secretStoreRef: {name: vault}
  dataFrom: [{extract: {key: shop/db}}]
`

// What a user of external-secrets.io has in Git is synced from a real Vault,
// with one login, and as many reads as there are secrets.
func TestATreeOfExternalSecretsIsSyncedFromVault(t *testing.T) {
	t.Parallel()
	s := newStory(t, "external-vault")
	v := s.onVault()
	v.put("shop/db", map[string]any{"user": "app", "password": "first"})
	s.write(map[string]string{"es.yaml": shopSecrets, "web.yaml": fmt.Sprintf(plainWeb, "1")})
	s.create()
	app := s.waitReady(s.push("first"))
	s.wantData("db-credentials", map[string]string{"url": "postgres://app:first@db"})
	s.wantData("all", map[string]string{"user": "app", "password": "first"})
	v.asked("after the first sync", 1, 1)
	if refs := app.Status.Secrets.References; len(refs) != 1 || refs[0].Version != "1" || refs[0].Key != "shop/db" || refs[0].Properties != nil || app.Status.Secrets.Resolved != 4 {
		t.Errorf("status.secrets %+v, want one value in version 1", app.Status.Secrets)
	}

	s.write(map[string]string{"web.yaml": fmt.Sprintf(plainWeb, "2")})
	s.waitReady(s.push("another image"))
	v.asked("after a revision without new values", 1, 1)

	v.put("shop/db", map[string]any{"user": "app", "password": "second"})
	s.refreshed()
	s.wantData("db-credentials", map[string]string{"url": "postgres://app:second@db"})
	v.asked("after a value has changed", 1, 2)

	// A sealed Vault is an outage: what runs keeps running, and is put back.
	if err := v.vault.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.kubectl("", "-n", s.ns, "annotate", "--overwrite", "application", "app", v1alpha1.AnnotationRefreshRequestedAt+"=sealed")
	s.secretsReady(metav1.ConditionTrue, v1alpha1.ReasonSucceeded, `the values read last are kept: SecretStore "vault": Vault is sealed`)
	s.by("other", "secret", "all", `{"stringData":{"password":"drifted"}}`)
	s.wantData("all", map[string]string{"user": "app", "password": "second"})
	if err := v.vault.Unseal(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the values read once Vault is unsealed", func(ctx context.Context) error {
		app, err := s.read(ctx)
		if err != nil || app.Status.LastHandledRefreshAt != "sealed" {
			return fmt.Errorf("lastHandledRefreshAt %q, %w", app.Status.LastHandledRefreshAt, err)
		}
		return nil
	})
}

// A key that the role may not read is refused in so many words, and stops the
// revision, not what runs.
func TestAKeyThatVaultDoesNotLetUsRead(t *testing.T) {
	t.Parallel()
	s := newStory(t, "external-vault-denied")
	v := s.onVault()
	v.put("shop/db", map[string]any{"user": "app", "password": "first"})
	v.put("other/db", map[string]any{"password": "not ours"})
	s.write(map[string]string{"es.yaml": shopSecrets})
	s.create()
	s.waitReady(s.push("first"))
	s.write(map[string]string{"more.yaml": strings.NewReplacer("name: db", "name: more", "db-credentials", "more", "shop/db", "other/db").Replace(strings.Split(shopSecrets, "---\n")[0])})
	s.push("second")
	if m := s.waitRefused(v1alpha1.ReasonStoreDenied); !strings.Contains(m, `key "other/db"`) || !strings.Contains(m, `SecretStore "vault"`) {
		t.Errorf("message %q does not name store and key", m)
	}
	s.wantData("db-credentials", map[string]string{"url": "postgres://app:first@db"})
}
