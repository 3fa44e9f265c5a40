package faults

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"
)

// hanging counts who waits for a server that does not answer.
type hanging struct {
	mu    sync.Mutex
	now   map[string]int // calls, by what they are about
	gone  int            // calls that have ended
	works bool
}

// hang keeps a call waiting until its context ends, or the server works.
func (h *hanging) hang(ctx context.Context, about string) {
	defer h.enter(about)()
	for !h.working() {
		select {
		case <-ctx.Done():
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// enter counts a call until it leaves.
func (h *hanging) enter(about string) (leave func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.now == nil {
		h.now = map[string]int{}
	}
	h.now[about]++
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.gone++
		if h.now[about]--; h.now[about] == 0 {
			delete(h.now, about)
		}
	}
}

func (h *hanging) working() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.works
}

// work lets all go on.
func (h *hanging) work() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.works = true
}

func (h *hanging) counted() (now, gone int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.now), h.gone
}

// hungApplications is more than the operator's workers (--concurrent).
const hungApplications = 12

// goesOnBeside demands that all who may hang do, more than there are workers,
// and that a revision of the story comes into place without any of them giving
// up first, so that it waits for none of them.
func (s *story) goesOnBeside(t *testing.T, h *hanging) {
	t.Helper()
	allHang := func(context.Context) error {
		if now, _ := h.counted(); now < hungApplications {
			return fmt.Errorf("%d hang", now)
		}
		return nil
	}
	tries := 0
	eventually(t, s.ns+" goes on while all hang", func(context.Context) error {
		tries++
		eventually(t, "all hang at once", allHang)
		_, before := h.counted()
		begun := time.Now()
		s.waitReady(s.push(someConfigs(2, fmt.Sprint("try ", tries))))
		t.Logf("another Application went on after %s", time.Since(begun))
		if _, after := h.counted(); after > before {
			return fmt.Errorf("%d gave up meanwhile", after-before)
		}
		return nil
	})
}
