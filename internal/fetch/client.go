package fetch

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
)

// Request asks for one value.
type Request struct {
	Ref providers.Ref
	// MaxAge is how old the answer may be. Negative: any age will do. 0: it is
	// read again, by a call that begins after this one was asked for.
	MaxAge time.Duration
}

// Outcome answers a Request, a find or a check.
type Outcome struct {
	Value   secret.Value
	Version string
	// Keys that were found. Lost are those among them that were found before, and
	// not this time, which is not proven yet.
	Keys, Lost []string
	// Identity that a check found.
	Identity string
	// Read is when the call that brought it began.
	Read time.Time
	// Stale: it is older than was asked for, because the provider did not answer,
	// or with an older version, which is not proven yet. Cause is why, as a
	// *providers.Error.
	Stale bool
	Cause error
	// Missing, with an Err that is ErrNotFound, or of a search that finds nothing:
	// when it was found missing, first and last, with nothing else found in
	// between. It is proven once these are Proof apart.
	Missing Missing
	// Err is a *providers.Error. It names no key.
	Err error
}

// Stats of a client since it was opened.
type Stats struct {
	Calls v1alpha1.StoreCalls
	// LastError is the last error that a call ended with, but for keys that are
	// not there; nil: none did. LastErrorAt is when.
	LastError   error
	LastErrorAt time.Time
}

// Client asks one provider under one identity.
type Client struct {
	f        *Fetcher
	identity string
	kind     string
	ordered  bool
	base     context.Context // ends in close
	end      context.CancelFunc

	opening sync.Mutex // held while opening

	mu       sync.Mutex
	provider providers.Provider
	limits   Limits
	limiter  *rate.Limiter
	used     time.Time
	stats    Stats
	queue    queue
	pause    pause
}

func newClient(f *Fetcher, identity string, o Opening) *Client {
	base, end := context.WithCancel(context.Background())
	return &Client{f: f, identity: identity, kind: o.Provider, ordered: o.Ordered, base: base, end: end,
		queue: queue{waiting: map[question]*flight{}, flying: map[question]*flight{}}}
}

func (c *Client) open(o Opening) error {
	c.opening.Lock()
	defer c.opening.Unlock()
	c.mu.Lock()
	c.setLimits(o.Limits)
	opened := c.provider != nil
	c.mu.Unlock()
	if opened {
		return nil
	}
	p, err := c.openSafely(o.Open)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.provider = p
	c.mu.Unlock()
	if c.base.Err() != nil { // closed meanwhile
		closeProvider(p)
	}
	return nil
}

func (c *Client) openSafely(open func(func()) (providers.Provider, error)) (p providers.Provider, err error) {
	defer func() {
		if recover() != nil { // what it says may quote anything
			err = errPanic()
		}
	}()
	return open(c.loggedIn)
}

func (c *Client) loggedIn() {
	c.mu.Lock()
	c.stats.Calls.Logins++
	c.mu.Unlock()
	c.f.o.Called(Call{Identity: c.identity, Provider: c.kind, Operation: "login", Outcome: "ok"})
}

// setLimits replaces the limits where they changed. What was used of the rate
// stays used: stores that share a client may take turns with different limits.
func (c *Client) setLimits(l Limits) {
	if c.limiter != nil && l == c.limits {
		return
	}
	limit, burst := rate.Inf, 1
	if l.Rate > 0 {
		limit, burst = rate.Limit(l.Rate), max(1, int(l.Rate))
	}
	c.limits = l
	if c.limiter == nil {
		c.limiter = rate.NewLimiter(limit, burst)
		return
	}
	now := c.f.o.Clock.Now()
	c.limiter.SetLimitAt(now, limit)
	c.limiter.SetBurstAt(now, burst)
}

// Get answers requests in their order. It returns when all are answered, or
// when ctx ends; what others wait for goes on then. An answer that is older
// than its request asks for is given out, marked Stale, where the provider
// does not answer and it is no older than maxStaleness.
func (c *Client) Get(ctx context.Context, requests []Request, maxStaleness time.Duration) []Outcome {
	wanted := make([]want, len(requests))
	for i, r := range requests {
		wanted[i] = want{question: question{kind: get, ref: r.Ref}, maxAge: r.MaxAge}
	}
	return c.ask(ctx, wanted, maxStaleness)
}

// Find lists keys. A provider that is no providers.Finder gives ErrInvalid.
func (c *Client) Find(ctx context.Context, q providers.Query, maxAge, maxStaleness time.Duration) Outcome {
	text, err := json.Marshal(q) // tags sorted
	if err != nil {
		return Outcome{Err: &providers.Error{Kind: providers.ErrInvalid, Detail: "the query cannot be written down"}}
	}
	return c.ask(ctx, []want{{question: question{kind: find, query: string(text)}, maxAge: maxAge, query: q}}, maxStaleness)[0]
}

// Check asks as whom the provider knows us. Of a provider that is no
// providers.Checker the identity is "". It is never Stale.
func (c *Client) Check(ctx context.Context, maxAge time.Duration) Outcome {
	return c.ask(ctx, []want{{question: question{kind: check}, maxAge: maxAge}}, 0)[0]
}

// Stats returns the counters.
func (c *Client) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats
}

func (c *Client) touch() {
	c.mu.Lock()
	c.used = c.f.o.Clock.Now()
	c.mu.Unlock()
}

// idleSince reports whether nobody used it since then, and nobody waits.
func (c *Client) idleSince(t time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used.Before(t) && c.queue.empty()
}

// close ends what is under way.
func (c *Client) close() {
	c.end()
	c.mu.Lock()
	p := c.provider
	c.mu.Unlock()
	if p != nil {
		closeProvider(p)
	}
}
