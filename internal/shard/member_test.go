package shard

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/utils/clock"
)

const (
	duration = 10 * time.Second
	renew    = 2 * time.Second
)

// world is an API server that is slow, loses answers, and checks that no slot
// is ever worked on by two. Everything happens in a bubble of fake time.
type world struct {
	t     *testing.T
	mu    sync.Mutex
	rand  *rand.Rand
	calm  bool // no more faults
	next  int
	all   map[string]Record
	busy  map[int]string // who works on a slot
	work  int
	watch map[string]*node
	mute  bool // no Delete is answered
}

func newWorld(t *testing.T, seed uint64) *world {
	return &world{t: t, rand: rand.New(rand.NewPCG(seed, 1)), all: map[string]Record{}, busy: map[int]string{}, watch: map[string]*node{}}
}

func (w *world) chance(oneIn int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.calm && w.rand.IntN(oneIn) == 0
}

func (w *world) upTo(d time.Duration) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Duration(w.rand.Int64N(int64(d)) + 1)
}

// node is a replica: a member with a clock of its own, which may be stopped.
type node struct {
	*Member
	w       *world
	clock   *skewed
	stop    context.CancelFunc
	ended   chan struct{}
	version string // of the Lease, as the node last knew it
	gained  atomic.Int64
}

func (w *world) start(id string, rate float64) *node {
	n := &node{w: w, clock: &skewed{rate: rate, start: time.Now()}, ended: make(chan struct{})}
	n.Member = New(Options{
		ID: id, Store: n, Clock: n.clock, Duration: duration, Renew: renew, Grace: time.Second,
		Changed: func(c Change) { n.gained.Add(int64(c.Gained.Len())) }, Log: logr.Discard(),
	})
	ctx, stop := context.WithCancel(w.t.Context())
	n.stop = stop
	w.mu.Lock()
	w.watch[id] = n
	for _, r := range w.all {
		go n.Observe(r)
	}
	w.mu.Unlock()
	go func() {
		defer close(n.ended)
		_ = n.Run(ctx)
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.watch, id)
	}()
	for range 6 {
		go n.labour(ctx)
	}
	return n
}

// labour works on Applications as a reconciler does: it writes now and then,
// for as long as the fence lets it, whatever its context says.
func (n *node) labour(ctx context.Context) {
	for ctx.Err() == nil {
		name := strconv.Itoa(int(n.w.upTo(24))) // few, so that they meet
		held, done, mine := n.Hold(ctx, "ns", name)
		if !mine {
			n.clock.sleep(n.w.idle())
			continue
		}
		slot := SlotOf("ns", name)
		for range 1 + int(n.w.upTo(5)) {
			n.write(held, slot)
			if held.Err() != nil && !n.w.chance(2) {
				break
			}
			n.clock.sleep(n.w.upTo(time.Second))
		}
		n.w.leaveSlot(slot, n.ID())
		done()
	}
}

// idle is short while there is trouble.
func (w *world) idle() time.Duration {
	if w.chance(1) {
		return w.upTo(60 * time.Millisecond)
	}
	return w.upTo(4 * time.Second)
}

// ID is the member's.
func (n *node) ID() string { return n.o.ID }

func (n *node) write(ctx context.Context, slot int) {
	if Check(ctx) != nil {
		n.w.leaveSlot(slot, n.ID())
		return
	}
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	n.w.work++
	other := n.w.busy[slot]
	if other != "" && other != n.ID() && n.w.watch[other] != nil && n.w.watch[other].mayWrite(slot) {
		n.w.t.Errorf("slot %d is worked on by %s and %s", slot, other, n.ID())
	}
	n.w.busy[slot] = n.ID()
}

// mayWrite reports whether something that runs could still pass the fence.
func (n *node) mayWrite(slot int) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.live && !n.stale(n.clock.Now()) && n.stillRuns(func(h *hold) bool { return h.slot == slot && !h.lost })
}

func (w *world) leaveSlot(slot int, id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.busy[slot] == id {
		delete(w.busy, slot)
	}
}

var errLost = errors.New("no answer")

// call is a request: it takes a while to get there and back, or never does.
func (n *node) call(ctx context.Context, effect func() error) error {
	slow := 100 * time.Millisecond
	if n.w.chance(10) {
		slow = 3 * renew // later than anybody waits for
	}
	answer := make(chan error, 1)
	go func() {
		<-time.After(n.w.upTo(slow))
		err := effect()
		<-time.After(n.w.upTo(slow))
		if !n.w.chance(15) {
			answer <- err
		}
	}()
	select {
	case <-ctx.Done():
		return errLost
	case err := <-answer:
		n.clock.wait() // a process that is stopped sees it later
		return err
	}
}

// Write implements Store, with the version that the node knows as condition.
func (n *node) Write(ctx context.Context, view []string) error {
	known, id := n.version, n.ID()
	view = slices.Clone(view)
	var stored string
	err := n.call(ctx, func() error {
		n.w.mu.Lock()
		defer n.w.mu.Unlock()
		if n.w.all[id].Version != known {
			return errConflict
		}
		n.w.next++
		r := Record{ID: id, View: view, Version: strconv.Itoa(n.w.next)}
		n.w.all[id], stored = r, r.Version
		n.w.announce(func(o *node) { o.Observe(r) })
		return nil
	})
	switch {
	case err == nil:
		n.version = stored
	case errors.Is(err, errConflict):
		n.w.mu.Lock()
		n.version = n.w.all[id].Version
		n.w.mu.Unlock()
		if n.version == "" {
			return ErrGone
		}
	}
	return err
}

var errConflict = errors.New("conflict")

// announce is the watch of everybody, late and in any order. w.mu is held.
func (w *world) announce(tell func(*node)) {
	for _, o := range w.watch {
		d := time.Duration(w.rand.Int64N(int64(300 * time.Millisecond)))
		if !w.calm && w.rand.IntN(20) == 0 {
			d = time.Duration(w.rand.Int64N(int64(2 * duration)))
		}
		go func() {
			<-time.After(d)
			o.clock.wait()
			tell(o)
		}()
	}
}

// List implements Store.
func (n *node) List(ctx context.Context) (records []Record, err error) {
	var seen []Record
	err = n.call(ctx, func() error {
		n.w.mu.Lock()
		defer n.w.mu.Unlock()
		for _, r := range n.w.all {
			seen = append(seen, r)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return seen, nil
}

// Delete implements Store.
func (n *node) Delete(ctx context.Context, r Record) error {
	if n.w.mute {
		<-ctx.Done()
		return errLost
	}
	return n.call(ctx, func() error {
		n.w.mu.Lock()
		defer n.w.mu.Unlock()
		if r.Version == "" || n.w.all[r.ID].Version == r.Version {
			delete(n.w.all, r.ID)
			n.w.announce(func(o *node) { o.Gone(r.ID) })
		}
		return nil
	})
}

// skewed is a clock that starts anywhere, runs a little fast or slow, and
// stands still for a process that is stopped: its timers fire late.
type skewed struct {
	clock.WithTicker
	rate  float64
	start time.Time

	mu     sync.Mutex
	frozen time.Time // until when
	set    time.Duration
}

func (s *skewed) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.start.Add(time.Duration(float64(time.Since(s.start))*s.rate) + time.Duration(s.rate*float64(time.Hour)) + s.set)
}

// jump sets the clock, as somebody may.
func (s *skewed) jump(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set += d
}

func (s *skewed) NewTimer(d time.Duration) clock.Timer {
	t := &timer{c: make(chan time.Time, 1), stop: make(chan struct{})}
	go func() {
		select {
		case <-time.After(max(time.Duration(float64(d)/s.rate), 0) + 1): // never early
			s.wait()
			t.c <- s.Now()
		case <-t.stop:
		}
	}()
	return t
}

func (s *skewed) sleep(d time.Duration) {
	<-time.After(d)
	s.wait()
}

func (s *skewed) freeze(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frozen = time.Now().Add(d)
}

// wait returns when the process runs.
func (s *skewed) wait() {
	for {
		s.mu.Lock()
		d := time.Until(s.frozen)
		s.mu.Unlock()
		if d <= 0 {
			return
		}
		<-time.After(d)
	}
}

type timer struct {
	c    chan time.Time
	stop chan struct{}
	once sync.Once
}

func (t *timer) C() <-chan time.Time { return t.c }

func (t *timer) Stop() bool {
	t.once.Do(func() { close(t.stop) })
	return true
}

func (t *timer) Reset(time.Duration) bool { panic("not used") }

// settle waits until every slot is held by exactly one, and each has a share.
func (w *world) settle(nodes []*node, within time.Duration) {
	w.t.Helper()
	end := time.Now().Add(within)
	for {
		var held Set
		var shares []int
		total := 0
		for _, n := range nodes {
			n.mu.Lock()
			shares, total = append(shares, n.granted.Len()), total+n.granted.Len()
			for slot, in := range n.granted {
				held[slot] = held[slot] || in
			}
			n.mu.Unlock()
		}
		if held.Len() == Slots && total == Slots && !slices.Contains(shares, 0) {
			return
		}
		if time.Now().After(end) {
			w.t.Fatalf("%d slots are held by somebody, %v by each, want %d in sum, shared", held.Len(), shares, Slots)
		}
		<-time.After(100 * time.Millisecond)
	}
}

func (w *world) end(nodes []*node) {
	w.mu.Lock()
	w.calm = true
	w.mu.Unlock()
	for _, n := range nodes {
		n.stop()
		<-n.ended
	}
	<-time.After(2 * duration) // what is still on its way
}

// TestNoSlotIsWorkedOnByTwo lets replicas come, go, stop for a while and lose
// answers, with clocks that differ, and looks at every single write.
func TestNoSlotIsWorkedOnByTwo(t *testing.T) {
	seeds := 12
	if testing.Short() {
		seeds = 5
	}
	work := 0
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, uint64(seed))
				trouble(w)
				w.mu.Lock()
				defer w.mu.Unlock()
				work += w.work // none, where the last that is left stands still all the time
			})
		})
	}
	if work < 100 {
		t.Errorf("%d writes, want many: this test does not see any more what it is for", work)
	}
}

func trouble(w *world) {
	var nodes []*node
	add := func() {
		nodes = append(nodes, w.start(fmt.Sprint("m", len(nodes)), 0.95+0.1*float64(w.upTo(1000))/1000))
	}
	add()
	add()
	var alive = []int{0, 1}
	for range 25 {
		<-time.After(w.upTo(6 * time.Second))
		i := int(w.upTo(time.Duration(len(alive)))) - 1
		switch n := nodes[alive[i]]; w.upTo(8) {
		case 1, 2:
			if len(alive) < 5 {
				add()
				alive = append(alive, len(nodes)-1)
			}
		case 3:
			if len(alive) > 1 {
				n.stop()
				alive = slices.Delete(alive, i, i+1)
			}
		case 4: // as SIGKILL: it never runs again
			if len(alive) > 1 {
				n.clock.freeze(4 * time.Minute) // the others have settled by then
				alive = slices.Delete(alive, i, i+1)
			}
		case 5, 6, 7: // as SIGSTOP and SIGCONT
			n.clock.freeze(w.upTo(3 * duration))
		default: // somebody deletes a Lease by hand: only once it is dead anyway
		}
	}
	w.mu.Lock()
	w.calm = true
	w.mu.Unlock()
	var left []*node
	for _, i := range alive {
		left = append(left, nodes[i])
	}
	w.settle(left, 10*duration)
	<-time.After(5 * time.Minute) // those that were stopped for good wake up, and do no harm
	for _, n := range nodes {
		n.stop()
	}
	w.end(nodes)
}

func TestALoneMemberHoldsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.calm = true
		n := w.start("only", 1)
		w.settle([]*node{n}, renew)
		<-time.After(10 * time.Minute)
		w.settle([]*node{n}, 1)
		if writes := w.next; writes > 10*60/2+30 || writes < 10*60/2-30 {
			t.Errorf("%d writes in 10 minutes, want one every 2s", writes)
		}
		w.end([]*node{n})
	})
}

func TestAMemberThatLeavesIsReplacedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.calm = true
		a, b := w.start("a", 1), w.start("b", 1)
		w.settle([]*node{a, b}, duration)
		begun := time.Now()
		a.stop()
		<-a.ended
		w.settle([]*node{b}, duration)
		if took := time.Since(begun); took > 4*time.Second {
			t.Errorf("it took %s, want less than a lease lasts", took)
		}
		w.end([]*node{b})
	})
}

func TestAMemberThatDiesIsReplacedWhenItsLeaseIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.calm = true
		a, b := w.start("a", 1), w.start("b", 1)
		w.settle([]*node{a, b}, duration)
		begun := time.Now()
		a.clock.freeze(5 * time.Minute)
		w.settle([]*node{b}, 2*duration)
		// Its last renewal is about one ago, and took a while to arrive.
		if took := time.Since(begun); took < duration-2*renew || took > duration+2*renew {
			t.Errorf("it took %s, want about %s", took, duration)
		}
		<-time.After(10 * duration)
		w.mu.Lock()
		_, there := w.all["a"]
		w.mu.Unlock()
		if there {
			t.Error("the Lease of the dead is still there")
		}
		<-time.After(5 * time.Minute)
		w.end([]*node{a, b})
	})
}

// To delete the Lease of the dead is no more than tidy.
func TestADeadLeaseThatCannotBeDeletedHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.calm, w.mute = true, true
		a, b := w.start("a", 1), w.start("b", 1)
		w.settle([]*node{a, b}, duration)
		a.clock.freeze(5 * time.Minute)
		w.settle([]*node{b}, 2*duration)
		<-time.After(10 * duration)
		w.settle([]*node{b}, 1)
		<-time.After(5 * time.Minute)
		w.end([]*node{a, b})
	})
}

func TestALeaseDeletedByHandStopsItsMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.calm = true
		a := w.start("a", 1)
		w.settle([]*node{a}, duration)
		w.mu.Lock()
		delete(w.all, "a")
		w.mu.Unlock()
		a.Gone("a")
		if _, _, mine := a.Hold(t.Context(), "ns", "app"); mine {
			t.Error("it still takes work")
		}
		w.settle([]*node{a}, duration)
		w.end([]*node{a})
	})
}

func TestFewSlotsMove(t *testing.T) {
	three, four := []string{"a", "b", "c"}, []string{"a", "b", "c", "d"}
	for _, m := range three {
		before, after := owned(three, m), owned(four, m)
		if gained := minus(after, before); gained.Len() > 0 {
			t.Errorf("%s gains %d slots by the coming of d", m, gained.Len())
		}
		if n := after.Len(); n < Slots/8 || n > Slots/2 {
			t.Errorf("%s has %d of %d slots among four", m, n, Slots)
		}
	}
	if s := owned(three, "x"); s.Len() > 0 {
		t.Error("who is not in a view owns slots")
	}
	for slot := range Slots {
		if owner(three, slot) != owner([]string{"c", "a", "b"}, slot) {
			t.Fatalf("the owner of slot %d depends on the order", slot)
		}
	}
}
