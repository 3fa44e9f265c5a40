package external

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
)

// fault is what is wrong with a value or with what is made of it. It holds
// names, and never a value.
type fault struct {
	reason string
	text   string
	hint   string
}

func (f *fault) Error() string { return f.text }

// problemf is a fault of an ExternalSecret, or of a value that is not what it
// takes it for.
func problemf(hint, format string, args ...any) *fault {
	return &fault{v1alpha1.ReasonSecretInvalid, fmt.Sprintf(format, args...), hint}
}

// at says where in an ExternalSecret an error is. An error of the resolver
// keeps its class, and so does a context's; all else is for somebody to
// correct.
func (m *Manifest) at(field string, err error) error {
	place := fmt.Sprintf("%s: ExternalSecret %q: ", m.Origin, m.Name)
	if field != "" {
		place += field + ": "
	}
	var known *failure.Error
	var f *fault
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return known.Rewrite(place+known.Error(), known.Hint)
	case errors.As(err, &f):
		return failure.Stallf(f.reason, "%s%s", place, f.text).WithHint("%s", f.hint)
	}
	return fmt.Errorf("%s%w", place, err)
}

// joined joins errors, those first that only a change by somebody ends, and
// those last that end by themselves: the first decides what happens next.
func joined(errs []error) error {
	slices.SortStableFunc(errs, func(a, b error) int { return cmp.Compare(urgency(a), urgency(b)) })
	return errors.Join(errs...)
}

func urgency(err error) int {
	var f *failure.Error
	if !errors.As(err, &f) {
		return 1
	}
	switch f.Class {
	case failure.Stall:
		return 0
	case failure.Wait:
		return 2
	}
	return 1
}
