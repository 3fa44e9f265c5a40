package fetch_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/ptr"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/fetch"
	"github.com/gitseal/gitseal/internal/seam"
	"github.com/gitseal/gitseal/providers"
)

func kind(k error) error { return &providers.Error{Kind: k, Detail: "as a test has it"} }

// wantKind demands an outcome's error, without a value.
func wantKind(t *testing.T, o fetch.Outcome, k error) {
	t.Helper()
	if !errors.Is(o.Err, k) || !errors.As(o.Err, new(*providers.Error)) || !o.Value.IsZero() {
		t.Errorf("the outcome has the error %v and %d bytes, want %v", o.Err, o.Value.Len(), k)
	}
}

// seconds are when calls were made, since the first.
func (b *backend) seconds() []float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	var s []float64
	for _, at := range b.at {
		s = append(s, at.Sub(b.at[0]).Seconds())
	}
	return s
}

func TestWhatIsTriedAgain(t *testing.T) {
	tests := map[string]struct {
		err      error
		fails    int
		limits   func(*fetch.Limits)
		want     error
		at       []float64
		failures int64
	}{
		"an outage that passes":       {kind(providers.ErrUnavailable), 2, nil, nil, []float64{0, 1, 3}, 2},
		"an outage that stays":        {kind(providers.ErrUnavailable), 9, nil, providers.ErrUnavailable, []float64{0, 1, 3, 7}, 4},
		"throttling that passes":      {kind(providers.ErrThrottled), 3, nil, nil, []float64{0, 1, 3, 7}, 3},
		"what it asks for, if short":  {&providers.Error{Kind: providers.ErrThrottled, RetryAfter: 4 * time.Second}, 2, nil, nil, []float64{0, 4, 8}, 2},
		"what it asks for, if long":   {&providers.Error{Kind: providers.ErrThrottled, RetryAfter: time.Minute}, 1, nil, providers.ErrThrottled, []float64{0}, 1},
		"an unknown error":            {errors.New("boom"), 1, nil, nil, []float64{0, 1}, 1},
		"no denial":                   {kind(providers.ErrDenied), 1, nil, providers.ErrDenied, []float64{0}, 1},
		"no wrong credentials":        {kind(providers.ErrUnauthenticated), 1, nil, providers.ErrUnauthenticated, []float64{0}, 1},
		"no wrong question":           {kind(providers.ErrInvalid), 1, nil, providers.ErrInvalid, []float64{0}, 1},
		"no missing key":              {kind(providers.ErrNotFound), 1, nil, providers.ErrNotFound, []float64{0}, 0},
		"nothing that is not ready":   {kind(providers.ErrNotReady), 1, nil, providers.ErrNotReady, []float64{0}, 0},
		"nothing, if the store says":  {kind(providers.ErrUnavailable), 9, func(l *fetch.Limits) { l.Retries = 0 }, providers.ErrUnavailable, []float64{0}, 1},
		"as often as the store says":  {kind(providers.ErrUnavailable), 9, func(l *fetch.Limits) { l.Retries, l.RetryInterval = 1, time.Minute }, providers.ErrUnavailable, []float64{0, 60}, 2},
		"a minute apart, if not more": {kind(providers.ErrUnavailable), 9, func(l *fetch.Limits) { l.Retries, l.RetryInterval = 2, 40*time.Second }, providers.ErrUnavailable, []float64{0, 40, 100}, 3},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &backend{}
				b.answers(func(ctx context.Context, refs []providers.Ref) ([]providers.Result, error) {
					if b.made() <= tt.fails {
						return nil, tt.err
					}
					return values(ctx, refs)
				})
				l := limits()
				if tt.limits != nil {
					tt.limits(&l)
				}
				c := client(t, start(t, fetch.Options{}), b, l)
				o := one(t.Context(), c, "a", time.Hour, 0)
				if tt.want == nil {
					wantValue(t, o, "a")
				} else {
					wantKind(t, o, tt.want)
				}
				if diff := cmp.Diff(tt.at, b.seconds()); diff != "" {
					t.Errorf("calls, in seconds (-want +got):\n%s", diff)
				}
				if got := c.Stats().Calls; got.Failed != tt.failures || got.Reads != int64(len(tt.at)) {
					t.Errorf("the counters are %+v, want %d failed of %d", got, tt.failures, len(tt.at))
				}
			})
		})
	}
}

func TestOnlyWhatFailedIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{}
		b.answers(func(ctx context.Context, refs []providers.Ref) ([]providers.Result, error) {
			results, _ := values(ctx, refs)
			for i, r := range refs {
				switch {
				case r.Key == "missing":
					results[i] = providers.Result{Err: kind(providers.ErrNotFound)}
				case r.Key == "denied":
					results[i] = providers.Result{Err: kind(providers.ErrDenied)}
				case r.Key == "shaky" && b.made() == 1:
					results[i] = providers.Result{Err: kind(providers.ErrUnavailable)}
				}
			}
			return results, nil
		})
		l := limits()
		l.Batch = 20
		c := client(t, start(t, fetch.Options{}), b, l)
		got := c.Get(t.Context(), []fetch.Request{request("a", 0), request("missing", 0), request("shaky", 0), request("denied", 0)}, 0)
		wantValue(t, got[0], "a")
		wantKind(t, got[1], providers.ErrNotFound)
		wantValue(t, got[2], "shaky")
		wantKind(t, got[3], providers.ErrDenied)
		if diff := cmp.Diff([]providers.Ref{{Key: "shaky"}}, b.calls[len(b.calls)-1]); len(b.calls) != 2 || diff != "" {
			t.Errorf("the last of %d calls (-want +got):\n%s", len(b.calls), diff)
		}
	})
}

func TestAStoreThatThrottlesForAMinuteIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{}
		c := client(t, start(t, fetch.Options{}), b, limits())
		one(t.Context(), c, "known", 0, 0)
		b.answers(failing(&providers.Error{Kind: providers.ErrThrottled, RetryAfter: time.Minute}))
		wantKind(t, one(t.Context(), c, "a", 0, 0), providers.ErrThrottled)
		b.answers(nil)
		for range 5 {
			begin := time.Now()
			wantKind(t, one(t.Context(), c, "b", 0, 0), providers.ErrThrottled)
			if o := one(t.Context(), c, "known", 0, time.Hour); !o.Stale || !errors.Is(o.Cause, providers.ErrThrottled) {
				t.Errorf("the last good value is not given out: %v", o.Err)
			}
			if took := time.Since(begin); took != 0 || b.made() != 2 {
				t.Errorf("a paused store was asked, or waited for %v; %d calls, want 2", took, b.made())
			}
			pass(10 * time.Second)
		}
		pass(6 * time.Second) // 4 s are left, which are waited out
		begin := time.Now()
		wantValue(t, one(t.Context(), c, "b", 0, 0), "b")
		if took := time.Since(begin); took != 4*time.Second {
			t.Errorf("it was asked again after %v, want 4s", took)
		}
		if got := c.Stats().Calls; got.Throttled != 1 {
			t.Errorf("throttled %d times, want 1", got.Throttled)
		}
	})
}

func TestTheLastGoodValueLivesThroughAnOutage(t *testing.T) {
	tests := map[string]struct {
		err          error
		after        time.Duration
		maxStaleness time.Duration
		want         error // nil: the last good value
	}{
		"an outage":                    {kind(providers.ErrUnavailable), 30 * time.Minute, time.Hour, nil},
		"throttling":                   {kind(providers.ErrThrottled), 30 * time.Minute, time.Hour, nil},
		"an outage for too long":       {kind(providers.ErrUnavailable), time.Hour, time.Hour, providers.ErrUnavailable},
		"an outage that nobody bears":  {kind(providers.ErrUnavailable), time.Second, 0, providers.ErrUnavailable},
		"a denial is not papered over": {kind(providers.ErrDenied), time.Second, time.Hour, providers.ErrDenied},
		"nor wrong credentials":        {kind(providers.ErrUnauthenticated), time.Second, time.Hour, providers.ErrUnauthenticated},
		"nor a key that is gone":       {kind(providers.ErrNotFound), time.Second, time.Hour, providers.ErrNotFound},
		"nor what is not ready yet":    {kind(providers.ErrNotReady), time.Second, time.Hour, providers.ErrNotReady},
		"nor what is invalid":          {kind(providers.ErrInvalid), time.Second, time.Hour, providers.ErrInvalid},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &backend{}
				c := client(t, start(t, fetch.Options{}), b, limits())
				first := one(t.Context(), c, "a", 0, 0)
				b.answers(failing(tt.err))
				pass(tt.after)
				o := one(t.Context(), c, "a", time.Nanosecond, tt.maxStaleness)
				if tt.want != nil {
					wantKind(t, o, tt.want)
					return
				}
				wantValue(t, o, "a")
				if !o.Stale || !o.Read.Equal(first.Read) || !errors.Is(o.Cause, tt.err) {
					t.Errorf("stale %v since %v because of %v, want true, %v and %v", o.Stale, o.Read, o.Cause, first.Read, tt.err)
				}
				if stats := c.Stats(); !errors.Is(stats.LastError, tt.err) || stats.LastErrorAt.IsZero() {
					t.Errorf("the last error is %v at %v", stats.LastError, stats.LastErrorAt)
				}
			})
		})
	}
}

// Values that are read but once a day are due when nobody has used them, nor the
// client, for long.
func TestTheLastGoodValueIsThereWhenItIsDue(t *testing.T) {
	tests := map[string]struct {
		maxAge, after time.Duration
		kept          bool
	}{
		"hourly":                          {time.Hour, time.Hour, true},
		"daily":                           {24 * time.Hour, 25 * time.Hour, true},
		"daily, and nobody comes for it":  {24 * time.Hour, 27 * time.Hour, false},
		"weekly":                          {7 * 24 * time.Hour, 7 * 24 * time.Hour, false},
		"of any age, which is never due":  {-1, 3 * time.Hour, false},
		"read anew, which is never known": {0, 3 * time.Hour, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &backend{}
				f := start(t, fetch.Options{})
				wantValue(t, one(t.Context(), client(t, f, b, limits()), "a", tt.maxAge, 0), "a")
				b.answers(failing(kind(providers.ErrUnavailable)))
				pass(tt.after)
				o := one(t.Context(), client(t, f, b, limits()), "a", tt.maxAge, 365*24*time.Hour)
				if !tt.kept {
					wantKind(t, o, providers.ErrUnavailable)
					return
				}
				wantValue(t, o, "a")
			})
		})
	}
}

// A key that was deleted at the provider must not come back by an outage.
func TestAValueThatIsGoneStaysGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{}
		c := client(t, start(t, fetch.Options{}), b, limits())
		one(t.Context(), c, "a", 0, 0)
		b.answers(failing(kind(providers.ErrNotFound)))
		wantKind(t, one(t.Context(), c, "a", 0, time.Hour), providers.ErrNotFound)
		b.answers(failing(kind(providers.ErrUnavailable)))
		wantKind(t, one(t.Context(), c, "a", 0, time.Hour), providers.ErrUnavailable)
	})
}

func TestTwoProofsThatSomethingIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{get: failing(kind(providers.ErrNotFound))}
		c := client(t, start(t, fetch.Options{}), b, limits())
		begin := time.Now()
		ask := func(maxAge, first, last time.Duration, calls int) {
			t.Helper()
			o := one(t.Context(), c, "a", maxAge, time.Hour)
			wantKind(t, o, providers.ErrNotFound)
			if got, want := [2]time.Duration{o.Missing.First.Sub(begin), o.Missing.Last.Sub(begin)}, [2]time.Duration{first, last}; got != want || b.made() != calls {
				t.Errorf("found missing at %v after %d calls, want %v after %d", got, b.made(), want, calls)
			}
		}
		ask(time.Hour, 0, 0, 1)
		pass(9 * time.Second)
		ask(time.Hour, 0, 0, 1) // the answer serves for 10 s
		ask(-1, 0, 0, 1)
		pass(22 * time.Second)
		ask(-1, 0, 31*time.Second, 2) // and no longer, even if any age will do
		ask(0, 0, 31*time.Second, 3)
		// An outage proves nothing, and takes nothing back.
		b.answers(failing(kind(providers.ErrDenied)))
		pass(time.Minute)
		wantKind(t, one(t.Context(), c, "a", 0, time.Hour), providers.ErrDenied)
		b.answers(failing(kind(providers.ErrNotFound)))
		ask(0, 0, 91*time.Second, 5)
		// Once it was there, the proofs begin anew.
		b.answers(nil)
		wantValue(t, one(t.Context(), c, "a", 0, time.Hour), "a")
		b.answers(failing(kind(providers.ErrNotFound)))
		pass(9 * time.Second)
		ask(0, 100*time.Second, 100*time.Second, 7)
	})
}

func TestAnOutageOfAThousandKeysIsShort(t *testing.T) {
	for name, answer := range map[string]func(context.Context, []providers.Ref) ([]providers.Result, error){
		"refused at once": failing(kind(providers.ErrUnavailable)),
		"never answered": func(ctx context.Context, _ []providers.Ref) ([]providers.Result, error) {
			<-ctx.Done()
			return nil, kind(providers.ErrUnavailable)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &backend{get: answer}
				c := client(t, start(t, fetch.Options{}), b, limits())
				var requests []fetch.Request
				for _, key := range names(1000) {
					requests = append(requests, request(key, time.Hour))
				}
				begin := time.Now()
				for _, o := range c.Get(t.Context(), requests, 0) {
					wantKind(t, o, providers.ErrUnavailable)
				}
				if took := time.Since(begin); took > 2*time.Minute || b.made() > 100 {
					t.Errorf("it took %v and %d calls, want 2m and 100 at most", took, b.made())
				}
				// It is back, and is asked again before long.
				b.answers(nil)
				pass(time.Minute)
				wantValue(t, one(t.Context(), c, "a", 0, 0), "a")
			})
		})
	}
}

// One key that fails on its own must not take the others with it.
// Calls that were under way together say the same thing once: what ends them is
// no reason to leave the store alone for longer each time.
func TestCallsThatFailTogetherAreOneReasonToPause(t *testing.T) {
	tests := map[string]struct {
		err    error
		takes  time.Duration
		limits func(*fetch.Limits)
	}{
		"refused":     {kind(providers.ErrUnavailable), 0, nil},
		"not let in":  {kind(providers.ErrUnauthenticated), time.Second, nil},
		"no answer":   {kind(providers.ErrUnavailable), time.Minute, nil},
		"no 2nd try":  {kind(providers.ErrUnavailable), time.Second, func(l *fetch.Limits) { l.Retries = 0 }},
		"all at once": {kind(providers.ErrUnavailable), time.Second, func(l *fetch.Limits) { l.Concurrency = 50 }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &backend{takes: tt.takes}
				b.answers(failing(tt.err))
				l := limits()
				if tt.limits != nil {
					tt.limits(&l)
				}
				c := client(t, start(t, fetch.Options{}), b, l)
				var requests []fetch.Request
				for _, key := range names(50) {
					requests = append(requests, request(key, 0))
				}
				for i, o := range c.Get(t.Context(), requests, 0) {
					if o.Err == nil {
						t.Errorf("%q was read of a store that is away", requests[i].Ref.Key)
					}
				}
				b.mu.Lock()
				b.takes, b.get = 0, nil
				b.mu.Unlock()
				pass(11 * time.Second)
				wantValue(t, one(t.Context(), c, "a", 0, 0), "a")
			})
		})
	}
}

func TestOneKeyThatFailsHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{}
		b.answers(func(ctx context.Context, refs []providers.Ref) ([]providers.Result, error) {
			if refs[0].Key == "broken" {
				return nil, kind(providers.ErrUnavailable)
			}
			return values(ctx, refs)
		})
		c := client(t, start(t, fetch.Options{}), b, limits())
		for range 20 {
			wantKind(t, one(t.Context(), c, "broken", 0, 0), providers.ErrUnavailable)
			begin := time.Now()
			wantValue(t, one(t.Context(), c, "a", 0, 0), "a")
			if took := time.Since(begin); took != 0 {
				t.Fatalf("the other key took %v", took)
			}
		}
	})
}

// A provider locks an account after a few wrong logins.
func TestWrongCredentialsAreNotTriedForEachKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{get: failing(kind(providers.ErrUnauthenticated)), takes: time.Millisecond}
		c := client(t, start(t, fetch.Options{}), b, limits())
		for range 100 {
			var requests []fetch.Request
			for _, key := range names(100) {
				requests = append(requests, request(key, time.Hour))
			}
			for _, o := range c.Get(t.Context(), requests, time.Hour) {
				wantKind(t, o, providers.ErrUnauthenticated)
			}
			pass(time.Second)
		}
		if b.made() > 40 {
			t.Errorf("%d calls in 100 s, want 40 at most", b.made())
		}
	})
}

func TestAPanicOrAHangHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		b := &backend{}
		b.answers(func(ctx context.Context, refs []providers.Ref) ([]providers.Result, error) {
			switch refs[0].Key {
			case "panic":
				panic("canary-of-a-panic")
			case "hang":
				<-release // whatever the context says
			case "short":
				return nil, nil
			}
			return values(ctx, refs)
		})
		l := limits()
		l.Retries = 0
		c := client(t, start(t, fetch.Options{}), b, l)
		var wg sync.WaitGroup
		for key, wait := range map[string]time.Duration{"panic": 0, "hang": 15 * time.Second, "short": 0} {
			wg.Go(func() {
				begin := time.Now()
				o := one(t.Context(), c, key, 0, 0)
				if wantKind(t, o, providers.ErrUnavailable); strings.Contains(o.Err.Error(), "canary") || time.Since(begin) != wait {
					t.Errorf("%s: %v after %v, want %v", key, o.Err, time.Since(begin), wait)
				}
			})
			wg.Go(func() { wantValue(t, one(t.Context(), c, "beside-"+key, 0, 0), "beside-"+key) })
		}
		wg.Wait()
		// What never returns is not called for ever.
		for range 100 {
			one(t.Context(), c, "hang", 0, 0)
			pass(time.Minute)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.busy > 16 {
			t.Errorf("%d calls hang, want 16 at most", b.busy)
		}
	})
}

func TestTheRateIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{}
		l := limits()
		l.Rate = 10
		c := client(t, start(t, fetch.Options{}), b, l)
		var requests []fetch.Request
		for _, key := range names(100) {
			requests = append(requests, request(key, time.Hour))
		}
		begin := time.Now()
		c.Get(t.Context(), requests, 0)
		if took := time.Since(begin); took != 9*time.Second || b.made() != 100 {
			t.Errorf("%d calls took %v, want 100 and 9s: ten at once, and ten a second", b.made(), took)
		}
		// Other limits hold from the next use on.
		l.Rate = 0
		begin = time.Now()
		client(t, start(t, fetch.Options{}), b, l).Get(t.Context(), requests, 0)
		if took := time.Since(begin); took != 0 {
			t.Errorf("without a rate it took %v", took)
		}
	})
}

// Stores that share a client may have different limits. Whoever asks last
// decides, and must not forgive what the other one has used.
func TestTurnsWithOtherLimitsAreNoNewTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{}
		f := start(t, fetch.Options{})
		begin := time.Now()
		for i := range 12 {
			l := limits()
			l.Rate = float64(2 + i%2)
			wantValue(t, one(t.Context(), client(t, f, b, l), fmt.Sprint(i), time.Hour, 0), fmt.Sprint(i))
		}
		if took := time.Since(begin); took < 3*time.Second {
			t.Errorf("12 calls at 2 or 3 a second took %v", took)
		}
	})
}

func TestNoErrorQuotesWhatABackendSays(t *testing.T) {
	for name, err := range map[string]error{
		"a plain error":     errors.New("canary"),
		"a wrapped one":     fmt.Errorf("canary: %w", kind(providers.ErrDenied)),
		"a bare kind":       fmt.Errorf("canary: %w", providers.ErrThrottled),
		"the context's":     fmt.Errorf("canary: %w", context.DeadlineExceeded),
		"one without kind":  &providers.Error{Kind: errors.New("canary"), Detail: "canary"},
		"one with no words": &providers.Error{Kind: providers.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &backend{get: failing(err)}
				c := client(t, start(t, fetch.Options{}), b, fetch.Limits{})
				o := one(t.Context(), c, "a", 0, 0)
				if o.Err == nil {
					t.Fatal("there is no error")
				}
				for e := o.Err; e != nil; e = errors.Unwrap(e) {
					if text := fmt.Sprintf("%s %+v", e, c.Stats().LastError); strings.Contains(text, "canary") {
						t.Errorf("the error says %q", text)
					}
				}
			})
		})
	}
}

// finder finds and checks as well.
type finder struct {
	backend
	finds, checks int
	err           error
}

func (f *finder) Find(_ context.Context, q providers.Query) ([]string, error) {
	f.finds++
	return []string{q.Name + "-1", q.Name + "-2"}, f.err
}

func (f *finder) Check(context.Context) (string, error) {
	f.checks++
	return "somebody", f.err
}

func TestFindAndCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &finder{}
		c := client(t, start(t, fetch.Options{}), b, limits())
		q := providers.Query{Name: "db", Tags: map[string]string{"a": "1", "b": "2"}}
		for range 3 {
			if o := c.Find(t.Context(), q, time.Hour, 0); o.Err != nil || !cmp.Equal(o.Keys, []string{"db-1", "db-2"}) {
				t.Errorf("Find = %q, %v", o.Keys, o.Err)
			}
			if o := c.Check(t.Context(), time.Minute); o.Err != nil || o.Identity != "somebody" {
				t.Errorf("Check = %q, %v", o.Identity, o.Err)
			}
		}
		if b.finds != 1 || b.checks != 1 {
			t.Errorf("%d finds and %d checks, want 1 and 1", b.finds, b.checks)
		}
		c.Find(t.Context(), providers.Query{Name: "db", Tags: map[string]string{"a": "1"}}, time.Hour, 0)
		if b.finds != 2 {
			t.Error("another query was answered with the first one's keys")
		}
		b.err = kind(providers.ErrUnavailable)
		if o := c.Find(t.Context(), q, 0, time.Hour); !o.Stale || len(o.Keys) != 2 {
			t.Errorf("Find in an outage = %q, %v", o.Keys, o.Err)
		}
		if o := c.Check(t.Context(), 0); !errors.Is(o.Err, providers.ErrUnavailable) || b.checks != 2 {
			t.Errorf("Check in an outage = %v after %d checks, want %v, asked once", o.Err, b.checks, providers.ErrUnavailable)
		}
		if got := c.Stats().Calls; got.Reads != 0 || got.Values != 0 {
			t.Errorf("the counters are %+v, want no reads", got)
		}
	})
}

func TestWhatABackendCannotDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := client(t, start(t, fetch.Options{}), &backend{}, limits())
		if o := c.Find(t.Context(), providers.Query{}, 0, 0); !errors.Is(o.Err, providers.ErrInvalid) {
			t.Errorf("Find = %v, want %v", o.Err, providers.ErrInvalid)
		}
		if o := c.Check(t.Context(), 0); o.Err != nil || o.Identity != "" {
			t.Errorf("Check = %q, %v, want neither", o.Identity, o.Err)
		}
	})
}

// gate stops every call.
type gate struct{ names []string }

func (g *gate) Enter(c seam.Call) error {
	g.names = append(g.names, string(c.Kind)+": "+c.Name)
	return errors.New("stopped")
}

func (g *gate) Leave(_ seam.Call, err error) error { return err }

func TestCallsPassTheGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, b, l := &gate{}, &backend{}, limits()
		l.Retries = 0
		var told []fetch.Call
		c := client(t, start(t, fetch.Options{Gate: g, Called: func(c fetch.Call) { told = append(told, c) }}), b, l)
		wantKind(t, one(t.Context(), c, "key", 0, 0), providers.ErrUnavailable)
		if diff := cmp.Diff([]string{"provider: test get"}, g.names); diff != "" || b.made() != 0 {
			t.Errorf("%d calls passed; at the gate (-want +got):\n%s", b.made(), diff)
		}
		if diff := cmp.Diff([]fetch.Call{{Identity: "identity", Provider: "test", Operation: "get", Outcome: "unavailable"}}, told); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
	})
}

func TestLimitsOf(t *testing.T) {
	tests := map[string]struct {
		backend providers.Backend
		spec    v1alpha1.SecretStoreSpec
		want    fetch.Limits
		wrong   bool
	}{
		"defaults":    {want: fetch.Limits{Batch: 1, Concurrency: 8, Retries: 3, RetryInterval: time.Second}},
		"a backend's": {backend: providers.Backend{Batch: 20, Rate: 50}, want: fetch.Limits{Batch: 20, Rate: 50, Concurrency: 8, Retries: 3, RetryInterval: time.Second}},
		"a store's": {
			backend: providers.Backend{Batch: 20, Rate: 50},
			spec: v1alpha1.SecretStoreSpec{
				Limits:        &v1alpha1.StoreLimits{RequestsPerSecond: ptr.To[int32](5), Concurrency: ptr.To[int32](2)},
				RetrySettings: &v1alpha1.StoreRetrySettings{MaxRetries: ptr.To[int32](0), RetryInterval: ptr.To("500ms")},
			},
			want: fetch.Limits{Batch: 20, Rate: 5, Concurrency: 2, RetryInterval: 500 * time.Millisecond},
		},
		"no duration": {spec: v1alpha1.SecretStoreSpec{RetrySettings: &v1alpha1.StoreRetrySettings{RetryInterval: ptr.To("soon")}}, wrong: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := fetch.LimitsOf(tt.backend, tt.spec)
			if (err != nil) != tt.wrong || got != tt.want {
				t.Errorf("LimitsOf = %+v, %v, want %+v", got, err, tt.want)
			}
		})
	}
}
