package shard

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// ErrLost is what a write is answered with that comes from work on a slot that
// was lost meanwhile.
var ErrLost = errors.New("another replica works on this Application now")

// hold is one piece of work on a slot.
type hold struct {
	member *Member
	slot   int
	cancel context.CancelFunc
	lost   bool // guarded by member.mu
}

type holdKey struct{}

// Hold begins work on an Application. It reports false if that is not this
// member's; otherwise done has to be called at the end. The context outlives
// the one given, so that a replica that stops can end what it has begun, and
// ends when the slot is lost. A nil Member shares with nobody.
func (m *Member) Hold(ctx context.Context, namespace, name string) (held context.Context, done func(), mine bool) {
	if m == nil {
		return ctx, func() {}, true
	}
	slot := SlotOf(namespace, name)
	m.mu.Lock()
	defer m.mu.Unlock()
	// What is refused here is not asked for again: it has to be gained anew.
	m.expire(m.o.Clock.Now())
	if m.leaving || !m.granted[slot] {
		return ctx, nil, false
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	h := &hold{member: m, slot: slot, cancel: cancel}
	m.running[h] = true
	return context.WithValue(ctx, holdKey{}, h), func() { m.release(h) }, true
}

func (m *Member) release(h *hold) {
	m.mu.Lock()
	delete(m.running, h)
	waited := m.leaving || !m.granted[h.slot]
	m.mu.Unlock()
	h.cancel()
	if waited {
		m.wake()
	}
}

func (m *Member) stillRuns(which func(*hold) bool) bool {
	for h := range m.running {
		if which(h) {
			return true
		}
	}
	return false
}

func (m *Member) cancel(which func(*hold) bool) {
	for h := range m.running {
		if which(h) {
			h.lost = true
			h.cancel()
		}
	}
}

// leave lets what runs end, cancels what does not, and deletes the Lease, so
// that the others take over at once. What does not even end then keeps the
// Lease: it has to die of age.
func (m *Member) leave(ctx context.Context) {
	m.mu.Lock()
	m.leaving = true
	m.lose(m.granted)
	end := m.o.Clock.Now().Add(m.o.Grace)
	m.mu.Unlock()
	m.tell()
	if !m.awaitEnd(ctx, end) {
		m.mu.Lock()
		m.cancel(func(*hold) bool { return true })
		m.mu.Unlock()
		if !m.awaitEnd(ctx, end.Add(m.o.Grace)) {
			return
		}
	}
	ctx, cancel := context.WithTimeout(ctx, m.o.Renew)
	defer cancel()
	if err := m.o.Store.Delete(ctx, Record{ID: m.o.ID}); err != nil {
		m.o.Log.Info("The lease of this replica could not be deleted: the others wait until it expires", "why", err.Error())
	}
}

// awaitEnd waits until nothing runs any more.
func (m *Member) awaitEnd(ctx context.Context, end time.Time) bool {
	for {
		m.mu.Lock()
		n, left := len(m.running), end.Sub(m.o.Clock.Now())
		m.mu.Unlock()
		if n == 0 || left <= 0 {
			return n == 0
		}
		m.pause(ctx, left)
	}
}

// check is the fence: it fails as soon as the slot may be somebody else's.
func (h *hold) check() error {
	m := h.member
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire(m.o.Clock.Now())
	if h.lost {
		return ErrLost
	}
	return nil
}

// Check reports whether work under a context may still write.
func Check(ctx context.Context) error {
	if h, ok := ctx.Value(holdKey{}).(*hold); ok {
		return h.check()
	}
	return nil
}

// Fence keeps writes back that come from work on a slot that was lost: a
// process that was stopped goes on where it was, before any timer of it fires.
func Fence(next http.RoundTripper) http.RoundTripper { return fence{next} }

type fence struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (f fence) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet {
		if err := Check(r.Context()); err != nil {
			if r.Body != nil {
				_ = r.Body.Close()
			}
			return nil, err
		}
	}
	return f.next.RoundTrip(r)
}
