// Package secret holds plaintext and what stands in for it. A Value cannot be
// printed, logged or marshalled by accident; a Token is what every other part
// of the pipeline sees in its place; a Set maps one to the other.
//
// The package imports the standard library only. It protects against
// accidents in our own code, not against someone who reads the process's
// memory.
package secret

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
)

const redacted = "[redacted]"

// ErrNotMarshalable is what marshalling a Value returns.
var ErrNotMarshalable = errors.New("a secret value must not be marshalled")

// Value is a piece of plaintext. The zero Value is empty.
//
// It is a struct around one closure because that is the only shape whose
// content fmt, encoding/json, encoding/gob, log/slog and reflection all fail
// to reach, also when it stands in another type's unexported field.
type Value struct{ reveal func() []byte }

// NewValue keeps a copy of b.
func NewValue(b []byte) Value {
	own := append([]byte(nil), b...)
	return Value{reveal: func() []byte { return own }}
}

// Reveal returns the plaintext. The caller must not change it, print it or
// keep it longer than the call it is needed for.
func (v Value) Reveal() []byte {
	if v.reveal == nil {
		return nil
	}
	return v.reveal()
}

// IsZero reports whether the value is empty.
func (v Value) IsZero() bool { return len(v.Reveal()) == 0 }

// Equal compares in constant time for values of equal length.
func (v Value) Equal(w Value) bool {
	return subtle.ConstantTimeCompare(v.Reveal(), w.Reveal()) == 1
}

// Format prints the same mask for every verb.
func (v Value) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue is the mask.
func (v Value) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalLog is the mask, for logr.
func (v Value) MarshalLog() any { return redacted }

// MarshalJSON always fails: a mask that marshals would be taken for data.
func (v Value) MarshalJSON() ([]byte, error) { return nil, ErrNotMarshalable }

// MarshalText always fails.
func (v Value) MarshalText() ([]byte, error) { return nil, ErrNotMarshalable }

// MarshalBinary always fails; encoding/gob uses it.
func (v Value) MarshalBinary() ([]byte, error) { return nil, ErrNotMarshalable }

// Len is the number of bytes of plaintext.
func (v Value) Len() int { return len(v.Reveal()) }
