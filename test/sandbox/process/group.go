package process

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Group is the set of children that stand and fall together: the first that
// dies cancels the context of all who work with them.
type Group struct {
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

// Start runs a program as a member of the group.
func (g *Group) Start(spec Spec) (*Child, error) {
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
	g.mu.Lock()
	stopping := g.stopping
	g.mu.Unlock()
	if !stopping {
		g.cancel(&DiedError{Name: c.Spec.Name, Log: c.Spec.Log, Tail: tail(c.Spec.Log), Err: c.err})
	}
}

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
