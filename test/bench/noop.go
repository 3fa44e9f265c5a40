package main

import (
	"context"
	"net/http"
	"time"

	"github.com/gitseal/gitseal/test/bench/result"
)

// noOp has the webhook tell of a push that brought nothing, so often that ticks
// of 10 ms can measure the CPU: every Application looks, and finds all as it
// should be.
func noOp(ctx context.Context, s *stage, _ scenario, _ bool) (result.Round, error) {
	return s.again(ctx, func() error {
		before, err := s.reconciles(ctx)
		if err != nil {
			return err
		}
		v := s.common()
		v.Now, v.Webhook = now(), s.running.webhookURL
		if err := s.controller.Webhook.deliver(ctx, v); err != nil {
			return err
		}
		return s.reconciled(ctx, before)
	})
}

// requested has somebody ask for a sync of every Application. That it was done
// is written into the status of each.
func requested(ctx context.Context, s *stage, _ scenario, _ bool) (result.Round, error) {
	return s.again(ctx, func() error {
		at := now()
		for i := range s.apps {
			s.apps[i].Now = at
		}
		if err := s.eachApp(func(v values) error { return s.request(ctx, v) }); err != nil {
			return err
		}
		return s.await(ctx, newGoal("handled", s.controller.Handled, s.apps))
	})
}

// again measures something that concerns every Application each time.
func (s *stage) again(ctx context.Context, do func() error) (result.Round, error) {
	if err := s.inPlace(ctx); err != nil {
		return result.Round{}, err
	}
	before, err := s.settled(ctx)
	if err != nil {
		return result.Round{}, err
	}
	times := min(max(500/s.workload.apps, 1), 5)
	var wall time.Duration
	for range times {
		begun := time.Now()
		if err := do(); err != nil {
			return result.Round{}, err
		}
		wall += time.Since(begun)
		// A receiver of webhooks may fold those of one second into one.
		if err := pause(ctx, time.Second-time.Since(begun)); err != nil {
			return result.Round{}, err
		}
	}
	m := map[string]float64{"wallSeconds": wall.Seconds() / float64(times)}
	after, err := s.settled(ctx)
	if err != nil {
		return result.Round{}, err
	}
	m["cpuMillisPerApplication"] = (after.own.cpu - before.own.cpu) * 1000 / float64(times*s.workload.apps)
	m["syncs"] = float64(times * s.workload.apps)
	return s.round(before, after, m), nil
}

// reconciles is how many reconciles the controller has finished.
func (s *stage) reconciles(ctx context.Context) (int, error) {
	metrics, err := scrape(ctx, http.DefaultClient, s.running.metricsURL)
	return total(sum(metrics, s.controller.Reconciles)), err
}

// reconciled waits until there is one more for each Application.
func (s *stage) reconciled(ctx context.Context, before int) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		n, err := s.reconciles(ctx)
		if err != nil || n >= before+s.workload.apps {
			return err
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}
