package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// variant is how the operators of a cell are run, other than plainly.
type variant struct {
	lag    time.Duration // of everything that watches tell
	storm  uint64        // seed of a storm that the first operator meets
	tamper tamper
}

// cell is one run of a scenario in namespaces of its own.
type cell struct {
	world    *world
	scenario scenario
	variant  variant
	name     string
	dir      string
	repo     *repository

	running *errgroup.Group // of the operators
	mu      sync.Mutex
	lives   []*process
}

// outcome is what a run leaves to look at.
type outcome struct {
	cell    *cell
	points  []Point // counted calls of the first life, in order
	reached int     // faults that happened
	history []version
	steady  []string // writes while nothing had changed
	since   uint64   // resource version at which that began
}

// patience is for a machine that is slow, and busy with other packages.
const patience = 5 * time.Minute

// newCell names a cell.
func (w *world) newCell(s scenario, v variant) *cell {
	name := fmt.Sprintf("crash-%04d", w.cells.Add(1))
	return &cell{world: w, scenario: s, variant: v, name: name, dir: filepath.Join(w.dir, "cells", name)}
}

// run runs the scenario with faults.
func (c *cell) run(ctx context.Context, faults []Fault) (*outcome, error) {
	w := c.world
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not within %s", patience))
	defer cancel()
	if err := w.prepare(ctx, c.name); err != nil {
		return nil, err
	}
	var err error
	if c.repo, err = w.newRepository(ctx, c.name, c.scenario.revisions); err != nil {
		return nil, err
	}
	defer c.tidy()
	if err := c.stock(ctx); err != nil {
		return nil, err
	}
	return c.play(ctx, faults)
}

// play runs operators beside the story, and ends with them stopped.
func (c *cell) play(ctx context.Context, faults []Fault) (*outcome, error) {
	if c.scenario.base {
		if err := create(ctx, c); err != nil {
			return nil, err
		}
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	c.running, ctx = errgroup.WithContext(ctx)
	c.running.Go(func() error { return c.live(ctx, faults) })
	o, err := c.story(ctx)
	stop()
	if err := errors.Join(err, c.running.Wait()); err != nil {
		return nil, err
	}
	return o, nil
}

// story is what happens to the cell, up to the steady state.
func (c *cell) story(ctx context.Context) (*outcome, error) {
	if c.scenario.base {
		if err := c.until(ctx, "base", c.inPlace(0)); err != nil {
			return nil, err
		}
		if err := errors.Join(c.quiet(ctx, quietFor), c.world.observer.caughtUp(ctx, c.name)); err != nil {
			return nil, err
		}
		c.alive().gate.arm()
		if c.scenario.standby {
			if err := c.stand(ctx); err != nil {
				return nil, err
			}
		}
	}
	for i, a := range c.scenario.acts {
		// What it did is seen before it is looked what became of it.
		if err := errors.Join(a.do(ctx, c), c.world.observer.caughtUp(ctx, c.name)); err != nil {
			return nil, fmt.Errorf("act %d: %w", i, err)
		}
		if err := c.until(ctx, fmt.Sprintf("act %d", i), c.inPlace(a.revision)); err != nil {
			return nil, err
		}
		if a.until == nil {
			continue
		}
		if err := c.until(ctx, fmt.Sprintf("act %d", i), a.until(c)); err != nil {
			return nil, err
		}
	}
	o := &outcome{cell: c}
	if err := c.settle(ctx, o); err != nil {
		return nil, err
	}
	o.points, _ = c.lives[0].gate.seen()
	for _, p := range c.lives {
		if _, fired := p.gate.seen(); fired {
			o.reached++
		}
	}
	return o, nil
}

func (c *cell) until(ctx context.Context, what string, ok func(map[key]version) error) error {
	if err := c.world.observer.until(ctx, c.name, ok); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// settle waits until nothing happens any more, and then asks for nothing to be
// done. What only comes now of what was done before is late, and no sin: then
// it rests longer, and asks again.
func (c *cell) settle(ctx context.Context, o *outcome) error {
	if err := c.quiet(ctx, quietFor); err != nil {
		return err
	}
	c.mu.Lock()
	for _, p := range c.lives {
		p.gate.disarm()
	}
	c.mu.Unlock()
	if c.scenario.acts[len(c.scenario.acts)-1].revision == gone {
		return c.look(ctx, o, quietFor)
	}
	if err := c.sync(ctx, "settle"); err != nil {
		return err
	}
	for rest := quietFor; ; rest *= 4 {
		if err := c.steady(ctx, o, rest); err != nil {
			return err
		}
		if len(busy(o)) == 0 || rest > time.Second {
			return nil
		}
	}
}

const resyncs = 3

// steady asks several times for nothing to be done, and takes down what is.
func (c *cell) steady(ctx context.Context, o *outcome, rest time.Duration) error {
	if err := c.look(ctx, o, rest); err != nil {
		return err
	}
	g := c.alive().gate
	before := len(g.written(0))
	o.since = c.world.observer.newest(c.name)
	for i := range resyncs {
		if err := c.sync(ctx, fmt.Sprintf("steady-%d-%s", i, rest)); err != nil {
			return err
		}
	}
	err := c.look(ctx, o, rest)
	o.steady = g.written(before)
	return err
}

// look takes down all that happened, once the operator rests.
func (c *cell) look(ctx context.Context, o *outcome, rest time.Duration) error {
	if err := errors.Join(c.quiet(ctx, rest), c.world.observer.settled(ctx, c.name)); err != nil {
		return err
	}
	o.history = c.world.observer.take(c.name)
	return nil
}

// sync asks for a sync and waits for the answer.
func (c *cell) sync(ctx context.Context, id string) error {
	if err := c.request(ctx, id); err != nil {
		return err
	}
	return c.until(ctx, "sync "+id, func(live map[key]version) error {
		if status, ok := statusOf(live[c.applicationKey()]).(map[string]any); !ok || status["lastHandledSyncAt"] != id {
			return fmt.Errorf("it was not handled")
		}
		return nil
	})
}

const (
	quietFor = 300 * time.Millisecond
	tick     = 20 * time.Millisecond
)

// quiet waits until the operator has written nothing for a while.
func (c *cell) quiet(ctx context.Context, rest time.Duration) error {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		if p := c.alive(); p != nil && time.Since(p.gate.quietSince()) > max(rest, 2*c.variant.lag) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the operator goes on writing: %w", context.Cause(ctx))
		case <-ticker.C:
		}
	}
}

func (c *cell) applicationKey() key {
	return key{schema.GroupKind{Group: "gitseal.dev", Kind: "Application"}, c.name, "app"}
}

// tidy removes what other cells would pay for. Namespaces cost nothing where
// they are.
func (c *cell) tidy() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "widgets." + c.name + crashGroup}}
	_ = client.IgnoreNotFound(c.world.rig.Client.Delete(ctx, crd)) // it goes with the sandbox otherwise
	c.unstock(ctx)
}

// plain replaces what differs from cell to cell.
func (c *cell) plain(text string) string {
	for i, commit := range c.repo.commits {
		text = strings.ReplaceAll(text, commit, fmt.Sprintf("REVISION-%d", i))
	}
	return strings.ReplaceAll(strings.ReplaceAll(text, applySetOf(c.name), "APPLYSET"), c.name, "CELL")
}

// logs are what the operators of a cell said.
func (c *cell) logs() string {
	var all strings.Builder
	for i := range c.lives {
		text, _ := os.ReadFile(filepath.Join(c.dir, fmt.Sprintf("log-%d", i)))
		fmt.Fprintf(&all, "--- operator %d\n%s", i, text)
	}
	return all.String()
}
