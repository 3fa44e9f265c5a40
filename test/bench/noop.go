package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/gitseal/gitseal/test/bench/result"
)

// noOp has the webhook tell of a push that brought nothing, so often that ticks
// of 10 ms can measure the CPU: every Application looks, and finds all as it
// should be. Meanwhile the controller's metrics are left alone, because to
// serve them takes more CPU than what is measured.
func noOp(ctx context.Context, s *stage, _ scenario, _ bool) (result.Round, error) {
	return s.again(ctx, func() (time.Duration, error) {
		v := s.common()
		v.Now, v.Webhook = now(), s.running.webhookURL
		begun := time.Now()
		if err := s.controller.Webhook.deliver(ctx, v); err != nil {
			return 0, err
		}
		last, err := s.rested(ctx)
		return last.Sub(begun), err
	}, s.reconciles)
}

// requested has somebody ask for a sync of every Application. That it was done
// is written into the status of each.
func requested(ctx context.Context, s *stage, _ scenario, _ bool) (result.Round, error) {
	return s.again(ctx, func() (time.Duration, error) {
		at, begun := now(), time.Now()
		for i := range s.apps {
			s.apps[i].Now = at
		}
		if err := s.eachApp(func(v values) error { return s.request(ctx, v) }); err != nil {
			return 0, err
		}
		err := s.await(ctx, newGoal("handled", s.controller.Handled, s.apps))
		return time.Since(begun), err
	}, nil)
}

// again measures something that concerns every Application each time, and
// checks afterwards that it did, where there is a way to count.
func (s *stage) again(ctx context.Context, do func() (time.Duration, error), count func(context.Context) (int, error)) (result.Round, error) {
	if err := s.inPlace(ctx); err != nil {
		return result.Round{}, err
	}
	// Once unmeasured: what is read at the first time only is read then.
	if _, err := do(); err != nil {
		return result.Round{}, err
	}
	before, counted, err := s.settledAndCounted(ctx, count)
	if err != nil {
		return result.Round{}, err
	}
	if _, err := s.rested(ctx); err != nil {
		return result.Round{}, err
	}
	before.own = used(s.running.pids) // without what the reading has cost
	times := min(max(500/s.workload.apps, 1), 5)
	var wall time.Duration
	for range times {
		// A receiver of webhooks may fold those of one second into one.
		if err := pause(ctx, time.Second); err != nil {
			return result.Round{}, err
		}
		took, err := do()
		if err != nil {
			return result.Round{}, err
		}
		wall += took
	}
	m := map[string]float64{"wallSeconds": wall.Seconds() / float64(times)}
	after, countedThen, err := s.settledAndCounted(ctx, count)
	if err != nil {
		return result.Round{}, err
	}
	if count != nil && countedThen-counted < times*s.workload.apps {
		return result.Round{}, fmt.Errorf("%d reconciles, want %d at least", countedThen-counted, times*s.workload.apps)
	}
	m["cpuMillisPerApplication"] = (after.own.cpu - before.own.cpu) * 1000 / float64(times*s.workload.apps)
	m["syncs"] = float64(times * s.workload.apps)
	return s.round(before, after, m), nil
}

// settledAndCounted takes a reading, CPU first, and counts.
func (s *stage) settledAndCounted(ctx context.Context, count func(context.Context) (int, error)) (reading, int, error) {
	r, err := s.settled(ctx)
	if err != nil || count == nil {
		return r, 0, err
	}
	n, err := count(ctx)
	return r, n, err
}

// rested waits until the controller uses no CPU for a while, and says when it
// did last.
func (s *stage) rested(ctx context.Context) (last time.Time, err error) {
	const quiet = 300 * time.Millisecond
	last = time.Now()
	for cpu := used(s.running.pids).cpu; time.Since(last) < quiet; {
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return last, err
		}
		if now := used(s.running.pids).cpu; now != cpu {
			cpu, last = now, time.Now()
		}
	}
	return last, nil
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
