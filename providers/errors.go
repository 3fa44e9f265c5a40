package providers

import (
	"errors"
	"fmt"
	"time"
)

// The kinds of errors of a provider. They decide what happens next, so that a
// backend maps every error of its SDK to one of them.
var (
	// ErrNotFound: there is no such key or version. It is an answer, no outage.
	ErrNotFound = errors.New("not found")
	// ErrNotReady: something other than the provider has yet to write it, or to
	// finish it. It is an answer, no outage, and says nothing of other keys.
	ErrNotReady = errors.New("not ready yet")
	// ErrDenied: the identity may not read this key.
	ErrDenied = errors.New("access denied")
	// ErrUnauthenticated: the credentials are wrong, or no longer valid.
	ErrUnauthenticated = errors.New("not authenticated")
	// ErrThrottled: asked to slow down.
	ErrThrottled = errors.New("throttled")
	// ErrUnavailable: no answer, or one that says to come back: an outage, a
	// sealed Vault, a deadline.
	ErrUnavailable = errors.New("unavailable")
	// ErrInvalid: the spec, the reference or the stored value is wrong and stays
	// so until somebody changes it.
	ErrInvalid = errors.New("invalid")
)

// Error is an error of a provider. It holds no word of the provider's answer
// nor of the SDK, which may quote what they were given.
type Error struct {
	// Kind is one of the sentinels.
	Kind error
	// Detail says more, in the backend's own words, for instance "Vault is
	// sealed"; it is a sentence's part, without a value, time or id.
	Detail string
	// RetryAfter is how long the provider asked to wait; 0: it did not say.
	RetryAfter time.Duration
}

// Error implements error.
func (e *Error) Error() string {
	if e.Detail == "" {
		return e.Kind.Error()
	}
	return e.Detail
}

// Unwrap gives the kind.
func (e *Error) Unwrap() error { return e.Kind }

// Invalidf is an Error of kind ErrInvalid.
func Invalidf(format string, args ...any) *Error {
	return &Error{Kind: ErrInvalid, Detail: fmt.Sprintf(format, args...)}
}

// RetryAfter returns how long an error's provider asked to wait, or 0.
func RetryAfter(err error) time.Duration {
	var e *Error
	if errors.As(err, &e) {
		return e.RetryAfter
	}
	return 0
}
