package process

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"
)

// Group is the set of children that stand and fall together: the first that
// dies cancels the context of all who work with them.
type Group struct {
	// Restarted is told of every child that takes the place of one that was
	// halted; nil means that nobody cares.
	Restarted func(*Child) error

	cancel context.CancelCauseFunc

	mu       sync.Mutex
	children []*Child
	stopping bool
}

// NewGroup returns an empty group and the context that ends with the first
// child that dies; its cause is a *DiedError.
func NewGroup(ctx context.Context) (context.Context, *Group) {
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, &Group{cancel: cancel}
}

// Start runs a program as a member of the group, with a log of its own.
func (g *Group) Start(spec Spec) (*Child, error) {
	for _, old := range []string{spec.Log, spec.Halt} {
		if err := os.Remove(old); old != "" && err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return g.begin(spec)
}

func (g *Group) begin(spec Spec) (*Child, error) {
	c, err := start(spec)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	g.children = append(g.children, c)
	g.mu.Unlock()
	go g.watch(c)
	return c, nil
}

func (g *Group) watch(c *Child) {
	<-c.done
	switch halted := c.Spec.halted(); {
	case g.isStopping():
	case halted:
		if err := g.restart(c); err != nil {
			g.cancel(err)
		}
	default:
		g.cancel(&DiedError{Name: c.Spec.Name, Log: c.Spec.Log, Tail: tail(c.Spec.Log), Err: c.err})
	}
}

// restart starts a child again when it is no longer halted. First it writes down
// that it knows: were the halt taken back before, the end would be a failure.
func (g *Group) restart(c *Child) error {
	if err := os.WriteFile(c.Spec.Halt, []byte(Down), 0o600); err != nil {
		return err
	}
	tick := time.NewTicker(haltInterval)
	defer tick.Stop()
	for c.Spec.halted() {
		<-tick.C
		if g.isStopping() {
			return nil
		}
	}
	next, err := g.begin(c.Spec)
	if err != nil || g.Restarted == nil {
		return err
	}
	return g.Restarted(next)
}

func (g *Group) isStopping() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.stopping
}

const haltInterval = 20 * time.Millisecond

// Children lists the members in the order of their start.
func (g *Group) Children() []*Child {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.children)
}

// Stop ends the members, the youngest first, because the older ones serve them.
func (g *Group) Stop(grace time.Duration) {
	g.mu.Lock()
	g.stopping = true
	g.mu.Unlock()
	for _, c := range slices.Backward(g.Children()) {
		c.stop(grace)
	}
}
