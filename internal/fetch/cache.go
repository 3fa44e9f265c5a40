package fetch

import (
	"container/list"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
)

// operation is what is asked of a provider.
type operation int

const (
	get operation = iota
	find
	check
)

func (o operation) String() string { return [...]string{"get", "find", "check"}[o] }

// question is what can be asked; equal ones have one answer.
type question struct {
	kind  operation
	ref   providers.Ref
	query string
}

// answer is what is known of a question.
type answer struct {
	value    secret.Value
	version  string
	keys     []string
	identity string
	// read is when the call that brought it began; zero: there is no value.
	read time.Time
	// missing is set while the last answer was that it is not there.
	missing Missing
	// doubt is set while the last answer was of an older version than this one,
	// or that nothing is found.
	doubt Missing
	// gone are keys that were found before, and since when they are not; until
	// that is proven.
	gone map[string]time.Time
}

func (a answer) outcome() Outcome {
	o := Outcome{Value: a.value, Version: a.version, Keys: a.keys, Identity: a.identity, Read: a.read, Missing: a.doubt}
	if a.version != "" && !a.doubt.Last.IsZero() {
		o.Stale, o.Cause = true, unavailable("it answers with an older version than before, "+Unproven)
	}
	if len(a.gone) > 0 {
		o.Lost = slices.Sorted(maps.Keys(a.gone))
		o.Keys = slices.Concat(a.keys, o.Lost)
		slices.Sort(o.Keys)
	}
	return o
}

func (a answer) size() int64 {
	n := a.value.Len() + len(a.version) + len(a.identity)
	for _, k := range a.keys {
		n += len(k) + 16
	}
	for k := range a.gone {
		n += len(k) + 48
	}
	return int64(n)
}

// cache holds the answers of all clients, the one used last in front.
type cache struct {
	mu       sync.Mutex
	max      int64
	bytes    int64
	order    *list.List // of *entry
	answered map[place]*list.Element
}

// place is where an answer is kept. Clients come and go meanwhile.
type place struct {
	identity string
	question question
}

type entry struct {
	place
	answer
	until time.Time // it is dropped then
}

const entryBytes = 400 // what an entry takes besides its texts

func (e *entry) bytes() int64 {
	return e.size() + entryBytes + int64(len(e.question.ref.Key)+len(e.question.ref.Version)+len(e.question.query))
}

func newCache(maxBytes int64) *cache {
	return &cache{max: maxBytes, order: list.New(), answered: map[place]*list.Element{}}
}

// look returns what is known, and keeps it until then at least.
func (k *cache) look(p place, until time.Time) (answer, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	el := k.answered[p]
	if el == nil {
		return answer{}, false
	}
	k.order.MoveToFront(el)
	e := el.Value.(*entry)
	e.until = later(e.until, until)
	return e.answer, true
}

// keep replaces what is known; what was not used for longest makes room.
func (k *cache) keep(p place, a answer, until time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if el := k.answered[p]; el != nil {
		until = later(until, el.Value.(*entry).until)
		k.drop(el)
	}
	e := &entry{place: p, answer: a, until: until}
	if e.bytes() > k.max {
		return
	}
	k.answered[p] = k.order.PushFront(e)
	k.bytes += e.bytes()
	for k.bytes > k.max {
		k.drop(k.order.Back())
	}
}

func (k *cache) drop(el *list.Element) {
	e := k.order.Remove(el).(*entry)
	delete(k.answered, e.place)
	k.bytes -= e.bytes()
}

// dropUnused drops what nobody is expected to come for any more.
func (k *cache) dropUnused(now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, el := range k.answered {
		if el.Value.(*entry).until.Before(now) {
			k.drop(el)
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
