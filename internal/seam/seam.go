// Package seam is where every effect of the operator on the outside passes
// through, one way per kind: API calls through Transport, questions to a Git
// server where internal/source asks them, over HTTP and SSH alike, calls to
// providers where internal/fetch makes them, randomness through Reader; the clock is an interface wherever it is used. A Gate can
// count the effects, stop or fail the k-th, or lose its answer, which is how
// crash safety is tested. In production there is no gate and nothing in
// between.
package seam

import (
	"io"
	"net/http"
)

// Kind is a kind of effect.
type Kind string

// Kinds of effects.
const (
	API    Kind = "api"
	Git    Kind = "git"
	Random Kind = "random"
	// Provider is a call to a provider of values, named by the provider's kind
	// and the operation, for instance "vault get".
	Provider Kind = "provider"
)

// Call is one effect. Name holds method and path, never a query or a body.
type Call struct {
	Kind Kind
	Name string
}

// Gate sees every effect.
type Gate interface {
	// Enter is called before the effect; an error stops it from happening.
	Enter(Call) error
	// Leave is called after it, with its error; what it returns is reported in
	// place of that, so that an effect that happened can seem to have failed.
	Leave(Call, error) error
}

// Do passes one effect through the gate. A nil gate lets it happen.
func Do(gate Gate, call Call, effect func() error) error {
	if gate == nil {
		return effect()
	}
	if err := gate.Enter(call); err != nil {
		return err
	}
	return gate.Leave(call, effect())
}

// Transport passes API calls through the gate. A nil gate gives next itself.
func Transport(gate Gate, next http.RoundTripper) http.RoundTripper {
	if gate == nil {
		return next
	}
	return transport{gate, next}
}

type transport struct {
	gate Gate
	next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t transport) RoundTrip(r *http.Request) (response *http.Response, err error) {
	err = Do(t.gate, Call{Kind: API, Name: r.Method + " " + r.URL.Path}, func() error {
		response, err = t.next.RoundTrip(r) //nolint:bodyclose // the caller closes what it is given; the rest is closed below
		return err
	})
	if err != nil && response != nil {
		_ = response.Body.Close()
		response = nil
	}
	return response, err
}

// Reader passes reads of randomness through the gate. A nil gate gives next
// itself.
func Reader(gate Gate, next io.Reader) io.Reader {
	if gate == nil {
		return next
	}
	return reader{gate, next}
}

type reader struct {
	gate Gate
	next io.Reader
}

// Read implements io.Reader.
func (r reader) Read(p []byte) (n int, err error) {
	err = Do(r.gate, Call{Kind: Random, Name: "read"}, func() error {
		n, err = r.next.Read(p)
		return err
	})
	return n, err
}
