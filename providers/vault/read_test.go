package vault_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gitseal/gitseal/internal/egress"
	"github.com/gitseal/gitseal/providers"
	"github.com/gitseal/gitseal/test/rig"
)

func TestNumbersKeepTheirDigits(t *testing.T) {
	store, _ := appRole(t, nil)
	mount := "legacy"
	store.Spec.Vault.Path, store.Spec.Vault.Version = &mount, "v1"
	const stored = `{"id":12345678901234567890,"ratio":0.10000000000000000555,"tag":"\u003ca \u0026 b\u003e"}`
	_, err := server.Root.Logical().WriteBytesWithContext(t.Context(), "legacy/digits", []byte(stored))
	must(t, err)
	value, _, err := read(t, opened(t, store), providers.Ref{Key: "digits"})
	must(t, err)
	if value != stored {
		t.Errorf("Get = %s, want %s", value, stored)
	}
}

func TestWhatIsNotThereAndWhatCannotBe(t *testing.T) {
	store, _ := appRole(t, nil)
	deleted, destroyed := put(t, "gone", map[string]any{"a": "b"}), put(t, "gone", map[string]any{"a": "c"})
	write(t, "secret/delete/gone", map[string]any{"versions": []string{deleted}})
	write(t, "secret/destroy/gone", map[string]any{"versions": []string{destroyed}})
	write(t, "legacy/old", map[string]any{"a": "b"})
	in := func(mount, version string) providers.Store {
		s := store
		s.Spec.Vault = store.Spec.Vault.DeepCopy()
		s.Spec.Vault.Path, s.Spec.Vault.Version = &mount, version
		return s
	}
	tests := map[string]struct {
		store  providers.Store
		ref    providers.Ref
		kind   error
		detail string
	}{
		"no such key":                 {store, providers.Ref{Key: "never"}, providers.ErrNotFound, "not found"},
		"no such version":             {store, providers.Ref{Key: "gone", Version: "4711"}, providers.ErrNotFound, "not found"},
		"a deleted version":           {store, providers.Ref{Key: "gone", Version: deleted}, providers.ErrNotFound, "this version was deleted"},
		"a destroyed version":         {store, providers.Ref{Key: "gone", Version: destroyed}, providers.ErrNotFound, "this version was destroyed"},
		"the newest, being destroyed": {store, providers.Ref{Key: "gone"}, providers.ErrNotFound, "this version was destroyed"},
		"a version that is no number": {store, providers.Ref{Key: "gone", Version: "latest"}, providers.ErrInvalid, "a version of a KV secret is a number above 0"},
		"a version of metadata":       {store, providers.Ref{Key: "gone", Version: "1", Metadata: true}, providers.ErrInvalid, "metadata has no versions"},
		"version 1 of what is 2":      {in("secret", "v1"), providers.Ref{Key: "gone"}, providers.ErrInvalid, "that path of Vault is not one of the KV version of the store: see vault.version"},
		"a version of version 1":      {in("legacy", "v1"), providers.Ref{Key: "old", Version: "1"}, providers.ErrInvalid, "KV version 1 keeps no versions of a secret"},
		"an engine that is not there": {in("other", "v2"), providers.Ref{Key: "x"}, providers.ErrInvalid, "no secrets engine is mounted at that path of Vault"},
		"an engine that is nobody's":  {in("nowhere", "v2"), providers.Ref{Key: "x"}, providers.ErrDenied, "Vault's policies deny it"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, _, err := read(t, opened(t, tt.store), tt.ref)
			if !errors.Is(err, tt.kind) || err.Error() != tt.detail {
				t.Errorf("Get = %v (%v), want %q (%v)", err, errors.Unwrap(err), tt.detail, tt.kind)
			}
		})
	}
}

func TestMetadataIsWhatUsersWroteAndThreeFieldsOfVault(t *testing.T) {
	store, _ := appRole(t, nil)
	_, err := server.Root.Logical().DeleteWithContext(t.Context(), "secret/metadata/described")
	must(t, err)
	put(t, "described", map[string]any{"a": "b"})
	put(t, "described", map[string]any{"a": "c"})
	write(t, "secret/metadata/described", map[string]any{"custom_metadata": map[string]string{"team": "shop", "delete_version_after": "mine"}})
	value, version, err := read(t, opened(t, store), providers.Ref{Key: "described", Metadata: true})
	must(t, err)
	var got map[string]any
	must(t, json.Unmarshal([]byte(value), &got))
	if created, _ := got["created_time"].(string); created == "" {
		t.Errorf("the metadata %s has no created_time", value)
	}
	delete(got, "created_time")
	want := map[string]any{"team": "shop", "delete_version_after": "mine", "current_version": 2.0}
	if diff := cmp.Diff(want, got); diff != "" || version != "2" {
		t.Errorf("metadata, of version %q (-want +got):\n%s", version, diff)
	}
}

func TestAnswersThatAreFailures(t *testing.T) {
	status := func(code int, body string) http.HandlerFunc { return refusing(code, nil, body) }
	away := http.Header{"Location": {"https://elsewhere.example/v1/secret/data/x"}}
	tests := map[string]struct {
		answer http.HandlerFunc
		kind   error
		detail string
	}{
		"sealed":                     {status(503, `{"errors":["Vault is sealed"]}`), providers.ErrUnavailable, "Vault is sealed"},
		"a balancer without a node":  {status(503, `<html>canary-of-the-server</html>`), providers.ErrUnavailable, "Vault is in maintenance, or none of its nodes is active"},
		"a node that lags behind":    {status(412, `{"errors":["canary-of-the-server"]}`), providers.ErrUnavailable, "this node of Vault has not caught up yet"},
		"a secondary":                {status(472, ``), providers.ErrUnavailable, "this node of Vault is a standby that serves no reads"},
		"a performance standby":      {status(473, ``), providers.ErrUnavailable, "this node of Vault is a standby that serves no reads"},
		"an internal error":          {status(500, `{"errors":["canary-of-the-server"]}`), providers.ErrUnavailable, "Vault answered with status 500"},
		"a web page":                 {status(200, `<html>canary-of-the-server</html>`), providers.ErrUnavailable, "the server's answer is not one of Vault's"},
		"nothing behind an ingress":  {status(404, `<html>canary-of-the-server</html>`), providers.ErrUnavailable, "the server's answer is not one of Vault's"},
		"404 without a word":         {status(404, ``), providers.ErrUnavailable, "the server's answer is not one of Vault's"},
		"404 of another API":         {status(404, `{"status":404,"error":"canary-of-the-server"}`), providers.ErrUnavailable, "the server's answer is not one of Vault's"},
		"another API":                {status(200, `{"data":["canary-of-the-server"]}`), providers.ErrInvalid, "Vault's answer is not one of KV version 2: see vault.version of the store"},
		"an answer without end":      {endless, providers.ErrInvalid, "Vault's answer is larger than 4 MiB"},
		"an error without end":       {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(400); endless(w, r) }, providers.ErrInvalid, "Vault's answer is larger than 4 MiB"},
		"a redirect to another host": {refusing(301, away, ""), providers.ErrInvalid, "the server redirects to another host: vault.server is not Vault's own address"},
		"a redirect that is none":    {refusing(307, nil, ""), providers.ErrUnavailable, "Vault cannot be reached"},
		"a redirect to the same, forever": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
		}, providers.ErrUnavailable, "Vault answered with status 307"},
		"a cut connection": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, providers.ErrUnavailable, "Vault cannot be reached"},
	}
	store, _ := appRole(t, nil)
	p := opened(t, store)
	put(t, "x", map[string]any{"a": "b"})
	if _, _, err := read(t, p, providers.Ref{Key: "x"}); err != nil {
		t.Fatal(err)
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			fail(t, rig.VaultReads, tt.answer)
			_, _, err := read(t, p, providers.Ref{Key: "x"})
			if !errors.Is(err, tt.kind) || err.Error() != tt.detail {
				t.Errorf("Get = %v (%v), want %q (%v)", err, errors.Unwrap(err), tt.detail, tt.kind)
			}
		})
	}
	if _, _, err := read(t, p, providers.Ref{Key: "x"}); err != nil {
		t.Errorf("Get afterwards: %v", err)
	}
}

func endless(w http.ResponseWriter, _ *http.Request) {
	chunk := []byte(strings.Repeat(`{"errors":["canary`, 4096))
	for range 1000 {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

func TestWhyVaultCannotBeReached(t *testing.T) {
	// No server of names is asked, which may be far away, or know any name.
	nobody := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) { return nil, syscall.ECONNREFUSED }}
	// The near end of a connection has a port that nobody else gets, and on which
	// nobody listens.
	near, err := net.Dial("tcp", strings.TrimPrefix(server.Proxy.URL(), "https://"))
	must(t, err)
	defer near.Close()
	tests := map[string]struct {
		change func(*providers.Store)
		kind   error
		detail string
	}{
		"an authority that nobody knows": {func(s *providers.Store) { s.Spec.Vault.CABundle = server.CA }, providers.ErrUnavailable,
			"the server's certificate is not trusted: see vault.caBundle and vault.caProvider"},
		"a name that does not resolve": {func(s *providers.Store) {
			s.Spec.Vault.Server, s.Dial = "https://vault.invalid", (&net.Dialer{Resolver: nobody}).DialContext
		}, providers.ErrUnavailable, "the name of Vault's host does not resolve"},
		"nobody listens": {func(s *providers.Store) { s.Spec.Vault.Server = "https://" + near.LocalAddr().String() }, providers.ErrUnavailable,
			"Vault's host refuses the connection"},
		"an address of metadata": {func(s *providers.Store) {
			s.Spec.Vault.Server, s.Dial = "http://169.254.169.254", egress.Guard{}.Dial
		}, providers.ErrInvalid, "Vault's host has a link-local or metadata address: see --allow-egress of the operator"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			store, _ := appRole(t, nil)
			tt.change(&store)
			_, _, err := read(t, opened(t, store), providers.Ref{Key: "x"})
			if !errors.Is(err, tt.kind) || err.Error() != tt.detail {
				t.Errorf("Get = %v (%v), want %q (%v)", err, errors.Unwrap(err), tt.detail, tt.kind)
			}
		})
	}
}

// A standby of Vault answers 307 with the address of the active node.
func TestAStandbyRedirectsToTheActiveNode(t *testing.T) {
	store, _ := appRole(t, nil)
	store.Spec.Vault.CABundle = append(append([]byte(nil), store.Spec.Vault.CABundle...), server.CA...)
	put(t, "moved", map[string]any{"a": "b"})
	fail(t, everything, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, server.Address+r.URL.Path, http.StatusTemporaryRedirect)
	})
	value, _, err := read(t, opened(t, store), providers.Ref{Key: "moved"})
	if err != nil || value != `{"a":"b"}` {
		t.Errorf("Get = %s, %v, want the value", value, err)
	}
}

// Quotas are Vault's own, and so is the time that it asks to wait.
func TestAQuotaThrottles(t *testing.T) {
	store, _ := appRole(t, nil)
	p := opened(t, store)
	put(t, "limited/x", map[string]any{"a": "b"})
	write(t, "sys/quotas/config", map[string]any{"enable_rate_limit_response_headers": true})
	write(t, "sys/quotas/rate-limit/tests", map[string]any{"path": "secret/", "rate": 1, "interval": "30s"})
	t.Cleanup(func() {
		_, err := server.Root.Logical().Delete("sys/quotas/rate-limit/tests")
		must(t, err)
	})
	var err error
	for range 3 {
		if _, _, err = read(t, p, providers.Ref{Key: "limited/x"}); err != nil {
			break
		}
	}
	if after := providers.RetryAfter(err); !errors.Is(err, providers.ErrThrottled) || after <= 0 || after > 31*time.Second {
		t.Errorf("Get = %v, to be tried again after %v, want ErrThrottled and at most 30s", err, after)
	}
}

func TestEveryRequestSaysWhereAndHow(t *testing.T) {
	store, _ := appRole(t, nil)
	namespace, login := "team/a", "root-of/logins"
	spec := store.Spec.Vault
	spec.Namespace, spec.Auth.Namespace = &namespace, &login
	spec.Headers = map[string]string{"X-Test-Header": "on"}
	spec.ReadYourWrites, spec.ForwardInconsistent = true, true
	var seen []string
	fail(t, everything, func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, fmt.Sprintf("%s %s in %q, header %q, %q, %v, state %q", r.Method, strings.Split(r.URL.Path, "?")[0], r.Header.Get("X-Vault-Namespace"),
			r.Header.Get("X-Test-Header"), r.Header.Get("X-Vault-Inconsistent"), r.Header.Get("X-Vault-Request"), r.Header.Get("X-Vault-Index")))
		w.Header().Set("X-Vault-Index", "v1:0:1:2:3")
		answer := `{"data":{"data":{"a":"b"},"metadata":{"version":1}}}`
		if rig.VaultLogins(rig.Asked{Path: r.URL.Path}) {
			answer = `{"auth":{"client_token":"hvs.of-this-test"}}`
		}
		_, _ = io.WriteString(w, answer)
	})
	_, _, err := read(t, opened(t, store), providers.Ref{Key: "x"})
	must(t, err)
	want := []string{
		`PUT /v1/auth/approle/login in "root-of/logins", header "on", "forward-active-node", true, state ""`,
		`GET /v1/secret/data/x in "team/a", header "on", "forward-active-node", true, state "v1:0:1:2:3"`,
	}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}
