package apply

import (
	"sync"
	"time"

	"github.com/gitseal/gitseal/internal/live"
)

// strangersHold is how long a list of what no ApplySet holds is good for.
// Whoever comes in between is found by the write, which is bound to there being
// nothing.
const (
	strangersHold = 5 * time.Second
	maxStrangers  = 1000 // scopes, and objects of one
)

// strangers remembers for a moment which objects of a scope are in no ApplySet,
// so that the Applications of one namespace that begin together ask for it
// once. It answers only for what was not there: what was is looked at anew.
type strangers struct {
	mu  sync.Mutex
	all map[live.Scope]strangersOf
}

type strangersOf struct {
	at   time.Time
	keys map[live.Key]bool
}

// lacks reports whether none of items was there a moment ago.
func (s *strangers) lacks(items []*Item, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.all[items[0].Scope]
	if age := now.Sub(known.at); !ok || age < 0 || age > strangersHold {
		return false
	}
	for _, item := range items {
		if known.keys[item.key()] {
			return false
		}
	}
	return true
}

// remember keeps what a list of a whole scope held.
func (s *strangers) remember(scope live.Scope, keys map[live.Key]bool, now time.Time) {
	if len(keys) > maxStrangers {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for other, known := range s.all {
		if age := now.Sub(known.at); age < 0 || age > strangersHold || len(s.all) >= maxStrangers {
			delete(s.all, other)
		}
	}
	if s.all == nil {
		s.all = map[live.Scope]strangersOf{}
	}
	s.all[scope] = strangersOf{at: now, keys: keys}
}
