package vault

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"
	"k8s.io/utils/clock"

	"github.com/gitseal/gitseal/providers"
)

const (
	// patience is how long a login, a renewal or a look at a token may take.
	patience = 15 * time.Second
	// A login that was refused is not tried again at once: its credentials stay
	// what they are. The pause doubles.
	firstPause = 5 * time.Second
	lastPause  = time.Minute
	// youth is how long a token that may not look itself up is taken for good.
	youth = time.Minute
)

// sessions keeps one login for all calls. It renews the token before it ends
// and logs in again where Vault took it away.
type sessions struct {
	reads  *api.Client // in the namespace of the secrets
	logins *api.Client // in that of the login
	method method
	clock  clock.WithTicker
	told   func()

	life context.Context // ends with close
	end  context.CancelFunc
	work sync.WaitGroup

	mu      sync.Mutex
	current *session
	flight  *flight
	refused error
	until   time.Time
	pause   time.Duration
	// blind: tokens of this login may not look themselves up.
	blind bool
}

// flight is a login under way.
type flight struct {
	done    chan struct{}
	session *session
	err     error
}

func newSessions(s providers.Store, client *api.Client, m method) *sessions {
	logins := client
	if m.namespace != nil {
		logins = client.WithNamespace(*m.namespace)
	}
	told := s.LoggedIn
	if told == nil {
		told = func() {}
	}
	life, end := context.WithCancel(context.Background())
	return &sessions{reads: client, logins: logins, method: m, clock: s.Clock, told: told, life: life, end: end}
}

// get is the session, made if there is none that lasts.
func (s *sessions) get(ctx context.Context) (*session, error) {
	s.mu.Lock()
	now := s.clock.Now()
	switch {
	case s.life.Err() != nil:
		s.mu.Unlock()
		return nil, closed()
	case s.current != nil && !s.current.over(now):
		defer s.mu.Unlock()
		return s.current, nil
	case s.refused != nil && now.Before(s.until):
		defer s.mu.Unlock()
		return nil, s.refused
	case s.flight == nil:
		f := &flight{done: make(chan struct{})}
		s.flight = f
		s.work.Go(func() { s.land(f) })
	}
	f := s.flight
	s.mu.Unlock()
	select {
	case <-f.done:
		return f.session, f.err
	case <-ctx.Done():
		return nil, unreachable(ctx, ctx.Err())
	}
}

func closed() error {
	return &providers.Error{Kind: providers.ErrUnavailable, Detail: "the store was closed"}
}

// land logs in, for everybody who waits.
func (s *sessions) land(f *flight) {
	ctx, cancel := context.WithTimeout(s.life, patience)
	defer cancel()
	f.session, f.err = s.open(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	defer close(f.done)
	s.flight = nil
	switch {
	case f.err == nil:
		if s.current != nil {
			s.current.retire()
		}
		s.current, s.refused, s.pause = f.session, nil, 0
		s.work.Go(func() { s.keep(f.session) })
	case errors.Is(f.err, providers.ErrUnavailable), errors.Is(f.err, providers.ErrThrottled):
		// When to ask again is for those to say who ask.
	default:
		s.pause = min(max(2*s.pause, firstPause), lastPause)
		if !errors.As(f.err, new(*providers.Error)) {
			s.pause = firstPause // what the login needs of the cluster may be mended at any time
		}
		s.refused, s.until = f.err, s.clock.Now().Add(s.pause)
	}
}

// open makes a session of the token that is there, or of a login.
func (s *sessions) open(ctx context.Context) (*session, error) {
	now := s.clock.Now()
	if !s.method.token.IsZero() {
		return s.session(string(s.method.token.Reveal()), now), nil
	}
	fields, err := s.method.body(ctx)
	if err != nil {
		return nil, err
	}
	a, err := put(ctx, s.logins, "auth/"+s.method.mount+"/"+s.method.path, fields)
	if err != nil {
		return nil, err
	}
	if err := s.granted(a); err != nil {
		return nil, err
	}
	opened := s.session(a.Auth.Token, now)
	opened.role = a.Auth.role()
	opened.lasts(a.Auth.lasts(), a.Auth.Renewable, now)
	s.told()
	return opened, nil
}

// granted judges the answer to a login.
func (s *sessions) granted(a answer) error {
	at := "auth/" + s.method.mount
	switch a.status {
	case http.StatusOK:
		if a.Auth == nil || a.Auth.Token == "" {
			return &providers.Error{Kind: providers.ErrUnauthenticated, Detail: "Vault asks for more at " + at + " than the login has, for instance a second factor"}
		}
		return nil
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
		return &providers.Error{Kind: providers.ErrUnauthenticated, Detail: "Vault refuses the login at " + at}
	case http.StatusNotFound:
		return providers.Invalidf("Vault has no auth method at %s", at)
	default:
		return a.failed()
	}
}

// drop forgets a session, unless there is another one by now.
func (s *sessions) drop(old *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == old {
		s.current = nil
	}
	old.retire()
}

// ask sends with the session, and once more with a new one if Vault no longer
// knows its token. A status that is an error is for the caller to judge.
func (s *sessions) ask(ctx context.Context, send func(*session) (answer, error)) (answer, error) {
	used, err := s.get(ctx)
	if err != nil {
		return answer{}, err
	}
	a, err := send(used)
	if err != nil || a.status != http.StatusForbidden {
		return a, err
	}
	known, err := s.known(ctx, used)
	if err != nil || known {
		return a, err
	}
	if !s.method.token.IsZero() {
		return answer{}, &providers.Error{Kind: providers.ErrUnauthenticated, Detail: "Vault does not know the token of vault.auth.tokenSecretRef, or no longer"}
	}
	s.drop(used)
	if used, err = s.get(ctx); err != nil {
		return answer{}, err
	}
	if a, err = send(used); err != nil || a.status != http.StatusForbidden {
		return a, err
	}
	// A new token is refused as well. If Vault does not know that one either, its
	// policies do not let it look itself up, and looking tells nothing.
	if known, err = s.known(ctx, used); err == nil && !known {
		s.mu.Lock()
		s.blind = true
		s.mu.Unlock()
	}
	return a, err
}

// known reports whether Vault knows the token of a session, which it refused
// something now.
func (s *sessions) known(ctx context.Context, t *session) (bool, error) {
	refused := s.clock.Now()
	s.mu.Lock()
	blind := s.blind
	s.mu.Unlock()
	if blind {
		return refused.Sub(t.opened) < youth, nil
	}
	return t.look(ctx, refused, s.clock)
}

// close ends renewals and a login under way, and has Vault forget the token.
func (s *sessions) close() {
	s.mu.Lock()
	s.end()
	s.mu.Unlock()
	s.work.Wait()
	s.mu.Lock()
	last := s.current
	s.current = nil
	s.mu.Unlock()
	if last == nil || !s.method.token.IsZero() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	_, _ = put(ctx, last.logins, "auth/token/revoke-self", nil) // else it ends by itself
}
