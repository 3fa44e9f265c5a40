package fetch

import (
	"time"

	"github.com/gitseal/gitseal/providers"
)

// flight is a question under way, for all who wait for its answer.
type flight struct {
	question
	query   providers.Query
	waiters int
	keepFor time.Duration // the answer, for those who wait
	began   time.Time     // of the call; guarded by Client.mu
	landed  chan struct{}
	outcome Outcome // once landed
}

// queue holds the questions of a client. It is guarded by Client.mu.
type queue struct {
	reads   []*flight // waiting, in the order in which they came
	others  []*flight // finds and checks, which come first: they are few
	waiting map[question]*flight
	flying  map[question]*flight // the newest of each
	workers int
	coming  int // workers that have taken nothing yet
	inside  int // who is admitted and has not left
}

func (q *queue) empty() bool { return len(q.waiting) == 0 && q.workers == 0 && q.inside == 0 }

// join gives the flight that answers w: one that waits, or one whose call began
// late enough.
func (q *queue) join(w want, now time.Time) *flight {
	fl := q.waiting[w.question]
	if fl == nil {
		fl = q.flying[w.question]
		if fl != nil && w.maxAge >= 0 && now.Sub(fl.began) >= w.maxAge {
			fl = nil
		}
	}
	if fl == nil {
		fl = &flight{question: w.question, query: w.query, landed: make(chan struct{})}
		q.waiting[w.question] = fl
		if w.kind == get {
			q.reads = append(q.reads, fl)
		} else {
			q.others = append(q.others, fl)
		}
	}
	fl.waiters++
	fl.keepFor = max(fl.keepFor, w.keepFor())
	return fl
}

// take gives the questions of the next call: a find or check, or as many reads
// as one call takes.
func (q *queue) take(batch int, now time.Time) []*flight {
	if taken := q.pop(&q.others, 1, now); taken != nil {
		return taken
	}
	return q.pop(&q.reads, max(batch, 1), now)
}

// pop takes up to n from the front. Those for which nobody waits any more are
// dropped.
func (q *queue) pop(line *[]*flight, n int, now time.Time) (taken []*flight) {
	for len(*line) > 0 && len(taken) < n {
		fl := (*line)[0]
		(*line)[0] = nil
		*line = (*line)[1:]
		delete(q.waiting, fl.question)
		if fl.waiters > 0 {
			taken = append(taken, fl)
			q.flying[fl.question] = fl
			fl.began = now
		}
	}
	return taken
}

// calls is how many calls would answer what waits.
func (q *queue) calls(batch int) int {
	batch = max(batch, 1)
	return len(q.others) + (len(q.reads)+batch-1)/batch
}

// land gives a flight's outcome to all who wait for it.
func (q *queue) land(fl *flight, o Outcome) {
	if q.flying[fl.question] == fl {
		delete(q.flying, fl.question)
	}
	fl.outcome = o
	close(fl.landed)
}

// leave gives back an admission.
func (c *Client) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue.inside--
}

// giveUp ends the waiting of a caller.
func (c *Client) giveUp(flights []*flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, fl := range flights {
		if fl != nil {
			fl.waiters--
		}
	}
}

// hire starts as many workers as there may be and is work for.
func (c *Client) hire() {
	q := &c.queue
	for q.workers < max(c.limits.Concurrency, 1) && q.coming < q.calls(c.limits.Batch) {
		q.workers++
		q.coming++
		go c.work()
	}
}
