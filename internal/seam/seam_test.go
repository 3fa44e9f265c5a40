package seam_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/gitseal/gitseal/internal/seam"
)

var errGate = errors.New("stopped at the gate")

// gate records calls; before and after decide what they meet.
type gate struct {
	before, after error
	seen          []string
}

func (g *gate) Enter(c seam.Call) error {
	g.seen = append(g.seen, "enter "+string(c.Kind)+" "+c.Name)
	return g.before
}

func (g *gate) Leave(c seam.Call, err error) error {
	g.seen = append(g.seen, "leave "+string(c.Kind)+" "+c.Name)
	if g.after != nil {
		return g.after
	}
	return err
}

func TestTransport(t *testing.T) {
	tests := map[string]struct {
		gate    *gate
		want    error
		reached bool
		seen    []string
	}{
		"an open gate lets the request through": {&gate{}, nil, true, []string{"enter api GET /a", "leave api GET /a"}},
		"a closed gate stops it before":         {&gate{before: errGate}, errGate, false, []string{"enter api GET /a"}},
		"an answer can be lost after":           {&gate{after: errGate}, errGate, true, []string{"enter api GET /a", "leave api GET /a"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			reached := false
			server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
			defer server.Close()
			client := http.Client{Transport: seam.Transport(tt.gate, http.DefaultTransport)}
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/a?token=hidden", nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := client.Do(request)
			if err == nil {
				_ = response.Body.Close()
			}
			if !errors.Is(err, tt.want) || reached != tt.reached || !slices.Equal(tt.gate.seen, tt.seen) {
				t.Errorf("RoundTrip: err %v, reached %v, seen %q, want %v, %v, %q", err, reached, tt.gate.seen, tt.want, tt.reached, tt.seen)
			}
		})
	}
}

// body notes that it was closed.
type body struct {
	io.Reader
	closed bool
}

func (b *body) Close() error { b.closed = true; return nil }

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestALostAnswerIsClosed(t *testing.T) {
	b := &body{Reader: strings.NewReader("x")}
	next := transportFunc(func(*http.Request) (*http.Response, error) { return &http.Response{Body: b}, nil })
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://example.com/", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := seam.Transport(&gate{after: errGate}, next).RoundTrip(request)
	if response != nil || !errors.Is(err, errGate) || !b.closed {
		t.Errorf("RoundTrip = %v, %v with body closed = %v, want no response and a closed body", response, err, b.closed)
	}
}

func TestReader(t *testing.T) {
	tests := map[string]struct {
		gate *gate
		n    int
		want error
	}{
		"an open gate gives the bytes":                   {&gate{}, 3, nil},
		"a closed gate gives none":                       {&gate{before: errGate}, 0, errGate},
		"a read can seem to have failed once it is done": {&gate{after: errGate}, 3, errGate},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			n, err := seam.Reader(tt.gate, strings.NewReader("abc")).Read(make([]byte, 3))
			if n != tt.n || !errors.Is(err, tt.want) {
				t.Errorf("Read() = %d, %v, want %d, %v", n, err, tt.n, tt.want)
			}
		})
	}
}

func TestWithoutAGateNothingIsInBetween(t *testing.T) {
	if got := seam.Transport(nil, http.DefaultTransport); got != http.DefaultTransport {
		t.Errorf("Transport(nil gate) = %v, want next itself", got)
	}
	next := &bytes.Buffer{}
	if got := seam.Reader(nil, next); got != io.Reader(next) {
		t.Errorf("Reader(nil gate) = %v, want next itself", got)
	}
}
