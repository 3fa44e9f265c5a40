package fetch_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gitseal/gitseal/internal/fetch"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
)

// moment is what a key was from a time on.
type moment struct {
	from    time.Time
	value   string // "" is missing
	refused error
}

// shaky is a provider whose keys change, vanish and are denied, and which fails
// in every way there is. It remembers what was so when.
type shaky struct {
	mu      sync.Mutex
	random  *rand.Rand
	limits  fetch.Limits
	history map[string][]moment
	faults  bool

	calls   int
	values  int
	busy    int
	silence [2]time.Time // when it asked to be left alone, and until when
	wrong   []string
	release chan struct{}
}

func (s *shaky) change(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := moment{from: time.Now(), value: strconv.Itoa(s.random.IntN(1 << 30))}
	switch s.random.IntN(6) {
	case 0:
		m.value = ""
	case 1:
		m.refused = providers.ErrDenied
	}
	s.history[key] = append(s.history[key], m)
}

// now is what a key is.
func (s *shaky) now(key string) moment {
	h := s.history[key]
	return h[len(h)-1]
}

// was reports whether a key was like that at some time between two.
func (s *shaky) was(key string, from, to time.Time, like func(moment) bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.history[key]
	for i, m := range h {
		ended := i+1 < len(h) && h[i+1].from.Before(from)
		if !ended && !m.from.After(to) && like(m) {
			return true
		}
	}
	return false
}

// begin checks a call as it comes in, and decides how it goes.
func (s *shaky) begin(refs []providers.Ref) (fault int, takes time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	s.busy++
	seen := map[string]bool{}
	for _, r := range refs {
		if seen[r.Key] {
			s.wrong = append(s.wrong, "a call asks twice for "+r.Key)
		}
		seen[r.Key] = true
	}
	if len(refs) > s.limits.Batch {
		s.wrong = append(s.wrong, fmt.Sprintf("a call has %d refs", len(refs)))
	}
	if s.busy > 2*s.limits.Concurrency {
		s.wrong = append(s.wrong, fmt.Sprintf("%d calls are under way", s.busy))
	}
	// What comes in the moment in which it asks for that was on its way.
	if now := time.Now(); now.After(s.silence[0]) && now.Before(s.silence[1]) {
		s.wrong = append(s.wrong, "it was called when it had asked to be left alone")
	}
	if s.faults {
		fault = s.random.IntN(24)
	} else {
		fault = 100
	}
	return fault, time.Duration(s.random.IntN(2000)) * time.Millisecond
}

func (s *shaky) Get(ctx context.Context, refs []providers.Ref) ([]providers.Result, error) {
	fault, takes := s.begin(refs)
	defer func() {
		s.mu.Lock()
		s.busy--
		s.mu.Unlock()
	}()
	switch fault {
	case 0: // it hangs, and follows the context
		<-ctx.Done()
		return nil, ctx.Err()
	case 1: // it hangs, and does not
		select {
		case <-time.After(time.Minute):
		case <-s.release:
		}
		return nil, errors.New("too late")
	case 2:
		panic("a fault")
	case 3:
		return nil, kind(providers.ErrUnavailable)
	case 4:
		return nil, kind(providers.ErrThrottled)
	case 5:
		return nil, errors.New("unknown")
	case 6:
		return make([]providers.Result, len(refs)+1), nil
	case 7:
		s.mu.Lock()
		defer s.mu.Unlock()
		wait := time.Duration(1+s.random.IntN(30)) * time.Second
		if now := time.Now(); now.Add(wait).After(s.silence[1]) {
			s.silence = [2]time.Time{now, now.Add(wait)}
		}
		return nil, &providers.Error{Kind: providers.ErrThrottled, RetryAfter: wait}
	}
	before, after := time.After(takes/2), time.After(takes)
	<-before
	results := s.answer(refs, fault == 8)
	<-after
	return results, nil
}

func (s *shaky) answer(refs []providers.Ref, partly bool) []providers.Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	results := make([]providers.Result, len(refs))
	for i, r := range refs {
		m := s.now(r.Key)
		switch {
		case partly && s.random.IntN(2) == 0:
			results[i].Err = kind(providers.ErrUnavailable)
		case m.refused != nil:
			results[i].Err = kind(m.refused)
		case m.value == "":
			results[i].Err = kind(providers.ErrNotFound)
		default:
			results[i] = providers.Result{Value: secret.NewValue([]byte(m.value)), Version: m.value}
			s.values++
		}
	}
	return results
}

// deadline of a call, within which an answer was true.
const deadline = 15 * time.Second

// judge holds an outcome to what the provider was.
func (s *shaky) judge(t *testing.T, q fetch.Request, o fetch.Outcome, asked time.Time, maxStaleness time.Duration) {
	t.Helper()
	now := time.Now()
	fail := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%s, asked for at %v with age %v and staleness %v: %s", q.Ref.Key, asked.Unix(), q.MaxAge, maxStaleness, fmt.Sprintf(format, args...))
	}
	switch {
	case o.Err == nil:
		value := string(o.Value.Reveal())
		if !s.was(q.Ref.Key, o.Read, o.Read.Add(deadline), func(m moment) bool { return m.value == value && m.refused == nil }) {
			fail("the value was not there when it was read")
		}
		switch {
		case o.Stale && (now.Sub(o.Read) > maxStaleness || o.Cause == nil):
			fail("a stale value is %v old, because of %v", now.Sub(o.Read), o.Cause)
		case !o.Stale && q.MaxAge >= 0 && asked.Sub(o.Read) > q.MaxAge:
			fail("the value is %v old", asked.Sub(o.Read))
		}
	case errors.Is(o.Err, providers.ErrNotFound):
		missing := func(m moment) bool { return m.value == "" && m.refused == nil }
		if !s.was(q.Ref.Key, o.Missing.Last, o.Missing.Last.Add(deadline), missing) || !s.was(q.Ref.Key, o.Missing.First, o.Missing.First.Add(deadline), missing) {
			fail("it was not missing at %v and %v", o.Missing.First, o.Missing.Last)
		}
		if asked.Sub(o.Missing.Last) > deadline || o.Missing.Last.Before(o.Missing.First) {
			fail("the proofs are from %v and %v", o.Missing.First, o.Missing.Last)
		}
	case errors.Is(o.Err, providers.ErrDenied):
		if !s.was(q.Ref.Key, asked.Add(-2*time.Minute), now, func(m moment) bool { return m.refused != nil }) {
			fail("it was not denied")
		}
	case !errors.Is(o.Err, providers.ErrUnavailable) && !errors.Is(o.Err, providers.ErrThrottled):
		fail("the error is %v", o.Err)
	}
	if errors.Is(o.Err, providers.ErrUnavailable) && !s.faults && now.Sub(asked) < time.Minute {
		fail("a sound provider is unavailable: %v", o.Err)
	}
}

// caller asks for some keys again and again, and gives up at times.
func (s *shaky) caller(t *testing.T, c *fetch.Client, seed uint64, keys []string) {
	random := rand.New(rand.NewPCG(seed, 1))
	for range 60 {
		pass(time.Duration(random.IntN(5000)) * time.Millisecond)
		requests := make([]fetch.Request, 1+random.IntN(10))
		for i := range requests {
			ages := []time.Duration{0, -1, time.Second, 20 * time.Second, time.Minute}
			requests[i] = request(keys[random.IntN(len(keys))], ages[random.IntN(len(ages))])
		}
		maxStaleness := time.Duration(random.IntN(120)) * time.Second
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		if random.IntN(4) == 0 {
			time.AfterFunc(time.Duration(random.IntN(3000))*time.Millisecond, cancel)
		}
		asked := time.Now()
		outcomes := c.Get(ctx, requests, maxStaleness)
		gone := ctx.Err() != nil
		cancel()
		for i, o := range outcomes {
			if gone && errors.Is(o.Err, providers.ErrUnavailable) {
				continue // it was told so
			}
			s.judge(t, requests[i], o, asked, maxStaleness)
		}
		if time.Since(asked) > 5*time.Minute {
			t.Errorf("a Get took %v", time.Since(asked))
		}
	}
}

func TestRandomFaultsAgainstAModel(t *testing.T) {
	for seed := range uint64(20) {
		for _, faults := range []bool{false, true} {
			t.Run(fmt.Sprintf("seed %d, faults %v", seed, faults), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { model(t, seed, faults) })
			})
		}
	}
}

func model(t *testing.T, seed uint64, faults bool) {
	random := rand.New(rand.NewPCG(seed, 0))
	s := &shaky{random: random, faults: faults, history: map[string][]moment{}, release: make(chan struct{}),
		limits: fetch.Limits{Batch: 1 + random.IntN(5), Rate: float64(random.IntN(2) * 50), Concurrency: 1 + random.IntN(6), Retries: random.IntN(4), RetryInterval: time.Second}}
	defer close(s.release)
	keys := names(25)
	for _, key := range keys {
		s.change(key)
	}
	c := client(t, start(t, fetch.Options{MaxBytes: 8000}), s, s.limits)
	ctx, stop := context.WithCancel(t.Context())
	var changing, calling sync.WaitGroup
	changing.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			pass(700 * time.Millisecond)
			s.change(keys[i*7%len(keys)])
		}
	})
	for n := range uint64(12) {
		calling.Go(func() { s.caller(t, c, seed<<8+n, keys) })
	}
	calling.Wait()
	stop()
	changing.Wait()
	pass(2 * time.Minute) // what was left behind returns
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, wrong := range s.wrong {
		t.Error(wrong)
	}
	if got := c.Stats().Calls; got.Reads != int64(s.calls) || got.Values > int64(s.values) || s.busy != 0 || s.calls == 0 {
		t.Errorf("the counters are %+v; the provider saw %d calls, gave %d values, and has %d calls under way", got, s.calls, s.values, s.busy)
	}
}
