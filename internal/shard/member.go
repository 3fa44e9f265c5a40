// Package shard lets several replicas share the Applications, such that no
// Application is ever worked on by two of them. Applications are hashed to
// slots, and every replica announces in a Lease of its own whom it thinks it
// shares the slots with. It owns that protocol and the fence before writes; it
// must not know what is done with an Application.
//
// The protocol is written down in docs/adr/0013-sharing-by-leases.md. In short:
// a member may work on a slot if the view that it has published makes it the
// owner, and if a list of all Leases that was begun after that showed no other
// live member whose published view says otherwise. It publishes a view that
// takes slots away from it only when nothing of them runs any more. A Lease is
// dead when it has not changed for its duration by the clock of who looks.
package shard

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/utils/clock"
)

// Record is a member's Lease.
type Record struct {
	ID string
	// View is whom the member shares the slots with; nil: it claims none.
	View []string
	// Version changes with every renewal.
	Version string
}

// Store keeps the Leases.
type Store interface {
	// Write renews the member's own Lease with a view. A Write whose outcome is
	// not known must not take effect after a later one did.
	Write(ctx context.Context, view []string) error
	// List returns all Leases, as they are at some moment after it was called.
	List(ctx context.Context) ([]Record, error)
	// Delete removes the Lease r, if it has not changed since; with no version
	// in any case.
	Delete(ctx context.Context, r Record) error
}

// ErrGone is returned by Write when somebody has deleted the Lease.
var ErrGone = errors.New("the lease was deleted")

// Change says what became of a member's share.
type Change struct {
	Gained, Lost Set
	// Members in the view, slots that are held, and slots that are claimed by
	// others, too, and waited for.
	Members, Held, Waiting int
}

// Options of a Member.
type Options struct {
	ID    string
	Store Store
	Clock clock.WithTicker
	// Duration after which a Lease that does not change is dead; Renew is how
	// often it is changed, at most a fifth of that.
	Duration, Renew time.Duration
	// Grace is how long work on slots that are given away may go on.
	Grace time.Duration
	// Changed is told of every change. It must not block.
	Changed func(Change)
	Log     logr.Logger
}

// peer is another member, as far as it was seen.
type peer struct {
	Record
	seen time.Time // when its Lease was first seen at this version
}

// Member is this replica's part in sharing.
type Member struct {
	o    Options
	kick chan struct{}

	mu      sync.Mutex
	peers   map[string]*peer
	renewed time.Time // when the last renewal that succeeded was begun
	live    bool      // it was renewed in time
	// published is the last view that the Lease was known to hold; sure, that
	// it holds no other. All that runs belongs to this member under every view
	// that the Lease may hold.
	published []string
	sure      bool
	// granted are the slots that may be worked on.
	granted Set
	running map[*hold]bool
	// draining is since when work is waited for that has to end before the next
	// view can be published; leaving, that no more is begun at all.
	draining time.Time
	leaving  bool
	waiting  time.Time // since when slots are claimed by others, too
	told     Change    // the last one, and what came since
}

// New returns a Member that holds nothing until it runs.
func New(o Options) *Member {
	return &Member{o: o, kick: make(chan struct{}, 1), peers: map[string]*peer{}, running: map[*hold]bool{}}
}

// patience is how long after a renewal its slots are worked on.
func (m *Member) patience() time.Duration { return m.o.Duration * 2 / 3 }

// Observe is told of every other Lease that a watch sees.
func (m *Member) Observe(r Record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r.ID == m.o.ID {
		return
	}
	if m.see(r, m.o.Clock.Now()) {
		m.wake()
	}
}

// Gone is told of every Lease that was deleted.
func (m *Member) Gone(id string) {
	m.mu.Lock()
	if id == m.o.ID && !m.leaving {
		m.lapse() // others may already divide the slots anew
	}
	delete(m.peers, id)
	m.mu.Unlock()
	m.tell()
	m.wake()
}

// see notes a Lease, and reports whether it says something new about slots.
func (m *Member) see(r Record, now time.Time) bool {
	p := m.peers[r.ID]
	if p == nil {
		p = &peer{}
		m.peers[r.ID] = p
	}
	news := p.ID == "" || !slices.Equal(p.View, r.View) || (p.View == nil) != (r.View == nil) || now.Sub(p.seen) >= m.o.Duration
	if p.Version != r.Version {
		p.Record, p.seen = r, now
	}
	return news
}

func (m *Member) wake() {
	select {
	case m.kick <- struct{}{}:
	default:
	}
}

// Run takes part until the context ends; then it lets what runs end, and
// leaves.
func (m *Member) Run(ctx context.Context) error {
	guarded, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	go m.guard(guarded)
	for ctx.Err() == nil {
		m.pause(ctx, m.step(ctx))
	}
	m.leave(guarded)
	return nil
}

func (m *Member) pause(ctx context.Context, d time.Duration) {
	timer := m.o.Clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-m.kick:
	case <-timer.C():
	}
}

// guard ends all work when the Lease could not be renewed in time, whatever
// the rest of the member is waiting for.
func (m *Member) guard(ctx context.Context) {
	for ctx.Err() == nil {
		m.mu.Lock()
		now := m.o.Clock.Now()
		m.expire(now)
		left := m.o.Renew
		if m.live {
			left = m.renewed.Add(m.patience()).Sub(now)
		}
		m.mu.Unlock()
		m.tell()
		timer := m.o.Clock.NewTimer(left)
		select {
		case <-ctx.Done():
		case <-timer.C():
		}
		timer.Stop()
	}
}

// step does what is to be done now, and returns when to look again at the
// latest.
func (m *Member) step(ctx context.Context) time.Duration {
	view, due := m.plan()
	if due {
		m.publish(ctx, view)
	}
	if m.wanting() {
		m.verify(ctx)
	}
	m.bury(ctx)
	m.tell()
	return m.next()
}

// plan decides which view to publish, and whether now. Slots that are lost
// with it are given up first; until nothing of them runs any more, the view
// that is published stays.
func (m *Member) plan() (view []string, due bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.o.Clock.Now()
	m.expire(now)
	view = m.alive(now)
	keeps := owned(view, m.o.ID)
	m.lose(minus(m.granted, keeps))
	if m.stillRuns(func(h *hold) bool { return !keeps[h.slot] }) {
		if m.draining.IsZero() {
			m.draining = now
		}
		if now.Sub(m.draining) >= m.o.Grace {
			m.cancel(func(h *hold) bool { return !keeps[h.slot] })
		}
		view = m.published
	} else {
		m.draining = time.Time{}
	}
	changed := !m.sure || !slices.Equal(view, m.published)
	return view, changed || now.Sub(m.renewed) >= m.o.Renew
}

// publish writes the view. Until that is known to have succeeded it counts as
// neither done nor undone: nothing may run that either view gives away.
func (m *Member) publish(ctx context.Context, view []string) {
	ctx, cancel := context.WithTimeout(ctx, m.o.Renew)
	defer cancel()
	begun := m.o.Clock.Now()
	err := m.o.Store.Write(ctx, view)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire(m.o.Clock.Now())
	switch {
	case errors.Is(err, ErrGone):
		m.lapse()
	case err != nil:
		m.sure = false
		m.o.Log.Info("The lease of this replica could not be renewed", "why", err.Error())
	default:
		m.published, m.sure, m.renewed, m.live = view, true, begun, true
	}
}

// wanting reports whether there are slots that this member owns by its own
// view and does not hold.
func (m *Member) wanting() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.sure || !m.draining.IsZero() {
		return false
	}
	missing := minus(owned(m.published, m.o.ID), m.granted)
	return missing.Len() > 0
}

// verify takes the slots of the published view that nobody else claims.
func (m *Member) verify(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, m.o.Renew)
	defer cancel()
	begun := m.o.Clock.Now()
	records, err := m.o.Store.List(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire(m.o.Clock.Now())
	if err != nil || !m.sure {
		return // it is tried again with the next renewal
	}
	claimed, ok := m.claims(records, begun)
	if !ok {
		m.lapse()
		return
	}
	mine := owned(m.published, m.o.ID)
	for slot := range mine {
		if mine[slot] && !claimed[slot] && !m.granted[slot] {
			m.granted[slot] = true
			m.told.Gained[slot], m.told.Lost[slot] = true, false
		}
	}
	m.complain(minus(mine, m.granted))
}

// claims are the slots of the other live members in a list that was begun at a
// moment. It is not ok if this member's own Lease is not as it was published.
func (m *Member) claims(records []Record, begun time.Time) (claimed Set, ok bool) {
	there := map[string]bool{}
	now := m.o.Clock.Now()
	for _, r := range records {
		there[r.ID] = true
		if r.ID == m.o.ID {
			ok = slices.Equal(r.View, m.published)
			continue
		}
		m.see(r, now)
		if begun.Sub(m.peers[r.ID].seen) >= m.o.Duration {
			continue // it did not change before the list was begun: dead
		}
		theirs := owned(r.View, r.ID)
		for slot := range theirs {
			claimed[slot] = claimed[slot] || theirs[slot]
		}
	}
	for id, p := range m.peers {
		if !there[id] && p.seen.Before(begun) {
			delete(m.peers, id)
		}
	}
	return claimed, ok
}

// complain says when slots are claimed by others for longer than they should.
func (m *Member) complain(missing Set) {
	n, now := missing.Len(), m.o.Clock.Now()
	switch {
	case n == 0:
		m.waiting = time.Time{}
	case m.waiting.IsZero():
		m.waiting = now
	case now.Sub(m.waiting) >= 3*m.o.Duration:
		m.waiting = now
		m.o.Log.Info("Another replica claims slots that this one should have; their Applications wait", "slots", n, "members", len(m.peers)+1)
	}
}

// bury deletes Leases that have been dead for long.
func (m *Member) bury(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, m.o.Renew)
	defer cancel()
	m.mu.Lock()
	var dead []Record
	for _, p := range m.peers {
		if m.o.Clock.Now().Sub(p.seen) >= 6*m.o.Duration {
			dead = append(dead, p.Record)
			p.seen = m.o.Clock.Now().Add(-m.o.Duration) // not again at once, should that fail
		}
	}
	m.mu.Unlock()
	for _, r := range dead {
		if err := m.o.Store.Delete(ctx, r); err != nil {
			m.o.Log.V(1).Info("The lease of a replica that is gone could not be deleted", "why", err.Error())
		}
	}
}

// next is when something is due: a renewal, the death of a peer, the end of
// the grace.
func (m *Member) next() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.o.Clock.Now()
	soonest := m.o.Renew
	if m.live {
		soonest = min(soonest, m.renewed.Add(m.o.Renew).Sub(now))
	}
	for _, p := range m.peers {
		if left := p.seen.Add(m.o.Duration).Sub(now); left > 0 {
			soonest = min(soonest, left)
		}
	}
	if !m.draining.IsZero() {
		soonest = min(soonest, m.draining.Add(m.o.Grace).Sub(now))
	}
	return max(soonest, m.o.Renew/20)
}

// alive are the members that share the slots now, in order.
func (m *Member) alive(now time.Time) []string {
	ids := []string{m.o.ID}
	for id, p := range m.peers {
		if now.Sub(p.seen) < m.o.Duration {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// expire lapses the member if its Lease was not renewed in time, by either
// clock: the one that counts on while the machine sleeps, and the one that
// nobody can set.
func (m *Member) expire(now time.Time) {
	if m.live && m.stale(now) {
		m.lapse()
		m.o.Log.Info("The lease of this replica was not renewed in time: all work is stopped until it is")
	}
}

func (m *Member) stale(now time.Time) bool {
	return now.Sub(m.renewed) >= m.patience() || now.Round(0).Sub(m.renewed.Round(0)) >= m.patience()
}

// lapse gives everything up at once.
func (m *Member) lapse() {
	m.live, m.published, m.sure = false, nil, false
	m.lose(m.granted)
	m.cancel(func(*hold) bool { return true })
}

func (m *Member) lose(slots Set) {
	for slot := range slots {
		if slots[slot] {
			m.told.Lost[slot], m.told.Gained[slot] = true, false
		}
	}
	m.granted.remove(&slots)
}

// tell passes on what changed.
func (m *Member) tell() {
	m.mu.Lock()
	mine := owned(m.published, m.o.ID)
	missing := minus(mine, m.granted)
	c := m.told
	c.Members, c.Held, c.Waiting = len(m.published), m.granted.Len(), missing.Len()
	same := c == m.told
	m.told = Change{Members: c.Members, Held: c.Held, Waiting: c.Waiting}
	m.mu.Unlock()
	if !same || c.Gained.Len() > 0 || c.Lost.Len() > 0 {
		m.o.Changed(c)
	}
}
