package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gitseal/gitseal/internal/seam"
)

// Mode is what goes wrong at a call.
type Mode string

// The modes. In the first two the operator is killed; in the others it lives
// on with the error.
const (
	Before  Mode = "before"  // killed before the call happens
	After   Mode = "after"   // killed once it has happened, before the answer is seen
	Error   Mode = "error"   // it happens, and the connection breaks before the answer
	Timeout Mode = "timeout" // it does not happen, which is known after a while
)

var modes = []Mode{Before, After, Error, Timeout}

// Point is one call of a scenario: the how-manyth of its name. Calls in
// parallel come in any order, so that their names say more than a number.
type Point struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
}

func (p Point) String() string { return fmt.Sprintf("%s #%d", p.Name, p.Count) }

// Fault is what one process of the operator meets: at a point, or at the
// Nth counted call where that is not 0.
type Fault struct {
	Mode  Mode  `json:"mode"`
	Point Point `json:"point,omitzero"`
	Nth   int   `json:"nth,omitempty"`
}

func (f Fault) String() string {
	if f.Nth > 0 {
		return fmt.Sprintf("%s call %d", f.Mode, f.Nth)
	}
	return fmt.Sprintf("%s %s", f.Mode, f.Point)
}

var (
	errKilled = errors.New("the operator was killed")
	errBroken = errors.New("connection broken before the answer")
)

// errTimeout is a network error, as that of a connection that hangs.
type timeoutError struct{}

func (timeoutError) Error() string   { return "i/o timeout" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }

const hang = 50 * time.Millisecond

// gate is the seam of one process of the operator. It counts from when it is
// armed, and after a kill it lets nothing out any more.
type gate struct {
	cell  string // name, which differs from run to run
	fault *Fault
	storm *storm

	mu        sync.Mutex
	armed     bool
	dead      bool
	fired     bool
	pending   string // the call that happens now and is the fault's
	counts    map[string]int
	points    []Point
	lastWrite time.Time
	writes    []string
	killed    chan struct{}
}

func newGate(cell string, fault *Fault) *gate {
	return &gate{cell: cell, fault: fault, counts: map[string]int{}, lastWrite: time.Now(), killed: make(chan struct{})}
}

// counted says which calls are enumerated: everything that changes something
// outside, dry runs with it, everything asked of Git and of providers,
// randomness, and each read of a Secret. Other reads are left out: where between two writes one is
// stopped leaves the same outside. So are Leases: they are renewed by the
// clock. So is the status of stores, which counts calls every now and then.
// Storms hit all.
func counted(c seam.Call) bool {
	if c.Kind != seam.API {
		return true
	}
	method, url, _ := strings.Cut(c.Name, " ")
	if strings.Contains(url, "/coordination.k8s.io/") || strings.Contains(url, "secretstores/") {
		return false
	}
	return method != http.MethodGet || strings.Contains(url, "/secrets/")
}

func isWrite(c seam.Call) bool { return c.Kind == seam.API && !strings.HasPrefix(c.Name, "GET ") }

// Enter implements seam.Gate.
func (g *gate) Enter(c seam.Call) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.dead {
		return errKilled
	}
	if isWrite(c) && counted(c) {
		g.lastWrite = time.Now()
		g.writes = append(g.writes, g.nameOf(c))
	}
	if g.storm != nil && g.armed && g.storm.strikes() {
		return errBroken
	}
	if !g.armed || !counted(c) || !g.count(c) {
		return nil
	}
	g.fired = true
	switch g.fault.Mode {
	case Before:
		g.kill()
		return errKilled
	case Timeout:
		g.mu.Unlock()
		<-time.After(hang) // the fault itself takes time
		g.mu.Lock()
		return timeoutError{}
	}
	g.pending = c.Name
	return nil
}

// Leave implements seam.Gate.
func (g *gate) Leave(c seam.Call, err error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if isWrite(c) && counted(c) {
		g.lastWrite = time.Now()
	}
	if g.dead {
		return errKilled
	}
	if g.pending == "" || g.pending != c.Name {
		return err
	}
	g.pending = ""
	if g.fault.Mode == After {
		g.kill()
		return errKilled
	}
	return errBroken
}

// count counts a call and reports whether it is the fault's. g.mu is held.
func (g *gate) count(c seam.Call) bool {
	name := g.nameOf(c)
	g.counts[name]++
	p := Point{Name: name, Count: g.counts[name]}
	g.points = append(g.points, p)
	if g.fault == nil || g.fired {
		return false
	}
	if g.fault.Nth > 0 {
		return len(g.points) == g.fault.Nth
	}
	return p == g.fault.Point
}

func (g *gate) nameOf(c seam.Call) string {
	name := string(c.Kind) + " " + c.Name
	if c.Kind == seam.Git {
		what, url, _ := strings.Cut(c.Name, " ") // the server's port is another each time
		name = string(c.Kind) + " " + what + " " + path.Base(url)
	}
	return strings.ReplaceAll(name, g.cell, "CELL")
}

// kill lets nothing out from now on. g.mu is held.
func (g *gate) kill() {
	g.dead = true
	close(g.killed)
}

// arm begins to count, disarm ends all faults.
func (g *gate) arm() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.armed = true
}

func (g *gate) disarm() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.armed = false
}

// shut is what an operator that is stopped by the harness gets.
func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.dead {
		g.kill()
	}
}

func (g *gate) isDead() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.dead
}

func (g *gate) quietSince() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.lastWrite
}

func (g *gate) seen() (points []Point, fired bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.points), g.fired
}

// written lists the writes from a position on.
func (g *gate) written(from int) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.writes[min(from, len(g.writes)):])
}

// storm breaks calls at random, of every kind, until it has blown over.
type storm struct {
	random *rand.Rand
	one    int // in how many calls
	left   int
}

func newStorm(seed uint64) *storm {
	return &storm{random: newRandom(seed), one: 3, left: 12}
}

func (s *storm) strikes() bool {
	if s.left == 0 || s.random.IntN(s.one) != 0 {
		return false
	}
	s.left--
	return true
}
