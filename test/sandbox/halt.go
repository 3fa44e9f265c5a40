package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/gitseal/gitseal/test/sandbox/process"
	"github.com/gitseal/gitseal/test/sandbox/state"
)

// haltGrace is what a program gets to be gone, or back.
const haltGrace = time.Minute

// runHalt kills one program of a running sandbox and keeps it down, as a crash
// of its machine would.
func runHalt(ctx context.Context, args []string, out, diagnostics io.Writer) error {
	dir, p, err := findProgram("halt", args, diagnostics)
	if err != nil {
		return err
	}
	halted, err := os.OpenFile(state.HaltPath(dir, p.Name), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := halted.Close(); err != nil {
		return err
	}
	if err := p.SignalGroup(syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill %q: %w", p.Name, err)
	}
	if err := waitUntil(ctx, func() bool { return isDown(dir, p.Name) }); err != nil {
		return fmt.Errorf("wait for the end of %q: %w", p.Name, err)
	}
	fmt.Fprintf(out, "%s is down\n", p.Name)
	return nil
}

// isDown reports whether the sandbox has noticed the end of a program.
func isDown(dir, program string) bool {
	raw, err := os.ReadFile(state.HaltPath(dir, program))
	return err == nil && string(raw) == process.Down
}

// runResume lets a program that was halted run again. It does not wait until
// that serves.
func runResume(ctx context.Context, args []string, out, diagnostics io.Writer) error {
	dir, p, err := findProgram("resume", args, diagnostics)
	if err != nil {
		return err
	}
	if err := os.Remove(state.HaltPath(dir, p.Name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err = waitUntil(ctx, func() bool {
		s, err := state.Read(dir)
		if err != nil || s == nil {
			return false
		}
		again, _ := s.Process(p.Name)
		return again.Alive()
	})
	if err != nil {
		return fmt.Errorf("wait for the start of %q: %w", p.Name, err)
	}
	fmt.Fprintf(out, "%s runs\n", p.Name)
	return nil
}

func findProgram(verb string, args []string, diagnostics io.Writer) (dir string, p state.Process, err error) {
	flags, dirFlag := newFlags(verb, diagnostics)
	if dir, err = parse(flags, dirFlag, args); err != nil {
		return "", p, err
	}
	if flags.NArg() != 1 {
		flags.Usage()
		return "", p, errUsage
	}
	s, err := state.Read(dir)
	if err != nil {
		return "", p, err
	}
	if s == nil {
		return "", p, fmt.Errorf("no sandbox runs in %s", dir)
	}
	p, ok := s.Process(flags.Arg(0))
	if !ok {
		return "", p, fmt.Errorf("the sandbox in %s has no program %q", dir, flags.Arg(0))
	}
	return dir, p, nil
}

func waitUntil(ctx context.Context, holds func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, haltGrace)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}
