package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"

	"github.com/gitseal/gitseal/test/sandbox/state"
)

// downGrace covers the supervisor's stopping of one program after the other.
const downGrace = time.Minute

func runDown(ctx context.Context, args []string, out, diagnostics io.Writer) error {
	flags, dirFlag := newFlags("down", diagnostics)
	dir, err := parse(flags, dirFlag, args)
	if err != nil {
		return err
	}
	s, err := state.Read(dir)
	if err != nil {
		return err
	}
	if s == nil {
		fmt.Fprintf(out, "no sandbox runs in %s\n", dir)
		return nil
	}
	begun := time.Now()
	if err := stop(ctx, s); err != nil {
		return err
	}
	fmt.Fprintf(out, "stopped the sandbox in %s after %.1fs\n", dir, time.Since(begun).Seconds())
	return state.Remove(dir)
}

// stop ends the supervisor, who ends the rest. What is left then, or was left
// by a supervisor that is gone, is killed.
func stop(ctx context.Context, s *state.Sandbox) error {
	if err := s.Supervisor.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop the supervisor: %w", err)
	}
	if s.Supervisor.Alive() && waitGone(ctx, s, downGrace) == nil {
		return nil
	}
	if err := s.Supervisor.Signal(syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill the supervisor: %w", err)
	}
	for _, p := range s.Processes {
		if err := p.SignalGroup(syscall.SIGKILL); err != nil {
			return fmt.Errorf("kill %q: %w", p.Name, err)
		}
	}
	return waitGone(ctx, s, downGrace)
}

func waitGone(ctx context.Context, s *state.Sandbox, limit time.Duration) error {
	deadline := time.After(limit)
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		alive := s.Alive()
		if len(alive) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline:
			return fmt.Errorf("still running after %s: %s", limit, strings.Join(alive, ", "))
		case <-tick.C:
		}
	}
}
