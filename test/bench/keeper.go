package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/hashicorp/vault/api"
	"golang.org/x/sync/errgroup"

	fakeaws "github.com/gitseal/gitseal/test/fakecloud/aws"
	"github.com/gitseal/gitseal/test/rig"
)

// keeper owns values: a provider with the workload's keys in it.
type keeper interface {
	// manifests are a SecretStore and its credentials, for a namespace.
	manifests(namespace string) string
	// bare reads every key once, as a program would that does nothing else.
	bare(ctx context.Context) (time.Duration, error)
	// calls are those made since it was told to forget.
	calls() keeperCalls
	forget()
	close() error
}

type keeperCalls struct{ logins, reads int }

// bareParallel is how many reads are under way at once: the operator's default
// for a store.
const bareParallel = 8

func newKeeper(ctx context.Context, name string) (keeper, error) {
	switch name {
	case "vault":
		return newVaultKeeper(ctx)
	case sharedVaultName:
		return newSharedVault(ctx)
	case "aws":
		return newAWSKeeper()
	}
	return nil, nil
}

// vaultKeeper is a real Vault, seen through a proxy that counts.
type vaultKeeper struct {
	vault  *rig.Vault
	role   string
	secret string
	seen   keeperCalls
}

func newVaultKeeper(ctx context.Context) (*vaultKeeper, error) {
	v, err := rig.StartVault(ctx)
	if err != nil {
		return nil, err
	}
	k := &vaultKeeper{vault: v}
	if err := k.fill(ctx); err != nil {
		_ = v.Close() // the other error says more
		return nil, err
	}
	return k, nil
}

func (k *vaultKeeper) fill(ctx context.Context) error {
	v := k.vault
	if err := v.MountKV(ctx, "secret", "2"); err != nil {
		return err
	}
	for i := range keptKeys {
		if _, err := v.Write(ctx, "secret/data/"+keptName(i), map[string]any{"data": keptContent(i)}); err != nil {
			return err
		}
	}
	if err := v.EnableAuth(ctx, "approle", "approle"); err != nil {
		return err
	}
	if err := v.Policy(ctx, "bench", `path "secret/data/bench/*" { capabilities = ["read"] }`); err != nil {
		return err
	}
	if _, err := v.Write(ctx, "auth/approle/role/bench", map[string]any{"token_policies": "bench"}); err != nil {
		return err
	}
	role, err := v.Root.Logical().ReadWithContext(ctx, "auth/approle/role/bench/role-id")
	if err != nil {
		return err
	}
	secret, err := v.Write(ctx, "auth/approle/role/bench/secret-id", map[string]any{})
	if err != nil {
		return err
	}
	k.role, k.secret = fmt.Sprint(role.Data["role_id"]), fmt.Sprint(secret.Data["secret_id"])
	return nil
}

func (k *vaultKeeper) manifests(namespace string) string {
	return k.store(namespace, fmt.Sprintf("kind: SecretStore\nmetadata: {name: %s, namespace: %s}\nspec:", storeName, namespace))
}

// store is a store of the Vault that begins with head, and its credentials in a
// namespace.
func (k *vaultKeeper) store(namespace, head string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Secret
metadata: {name: %[2]s, namespace: %[1]s}
stringData: {secretId: %[3]s}
---
apiVersion: gitseal.dev/v1alpha1
%[4]s
  provider:
    vault:
      server: %[5]s
      path: secret
      caBundle: %[6]s
      auth: {appRole: {roleId: %[7]s, secretRef: {name: %[2]s, key: secretId}}}
`, namespace, storeCredential, k.secret, head, k.vault.Proxy.URL(), base64.StdEncoding.EncodeToString(k.vault.Proxy.CA()), k.role)
}

func (k *vaultKeeper) bare(ctx context.Context) (time.Duration, error) {
	config := api.DefaultConfig()
	config.Address = k.vault.Proxy.URL()
	if err := config.ConfigureTLS(&api.TLSConfig{CACertBytes: k.vault.Proxy.CA()}); err != nil {
		return 0, err
	}
	client, err := api.NewClient(config)
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	login, err := client.Logical().WriteWithContext(ctx, "auth/approle/login", map[string]any{"role_id": k.role, "secret_id": k.secret})
	if err != nil {
		return 0, err
	}
	client.SetToken(login.Auth.ClientToken)
	var g errgroup.Group
	g.SetLimit(bareParallel)
	for i := range keptKeys {
		g.Go(func() error {
			_, err := client.KVv2("secret").Get(ctx, keptName(i))
			return err
		})
	}
	err = g.Wait()
	return time.Since(begun), err
}

func (k *vaultKeeper) total() keeperCalls {
	return keeperCalls{logins: k.vault.Proxy.Count(rig.VaultLogins), reads: k.vault.Proxy.Count(rig.VaultReads)}
}

func (k *vaultKeeper) calls() keeperCalls {
	total := k.total()
	return keeperCalls{total.logins - k.seen.logins, total.reads - k.seen.reads}
}

func (k *vaultKeeper) forget()      { k.seen = k.total() }
func (k *vaultKeeper) close() error { return k.vault.Close() }

// awsKeeper speaks AWS's protocol.
type awsKeeper struct {
	cloud *fakeaws.Cloud
	key   fakeaws.AccessKey
}

func newAWSKeeper() (keeper, error) {
	k := &awsKeeper{cloud: fakeaws.Start()}
	k.key = k.cloud.AddUser("bench")
	for i := range keptKeys {
		content, err := json.Marshal(keptContent(i))
		if err != nil {
			return nil, err
		}
		k.cloud.Put(keptName(i), string(content), nil)
	}
	return k, nil
}

func (k *awsKeeper) manifests(namespace string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Secret
metadata: {name: %[2]s, namespace: %[1]s}
stringData: {id: %[3]s, secret: %[4]s}
---
apiVersion: gitseal.dev/v1alpha1
kind: SecretStore
metadata: {name: %[5]s, namespace: %[1]s}
spec:
  provider:
    aws:
      region: eu-central-1
      endpoint: %[6]s
      stsEndpoint: %[6]s
      auth:
        secretRef:
          accessKeyIDSecretRef: {name: %[2]s, key: id}
          secretAccessKeySecretRef: {name: %[2]s, key: secret}
`, namespace, storeCredential, k.key.ID, k.key.Secret, storeName, k.cloud.URL())
}

func (k *awsKeeper) bare(ctx context.Context) (time.Duration, error) {
	const batch = 20
	client := secretsmanager.New(secretsmanager.Options{
		Region: "eu-central-1", BaseEndpoint: aws.String(k.cloud.URL()), HTTPClient: http.DefaultClient,
		Credentials: credentials.NewStaticCredentialsProvider(k.key.ID, k.key.Secret, ""),
	})
	begun := time.Now()
	var g errgroup.Group
	g.SetLimit(bareParallel)
	for from := 0; from < keptKeys; from += batch {
		var names []string
		for i := from; i < min(from+batch, keptKeys); i++ {
			names = append(names, keptName(i))
		}
		g.Go(func() error {
			out, err := client.BatchGetSecretValue(ctx, &secretsmanager.BatchGetSecretValueInput{SecretIdList: names})
			if err == nil && len(out.Errors) > 0 {
				err = fmt.Errorf("%d of %d values were not read", len(out.Errors), len(names))
			}
			return err
		})
	}
	err := g.Wait()
	return time.Since(begun), err
}

func (k *awsKeeper) calls() keeperCalls {
	var c keeperCalls
	for operation, n := range k.cloud.Calls() {
		switch {
		case strings.HasSuffix(operation, "GetSecretValue"):
			c.reads += n
		case strings.HasPrefix(operation, "AssumeRole"):
			c.logins += n
		}
	}
	return c
}

func (k *awsKeeper) forget()      { k.cloud.Forget() }
func (k *awsKeeper) close() error { k.cloud.Close(); return nil }
