package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"testing"
)

var shared *world

func TestMain(m *testing.M) { os.Exit(testsOn(m)) }

func testsOn(m *testing.M) int {
	w, done, err := begin(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	shared = w
	interrupted, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	calm := context.AfterFunc(interrupted, func() { // a sandbox left behind would outlive the tests
		_ = done()
		os.Exit(1)
	})
	code := m.Run()
	calm() // to stop listening ends the context, too
	if err := done(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// TestASample runs a bounded set of cells, another one each time: the seed is
// printed, and CRASH_SEED repeats it. `make crash` runs all.
func TestASample(t *testing.T) {
	seed := uint64(rand.Uint32())
	if given := os.Getenv("CRASH_SEED"); given != "" {
		var err error
		if seed, err = strconv.ParseUint(given, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("CRASH_SEED=%d repeats this sample", seed)
	r, err := shared.enumerate(t.Context(), selection{Sample: 8, Double: 1, Storms: 1, Seed: seed, Parallel: 3}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	r.print(t.Output())
	if err := r.verdict(); err != nil {
		t.Error(err)
	}
}
