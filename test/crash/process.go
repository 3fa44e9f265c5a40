package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/controllers"
	"github.com/gitseal/gitseal/providers"
	"github.com/gitseal/gitseal/providers/file"
)

// process is one life of the operator. It shares nothing with the one before
// but the cluster and the scratch directory.
type process struct {
	gate   *gate
	cancel context.CancelFunc
	ended  chan error
}

// zeros is randomness that makes the install key the same in every run, so
// that what is derived from it can be compared.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// start starts an operator that meets a fault.
func (c *cell) start(ctx context.Context, fault *Fault) (*process, error) {
	c.mu.Lock()
	life := len(c.lives)
	c.mu.Unlock()
	scratch := filepath.Join(c.dir, "scratch")
	if c.scenario.standby {
		scratch = filepath.Join(c.dir, fmt.Sprintf("scratch-%d", life))
	}
	if err := os.MkdirAll(scratch, 0o700); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(c.dir, fmt.Sprintf("log-%d", life)))
	if err != nil {
		return nil, err
	}
	g := newGate(c.name, fault)
	if c.variant.storm > 0 && life == 0 {
		g.storm = newStorm(c.variant.storm)
	}
	config := rest.CopyConfig(c.world.operator)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return &wire{next: next, cell: c.name, lag: c.variant.lag, tamper: c.variant.tamper}
	})
	o := controllers.Operator{
		Config: config, Namespace: c.name + operatorSuffix, Scratch: scratch,
		MetricsAddress: "0", HealthAddress: "0", LeaderElection: c.scenario.standby, Concurrency: 2,
		Logger: logr.FromSlogHandler(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelInfo})),
		Gate:   g, Clock: clock.RealClock{}, Random: zeros{},
		Providers: providers.Registry{"file": file.Backend(c.values())},
	}
	ctx, cancel := context.WithCancel(ctx)
	p := &process{gate: g, cancel: cancel, ended: make(chan error, 1)}
	c.mu.Lock()
	c.lives = append(c.lives, p)
	c.mu.Unlock()
	go func() {
		err := o.Run(ctx)
		_ = log.Close()
		p.ended <- err
	}()
	return p, nil
}

// live runs one operator after the other until the context ends: whenever one
// was killed, or ended by itself, the next begins with an empty memory. A
// kill is followed through before the next one begins.
func (c *cell) live(ctx context.Context, faults []Fault) error {
	for life := 0; ctx.Err() == nil; life++ {
		var fault *Fault
		if life < len(faults) {
			fault = &faults[life]
		}
		p, err := c.start(ctx, fault)
		if err != nil {
			return err
		}
		if life > 0 || !c.scenario.base {
			p.gate.arm()
		}
		if err := p.wait(ctx); err != nil || ctx.Err() != nil {
			return err
		}
		if c.scenario.standby {
			return c.hasten(ctx) // who takes over is there already
		}
	}
	return nil
}

// wait waits for the end of a process, and sees to it that it is one.
func (p *process) wait(ctx context.Context) error {
	select {
	case err := <-p.ended:
		p.gate.shut()
		if err == nil || ctx.Err() != nil {
			return nil
		}
		select { // as Kubernetes would restart it, after a pause
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
		return nil
	case <-p.gate.killed:
	case <-ctx.Done():
		p.gate.shut()
	}
	p.cancel()
	select {
	case <-p.ended: //nolint:errcheck // a killed operator has no say
		return nil
	case <-time.After(patience):
		return fmt.Errorf("a killed operator did not end within %s", patience)
	}
}

// stand starts an operator that waits for the lease of the one that runs.
func (c *cell) stand(ctx context.Context) error {
	p, err := c.start(ctx, nil)
	if err != nil {
		return err
	}
	c.running.Go(func() error { return p.wait(ctx) })
	return nil
}

// hasten lets the leases of a dead operator end in a second in place of fifteen.
func (c *cell) hasten(ctx context.Context) error {
	var leases coordinationv1.LeaseList
	if err := c.world.rig.Client.List(ctx, &leases, client.InNamespace(c.name+operatorSuffix)); err != nil {
		return err
	}
	for i := range leases.Items {
		patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"leaseDurationSeconds":1}}`))
		if err := c.world.rig.Client.Patch(ctx, &leases.Items[i], patch); err != nil {
			return err
		}
	}
	return nil
}

// alive is the operator that works now: the first that was not killed. Those
// behind it stand by.
func (c *cell) alive() *process {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.lives {
		if !p.gate.isDead() {
			return p
		}
	}
	return nil
}
