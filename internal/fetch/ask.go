package fetch

import (
	"context"
	"errors"
	"time"

	"github.com/gitseal/gitseal/providers"
)

// want is a question, and how old the answer may be.
type want struct {
	question
	query  providers.Query
	maxAge time.Duration
}

// ask answers from the cache what it can, and joins or begins a flight for
// each of the rest.
func (c *Client) ask(ctx context.Context, wanted []want, maxStaleness time.Duration) []Outcome {
	outcomes := make([]Outcome, len(wanted))
	flights := make([]*flight, len(wanted))
	c.mu.Lock()
	now := c.f.o.Clock.Now()
	c.used = now
	for i, w := range wanted {
		if a, ok := c.f.cache.look(place{c.identity, w.question}, now.Add(w.keepFor())); ok && a.serves(w.maxAge, now) {
			outcomes[i] = a.good()
			continue
		}
		flights[i] = c.queue.join(w, now)
	}
	c.hire()
	c.mu.Unlock()
	for i, fl := range flights {
		if fl != nil {
			outcomes[i] = c.await(ctx, fl)
		}
	}
	c.giveUp(flights)
	now = c.f.o.Clock.Now()
	for i, w := range wanted {
		if flights[i] != nil {
			outcomes[i] = c.lastGood(w.question, outcomes[i], maxStaleness, now)
		}
	}
	return outcomes
}

// keepFor is until who asks will come again, and a while longer.
func (w want) keepFor() time.Duration { return idleFor + max(0, min(w.maxAge, maxDue)) }

// serves reports whether an answer is young enough.
func (a answer) serves(maxAge time.Duration, now time.Time) bool {
	if a.unproven() && (maxAge < 0 || maxAge > missingFor) {
		maxAge = missingFor
	}
	return maxAge < 0 || now.Sub(a.last()) < maxAge
}

// good is the outcome of an answer that serves.
func (a answer) good() Outcome {
	if !a.missing.Last.IsZero() {
		return Outcome{Missing: a.missing, Err: &providers.Error{Kind: providers.ErrNotFound}}
	}
	return a.outcome()
}

// await waits for a flight to land.
func (c *Client) await(ctx context.Context, fl *flight) Outcome {
	select {
	case <-fl.landed:
		return fl.outcome
	default:
	}
	select {
	case <-fl.landed:
		return fl.outcome
	case <-ctx.Done():
		return Outcome{Err: unavailable("it was not answered in the time that there was")}
	case <-c.base.Done():
		return Outcome{Err: unavailable("the store was closed")}
	}
}

// lastGood replaces an outage by the last good value, if that is young enough.
func (c *Client) lastGood(q question, o Outcome, maxStaleness time.Duration, now time.Time) Outcome {
	if !errors.Is(o.Err, providers.ErrUnavailable) && !errors.Is(o.Err, providers.ErrThrottled) {
		return o
	}
	a, ok := c.f.cache.look(place{c.identity, q}, now)
	if !ok || a.read.IsZero() || !a.missing.Last.IsZero() || now.Sub(a.read) > maxStaleness {
		return o
	}
	good := a.outcome()
	good.Stale, good.Cause = true, o.Err
	return good
}

// learn takes an outcome into the cache. Flights may overtake one another: what
// is known, and younger, answers in the place of an older outcome.
func (c *Client) learn(fl *flight, o Outcome, now time.Time) Outcome {
	p, until := place{c.identity, fl.question}, now.Add(fl.keepFor)
	known, ok := c.f.cache.look(p, until)
	switch {
	case ok && known.last().After(fl.began):
		return known.good()
	case o.Err == nil:
		a := known.followed(c.ordered, fl.question, answer{value: o.Value, version: o.Version, keys: o.Keys, identity: o.Identity, read: fl.began})
		c.f.cache.keep(p, a, until)
		return a.outcome()
	case errors.Is(o.Err, providers.ErrNotFound):
		o.Missing = known.missing.again(fl.began)
		c.f.cache.keep(p, answer{missing: o.Missing, keys: known.keys, gone: known.gone}, until)
	}
	return o
}
