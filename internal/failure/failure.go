// Package failure gives every failure of the pipeline its class, its reason
// and its next step, so that the controller decides conditions and requeues in
// one table and the CLI prints error and hint from the same text.
//
// A message holds no secret value, no time and no random id: it is written to
// conditions, events and logs as it is.
package failure

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Class decides what happens after a failure.
type Class int

const (
	// Fail: it may pass by itself; try again soon, and say so.
	Fail Class = iota
	// Wait: something else must happen first; that is not an error.
	Wait
	// Stall: nothing helps until somebody changes Git, the spec, a key or
	// access rights.
	Stall
)

func (c Class) String() string {
	return [...]string{"fail", "wait", "stall"}[c]
}

// Error is a failure of one stage.
type Error struct {
	Class  Class
	Reason string // a Reason constant of api/v1alpha1
	Hint   string // the next step, as one sentence; may be empty
	err    error
}

func (e *Error) Error() string { return e.err.Error() }

// Unwrap gives access to the cause.
func (e *Error) Unwrap() error { return e.err }

// Message is the error and, where there is one, the hint, as one line.
func (e *Error) Message() string {
	if e.Hint == "" {
		return e.Error()
	}
	return e.Error() + ": " + e.Hint
}

// WithHint sets the next step and returns the error itself.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// Rewrite returns a copy with another text and hint, and without the cause: it
// is for texts from which something was taken out, which the cause still has.
func (e *Error) Rewrite(text, hint string) *Error {
	return &Error{Class: e.Class, Reason: e.Reason, Hint: hint, err: errors.New(text)}
}

// Failf builds a failure that may pass by itself.
func Failf(reason, format string, args ...any) *Error {
	return &Error{Class: Fail, Reason: reason, err: fmt.Errorf(format, args...)}
}

// Waitf builds a failure that ends when something else happens.
func Waitf(reason, format string, args ...any) *Error {
	return &Error{Class: Wait, Reason: reason, err: fmt.Errorf(format, args...)}
}

// Stallf builds a failure that only a change by somebody ends.
func Stallf(reason, format string, args ...any) *Error {
	return &Error{Class: Stall, Reason: reason, err: fmt.Errorf(format, args...)}
}

// From returns the failure in err's chain, or wraps err as a Fail with the
// reason given. Several failures joined become one: the first decides class and
// reason, and a few more are named. Its hint stands behind its own text, or at
// the end where it is that of all.
func From(err error, reason string) *Error {
	all := collect(err, nil)
	switch {
	case len(all) == 0:
		return &Error{Class: Fail, Reason: reason, err: err}
	case len(all) == 1:
		return all[0]
	}
	first := *all[0]
	text := first.Error()
	if slices.ContainsFunc(all, func(e *Error) bool { return e.Hint != first.Hint }) {
		text, first.Hint = first.Message(), ""
	}
	first.err = &several{first: text, all: all}
	return &first
}

const maxNamed = 3

// several is what was joined, as one line.
type several struct {
	first string // what is said of the first
	all   []*Error
}

func (s *several) Error() string {
	var b strings.Builder
	b.WriteString(s.first)
	for i, e := range s.all[1:] {
		if i+1 == maxNamed {
			fmt.Fprintf(&b, "; and %d more", len(s.all)-maxNamed)
			break
		}
		b.WriteString("; " + e.Error())
	}
	return b.String()
}

// Unwrap gives access to each failure.
func (s *several) Unwrap() []error {
	errs := make([]error, len(s.all))
	for i, e := range s.all {
		errs[i] = e
	}
	return errs
}

// collect gathers the failures in err's tree, leaving out repetitions.
func collect(err error, found []*Error) []*Error {
	switch e := err.(type) { //nolint:errorlint // it walks the tree itself
	case nil:
		return found
	case *Error:
		for _, f := range found {
			if f.Error() == e.Error() {
				return found
			}
		}
		return append(found, e)
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			found = collect(inner, found)
		}
	case interface{ Unwrap() error }:
		return collect(e.Unwrap(), found)
	}
	return found
}
