package apply

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/gitseal/gitseal/internal/health"
	"github.com/gitseal/gitseal/internal/live"
)

// Ledger remembers, for one Application, what was applied and what the API
// server answered. It lives in memory: after a restart it is seeded with the
// objects that are as they were applied.
type Ledger struct {
	mu      sync.Mutex
	records map[ID]record
	proven  map[live.Scope]bool
	claims  map[ID]*claim // on what was looked at and is not applied yet
	adopted []string      // what was taken over from other tools and not told yet
}

type record struct {
	scope   live.Scope
	digest  string
	version uint64 // resource version that the last apply returned
	owned   uint64 // fingerprint of our fields at that version
	state   health.State
	note    string
	// judged is the resource version that state and note speak of.
	judged uint64
	// corrections counts how often in a row drift was put back, the last time
	// at corrected.
	corrections int
	corrected   time.Time
	// failing: the last correction was not answered well.
	failing bool
	// drift is what the object, at version examined, was found to differ in;
	// nil where it does not. fought is what was put back last.
	drift    *Drift
	examined uint64
	fought   *Drift
	// foreign: it is applied once and was there before, or has lost its label.
	foreign bool
	// gone: it was hollow, and is not there any more.
	gone bool
}

const (
	freeCorrections = 3
	firstBrake      = time.Second
	maxBrake        = time.Minute
)

// brake is how long to leave the object alone: somebody who changes it back
// each time is not raced at full speed.
func (r record) brake(now time.Time) time.Duration {
	if r.corrections < freeCorrections {
		return 0
	}
	pause := maxBrake
	if doublings := r.corrections - freeCorrections; doublings < 6 {
		pause = firstBrake << doublings
	}
	return r.corrected.Add(pause).Sub(now)
}

// NewLedger returns an empty ledger.
func NewLedger() *Ledger {
	return &Ledger{records: map[ID]record{}, proven: map[live.Scope]bool{}, claims: map[ID]*claim{}}
}

func (l *Ledger) get(id ID) (record, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, ok := l.records[id]
	return r, ok
}

func (l *Ledger) put(id ID, r record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records[id] = r
	delete(l.claims, id)
}

// claimed notes what was found of an item, so that it is not looked for again
// before it is sent.
func (l *Ledger) claimed(id ID, c *claim) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.claims[id] = c
}

func (l *Ledger) claimOf(id ID) *claim {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.claims[id]
}

// unsure notes that an item with a new content was sent and not answered: it
// may be in place. That of before is not to be put back over it.
func (l *Ledger) unsure(item Item) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r, ok := l.records[item.ID]; ok && r.digest != item.digest {
		r.digest = ""
		l.records[item.ID] = r
	}
}

// prove notes that objects of a scope can be applied.
func (l *Ledger) prove(s live.Scope) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.proven[s] = true
}

func (l *Ledger) isProven(s live.Scope) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.proven[s]
}

// applied notes what the API server answered when an item was applied.
func (l *Ledger) applied(item Item, a answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := l.records[item.ID]
	l.records[item.ID] = record{
		scope: item.Scope, corrections: last.corrections, corrected: last.corrected, fought: cmp.Or(last.drift, last.fought),
		digest: item.digest, version: a.object.ResourceVersion, owned: a.object.Owned,
		state: a.state, note: a.note, judged: a.object.ResourceVersion,
	}
}

// left notes that an object which is applied once is there.
func (l *Ledger) left(item Item, seen live.Object) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.records[item.ID]
	r.scope, r.digest, r.foreign, r.gone = item.Scope, item.digest, seen.ApplySet == "", false
	r.version, r.owned, r.drift, r.failing = seen.ResourceVersion, seen.Owned, nil, false
	l.records[item.ID] = r
}

// found notes that an object differs from its item.
func (l *Ledger) found(item Item, version uint64, d *Drift) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.records[item.ID]
	r.drift, r.examined = d, version
	l.records[item.ID] = r
}

// adopt notes that an object as it was seen is what its item makes of it.
func (l *Ledger) adopt(item Item, seen live.Object) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.records[item.ID]
	r.drift, r.examined, r.failing = nil, 0, false
	r.version, r.owned = seen.ResourceVersion, seen.Owned
	l.records[item.ID] = r
}

// Drifts lists the objects that were found to differ and were not put back, in
// order.
func (l *Ledger) Drifts() []Drift {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []Drift
	for _, r := range l.records {
		if r.drift != nil {
			all = append(all, *r.drift)
		}
	}
	slices.SortFunc(all, func(a, b Drift) int { return compareIDs(a.ID, b.ID) })
	return all
}

// Corrected says what those of items differed in that were put back.
func (l *Ledger) Corrected(items []Item) []Drift {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []Drift
	for _, i := range items {
		if r := l.records[i.ID]; r.drift == nil && r.fought != nil {
			all = append(all, *r.fought)
		}
	}
	return all
}

// Correcting notes that drifted items are about to be put back.
func (l *Ledger) Correcting(drifted []Item, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, i := range drifted {
		r := l.records[i.ID]
		r.corrections, r.corrected, r.failing = r.corrections+1, now, true // until it is applied
		l.records[i.ID] = r
	}
}

// Gone notes that hollow items are gone: what they are made of next puts them
// back, whatever it is.
func (l *Ledger) Gone(gone []Item) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, i := range gone {
		r := l.records[i.ID]
		r.gone = true
		l.records[i.ID] = r
	}
}

// keep forgets all objects but those of items and those that find does not
// know of yet: what was just applied may be pruned only once its watch shows it.
func (l *Ledger) keep(items []Item, find func(record, ID) live.Presence) {
	wanted := make(map[ID]bool, len(items))
	for _, i := range items {
		wanted[i.ID] = true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.claims, func(id ID, _ *claim) bool { return !wanted[id] })
	for id, r := range l.records {
		if !wanted[id] && find(r, id) != live.Unknown {
			delete(l.records, id)
		}
	}
}

// Len is the number of objects applied.
func (l *Ledger) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.records)
}

// Sick is an object that is not healthy.
type Sick struct {
	ID ID
	// Wave is its sync wave, where that was asked for.
	Wave  int32
	State health.State
	Note  string
}

// Unhealthy lists the objects that are not Current, in order.
func (l *Ledger) Unhealthy() []Sick {
	l.mu.Lock()
	defer l.mu.Unlock()
	var sick []Sick
	for id, r := range l.records {
		if r.state != health.Current {
			sick = append(sick, Sick{ID: id, State: r.state, Note: r.note})
		}
	}
	slices.SortFunc(sick, func(a, b Sick) int { return compareIDs(a.ID, b.ID) })
	return sick
}

func compareIDs(a, b ID) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Group, b.Group),
		cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
}
