package fetch

import (
	"context"
	"errors"
	"time"

	"github.com/gitseal/gitseal/internal/seam"
	"github.com/gitseal/gitseal/providers"
)

// work makes one call after another, until nothing waits.
func (c *Client) work() {
	for {
		err := c.admit()
		c.mu.Lock()
		flights := c.queue.take(c.limits.Batch, c.f.o.Clock.Now())
		c.queue.coming--
		c.mu.Unlock()
		switch {
		case err != nil:
			c.landAll(flights, err)
		case len(flights) == 0:
			c.leave()
		default:
			c.fly(flights)
		}
		c.mu.Lock()
		if c.queue.coming >= c.queue.calls(c.limits.Batch) || c.queue.workers > max(c.limits.Concurrency, 1) {
			c.queue.workers--
			c.mu.Unlock()
			return
		}
		c.queue.coming++
		c.mu.Unlock()
	}
}

// fly, which was admitted, makes a call, and again for what should be tried again.
func (c *Client) fly(flights []*flight) {
	for try := 0; ; try++ {
		outcomes := c.call(flights)
		flights = c.settle(flights, outcomes, try)
		if len(flights) == 0 {
			return
		}
		c.mu.Lock()
		wait := c.limits.RetryInterval << try
		c.mu.Unlock()
		err := c.sleep(c.f.jittered(min(wait, lastRetry)))
		if err == nil {
			err = c.admit()
		}
		if err != nil {
			c.landAll(flights, err)
			return
		}
	}
}

// settle lands what is answered for good, and returns the rest.
func (c *Client) settle(flights []*flight, outcomes []Outcome, try int) (again []*flight) {
	now := c.f.o.Clock.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	may := try < c.limits.Retries && c.pause.row == 0 && c.pause.until.Sub(now) <= patience
	for i, fl := range flights {
		o := outcomes[i]
		if may && fl.waiters > 0 && fl.kind != check && passing(o.Err) {
			again = append(again, fl)
			continue
		}
		c.queue.land(fl, c.learn(fl, o, now))
	}
	if len(again) == 0 {
		c.pause.after(outcomes, flights[0].began, now, c.f.jittered)
	}
	return again
}

// passing reports whether an error may pass within a moment.
func passing(err error) bool {
	return errors.Is(err, providers.ErrThrottled) || errors.Is(err, providers.ErrUnavailable)
}

func (c *Client) landAll(flights []*flight, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, fl := range flights {
		c.queue.land(fl, Outcome{Err: err})
	}
}

// call makes one call and counts it.
func (c *Client) call(flights []*flight) []Outcome {
	kind, begin := flights[0].kind, c.f.o.Clock.Now()
	c.mu.Lock()
	for _, fl := range flights {
		fl.began = begin
	}
	c.mu.Unlock()
	outcomes := c.within(kind, flights)
	worst, values := error(nil), 0
	var wait error
	for i := range outcomes {
		if err := outcomes[i].Err; err != nil {
			outcomes[i].Err = curated(err)
		} else {
			values++
		}
		worst = worse(worst, outcomes[i].Err)
		if providers.RetryAfter(outcomes[i].Err) > providers.RetryAfter(wait) {
			wait = outcomes[i].Err
		}
	}
	c.count(kind, worst, values)
	now := c.f.o.Clock.Now()
	c.mu.Lock()
	c.pause.asked(wait, now)
	c.mu.Unlock()
	c.f.o.Called(Call{Identity: c.identity, Provider: c.kind, Operation: kind.String(), Outcome: word(worst), Took: now.Sub(begin)})
	return outcomes
}

func (c *Client) count(kind operation, worst error, values int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	calls := &c.stats.Calls
	if kind == get {
		calls.Reads++
		calls.Values += int64(values)
	}
	if errors.Is(worst, providers.ErrThrottled) {
		calls.Throttled++
	}
	if worst != nil && !errors.Is(worst, providers.ErrNotFound) && !errors.Is(worst, providers.ErrNotReady) {
		calls.Failed++
		c.stats.LastError, c.stats.LastErrorAt = worst, c.f.o.Clock.Now()
	}
}

// within makes a call and waits for it no longer than its deadline: a backend
// that does not return is left behind.
func (c *Client) within(kind operation, flights []*flight) []Outcome {
	ctx, cancel := context.WithCancel(c.base)
	defer cancel()
	returned := make(chan []Outcome, 1)
	// What it is asked is copied: it may go on when the flights are long over.
	questions := make([]flight, len(flights))
	for i, fl := range flights {
		questions[i] = flight{question: fl.question, query: fl.query}
	}
	c.mu.Lock()
	p := c.provider
	c.mu.Unlock()
	go func() {
		outcomes := c.safely(ctx, p, questions)
		c.leave()
		returned <- outcomes
	}()
	limit := deadline
	if kind == find {
		limit = findIn
	}
	timer := c.f.o.Clock.NewTimer(limit)
	defer timer.Stop()
	select {
	case outcomes := <-returned:
		return outcomes
	case <-timer.C():
		return all(len(flights), unavailable("it did not answer within "+limit.String()))
	case <-c.base.Done():
		return all(len(flights), unavailable("the store was closed"))
	}
}

// safely asks, and survives a panic.
func (c *Client) safely(ctx context.Context, p providers.Provider, questions []flight) (outcomes []Outcome) {
	defer func() {
		if recover() != nil { // what it says may quote anything
			outcomes = all(len(questions), errPanic())
		}
	}()
	err := seam.Do(c.f.o.Gate, seam.Call{Kind: seam.Provider, Name: c.kind + " " + questions[0].kind.String()}, func() error {
		var err error
		outcomes, err = put(ctx, p, questions)
		return err
	})
	if err != nil {
		return all(len(questions), err)
	}
	return outcomes
}

// put puts questions to the provider.
func put(ctx context.Context, p providers.Provider, questions []flight) ([]Outcome, error) {
	switch questions[0].kind {
	case find:
		f, ok := p.(providers.Finder)
		if !ok {
			return nil, &providers.Error{Kind: providers.ErrInvalid, Detail: "this provider cannot find keys"}
		}
		keys, err := f.Find(ctx, questions[0].query)
		return []Outcome{{Keys: keys}}, err
	case check:
		k, ok := p.(providers.Checker)
		if !ok {
			return []Outcome{{}}, nil
		}
		identity, err := k.Check(ctx)
		return []Outcome{{Identity: identity}}, err
	}
	refs := make([]providers.Ref, len(questions))
	for i, q := range questions {
		refs[i] = q.ref
	}
	results, err := p.Get(ctx, refs)
	if err == nil && len(results) != len(refs) {
		err = unavailable("the backend answered another number of questions than it was asked")
	}
	if err != nil {
		return nil, err
	}
	outcomes := make([]Outcome, len(results))
	for i, r := range results {
		outcomes[i] = Outcome{Value: r.Value, Version: r.Version, Err: r.Err}
		if r.Err != nil {
			outcomes[i] = Outcome{Err: r.Err}
		}
	}
	return outcomes, nil
}

func all(n int, err error) []Outcome {
	outcomes := make([]Outcome, n)
	for i := range outcomes {
		outcomes[i].Err = err
	}
	return outcomes
}

// sleep waits, unless the client is closed.
func (c *Client) sleep(d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := c.f.o.Clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C():
		return nil
	case <-c.base.Done():
		return unavailable("the store was closed")
	}
}
