package vault

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"
	"k8s.io/utils/clock"
)

const (
	lookUp = "auth/token/lookup-self"
	// margin before a token's end, at most, from which on it is not used.
	margin = 30 * time.Second
	// askAgain is the time between two tries of a renewal that got no answer.
	askAgain = 5 * time.Second
)

// session is one token.
type session struct {
	reads  *api.Client // with the token, in the namespace of the secrets
	logins *api.Client // in that of the login
	opened time.Time
	role   string
	gone   chan struct{} // closed once nobody uses it any more

	looking chan struct{} // holds who looks the token up

	mu      sync.Mutex
	retired bool
	judged  time.Time // when the last look began
	known   bool      // what it found
	ends    time.Time // zero: never
	ttl     time.Duration
	extends bool // it can be renewed
}

func (s *sessions) session(token string, now time.Time) *session {
	with := func(c *api.Client) *api.Client {
		c = c.WithNamespace(c.Namespace())
		c.SetToken(token)
		return c
	}
	return &session{reads: with(s.reads), logins: with(s.logins), opened: now, gone: make(chan struct{}), looking: make(chan struct{}, 1)}
}

// over reports whether the token must not be used any more.
func (t *session) over(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.retired || !t.ends.IsZero() && !now.Before(t.ends.Add(-min(margin, t.ttl/10)))
}

// lasts takes note of how long the token lasts from now on, and reports whether
// that puts its end off.
func (t *session) lasts(ttl time.Duration, extends bool, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.ends
	t.ttl, t.extends, t.ends = ttl, extends, time.Time{}
	if ttl > 0 {
		t.ends = now.Add(ttl)
	}
	return t.ends.IsZero() || t.ends.After(before.Add(time.Second))
}

func (t *session) retire() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.retired {
		t.retired = true
		close(t.gone)
	}
}

// look asks whether Vault knows the token. Whoever was refused something before
// a look began shares what it finds.
func (t *session) look(ctx context.Context, refused time.Time, now clock.PassiveClock) (bool, error) {
	select {
	case t.looking <- struct{}{}:
		defer func() { <-t.looking }()
	case <-ctx.Done():
		return false, unreachable(ctx, ctx.Err())
	}
	t.mu.Lock()
	judged, known := t.judged, t.known
	t.mu.Unlock()
	if !judged.Before(refused) {
		return known, nil
	}
	judged = now.Now()
	a, err := get(ctx, t.logins, lookUp, nil)
	if err != nil {
		return false, err
	}
	if known = a.status == http.StatusOK; !known && a.status != http.StatusForbidden {
		return false, a.failed()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.judged, t.known = judged, known
	return known, nil
}

// keep renews the token at about two thirds of its time, until that does not
// put its end off any more or nobody uses it.
func (s *sessions) keep(t *session) {
	if !s.method.token.IsZero() && !s.learn(t) {
		return
	}
	for {
		t.mu.Lock()
		ttl, extends := t.ttl, t.extends
		t.mu.Unlock()
		if !extends || ttl <= 0 {
			return
		}
		early := rand.N(ttl/15 + 1) //nolint:gosec // so that those that began together do not go on so
		if !s.wait(t, ttl*2/3-early) || !s.extend(t) {
			return
		}
	}
}

// extend renews the token. What is not answered is asked again while there is
// time; a token that cannot be renewed ends when it ends.
func (s *sessions) extend(t *session) bool {
	for {
		now := s.clock.Now()
		a, err := s.briefly(func(ctx context.Context) (answer, error) {
			return put(ctx, t.logins, "auth/token/renew-self", nil)
		})
		switch {
		case err == nil && a.status == http.StatusOK && a.Auth != nil:
			return t.lasts(a.Auth.lasts(), a.Auth.Renewable, now)
		case err == nil && (a.status == http.StatusForbidden || a.status == http.StatusBadRequest):
			return false
		case t.over(s.clock.Now()) || !s.wait(t, askAgain):
			return false
		}
	}
}

// learn looks up how long a token lasts that was there already.
func (s *sessions) learn(t *session) bool {
	for {
		now := s.clock.Now()
		a, err := s.briefly(func(ctx context.Context) (answer, error) { return get(ctx, t.logins, lookUp, nil) })
		switch {
		case err == nil && a.status == http.StatusOK:
			var said struct {
				TTL       int64 `json:"ttl"`
				Renewable bool  `json:"renewable"`
			}
			return json.Unmarshal(a.Data, &said) == nil && t.lasts(time.Duration(said.TTL)*time.Second, said.Renewable, now)
		case err == nil && a.status == http.StatusForbidden:
			return false
		case !s.wait(t, askAgain):
			return false
		}
	}
}

func (s *sessions) briefly(ask func(context.Context) (answer, error)) (answer, error) {
	ctx, cancel := context.WithTimeout(s.life, patience)
	defer cancel()
	return ask(ctx)
}

// wait reports whether the time passed, and the token is still used.
func (s *sessions) wait(t *session, d time.Duration) bool {
	timer := s.clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C():
		return true
	case <-t.gone:
	case <-s.life.Done():
	}
	return false
}
