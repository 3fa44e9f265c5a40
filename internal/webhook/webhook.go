// Package webhook receives what Git servers send when somebody pushes, and
// says which repository to look at. It owns the proof that a delivery comes
// from who knows the shared secret, every bound on what a stranger may make
// the operator read or keep, and the four shapes that pushes have. It must not
// look at Git or the cluster itself, and nothing that a delivery says is ever
// believed: all it can bring about is a look at Git.
package webhook

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"k8s.io/utils/clock"
)

const (
	// maxBody is above any push that the providers send in practice: GitHub
	// lists at most 2,048 commits in one. What is longer is refused, visibly
	// for the sender, and found by the next poll.
	maxBody = 4 << 20
	// maxConcurrent deliveries are read at once, so that memory is bounded
	// whoever sends them.
	maxConcurrent = 8
	maxHeader     = 16 << 10

	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second
	writeTimeout  = 20 * time.Second
	idleTimeout   = 30 * time.Second
)

// Push is what a delivery says: one repository under all its URLs, and the ref
// that moved, "" for any.
type Push struct {
	URLs []string
	Ref  string
}

// Outcome is what became of a delivery.
type Outcome string

// Outcomes.
const (
	Accepted     Outcome = "Accepted"
	Duplicate    Outcome = "Duplicate"
	Ignored      Outcome = "Ignored" // authentic, but no push
	Unauthorized Outcome = "Unauthorized"
	Malformed    Outcome = "Malformed"
	TooLarge     Outcome = "TooLarge"
	Unconfigured Outcome = "Unconfigured" // no secret for this provider
	Unavailable  Outcome = "Unavailable"  // the secret cannot be read now
	Busy         Outcome = "Busy"
	Broken       Outcome = "Broken" // the body did not arrive
	WrongMethod  Outcome = "WrongMethod"
)

// status is the answer to each outcome. It says nothing that helps a stranger.
func (o Outcome) status() int {
	switch o {
	case Accepted:
		return http.StatusAccepted
	case Duplicate, Ignored:
		return http.StatusOK
	case Unauthorized:
		return http.StatusUnauthorized
	case TooLarge:
		return http.StatusRequestEntityTooLarge
	case Unconfigured:
		return http.StatusNotFound
	case Unavailable, Busy:
		return http.StatusServiceUnavailable
	case WrongMethod:
		return http.StatusMethodNotAllowed
	default:
		return http.StatusBadRequest
	}
}

// Options of a Receiver.
type Options struct {
	// Secrets gives the shared secrets as they are now.
	Secrets func(context.Context) (Secrets, error)
	// Poll is told of each authentic push. It must not block.
	Poll func(Push)
	// Observe is told how each delivery ended.
	Observe func(Provider, Outcome)
	Clock   clock.PassiveClock
}

// Receiver is the handler of all providers, each under a path of its own.
type Receiver struct {
	options    Options
	slots      chan struct{}
	deliveries *deliveries
}

// New returns a Receiver.
func New(o Options) *Receiver {
	return &Receiver{options: o, slots: make(chan struct{}, maxConcurrent), deliveries: newDeliveries(o.Clock)}
}

// Server is an HTTP server around the receiver that a slow or endless sender
// cannot hold.
func (r *Receiver) Server() *http.Server {
	return &http.Server{
		Handler: r, MaxHeaderBytes: maxHeader,
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
	}
}

// ServeHTTP implements http.Handler.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	p, known := providers[Provider(strings.TrimPrefix(request.URL.Path, "/"))]
	if !known {
		http.NotFound(w, request)
		return
	}
	outcome := r.receive(w, request, p)
	r.options.Observe(p.name, outcome)
	if outcome == WrongMethod {
		w.Header().Set("Allow", http.MethodPost)
	}
	if outcome == Busy || outcome == Unavailable {
		w.Header().Set("Retry-After", "1")
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(outcome.status())
	_, _ = io.WriteString(w, strings.ToLower(string(outcome))+"\n")
}

// receive does the cheap checks first: whoever cannot prove anything makes the
// operator read as little as possible.
func (r *Receiver) receive(w http.ResponseWriter, request *http.Request, p provider) Outcome {
	if request.Method != http.MethodPost {
		return WrongMethod
	}
	secrets, err := r.options.Secrets(request.Context())
	switch {
	case err != nil:
		return Unavailable
	case len(secrets[p.name]) == 0:
		return Unconfigured
	case request.ContentLength > maxBody:
		return TooLarge
	case p.proof(request.Header) == "":
		return Unauthorized
	}
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	default:
		return Busy
	}
	body, outcome := read(w, request)
	if outcome != "" {
		return outcome
	}
	if !p.authentic(request.Header, body, secrets[p.name]) {
		return Unauthorized
	}
	return r.accept(p, request.Header, body)
}

// accept is what an authentic delivery does.
func (r *Receiver) accept(p provider, header http.Header, body []byte) Outcome {
	d, err := p.parse(header, body)
	switch {
	case errors.Is(err, errNoPush):
		return Ignored
	case err != nil:
		return Malformed
	case r.deliveries.seen(p.name, d.id, body):
		return Duplicate
	}
	r.options.Poll(d.push)
	return Accepted
}

func read(w http.ResponseWriter, request *http.Request) ([]byte, Outcome) {
	var body bytes.Buffer
	if n := request.ContentLength; n > 0 {
		body.Grow(int(n) + bytes.MinRead)
	}
	_, err := body.ReadFrom(http.MaxBytesReader(w, request.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, TooLarge
	case err != nil:
		return nil, Broken
	}
	return body.Bytes(), ""
}
