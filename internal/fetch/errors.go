package fetch

import (
	"context"
	"errors"

	"github.com/gitseal/gitseal/providers"
)

func unavailable(detail string) error {
	return &providers.Error{Kind: providers.ErrUnavailable, Detail: detail}
}

func errPanic() error {
	return unavailable("gitseal's own code for this provider failed; please report it")
}

// ranked are the kinds of errors, the worst last, with the word for each.
func ranked() []struct {
	kind error
	word string
} {
	return []struct {
		kind error
		word string
	}{
		{providers.ErrNotFound, "not_found"},
		{providers.ErrNotReady, "not_ready"},
		{providers.ErrInvalid, "invalid"},
		{providers.ErrDenied, "denied"},
		{providers.ErrThrottled, "throttled"},
		{providers.ErrUnavailable, "unavailable"},
		{providers.ErrUnauthenticated, "unauthenticated"},
	}
}

func rank(err error) int {
	for i, r := range ranked() {
		if errors.Is(err, r.kind) {
			return i + 1
		}
	}
	return 0
}

// worse is the error that says more of the provider.
func worse(a, b error) error {
	if rank(b) > rank(a) {
		return b
	}
	return a
}

// word is a metric's label.
func word(err error) string {
	if n := rank(err); n > 0 {
		return ranked()[n-1].word
	}
	return "ok"
}

// curated is the *providers.Error in err, and nothing that stands around it: a
// backend that hands out the text of an SDK would quote what that was given.
func curated(err error) error {
	var e *providers.Error
	switch {
	case errors.As(err, &e) && rank(e) > 0:
		return e
	case rank(err) > 0:
		return &providers.Error{Kind: ranked()[rank(err)-1].kind}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return unavailable("it did not answer in time")
	}
	return unavailable("it failed in a way that gitseal does not know")
}
