package controllers

import (
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/utils/clock"
)

// An Application may be queued many times while a server hangs. Only the first
// run waits for it.
func TestAFetchThatWasLeftIsNotWaitedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &ApplicationReconciler{Clock: clock.RealClock{}, waiting: make(chan struct{}, 1)}
		f := &errand{done: make(chan struct{})}
		check := func(when string, want bool, took time.Duration) {
			t.Helper()
			begun := time.Now()
			if got := r.await(t.Context(), f); got != want || time.Since(begun) != took {
				t.Errorf("%s: await() = %v after %s, want %v after %s", when, got, time.Since(begun), want, took)
			}
		}
		check("the first run", false, longPatience)
		check("the next one", false, 0)
		close(f.done)
		check("when the server has answered", true, 0)
	})
}
