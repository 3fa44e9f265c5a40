// Package turns bounds how much is done at once. Who takes long waits for
// somebody else, a server that does not answer; so it gives its turn to
// another meanwhile, and what hangs holds up nobody but itself.
package turns

import (
	"context"
	"sync"
	"time"
)

// Turns are a number of turns to be had at once. Nil has no bound.
type Turns struct {
	free chan struct{}
	long time.Duration
}

// New returns n turns. After long a turn is given to the next one who waits,
// whether or not it was ended.
func New(n int, long time.Duration) *Turns {
	return &Turns{free: make(chan struct{}, n), long: long}
}

// Take waits for a turn, in the order of the calls. It reports false where the
// context ends first; otherwise end must be called.
func (t *Turns) Take(ctx context.Context) (end func(), ok bool) {
	if t == nil {
		return func() {}, true
	}
	select {
	case t.free <- struct{}{}:
	case <-ctx.Done():
		return nil, false
	}
	leave := sync.OnceFunc(func() { <-t.free })
	timer := time.AfterFunc(t.long, leave)
	return func() {
		timer.Stop()
		leave()
	}, true
}

// Taken is how many turns are had now.
func (t *Turns) Taken() int { return len(t.free) }
