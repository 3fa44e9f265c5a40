package fetch

import (
	"errors"
	"time"

	"github.com/gitseal/gitseal/providers"
)

// pause is while a store is left alone, because it asked for that, does not
// answer, or does not let us in. It is guarded by Client.mu.
type pause struct {
	until time.Time
	err   error     // what callers are told meanwhile
	row   int       // how often in a row it was put off, if it was
	since time.Time // of the last time that it was put off
	away  int       // calls in a row that failed for good
}

// asked honours a time to wait that the provider named.
func (p *pause) asked(err error, now time.Time) {
	wait := min(providers.RetryAfter(err), maxPause)
	if wait > 0 && now.Add(wait).After(p.until) {
		p.until, p.err = now.Add(wait), err
	}
}

// after takes note of how a call ended for good. A store that lets nobody in is
// left alone at once, since many a provider locks an account after a few wrong
// logins; one that does not answer, after a few calls. Calls that had begun when
// it was put off say nothing new, and put it off no further.
func (p *pause) after(outcomes []Outcome, began, now time.Time, jittered func(time.Duration) time.Duration) {
	var failed error
	for _, o := range outcomes {
		if o.Err == nil || !passing(o.Err) && !errors.Is(o.Err, providers.ErrUnauthenticated) {
			p.row, p.away = 0, 0
			return
		}
		failed = worse(failed, o.Err)
	}
	if !began.After(p.since) {
		return
	}
	p.away++
	if p.away < awayAfter && !errors.Is(failed, providers.ErrUnauthenticated) {
		return
	}
	wait := jittered(min(firstPause<<min(p.row, 8), lastPause))
	p.row, p.since = p.row+1, now
	if now.Add(wait).After(p.until) {
		p.until, p.err = now.Add(wait), failed
	}
}

// admit waits until a call may be made: as the rate has it, and while the store
// is left alone. Who would have to wait for long is told so at once. Who is
// admitted calls, or leaves.
func (c *Client) admit() error {
	c.mu.Lock()
	now := c.f.o.Clock.Now()
	wait := c.pause.until.Sub(now)
	if wait <= patience { // otherwise nothing is asked: it costs no turn
		wait = c.limiter.ReserveN(now, 1).DelayFrom(now)
	} else {
		wait = 0
	}
	c.mu.Unlock()
	for {
		if err := c.sleep(wait); err != nil {
			return err
		}
		c.mu.Lock()
		wait = c.pause.until.Sub(c.f.o.Clock.Now())
		err, hung := c.pause.err, c.queue.inside >= 2*max(c.limits.Concurrency, 1)
		if wait <= 0 && !hung {
			c.queue.inside++
		}
		c.mu.Unlock()
		switch {
		case wait > patience:
			return err
		case hung:
			return unavailable("earlier calls to it still hang")
		case wait <= 0:
			return nil
		}
	}
}
