// Package aws is AWS as far as gitseal meets it: Secrets Manager (JSON 1.1) and
// STS (Query) on loopback, over plain HTTP, with the rules that their API
// references document and with switches for what goes wrong there. It is
// written for the official SDK to talk to, and must not be given to a product
// as more than a test double of the wire.
package aws

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// Account is the number of the account that everything here belongs to.
	Account = "123456789012"
	// Region of everything here.
	Region = "eu-central-1"

	maxRequest = 4 << 20
)

// Cloud is an account of AWS in one region.
type Cloud struct {
	server *httptest.Server
	random *names

	mu       sync.Mutex
	now      func() time.Time
	secrets  map[string]*stored // by name
	pages    map[string]page
	keys     map[string]*credential // by access key id
	roles    map[string]Role        // by ARN
	issuers  map[string]issuer      // by URL
	sessions []Session
	lifetime time.Duration

	calls  map[string]int
	faults faults
}

// Start starts a Cloud. Close stops it.
func Start() *Cloud {
	c := &Cloud{
		random: newNames(), now: time.Now, lifetime: time.Hour,
		secrets: map[string]*stored{}, pages: map[string]page{}, keys: map[string]*credential{},
		roles: map[string]Role{}, issuers: map[string]issuer{}, calls: map[string]int{},
	}
	c.server = httptest.NewServer(http.HandlerFunc(c.serve))
	return c
}

// URL is the endpoint of both services.
func (c *Cloud) URL() string { return c.server.URL }

// Close stops the Cloud, with what hangs in it.
func (c *Cloud) Close() {
	c.Reset()
	c.server.CloseClientConnections()
	c.server.Close()
}

// Calls returns how many calls came in, by operation, refused ones included.
func (c *Cloud) Calls() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.calls)
}

// Forget sets the counters of calls to zero.
func (c *Cloud) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.calls)
}

// SetClock replaces the clock by which sessions and tokens expire.
func (c *Cloud) SetClock(now func() time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
}

// call is one request, once it is known what it asks for.
type call struct {
	service   string // "secretsmanager" or "sts"
	operation string
	body      []byte
	caller    *credential // nil where the operation needs none
}

func (c *Cloud) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxRequest+1))
	if err != nil || len(body) > maxRequest {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	one := call{service: "sts", body: body}
	target := r.Header.Get("X-Amz-Target")
	if name, ok := strings.CutPrefix(target, "secretsmanager."); ok {
		one.service, one.operation = "secretsmanager", name
	} else if form, err := parseForm(body); err == nil {
		one.operation = form.Get("Action")
	}
	id := c.random.requestID()
	w.Header().Set("X-Amzn-Requestid", id)
	c.count(one.operation)
	if err := c.faults.apply(r.Context(), w, one.operation); err != nil {
		c.refuse(w, one, err, id)
		return
	}
	answer, err := c.answer(r, one)
	if err != nil {
		c.refuse(w, one, err, id)
		return
	}
	w.Header().Set("Content-Type", one.contentType())
	_, _ = w.Write(answer)
}

func (c *Cloud) count(operation string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls[operation]++
}

// answer does what the call asks for. Everything in it happens at one moment.
func (c *Cloud) answer(r *http.Request, one call) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if one.operation != "AssumeRoleWithWebIdentity" {
		caller, err := c.authenticate(r, one)
		if err != nil {
			return nil, err
		}
		one.caller = caller
	}
	if one.service == "sts" {
		return c.sts(one)
	}
	return c.secretsManager(one)
}

// failure is an error as AWS has it.
type failure struct {
	code    string
	message string
	status  int
	after   time.Duration // Retry-After, where it is set
}

func (f *failure) Error() string { return f.code + ": " + f.message }

func refusal(code, format string, args ...any) *failure {
	return &failure{code: code, message: fmt.Sprintf(format, args...), status: http.StatusBadRequest}
}

func (c call) contentType() string {
	if c.service == "sts" {
		return "text/xml"
	}
	return "application/x-amz-json-1.1"
}

func (c *Cloud) refuse(w http.ResponseWriter, one call, err error, id string) {
	switch {
	case errors.Is(err, errHangUp):
		hangUp(w)
		return
	case errors.Is(err, errAnswered):
		return
	}
	var f *failure
	if !errors.As(err, &f) {
		f = &failure{code: "InternalServiceError", message: err.Error(), status: http.StatusInternalServerError}
	}
	message := f.message
	if quote := c.faults.quoted(); quote != "" {
		message += " (" + quote + ")"
	}
	if f.after > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(f.after/time.Second)))
	}
	w.Header().Set("Content-Type", one.contentType())
	w.WriteHeader(f.status)
	if one.service == "sts" {
		_, _ = w.Write(errorXML(f.code, message, id))
		return
	}
	_, _ = w.Write(errorJSON(f.code, message))
}

// hangUp resets the connection.
func hangUp(w http.ResponseWriter) {
	connection, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := connection.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = connection.Close()
}

// wait waits, unless the client goes away before.
func wait(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
