package failure_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/gitseal/gitseal/internal/failure"
)

func TestFromFindsTheFailureThatDecides(t *testing.T) {
	boom := errors.New("boom")
	stall := failure.Stallf("Bad", "first").WithHint("mend %s", "it")
	tests := map[string]struct {
		err     error
		class   failure.Class
		reason  string
		message string
	}{
		"a plain error becomes a failure that may pass": {boom, failure.Fail, "Default", "boom"},
		"a failure stays what it is":                    {stall, failure.Stall, "Bad", "first: mend it"},
		"a wrapped failure is found":                    {fmt.Errorf("stage: %w", stall), failure.Stall, "Bad", "first: mend it"},
		"plain errors joined stay together":             {errors.Join(boom, context.Canceled), failure.Fail, "Default", "boom\ncontext canceled"},
		"a failure among plain errors decides":          {errors.Join(boom, stall), failure.Stall, "Bad", "first: mend it"},
		"the first of several decides and all are named": {
			errors.Join(stall, failure.Waitf("Other", "second").WithHint("wait")), failure.Stall, "Bad", "first: mend it; second"},
		"a hint that all have stands behind all": {
			errors.Join(stall, failure.Stallf("Bad", "second").WithHint("mend it")), failure.Stall, "Bad", "first; second: mend it"},
		"repetitions are named once": {
			errors.Join(stall, failure.Stallf("Bad", "first"), failure.Failf("Other", "second")), failure.Stall, "Bad", "first: mend it; second"},
		"many are counted": {
			errors.Join(failure.Failf("R", "1"), failure.Failf("R", "2"), failure.Failf("R", "3"), failure.Failf("R", "4"), failure.Failf("R", "5")),
			failure.Fail, "R", "1; 2; 3; and 2 more"},
		"joined inside joined": {
			errors.Join(errors.Join(failure.Waitf("R", "1")), fmt.Errorf("x: %w", errors.Join(failure.Failf("S", "2")))),
			failure.Wait, "R", "1; 2"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := failure.From(tt.err, "Default")
			if got.Class != tt.class || got.Reason != tt.reason || got.Message() != tt.message {
				t.Errorf("From(%v) = %s, %s, %q, want %s, %s, %q", tt.err, got.Class, got.Reason, got.Message(), tt.class, tt.reason, tt.message)
			}
		})
	}
}

func TestFromKeepsEveryCauseInReach(t *testing.T) {
	one, two := errors.New("one"), errors.New("two")
	got := failure.From(errors.Join(failure.Failf("R", "a: %w", one), failure.Failf("R", "b: %w", two)), "Default")
	if !errors.Is(got, one) || !errors.Is(got, two) {
		t.Errorf("From(...) = %v, want both causes in its chain", got)
	}
}

func TestFromDoesNotChangeTheFailureItJoins(t *testing.T) {
	first := failure.Stallf("R", "first")
	_ = failure.From(errors.Join(first, failure.Failf("R", "second")), "Default")
	if first.Error() != "first" {
		t.Errorf("first.Error() = %q after From, want it unchanged", first.Error())
	}
}

func TestRewriteCutsTheCauseOff(t *testing.T) {
	secret := errors.New("hunter2")
	f := failure.Stallf("R", "open: %w", secret).WithHint("say hunter2")
	got := f.Rewrite("open: [redacted]", "say [redacted]")
	if got.Message() != "open: [redacted]: say [redacted]" || got.Class != failure.Stall || got.Reason != "R" {
		t.Errorf("Rewrite() = %+v, want class and reason kept and the text replaced", got)
	}
	if errors.Is(got, secret) {
		t.Error("Rewrite() still leads to the cause, which has the text that was taken out")
	}
}

func TestClassesHaveNames(t *testing.T) {
	for class, want := range map[failure.Class]string{failure.Fail: "fail", failure.Wait: "wait", failure.Stall: "stall"} {
		if got := class.String(); got != want {
			t.Errorf("Class(%d).String() = %q, want %q", class, got, want)
		}
	}
}
