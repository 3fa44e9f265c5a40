package aws

import (
	"context"
	"errors"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"k8s.io/utils/clock"

	"github.com/gitseal/gitseal/providers"
)

const (
	// early is how long before its end a session is renewed, if it lasts long
	// enough: there is time to survive an outage of STS.
	early = 10 * time.Minute
	// earlyAgain is how soon it is tried again where that failed.
	earlyAgain = 30 * time.Second
)

// session keeps the one set of credentials that all calls are made with.
type session struct {
	login func(context.Context) (sdk.Credentials, error)
	clock clock.PassiveClock

	turn    chan struct{} // held while the fields below are used
	current sdk.Credentials
	renew   time.Time // when current is to be replaced, if it can expire
}

func newSession(login func(context.Context) (sdk.Credentials, error), c clock.PassiveClock) *session {
	return &session{login: login, clock: c, turn: make(chan struct{}, 1)}
}

// get returns credentials that are good for a while. Callers wait for one
// login; one that fails is made again for the next caller.
func (s *session) get(ctx context.Context) (sdk.Credentials, error) {
	if err := s.lock(ctx); err != nil {
		return sdk.Credentials{}, err
	}
	defer s.unlock()
	now := s.clock.Now()
	if s.current.HasKeys() && (!s.current.CanExpire || now.Before(s.renew)) {
		return s.current, nil
	}
	fresh, err := s.login(ctx)
	if err != nil {
		if s.outlives(now, err) {
			s.renew = now.Add(earlyAgain)
			return s.current, nil
		}
		return sdk.Credentials{}, err
	}
	s.current = fresh
	s.renew = now.Add(max(fresh.Expires.Sub(now)-early, fresh.Expires.Sub(now)*3/4))
	return fresh, nil
}

// outlives reports whether a session that is to be renewed can still be used
// although nobody is there to renew it.
func (s *session) outlives(now time.Time, err error) bool {
	away := errors.Is(err, providers.ErrUnavailable) || errors.Is(err, providers.ErrThrottled)
	return away && s.current.HasKeys() && now.Add(earlyAgain).Before(s.current.Expires)
}

// drop forgets credentials that were refused. It reports whether there can be
// others: a session can be had anew, an access key cannot.
func (s *session) drop(ctx context.Context, refused sdk.Credentials) bool {
	if !refused.CanExpire || s.lock(ctx) != nil {
		return false
	}
	defer s.unlock()
	if s.current.SessionToken == refused.SessionToken {
		s.current = sdk.Credentials{}
	}
	return true
}

func (s *session) lock(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return ended(err)
	}
	select {
	case s.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ended(ctx.Err())
	}
}

func (s *session) unlock() { <-s.turn }

// ended is the error of a call whose context has ended.
func ended(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return &providers.Error{Kind: providers.ErrUnavailable, Detail: "AWS did not answer in time"}
	}
	return context.Canceled
}
