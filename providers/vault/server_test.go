package vault_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
	"github.com/gitseal/gitseal/providers/vault"
	"github.com/gitseal/gitseal/test/rig"
)

// server is a real Vault for all tests of the package, with a KV engine of each
// version, and every method of authentication.
var server *rig.Vault

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	var err error
	if server, err = rig.StartVault(ctx); err == nil {
		defer func() { _ = server.Close() }()
		err = prepare(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

const readAll = `
path "secret/*" { capabilities = ["read", "list"] }
path "legacy/*" { capabilities = ["read", "list"] }
path "other/*"  { capabilities = ["read", "list"] }
`

func prepare(ctx context.Context) error {
	for mount, version := range map[string]string{"secret": "2", "team/nested": "2", "legacy": "1"} {
		if err := server.MountKV(ctx, mount, version); err != nil {
			return err
		}
	}
	for _, method := range []string{"approle", "kubernetes", "jwt", "userpass", "cert", "ldap"} {
		if err := server.EnableAuth(ctx, method, method); err != nil {
			return err
		}
	}
	return server.Policy(ctx, "reader", readAll)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path string, body map[string]any) map[string]any {
	t.Helper()
	answer, err := server.Write(t.Context(), path, body)
	must(t, err)
	if answer == nil {
		return nil
	}
	return answer.Data
}

// put stores a secret of version 2 and returns its version.
func put(t *testing.T, key string, data map[string]any) string {
	t.Helper()
	return fmt.Sprint(write(t, "secret/data/"+key, map[string]any{"data": data})["version"])
}

// objects are Credentials by "name/key".
type objects map[string]string

func (o objects) Secret(s v1alpha1.SecretKeySelector) (secret.Value, error) {
	value, ok := o[s.Name+"/"+s.Key]
	if !ok {
		return secret.Value{}, &providers.Error{Kind: providers.ErrInvalid, Detail: "there is no such entry"}
	}
	return secret.NewValue([]byte(value)), nil
}

func (o objects) CA(c v1alpha1.CAProvider) ([]byte, error) { return []byte(o[c.Name+"/"+c.Key]), nil }

func (o objects) ConfigMap(v1alpha1.ConfigMapKeySelector) (string, error) { return "", nil }

func (o objects) Token(_ context.Context, sa v1alpha1.ServiceAccountSelector, audiences []string, expiry time.Duration) (providers.Token, error) {
	value, ok := o[fmt.Sprintf("%s %s %s", sa.Name, strings.Join(append(audiences, sa.Audiences...), ","), expiry)]
	if !ok {
		return providers.Token{}, &providers.Error{Kind: providers.ErrInvalid, Detail: "another token was asked for than this test has"}
	}
	return providers.Token{Value: secret.NewValue([]byte(value))}, nil
}

func (o objects) Annotations(context.Context, v1alpha1.ServiceAccountSelector) (map[string]string, error) {
	return nil, nil
}

func ref(name, key string) v1alpha1.SecretKeySelector {
	return v1alpha1.SecretKeySelector{Name: name, Key: key}
}

// storeOf reads the engine "secret" through the proxy.
func storeOf(auth *v1alpha1.VaultAuth, credentials objects) providers.Store {
	mount := "secret"
	return providers.Store{
		Spec: v1alpha1.StoreProvider{Vault: &v1alpha1.VaultProvider{
			Server: server.Proxy.URL(), CABundle: server.Proxy.CA(), Path: &mount, Version: "v2", Auth: auth,
		}},
		Credentials: credentials,
		Dial:        (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		Clock:       clock.RealClock{},
	}
}

// appRole makes a role and returns a store that logs in as it.
func appRole(t *testing.T, settings map[string]any) (store providers.Store, secretID string) {
	t.Helper()
	role := "role-" + strings.ToLower(rand.Text())
	body := map[string]any{"token_policies": "reader"}
	for name, value := range settings {
		body[name] = value
	}
	write(t, "auth/approle/role/"+role, body)
	answer, err := server.Root.Logical().ReadWithContext(t.Context(), "auth/approle/role/"+role+"/role-id")
	must(t, err)
	secretID = write(t, "auth/approle/role/"+role+"/secret-id", nil)["secret_id"].(string)
	auth := &v1alpha1.VaultAuth{AppRole: &v1alpha1.VaultAppRole{RoleID: answer.Data["role_id"].(string), SecretRef: ref("approle", "id")}}
	return storeOf(auth, objects{"approle/id": secretID + "\n"}), secretID
}

// opened is a provider that is closed when the test ends.
func opened(t *testing.T, store providers.Store) providers.Provider {
	t.Helper()
	p, err := open(t, store)
	must(t, err)
	return p
}

func open(t *testing.T, store providers.Store) (providers.Provider, error) {
	t.Helper()
	p, err := vault.Backend().Open(store)
	if err == nil {
		t.Cleanup(func() { must(t, p.(io.Closer).Close()) })
	}
	return p, err
}

// read reads one ref.
func read(t *testing.T, p providers.Provider, r providers.Ref) (string, string, error) {
	t.Helper()
	results, err := p.Get(t.Context(), []providers.Ref{r})
	must(t, err)
	return string(results[0].Value.Reveal()), results[0].Version, results[0].Err
}

// fail has the proxy answer what matches, until the test ends or the function
// is called.
func fail(t *testing.T, match func(rig.Asked) bool, answer http.HandlerFunc) (end func()) {
	t.Helper()
	fault := server.Proxy.Break(match, answer)
	t.Cleanup(fault.End)
	return fault.End
}

func refusing(status int, header http.Header, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for name, values := range header {
			w.Header()[name] = values
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func everything(rig.Asked) bool { return true }
