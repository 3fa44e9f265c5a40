// Package fetch owns what is asked of providers, how often, and what is kept
// of the answers: one client, one login and one cache per store identity, for
// all stores and Applications that have it. It knows neither manifests nor
// rights: who may ask for what is decided before, by internal/store. It must
// never look into a value, nor write one anywhere.
//
// What it promises:
//   - A question is asked once for all who have it at the same time, in
//     batches as large as the backend takes; an answer serves all whose MaxAge
//     it meets.
//   - A provider is asked no faster than the store's limits, is left alone for
//     as long as it asks for, and is not asked again and again while it is
//     away.
//   - While it is away, the last good value is given out, marked Stale, up to
//     the age that the caller bears. A refusal is never papered over.
//   - What an answer takes back, a newer version or keys that a search found, is
//     gone once a second answer says so, Proof apart. Until then what was known
//     is given out, marked Stale or Lost.
//   - Nobody waits for another's call: not where that is cancelled, panics, or
//     never returns.
package fetch

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/seam"
	"github.com/gitseal/gitseal/providers"
)

const (
	deadline   = 15 * time.Second // of one call
	findIn     = time.Minute      // of one that lists
	missingFor = 10 * time.Second // a not-found answer serves others
	idleFor    = 2 * time.Hour    // after which a client is closed that nobody used
	maxDue     = 24 * time.Hour   // for which an answer waits besides, to be used again
	sweepEvery = time.Minute
	maxBytes   = 256 << 20
	patience   = 5 * time.Second // what a paused store's callers wait out
	maxPause   = 10 * time.Minute
	firstPause = 10 * time.Second // of a store that is away; it doubles
	lastPause  = 45 * time.Second // with jitter, less than a minute
	lastRetry  = time.Minute      // the longest wait between two tries
	awayAfter  = 3                // failed calls in a row

	defaultConcurrency   = 8
	defaultRetries       = 3
	defaultRetryInterval = time.Second
)

// Options of a Fetcher.
type Options struct {
	Clock clock.Clock
	// Gate sees every call to a provider. It may be nil.
	Gate seam.Gate
	// Random gives numbers in [0, 1), for jitter. Nil means math/rand.
	Random func() float64
	// MaxBytes of answers to keep. 0 means 256 MiB.
	MaxBytes int64
	// Called is told of each call and login after it, when the counters have
	// changed. It must not block. It may be nil.
	Called func(Call)
}

// Call is one call to a provider, or a login there.
type Call struct {
	// Identity of the client, as Fetcher.Client was given it.
	Identity string
	// Provider is the kind of provider, for instance "vault".
	Provider string
	// Operation is get, find, check or login.
	Operation string
	// Outcome is ok, not_found, invalid, denied, throttled, unavailable or
	// unauthenticated: of a batch the worst, which stands last here.
	Outcome string
	// Took is how long it took; 0 for a login.
	Took time.Duration
}

// Limits bound how hard a provider is asked.
type Limits struct {
	// Batch is how many refs go into one call.
	Batch int
	// Rate of calls a second; 0 is any.
	Rate float64
	// Concurrency is how many calls are under way at once.
	Concurrency int
	// Retries of one call that was throttled or not answered.
	Retries int
	// RetryInterval before the first of them; it doubles, with jitter.
	RetryInterval time.Duration
}

// LimitsOf gives the limits of a store: what it says, else what the backend
// says, else the defaults.
func LimitsOf(b providers.Backend, spec v1alpha1.SecretStoreSpec) (Limits, error) {
	l := Limits{Batch: max(b.Batch, 1), Rate: b.Rate, Concurrency: defaultConcurrency,
		Retries: defaultRetries, RetryInterval: defaultRetryInterval}
	if s := spec.Limits; s != nil {
		if s.RequestsPerSecond != nil {
			l.Rate = float64(*s.RequestsPerSecond)
		}
		if s.Concurrency != nil {
			l.Concurrency = int(*s.Concurrency)
		}
	}
	if r := spec.RetrySettings; r != nil {
		if r.MaxRetries != nil {
			l.Retries = int(*r.MaxRetries)
		}
		if r.RetryInterval != nil {
			d, err := time.ParseDuration(*r.RetryInterval)
			if err != nil || d < 0 {
				return Limits{}, fmt.Errorf("spec.retrySettings.retryInterval is no duration like 1s")
			}
			l.RetryInterval = d
		}
	}
	return l, nil
}

// Opening says how a client is opened.
type Opening struct {
	// Provider is the kind of provider, for instance "vault".
	Provider string
	// Ordered is that of its providers.Backend.
	Ordered bool
	Limits  Limits
	// Open makes the Provider. It is called once per identity, unless it fails,
	// and must hand loggedIn on as providers.Store.LoggedIn.
	Open func(loggedIn func()) (providers.Provider, error)
}

// Fetcher keeps clients by identity, and what they were answered.
type Fetcher struct {
	o     Options
	cache *cache

	mu      sync.Mutex
	clients map[string]*Client
	closed  bool
}

// New makes a Fetcher. Run drops what is no longer used.
func New(o Options) *Fetcher {
	if o.Random == nil {
		o.Random = rand.Float64
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = maxBytes
	}
	if o.Called == nil {
		o.Called = func(Call) {}
	}
	return &Fetcher{o: o, cache: newCache(o.MaxBytes), clients: map[string]*Client{}}
}

// Client returns the client of an identity: a keyed digest of all that decides
// what the provider would answer. It is opened by the first who asks for it;
// an error of Open is returned as it is, and the next one tries anew. The
// limits given last hold. A Client is good for the use at hand; whoever comes
// again later asks for it again.
func (f *Fetcher) Client(identity string, o Opening) (*Client, error) {
	c, err := f.client(identity, o)
	if err != nil {
		return nil, err
	}
	if err := c.open(o); err != nil {
		return nil, err
	}
	return c, nil
}

func (f *Fetcher) client(identity string, o Opening) (*Client, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, &providers.Error{Kind: providers.ErrUnavailable, Detail: "the operator is stopping"}
	}
	c := f.clients[identity]
	if c == nil {
		c = newClient(f, identity, o)
		f.clients[identity] = c
	}
	c.touch()
	return c, nil
}

// Stats of a client by its identity; none if it was dropped or never was.
func (f *Fetcher) Stats(identity string) (Stats, bool) {
	f.mu.Lock()
	c := f.clients[identity]
	f.mu.Unlock()
	if c == nil {
		return Stats{}, false
	}
	return c.Stats(), true
}

// Run drops clients that nobody used for two hours, and answers that nobody came
// for, and closes all clients when ctx ends.
func (f *Fetcher) Run(ctx context.Context) error {
	timer := f.o.Clock.NewTimer(sweepEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			f.close()
			return nil
		case <-timer.C():
			f.sweep()
			timer.Reset(sweepEvery)
		}
	}
}

func (f *Fetcher) sweep() {
	now := f.o.Clock.Now()
	before := now.Add(-idleFor)
	f.cache.dropUnused(now)
	f.mu.Lock()
	var idle []*Client
	for identity, c := range f.clients {
		if c.idleSince(before) {
			idle = append(idle, c)
			delete(f.clients, identity)
		}
	}
	f.mu.Unlock()
	for _, c := range idle {
		c.close()
	}
}

func (f *Fetcher) close() {
	f.mu.Lock()
	f.closed = true
	clients := f.clients
	f.clients = nil
	f.mu.Unlock()
	for _, c := range clients {
		c.close()
	}
}

// jittered is d, up to a quarter less or more.
func (f *Fetcher) jittered(d time.Duration) time.Duration {
	return d*3/4 + time.Duration(f.o.Random()*float64(d)/2)
}

// closeProvider closes what is held open; nothing can be done about an error.
func closeProvider(p providers.Provider) {
	if closer, ok := p.(io.Closer); ok {
		_ = closer.Close()
	}
}
