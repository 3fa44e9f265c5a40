package main

import (
	"context"
	"time"

	"github.com/gitseal/gitseal/test/bench/result"
)

// noOp asks for a sync of every Application, so often that ticks of 10 ms can
// measure the CPU.
func noOp(ctx context.Context, s *stage, _ scenario, _ bool) (result.Round, error) {
	if err := s.inPlace(ctx); err != nil {
		return result.Round{}, err
	}
	before, err := s.settled(ctx)
	if err != nil {
		return result.Round{}, err
	}
	times := max(100/s.workload.apps, 1)
	begun := time.Now()
	for range times {
		if err := s.requestAll(ctx); err != nil {
			return result.Round{}, err
		}
	}
	m := map[string]float64{"wallSeconds": time.Since(begun).Seconds() / float64(times)}
	after, err := s.settled(ctx)
	if err != nil {
		return result.Round{}, err
	}
	m["cpuMillisPerApplication"] = (after.own.cpu - before.own.cpu) * 1000 / float64(times*s.workload.apps)
	m["requests"] = float64(times * s.workload.apps)
	return s.round(before, after, m), nil
}

func (s *stage) requestAll(ctx context.Context) error {
	at := now()
	for i := range s.apps {
		s.apps[i].Now = at
	}
	if err := s.eachApp(func(v values) error { return s.request(ctx, v) }); err != nil {
		return err
	}
	return s.await(ctx, newGoal("handled", s.controller.Handled, s.apps))
}
