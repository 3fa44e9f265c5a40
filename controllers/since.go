package controllers

import (
	"context"
	"slices"
	"time"

	"k8s.io/utils/clock"

	"github.com/gitseal/gitseal/internal/external"
)

// since is a Resolver whose answers are no older than a moment, unless a store
// does not answer.
type since struct {
	external.Resolver
	clock clock.PassiveClock
	at    time.Time
}

// Resolve implements external.Resolver.
func (s *since) Resolve(ctx context.Context, requests []external.Request) []external.Answer {
	requests = slices.Clone(requests)
	for i := range requests {
		requests[i].MaxAge = s.young(requests[i].MaxAge)
	}
	return s.Resolver.Resolve(ctx, requests)
}

// Find implements external.Resolver.
func (s *since) Find(ctx context.Context, request external.FindRequest) (external.Found, error) {
	request.MaxAge = s.young(request.MaxAge)
	return s.Resolver.Find(ctx, request)
}

func (s *since) young(maxAge time.Duration) time.Duration {
	age := max(s.clock.Since(s.at), 0)
	if maxAge < 0 {
		return age
	}
	return min(maxAge, age)
}
