package vault_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gitseal/gitseal/providers/providertest"
	"github.com/gitseal/gitseal/providers/vault"
	"github.com/gitseal/gitseal/test/rig"
)

var (
	odd = []string{"a b", "Käse-☕", "%2e%2e", "a:b@c#d?e&f=g", "-x", "quote'\"", "deep/er/still", "/leading", "trailing/", `back\slash`, "data", "data/x", "metadata/x"}
	bad = []string{"..", "../x", "a/../../x", "./a", "a/.", "/", "a\x00b", "new\nline", "\xff", strings.Repeat("x", 2000)}
)

func TestConformanceOfVersion2(t *testing.T) {
	providertest.Run(t, providertest.Subject{
		Backend: vault.Backend(),
		New: func(t *testing.T) *providertest.Server {
			s := conforming(t, "secret")
			s.Put = func(key string, content []byte) string {
				return fmt.Sprint(write(t, "secret/data/"+key, map[string]any{"data": map[string]any{"content": string(content)}})["version"])
			}
			return s
		},
		Without: map[providertest.Feature]string{providertest.Binary: "KV keeps JSON"},
		OddKeys: odd, BadKeys: bad,
	})
}

func TestConformanceOfVersion1(t *testing.T) {
	providertest.Run(t, providertest.Subject{
		Backend: vault.Backend(),
		New: func(t *testing.T) *providertest.Server {
			s := conforming(t, "legacy")
			for _, store := range []*string{&s.Store.Spec.Vault.Version, &s.Wrong.Spec.Vault.Version} {
				*store = "v1"
			}
			s.Put = func(key string, content []byte) string {
				write(t, "legacy/"+key, map[string]any{"content": string(content)})
				return ""
			}
			return s
		},
		Without: map[providertest.Feature]string{
			providertest.Binary:     "KV keeps JSON",
			providertest.Versions:   "KV version 1 keeps one",
			providertest.Pinning:    "KV version 1 keeps one",
			providertest.Metadata:   "KV version 1 keeps none",
			providertest.FindByTags: "KV version 1 keeps none",
		},
		OddKeys: odd, BadKeys: bad,
	})
}

// conforming lets in by a role of AppRole whose policy Deny changes.
func conforming(t *testing.T, mount string) *providertest.Server {
	policy := "conformance-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	rules := readAll
	must(t, server.Policy(t.Context(), policy, rules))
	store, secretID := appRole(t, map[string]any{"token_policies": policy})
	store.Spec.Vault.Path = &mount
	wrong := store
	wrong.Spec.Vault = store.Spec.Vault.DeepCopy()
	wrong.Credentials = objects{"approle/id": "canary-of-a-wrong-secret-id"}

	reads := func(a rig.Asked) bool { return strings.HasPrefix(a.Path, "/v1/"+mount+"/") }
	begun := server.Proxy.Count(rig.VaultLogins)
	var mend []func()
	sealed := false
	mended := func() {
		for _, end := range mend {
			end()
		}
		mend = nil
		if sealed {
			must(t, server.Unseal(t.Context()))
			sealed = false
		}
	}
	t.Cleanup(func() {
		if sealed {
			t.Error("the test left Vault sealed")
		}
	})
	return &providertest.Server{
		Store: store, Wrong: &wrong,
		Tag: func(key string, tags map[string]string) {
			write(t, mount+"/metadata/"+key, map[string]any{"custom_metadata": tags})
		},
		Deny: func(key string) {
			rules += fmt.Sprintf("path \"%s/data/%[2]s\" { capabilities = [\"deny\"] }\npath \"%[1]s/%[2]s\" { capabilities = [\"deny\"] }\n", mount, key)
			must(t, server.Policy(t.Context(), policy, rules))
		},
		Throttle: func(after time.Duration) {
			header := http.Header{}
			if after > 0 {
				header.Set("Retry-After", strconv.Itoa(int(after.Seconds())))
			}
			mend = append(mend, fail(t, reads, refusing(http.StatusTooManyRequests, header, `{"errors":["canary-quota-of-the-server"]}`)))
		},
		Outage: func() {
			must(t, server.Seal(t.Context()))
			sealed = true
		},
		Hang:     func() { mend = append(mend, fail(t, reads, rig.Hang)) },
		Recover:  mended,
		Revoke:   func() { write(t, "sys/leases/revoke-prefix/auth/approle", nil) },
		Logins:   func() int { return server.Proxy.Count(rig.VaultLogins) - begun },
		Requests: func() int { return server.Proxy.Count(reads) },
		Confidential: []string{
			secretID, "canary-of-a-wrong-secret-id", server.RootToken, "canary-quota-of-the-server", "permission denied",
			"invalid role or secret ID", "Error making API request", strings.TrimPrefix(server.Proxy.URL(), "https://"),
		},
	}
}
