package process

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Whoever halts a program must be able to tell when it may be resumed: before
// its end was noticed, that would be taken for a failure.
func TestAHaltSaysWhenItWasNoticed(t *testing.T) {
	dir := t.TempDir()
	halt := filepath.Join(dir, "halt")
	ctx, group := NewGroup(t.Context())
	defer group.Stop(time.Minute)
	again := make(chan *Child, 1)
	group.Restarted = func(c *Child) error { again <- c; return nil }
	child, err := group.Start(Spec{Name: "sleep", Path: "/bin/sleep", Args: []string{"1h"}, Log: filepath.Join(dir, "log"), Halt: halt})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(halt, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := child.Identity.SignalGroup(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitNoticed(t, halt)
	if err := os.Remove(halt); err != nil {
		t.Fatal(err)
	}
	select {
	case next := <-again:
		if !next.Identity.Alive() {
			t.Error("the program that was resumed does not run")
		}
	case <-ctx.Done():
		t.Errorf("a program that was halted failed: %v", context.Cause(ctx))
	case <-time.After(time.Minute):
		t.Error("the program was not resumed")
	}
}

// waitNoticed waits until a halt file says that the program's end was noticed.
func waitNoticed(t *testing.T, halt string) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(haltInterval)
	defer tick.Stop()
	for {
		if raw, err := os.ReadFile(halt); err == nil && string(raw) == Down {
			return
		}
		select {
		case <-deadline:
			t.Fatal("the end of a halted program was not noticed")
		case <-tick.C:
		}
	}
}
