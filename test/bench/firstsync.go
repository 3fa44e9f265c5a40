package main

import (
	"context"
	"time"

	"github.com/gitseal/gitseal/test/bench/result"
)

// firstSync starts the controller anew, so that its CPU and memory are those
// of the round, and declares the Applications in new namespaces.
func firstSync(ctx context.Context, s *stage, _ scenario, _ bool) (result.Round, error) {
	if err := s.retire(ctx); err != nil {
		return result.Round{}, err
	}
	floor, err := s.floor(ctx)
	if err != nil {
		return result.Round{}, err
	}
	if err := s.prepare(ctx); err != nil {
		return result.Round{}, err
	}
	if err := s.start(ctx); err != nil {
		return result.Round{}, err
	}
	before, err := s.settled(ctx)
	if err != nil {
		return result.Round{}, err
	}
	m := map[string]float64{"floorSeconds": floor.Seconds(), "startRSSMiB": before.own.rss}
	if err := s.firstSync(ctx, m); err != nil {
		return result.Round{}, err
	}
	m["timesFloor"] = m["appliedSeconds"] / m["floorSeconds"]
	m["objectsPerSecond"] = float64(s.workload.objects()) / m["appliedSeconds"]
	after, err := s.settled(ctx)
	if err != nil {
		return result.Round{}, err
	}
	m["rssKiBPerApplication"] = (after.own.rss - before.own.rss) * 1024 / float64(s.workload.apps)
	return s.round(before, after, m), nil
}

func (s *stage) firstSync(ctx context.Context, m map[string]float64) error {
	begun := time.Now()
	if err := s.declare(ctx, "1h"); err != nil {
		return err
	}
	m["declaredSeconds"] = time.Since(begun).Seconds()
	applied, ready := newGoal("applied", s.controller.Applied, s.apps), newGoal("ready", s.controller.Ready, s.apps)
	if err := s.await(ctx, applied, ready); err != nil {
		return err
	}
	m["appliedSeconds"], m["readySeconds"] = applied.reached.Sub(begun).Seconds(), ready.reached.Sub(begun).Seconds()
	return nil
}

// inPlace brings about what the other scenarios begin with.
func (s *stage) inPlace(ctx context.Context) error {
	if s.running != nil {
		return nil
	}
	if s.apps == nil {
		if err := s.prepare(ctx); err != nil {
			return err
		}
	}
	if err := s.start(ctx); err != nil {
		return err
	}
	return s.firstSync(ctx, map[string]float64{})
}
