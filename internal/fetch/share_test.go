package fetch_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gitseal/gitseal/internal/fetch"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
)

func TestTwoWhoAskForTheSameAreAnsweredByOneCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{takes: time.Second}
		c := client(t, start(t, fetch.Options{}), b, limits())
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				pass(time.Duration(i) * 10 * time.Millisecond)
				wantValue(t, one(t.Context(), c, "a", time.Hour, 0), "a")
			})
		}
		wg.Wait()
		if b.made() != 1 {
			t.Errorf("%d calls were made, want 1", b.made())
		}
	})
}

func TestACancelledCallerCancelsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{takes: time.Second}
		c := client(t, start(t, fetch.Options{}), b, limits())
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		var wg sync.WaitGroup
		wg.Go(func() {
			begin := time.Now()
			if o := one(ctx, c, "a", time.Hour, 0); !errors.Is(o.Err, providers.ErrUnavailable) || time.Since(begin) != 100*time.Millisecond {
				t.Errorf("the cancelled Get = %v after %v", o.Err, time.Since(begin))
			}
		})
		wg.Go(func() { wantValue(t, one(t.Context(), c, "a", time.Hour, 0), "a") })
		wg.Wait()
		wantValue(t, one(t.Context(), c, "a", time.Hour, 0), "a")
		if b.made() != 1 {
			t.Errorf("%d calls were made, want 1", b.made())
		}
	})
}

func TestWhatNobodyWaitsForIsNotAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{takes: time.Second}
		l := limits()
		l.Concurrency = 1
		c := client(t, start(t, fetch.Options{}), b, l)
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		var requests []fetch.Request
		for _, key := range names(100) {
			requests = append(requests, request(key, time.Hour))
		}
		c.Get(ctx, requests, 0)
		wantValue(t, one(t.Context(), c, "other", time.Hour, 0), "other")
		if b.made() != 2 {
			t.Errorf("%d calls were made, want 2: the one under way, and the other", b.made())
		}
	})
}

func TestHowOldAnAnswerMayBe(t *testing.T) {
	tests := map[string]struct {
		after, maxAge time.Duration
		calls         int
	}{
		"young enough":             {59 * time.Minute, time.Hour, 1},
		"as old as it may be":      {time.Hour, time.Hour, 2},
		"any age will do":          {179 * time.Minute, -1, 1},
		"it is read again":         {0, 0, 2},
		"unused for too long":      {182 * time.Minute, -1, 2},
		"the shorter age of two":   {11 * time.Second, 10 * time.Second, 2},
		"only just young enough":   {9 * time.Second, 10 * time.Second, 1},
		"a moment is long enough":  {2 * time.Nanosecond, time.Nanosecond, 2},
		"and a moment is too long": {0, time.Nanosecond, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &backend{}
				f := start(t, fetch.Options{})
				first := time.Now()
				if o := one(t.Context(), client(t, f, b, limits()), "a", time.Hour, 0); !o.Read.Equal(first) || o.Version != "1" {
					t.Errorf("the outcome was read at %v as version %q, want %v and 1", o.Read, o.Version, first)
				}
				pass(tt.after)
				wantValue(t, one(t.Context(), client(t, f, b, limits()), "a", tt.maxAge, 0), "a")
				if b.made() != tt.calls {
					t.Errorf("%d calls were made, want %d", b.made(), tt.calls)
				}
			})
		})
	}
}

// Who asks for something to be read again means what is there now, and not what
// a call brings that was on its way before.
func TestReadingAgainJoinsNoCallThatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{takes: time.Second}
		c := client(t, start(t, fetch.Options{}), b, limits())
		begin := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() { one(t.Context(), c, "a", time.Hour, 0) })
		pass(500 * time.Millisecond)
		for _, o := range c.Get(t.Context(), []fetch.Request{request("a", 0), request("a", time.Hour), request("a", 0)}, 0) {
			if o.Read.Sub(begin) != 500*time.Millisecond {
				t.Errorf("it was read after %v, want 500ms", o.Read.Sub(begin))
			}
		}
		wg.Wait()
		if b.made() != 2 {
			t.Errorf("%d calls were made, want 2", b.made())
		}
	})
}

func TestAnOlderAnswerNeverReplacesAYoungerOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{}
		n := 0
		b.answers(func(context.Context, []providers.Ref) ([]providers.Result, error) {
			b.mu.Lock()
			n++
			mine := n
			b.mu.Unlock()
			if mine == 1 {
				pass(10 * time.Second) // it overtakes
			}
			return []providers.Result{{Value: secret.NewValue([]byte{byte('0' + mine)})}}, nil
		})
		c := client(t, start(t, fetch.Options{}), b, limits())
		var wg sync.WaitGroup
		wg.Go(func() { one(t.Context(), c, "a", time.Hour, 0) })
		pass(time.Second)
		one(t.Context(), c, "a", 0, 0)
		wg.Wait()
		if o := one(t.Context(), c, "a", time.Hour, 0); string(o.Value.Reveal()) != "2" {
			t.Error("the answer of the older call is kept")
		}
	})
}

func TestBatchesAreFormedOverAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{takes: time.Second}
		l := limits()
		l.Batch, l.Concurrency = 20, 1
		c := client(t, start(t, fetch.Options{}), b, l)
		var wg sync.WaitGroup
		wg.Go(func() { wantValue(t, one(t.Context(), c, "first", time.Hour, 0), "first") })
		synctest.Wait()
		for _, key := range names(40) { // while the first is under way
			wg.Go(func() { wantValue(t, one(t.Context(), c, key, time.Hour, 0), key) })
		}
		wg.Wait()
		if b.made() != 3 {
			t.Errorf("%d calls were made, want 3", b.made())
		}
	})
}

func TestOneClientPerIdentity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls []fetch.Call
		f := start(t, fetch.Options{Called: func(c fetch.Call) { calls = append(calls, c) }})
		opened := 0
		opening := fetch.Opening{Provider: "test", Limits: limits(), Open: func(loggedIn func()) (providers.Provider, error) {
			opened++
			runtime.Gosched()
			loggedIn()
			return &backend{}, nil
		}}
		var wg sync.WaitGroup
		clients := make([]*fetch.Client, 10)
		for i := range clients {
			wg.Go(func() { clients[i], _ = f.Client("identity", opening) })
		}
		wg.Wait()
		for _, c := range clients {
			if c == nil || c != clients[0] {
				t.Fatal("callers got different clients")
			}
		}
		stats, ok := f.Stats("identity")
		if opened != 1 || !ok || stats.Calls.Logins != 1 || len(calls) != 1 || calls[0].Operation != "login" {
			t.Errorf("opened %d times, stats %+v, calls %+v, want one of each", opened, stats, calls)
		}
		if other, err := f.Client("other", opening); err != nil || other == clients[0] {
			t.Errorf("another identity got the client %p, %v", other, err)
		}
		if _, ok := f.Stats("nobody"); ok {
			t.Error("there are stats of nobody")
		}
	})
}

func TestOpeningThatFailsIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, fetch.Options{})
		wrong := errors.New("wrong")
		for _, open := range []func(func()) (providers.Provider, error){
			func(func()) (providers.Provider, error) { return nil, wrong },
			func(func()) (providers.Provider, error) { panic("canary") },
		} {
			if _, err := f.Client("identity", fetch.Opening{Limits: limits(), Open: open}); !errors.Is(err, wrong) && !errors.Is(err, providers.ErrUnavailable) {
				t.Errorf("Client = %v", err)
			}
		}
		wantValue(t, one(t.Context(), client(t, f, &backend{}, limits()), "a", time.Hour, 0), "a")
	})
}

func TestClientsThatNobodyUsesAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		idle, used := &backend{}, &backend{}
		f := start(t, fetch.Options{})
		open := func(identity string, b *backend) *fetch.Client {
			c, err := f.Client(identity, fetch.Opening{Limits: limits(), Open: func(func()) (providers.Provider, error) { return b, nil }})
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		gone := open("idle", idle)
		for range 5 {
			one(t.Context(), open("used", used), "a", time.Hour, 0)
			pass(time.Hour)
		}
		if idle.closed != 1 || used.closed != 0 {
			t.Errorf("idle was closed %d times and used %d, want 1 and 0", idle.closed, used.closed)
		}
		// Who kept it is told so, at once.
		if o := one(t.Context(), gone, "a", time.Hour, 0); !errors.Is(o.Err, providers.ErrUnavailable) {
			t.Errorf("Get of a closed client = %v", o.Err)
		}
		wantValue(t, one(t.Context(), open("idle", idle), "a", time.Hour, 0), "a")
	})
}

func TestStoppingEndsWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fetch.New(fetch.Options{Clock: realClock(), Random: half})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- f.Run(ctx) }()
		b := &backend{takes: 10 * time.Second}
		c := client(t, f, b, limits())
		begin := time.Now()
		time.AfterFunc(time.Second, stop)
		if o := one(t.Context(), c, "a", time.Hour, 0); !errors.Is(o.Err, providers.ErrUnavailable) || time.Since(begin) != time.Second {
			t.Errorf("Get = %v after %v", o.Err, time.Since(begin))
		}
		if err := <-done; err != nil || b.closed != 1 {
			t.Errorf("Run = %v, and the provider was closed %d times", err, b.closed)
		}
		if _, err := f.Client("new", fetch.Opening{}); !errors.Is(err, providers.ErrUnavailable) {
			t.Errorf("Client after the end = %v", err)
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{get: func(_ context.Context, refs []providers.Ref) ([]providers.Result, error) {
			size := 1000
			if refs[0].Key == "huge" {
				size = 1 << 20
			}
			return []providers.Result{{Value: secret.NewValue(make([]byte, size))}}, nil
		}}
		c := client(t, start(t, fetch.Options{MaxBytes: 100_000}), b, limits())
		for _, key := range names(200) {
			one(t.Context(), c, key, time.Hour, 0)
			one(t.Context(), c, "key-000", time.Hour, 0) // what is used stays
		}
		if o := one(t.Context(), c, "huge", time.Hour, 0); o.Err != nil || o.Value.Len() != 1<<20 {
			t.Errorf("a value beyond the bound is not given out: %v", o.Err)
		}
		before := b.made()
		one(t.Context(), c, "key-000", time.Hour, 0)
		one(t.Context(), c, "key-199", time.Hour, 0)
		if before != 201 || b.made() != before {
			t.Errorf("%d and %d calls were made, want 201 and none", before, b.made()-before)
		}
		one(t.Context(), c, "key-001", time.Hour, 0)
		if b.made() != before+1 {
			t.Error("what was not used for longest was kept")
		}
	})
}
