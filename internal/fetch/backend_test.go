package fetch_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/gitseal/gitseal/internal/fetch"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
)

// backend is a provider whose answers a test decides. All tests run in bubbles
// of synctest, whose time passes by itself when everything waits for it.
type backend struct {
	mu      sync.Mutex
	calls   [][]providers.Ref
	at      []time.Time
	busy    int
	busiest int
	closed  int
	// takes is how long a call takes.
	takes time.Duration
	// get answers in place of "value of KEY".
	get func(ctx context.Context, refs []providers.Ref) ([]providers.Result, error)
}

func (b *backend) Get(ctx context.Context, refs []providers.Ref) ([]providers.Result, error) {
	b.mu.Lock()
	b.calls = append(b.calls, slices.Clone(refs))
	b.at = append(b.at, time.Now())
	b.busy++
	b.busiest = max(b.busiest, b.busy)
	takes, answer := b.takes, b.get
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		b.busy--
		b.mu.Unlock()
	}()
	if takes > 0 {
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			return nil, &providers.Error{Kind: providers.ErrUnavailable}
		}
	}
	if answer == nil {
		answer = values
	}
	return answer(ctx, refs)
}

func (b *backend) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed++
	return nil
}

// answers changes what is answered from now on.
func (b *backend) answers(get func(context.Context, []providers.Ref) ([]providers.Result, error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.get = get
}

func (b *backend) made() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.calls)
}

func values(_ context.Context, refs []providers.Ref) ([]providers.Result, error) {
	results := make([]providers.Result, len(refs))
	for i, r := range refs {
		results[i] = providers.Result{Value: secret.NewValue([]byte("value of " + r.Key)), Version: "1"}
	}
	return results, nil
}

// failing fails every call with an error.
func failing(err error) func(context.Context, []providers.Ref) ([]providers.Result, error) {
	return func(context.Context, []providers.Ref) ([]providers.Result, error) { return nil, err }
}

func realClock() clock.Clock { return clock.RealClock{} }

// half has no jitter.
func half() float64 { return 0.5 }

// start makes a fetcher in a bubble; it is closed with the test.
func start(t *testing.T, o fetch.Options) *fetch.Fetcher {
	t.Helper()
	o.Clock, o.Random = realClock(), half
	f := fetch.New(o)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	return f
}

func limits() fetch.Limits {
	return fetch.Limits{Batch: 1, Concurrency: 8, Retries: 3, RetryInterval: time.Second}
}

// client opens a client of b.
func client(t *testing.T, f *fetch.Fetcher, b providers.Provider, l fetch.Limits) *fetch.Client {
	t.Helper()
	c, err := f.Client("identity", fetch.Opening{Provider: "test", Limits: l,
		Open: func(func()) (providers.Provider, error) { return b, nil }})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func request(key string, maxAge time.Duration) fetch.Request {
	return fetch.Request{Ref: providers.Ref{Key: key}, MaxAge: maxAge}
}

// one asks for one key.
func one(ctx context.Context, c *fetch.Client, key string, maxAge, maxStaleness time.Duration) fetch.Outcome {
	return c.Get(ctx, []fetch.Request{request(key, maxAge)}, maxStaleness)[0]
}

// wantValue demands the value of a key.
func wantValue(t *testing.T, o fetch.Outcome, key string) {
	t.Helper()
	if o.Err != nil || string(o.Value.Reveal()) != "value of "+key {
		t.Errorf("the outcome for %q has the error %v and %d bytes, want its value", key, o.Err, o.Value.Len())
	}
}

func pass(d time.Duration) { <-time.After(d) }

func names(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("key-%03d", i)
	}
	return keys
}
