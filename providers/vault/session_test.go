package vault_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	testclock "k8s.io/utils/clock/testing"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/providers"
	"github.com/gitseal/gitseal/providers/vault"
	"github.com/gitseal/gitseal/test/rig"
)

func at(path string) func(rig.Asked) bool {
	return func(a rig.Asked) bool { return a.Path == "/v1/"+path }
}

var renewals = at("auth/token/renew-self")

// counted is how often something was asked for since this was called.
func counted(match func(rig.Asked) bool) func() int {
	before := server.Proxy.Count(match)
	return func() int { return server.Proxy.Count(match) - before }
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("after a minute still not: %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestTheTokenIsRenewedBeforeItEnds(t *testing.T) {
	for name, prepare := range map[string]func(*testing.T) providers.Store{
		"of a login": func(t *testing.T) providers.Store {
			store, _ := appRole(t, map[string]any{"token_ttl": "20m", "token_max_ttl": "24h"})
			return store
		},
		"that was there already": func(t *testing.T) providers.Store {
			return storeWithToken(newToken(t, &api.TokenCreateRequest{Policies: []string{"reader"}, TTL: "20m"}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			put(t, "x", map[string]any{"a": "b"})
			store := prepare(t)
			now := testclock.NewFakeClock(time.Now())
			store.Clock = now
			p, renewed, logins := opened(t, store), counted(renewals), counted(rig.VaultLogins)
			for round := range 3 { // an hour
				if _, _, err := read(t, p, providers.Ref{Key: "x"}); err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
				eventually(t, "a renewal is planned", now.HasWaiters)
				now.Step(11 * time.Minute)
				if renewed() != round || !now.HasWaiters() {
					t.Fatalf("renewed %d times after 11m of 20m, want %d and another one planned", renewed(), round)
				}
				now.Step(5 * time.Minute)
				eventually(t, "the token is renewed", func() bool { return renewed() == round+1 })
			}
			if want := map[bool]int{true: 0, false: 1}[store.Spec.Vault.Auth.TokenSecretRef != nil]; logins() != want {
				t.Errorf("%d logins, want %d", logins(), want)
			}
		})
	}
}

func storeWithToken(token string) providers.Store {
	at := ref("token", "token")
	return storeOf(&v1alpha1.VaultAuth{TokenSecretRef: &at}, objects{"token/token": token})
}

// A renewal that Vault does not answer is tried again while there is time.
func TestARenewalOutlivesAnOutage(t *testing.T) {
	put(t, "x", map[string]any{"a": "b"})
	store, _ := appRole(t, map[string]any{"token_ttl": "20m", "token_max_ttl": "24h"})
	now := testclock.NewFakeClock(time.Now())
	store.Clock = now
	p, tried, logins := opened(t, store), counted(renewals), counted(rig.VaultLogins)
	_, _, err := read(t, p, providers.Ref{Key: "x"})
	must(t, err)
	mend := fail(t, renewals, refusing(http.StatusServiceUnavailable, nil, `{"errors":["Vault is sealed"]}`))
	eventually(t, "a renewal is planned", now.HasWaiters)
	now.Step(14 * time.Minute)
	eventually(t, "a renewal fails", func() bool { return tried() == 1 })
	mend()
	eventually(t, "another try is planned", now.HasWaiters)
	now.Step(6 * time.Second)
	eventually(t, "it is tried again", func() bool { return tried() == 2 })
	eventually(t, "the next is planned", now.HasWaiters)
	now.Step(10 * time.Minute) // the first 20m are over
	if _, _, err := read(t, p, providers.Ref{Key: "x"}); err != nil || logins() != 1 {
		t.Errorf("Get = %v after %d logins, want a value and one login", err, logins())
	}
}

// Tokens that end soon, for good, are replaced without any call noticing.
func TestTokensMayEndInMidBatch(t *testing.T) {
	put(t, "x", map[string]any{"a": "b"})
	for name, settings := range map[string]map[string]any{
		"renewable up to 6s": {"token_ttl": "3s", "token_max_ttl": "6s"},
		"not renewable":      {"token_ttl": "3s", "token_type": "batch"},
		"used up":            {"token_num_uses": 7},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, _ := appRole(t, settings)
			logins := 0
			store.LoggedIn = func() { logins++ }
			p := opened(t, store)
			begin := time.Now()
			for i := 0; i < 20 || logins < 2; i++ {
				if _, _, err := read(t, p, providers.Ref{Key: "x"}); err != nil {
					t.Fatalf("read %d, after %d logins: %v", i, logins, err)
				}
				if time.Since(begin) > 2*time.Minute {
					t.Fatalf("%d logins for %d reads in 2m, want more than 1", logins, i)
				}
				<-time.After(50 * time.Millisecond)
			}
			if took := time.Since(begin); logins > 5+int(took.Seconds()) {
				t.Errorf("%d logins in %v, want few", logins, took)
			}
		})
	}
}

// A denied path says nothing about the token, and leads to no login.
func TestADenialIsNoReasonToLogIn(t *testing.T) {
	for name, tt := range map[string]struct {
		settings map[string]any
		logins   int
	}{
		"a token that may look itself up": {nil, 1},
		"a token that may not":            {map[string]any{"token_no_default_policy": true}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			store, _ := appRole(t, tt.settings)
			mount, now := "nowhere", testclock.NewFakeClock(time.Now())
			store.Spec.Vault.Path, store.Clock = &mount, now
			p, logins := opened(t, store), counted(rig.VaultLogins)
			for range 20 {
				if _, _, err := read(t, p, providers.Ref{Key: "x"}); !errors.Is(err, providers.ErrDenied) {
					t.Fatalf("Get = %v, want ErrDenied", err)
				}
				now.Step(time.Second)
			}
			if logins() != tt.logins {
				t.Errorf("%d logins for 20 denials, want %d", logins(), tt.logins)
			}
			if identity, err := p.(providers.Checker).Check(t.Context()); err != nil || !strings.HasPrefix(identity, "auth/approle as role-") {
				t.Errorf("Check = %q, %v, want the role", identity, err)
			}
		})
	}
}

// Whoever may not look itself up is let in again all the same, also once a
// denial has shown that looking tells nothing.
func TestARevokedTokenThatCouldNotLookItselfUp(t *testing.T) {
	put(t, "x", map[string]any{"a": "b"})
	must(t, server.Policy(t.Context(), "but-one", readAll+`path "secret/data/denied" { capabilities = ["deny"] }`))
	store, _ := appRole(t, map[string]any{"token_no_default_policy": true, "token_policies": "but-one"})
	now := testclock.NewFakeClock(time.Now())
	store.Clock = now
	p, logins := opened(t, store), counted(rig.VaultLogins)
	for round := range 3 {
		if _, _, err := read(t, p, providers.Ref{Key: "x"}); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		for range 3 {
			if _, _, err := read(t, p, providers.Ref{Key: "denied"}); !errors.Is(err, providers.ErrDenied) {
				t.Fatalf("round %d: %v, want ErrDenied", round, err)
			}
		}
		write(t, "sys/leases/revoke-prefix/auth/approle", nil)
		now.Step(2 * time.Minute)
	}
	if logins() != 4 { // one each, and one that showed that looking tells nothing
		t.Errorf("%d logins, want 4", logins())
	}
}

// Credentials that were refused are not tried for every value.
func TestWrongCredentialsAreNoStormOfLogins(t *testing.T) {
	store, _ := appRole(t, nil)
	store.Credentials = objects{"approle/id": "wrong"}
	now := testclock.NewFakeClock(time.Now())
	store.Clock = now
	p, logins := opened(t, store), counted(rig.VaultLogins)
	ask := func() {
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if _, _, err := read(t, p, providers.Ref{Key: "x"}); !errors.Is(err, providers.ErrUnauthenticated) {
					t.Errorf("Get = %v, want ErrUnauthenticated", err)
				}
			})
		}
		wg.Wait()
	}
	ask()
	ask()
	if logins() != 1 {
		t.Errorf("%d logins for 100 values, want 1", logins())
	}
	now.Step(6 * time.Second)
	ask()
	now.Step(6 * time.Second)
	ask()
	if logins() != 2 {
		t.Errorf("%d logins after 12s, want 2: the pause doubles", logins())
	}
}

func TestATokenThatVaultDoesNotKnow(t *testing.T) {
	token := newToken(t, &api.TokenCreateRequest{Policies: []string{"reader"}})
	must(t, server.Root.Auth().Token().RevokeTreeWithContext(t.Context(), token))
	p := opened(t, storeWithToken(token))
	_, _, err := read(t, p, providers.Ref{Key: "x"})
	if want := "Vault does not know the token of vault.auth.tokenSecretRef, or no longer"; !errors.Is(err, providers.ErrUnauthenticated) || err.Error() != want {
		t.Errorf("Get = %v, want %q", err, want)
	}
}

// A login goes on when the caller that began it gives up: others wait for it.
func TestALoginOutlivesWhoAskedForIt(t *testing.T) {
	put(t, "x", map[string]any{"a": "b"})
	store, _ := appRole(t, nil)
	p, begun, release := opened(t, store), make(chan struct{}), make(chan struct{})
	logins := counted(rig.VaultLogins)
	fail(t, rig.VaultLogins, func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-release
		server.Proxy.Pass(w, r)
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		results, _ := p.Get(ctx, []providers.Ref{{Key: "x"}})
		ended <- results[0].Err
	}()
	<-begun
	cancel()
	if err := <-ended; !errors.Is(err, providers.ErrUnavailable) {
		t.Errorf("the cancelled Get = %v, want ErrUnavailable", err)
	}
	close(release)
	if _, _, err := read(t, p, providers.Ref{Key: "x"}); err != nil || logins() != 1 {
		t.Errorf("Get = %v after %d logins, want a value and one login", err, logins())
	}
}

func TestClosingRevokesTheTokenAndLeavesNothingBehind(t *testing.T) {
	put(t, "x", map[string]any{"a": "b"})
	store, _ := appRole(t, nil)
	token := ""
	end := fail(t, rig.VaultReads, func(w http.ResponseWriter, r *http.Request) {
		token = r.Header.Get("X-Vault-Token")
		server.Proxy.Pass(w, r)
	})
	p, err := vault.Backend().Open(store)
	must(t, err)
	_, _, err = read(t, p, providers.Ref{Key: "x"})
	must(t, err)
	end()
	if _, err := server.Root.Auth().Token().LookupWithContext(t.Context(), token); err != nil {
		t.Fatalf("Vault does not know the token while it is used: %v", err)
	}
	must(t, p.(io.Closer).Close())
	must(t, p.(io.Closer).Close())
	if _, err := server.Root.Auth().Token().LookupWithContext(t.Context(), token); err == nil {
		t.Error("Vault still knows the token")
	}
	if _, _, err := read(t, p, providers.Ref{Key: "x"}); !errors.Is(err, providers.ErrUnavailable) {
		t.Errorf("Get after Close = %v, want ErrUnavailable", err)
	}
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for stack := range strings.SplitSeq(string(stacks), "\n\n") {
		if strings.Contains(stack, "providers/vault.(*sessions)") {
			t.Errorf("a goroutine is left:\n%s", stack)
		}
	}
}
