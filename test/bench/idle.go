package main

import (
	"context"
	"time"

	"github.com/gitseal/gitseal/test/bench/result"
)

// idle gives the Applications the interval that is the default, starts the
// controller as it is deployed, with leader election, and leaves it alone.
// What the rest of the control plane does meanwhile is measured before, while
// no controller runs.
func idle(ctx context.Context, s *stage, _ scenario, quick bool) (result.Round, error) {
	if err := s.inPlace(ctx); err != nil {
		return result.Round{}, err
	}
	if err := s.halt(); err != nil {
		return result.Round{}, err
	}
	lasts, other := 3*time.Minute, time.Minute
	if quick {
		lasts, other = 10*time.Second, 5*time.Second
	}
	noise, err := s.others(ctx, other)
	if err != nil {
		return result.Round{}, err
	}
	if err := s.declare(ctx, "1m"); err != nil {
		return result.Round{}, err
	}
	if err := s.start(ctx, "--leader-elect=true"); err != nil {
		return result.Round{}, err
	}
	if err := s.reconciled(ctx, 0); err != nil {
		return result.Round{}, err
	}
	if err := s.await(ctx, newGoal("ready", s.controller.Ready, s.apps)); err != nil {
		return result.Round{}, err
	}
	before, err := s.settled(ctx)
	if err != nil {
		return result.Round{}, err
	}
	if err := pause(ctx, lasts); err != nil {
		return result.Round{}, err
	}
	after, err := s.read(ctx)
	if err != nil {
		return result.Round{}, err
	}
	minutes := lasts.Minutes()
	m := map[string]float64{"idleSeconds": lasts.Seconds()}
	r := s.round(before, after, m)
	m["callsPerMinute"] = float64(total(r.OwnCalls)-r.OwnCalls["PUT"]) / minutes
	m["etcdPutsPerMinute"] = float64(r.EtcdWrites["put"]) / minutes
	m["etcdPutsPerMinuteWithout"] = noise / other.Minutes()
	m["cpuMillisPerApplicationAndMinute"] = m["cpuSeconds"] * 1000 / float64(s.workload.apps) / minutes
	m["gitRequestsPerMinute"] = m["gitRequests"] / minutes
	return r, nil
}

// others counts what is written while no controller runs.
func (s *stage) others(ctx context.Context, lasts time.Duration) (puts float64, err error) {
	s.running = &running{stop: func() error { return nil }}
	defer func() { s.running = nil }()
	before, err := s.read(ctx)
	if err != nil {
		return 0, err
	}
	if err := pause(ctx, lasts); err != nil {
		return 0, err
	}
	after, err := s.read(ctx)
	return float64(after.etcd["put"] - before.etcd["put"]), err
}

func pause(ctx context.Context, lasts time.Duration) error {
	if lasts <= 0 {
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(lasts):
		return nil
	}
}
