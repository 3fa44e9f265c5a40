package gcp

import (
	"context"
	"errors"
	"time"

	"k8s.io/utils/clock"

	"github.com/gitseal/gitseal/providers"
)

// early is how long before its end a token is replaced; a fifth of its life
// where that is less.
const early = 5 * time.Minute

// token is an access token of OAuth.
type token struct {
	value          string
	renew, expires time.Time
}

// session holds the one token of a store.
type session struct {
	clock clock.PassiveClock
	login func(context.Context) (token, error)
	// turn is held by who reads or replaces the token; a channel, so that
	// waiting for another one's login ends with the caller's own deadline.
	turn    chan struct{}
	current token
}

func newSession(c clock.PassiveClock, login func(context.Context) (token, error)) *session {
	return &session{clock: c, login: login, turn: make(chan struct{}, 1)}
}

// token returns the token, and whether it was made for this call.
func (s *session) token(ctx context.Context) (value string, fresh bool, err error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return "", false, &providers.Error{Kind: providers.ErrUnavailable, Detail: "the login took too long"}
	}
	now := s.clock.Now()
	if s.current.value != "" && now.Before(s.current.renew) {
		return s.current.value, false, nil
	}
	made, err := s.login(ctx)
	switch {
	case err == nil:
		s.current = made
		return made.value, true, nil
	case now.Before(s.current.expires) && (errors.Is(err, providers.ErrUnavailable) || errors.Is(err, providers.ErrThrottled)):
		return s.current.value, false, nil // it is good for some minutes yet
	}
	return "", false, err
}

// drop forgets a token that was refused, unless another call has replaced it.
func (s *session) drop(value string) {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	if s.current.value == value {
		s.current = token{}
	}
}

// tokenOf bounds what a service says of a token's life.
func tokenOf(value string, now time.Time, life time.Duration) token {
	life = min(max(life, time.Second), 12*time.Hour)
	return token{value: value, renew: now.Add(life - min(early, life/5)), expires: now.Add(life)}
}
