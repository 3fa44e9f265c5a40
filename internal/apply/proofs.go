package apply

import (
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/gitseal/gitseal/internal/live"
)

// proofAge is how long it is believed that what worked for one Application of
// a ServiceAccount works for the next one.
const proofAge = time.Minute

// proofs remembers where objects of some Application were accepted lately, so
// that a thousand Applications that begin together do not ask the same
// question a thousand times.
type proofs struct {
	clock clock.PassiveClock

	mu sync.Mutex
	at map[live.Scope]time.Time
}

func newProofs(c clock.PassiveClock) *proofs {
	return &proofs{clock: c, at: map[live.Scope]time.Time{}}
}

// note records that an object of a scope was accepted just now.
func (p *proofs) note(s live.Scope) {
	now := p.clock.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.at[s]; !known {
		for other, at := range p.at {
			if now.Sub(at) > proofAge {
				delete(p.at, other)
			}
		}
	}
	p.at[s] = now
}

// drop forgets a scope in which an object was refused.
func (p *proofs) drop(s live.Scope) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.at, s)
}

func (p *proofs) recent(s live.Scope) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, known := p.at[s]
	return known && p.clock.Since(at) <= proofAge
}
