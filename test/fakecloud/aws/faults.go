package aws

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"
)

// Outage is a way in which AWS is out of order.
type Outage int

const (
	// Up is none.
	Up Outage = iota
	// Hangup resets every connection.
	Hangup
	// InternalError answers InternalServiceError with 500.
	InternalError
	// Unavailable answers ServiceUnavailable with 503.
	Unavailable
	// Garbage answers 200 and what is no answer.
	Garbage
)

var (
	errHangUp   = errors.New("the connection is reset")
	errAnswered = errors.New("the call is answered")
)

// faults are what goes wrong on purpose.
type faults struct {
	mu        sync.Mutex
	throttled map[string]throttle // by operation; "" is every one
	delay     time.Duration
	outage    Outage
	quote     string
	denied    map[[2]string]bool // operation and name; "" is every one
	failing   map[string]string  // codes by the names of secrets
	code      string             // of every call
	status    int
}

type throttle struct {
	left  int // negative: until Reset
	after time.Duration
}

// Throttle refuses the next n calls of an operation; "" is every operation, a
// negative n is until Reset. With after the refusal says when to come back.
func (c *Cloud) Throttle(operation string, n int, after time.Duration) {
	c.faults.mu.Lock()
	defer c.faults.mu.Unlock()
	if c.faults.throttled == nil {
		c.faults.throttled = map[string]throttle{}
	}
	c.faults.throttled[operation] = throttle{left: n, after: after}
}

// Delay lets every call wait.
func (c *Cloud) Delay(d time.Duration) {
	c.faults.mu.Lock()
	defer c.faults.mu.Unlock()
	c.faults.delay = d
}

// Out puts the Cloud out of order, or, with Up, in order again.
func (c *Cloud) Out(how Outage) {
	c.faults.mu.Lock()
	defer c.faults.mu.Unlock()
	c.faults.outage = how
}

// Deny refuses an operation on a secret by its name, with AccessDenied; ""
// stands for every operation or every secret, and Deny("X", "") for the
// operation as such.
func (c *Cloud) Deny(operation, name string) {
	c.faults.mu.Lock()
	defer c.faults.mu.Unlock()
	if c.faults.denied == nil {
		c.faults.denied = map[[2]string]bool{}
	}
	c.faults.denied[[2]string{operation, name}] = true
}

// Fail answers every call with an error of a code and an HTTP status.
func (c *Cloud) Fail(code string, status int) {
	c.faults.mu.Lock()
	defer c.faults.mu.Unlock()
	c.faults.code, c.faults.status = code, status
}

// FailSecret lets reads of one secret end with a code, for instance
// DecryptionFailure.
func (c *Cloud) FailSecret(name, code string) {
	c.faults.mu.Lock()
	defer c.faults.mu.Unlock()
	if c.faults.failing == nil {
		c.faults.failing = map[string]string{}
	}
	c.faults.failing[name] = code
}

// Quote makes every message of an error quote a text, as servers that are asked
// with a secret in hand may.
func (c *Cloud) Quote(text string) {
	c.faults.mu.Lock()
	defer c.faults.mu.Unlock()
	c.faults.quote = text
}

// Reset ends everything that goes wrong on purpose.
func (c *Cloud) Reset() {
	c.faults.mu.Lock()
	defer c.faults.mu.Unlock()
	c.faults.throttled, c.faults.denied, c.faults.failing = nil, nil, nil
	c.faults.delay, c.faults.outage, c.faults.quote = 0, Up, ""
	c.faults.code, c.faults.status = "", 0
}

func (f *faults) quoted() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.quote
}

// apply does what is to go wrong before a call is looked at.
func (f *faults) apply(ctx context.Context, w http.ResponseWriter, operation string) error {
	f.mu.Lock()
	delay, outage, throttled := f.delay, f.outage, f.throttle(operation)
	code, status := f.code, f.status
	f.mu.Unlock()
	wait(ctx, delay)
	switch {
	case throttled != nil:
		return throttled
	case code != "":
		return &failure{code: code, message: "It went wrong on purpose.", status: status}
	}
	switch outage {
	case Hangup:
		return errHangUp
	case InternalError:
		return &failure{code: "InternalServiceError", message: "An error occurred on the server side.", status: http.StatusInternalServerError}
	case Unavailable:
		return &failure{code: "ServiceUnavailable", message: "The service is unavailable.", status: http.StatusServiceUnavailable}
	case Garbage:
		_, _ = w.Write([]byte("<html>captive portal " + f.quoted() + "</html>"))
		return errAnswered
	}
	return nil
}

func (f *faults) throttle(operation string) *failure {
	for _, name := range []string{operation, ""} {
		t, ok := f.throttled[name]
		if !ok || t.left == 0 {
			continue
		}
		t.left--
		f.throttled[name] = t
		refused := refusal("ThrottlingException", "Rate exceeded")
		refused.after = t.after
		return refused
	}
	return nil
}

// failure is what reads of a secret end with, or nil.
func (f *faults) failure(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if code := f.failing[name]; code != "" {
		return refusal(code, "It went wrong on purpose.")
	}
	return nil
}

// may reports whether a caller is let do an operation on a secret; name "" asks
// for the operation as such.
func (f *faults) may(operation, name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.denied[[2]string{operation, ""}] {
		return false
	}
	return name == "" || !f.denied[[2]string{operation, name}] && !f.denied[[2]string{"", name}]
}
