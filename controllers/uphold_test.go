package controllers

import (
	"testing"
	"time"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// upheld is a theatre where a Deployment is in place, and new values are to be
// applied after it while the repository does not answer.
func upheld(t *testing.T) (*desk, *cluster, *wanted) {
	t.Helper()
	d, c := newTheatre(t)
	if _, err := d.sync(t, d.wants(t, "one", deploymentIn("db", "0"), configIn("later", "1"))); err != nil {
		t.Fatal(err)
	}
	c.report(deploymentsPath+"db", available)
	if run, err := d.sync(t, d.wants(t, "one", deploymentIn("db", "0"), configIn("later", "1"))); err != nil || run.gated {
		t.Fatalf("gated %v, %v, want all of it in place", run.gated, err)
	}
	w := d.wants(t, "one", deploymentIn("db", "0"), configIn("later", "1")+"\ndata: {a: b}")
	w.settled, w.why, w.material = true, v1alpha1.SyncSecret, &material{begun: d.clock.Now()}
	c.took()
	return d, c, w
}

// Health is read ever more rarely, and so what became healthy between two looks
// is seen with the next one, whatever Ready says.
func TestNewValuesWaitForAWaveNoLongerThanItTakes(t *testing.T) {
	d, c, w := upheld(t)
	look := func(after time.Duration) (*run, time.Duration) {
		t.Helper()
		d.clock.Step(after)
		run := d.run(t)
		run.memory.wanted = w
		result, err := d.finish(t.Context(), run, d.ApplicationReconciler.sync(t.Context(), run))
		if err != nil {
			t.Fatal(err)
		}
		return run, result.RequeueAfter
	}
	c.report(deploymentsPath+"db", "{observedGeneration: 1, replicas: 1, updatedReplicas: 1, unavailableReplicas: 1}")
	look(time.Minute)
	c.report(deploymentsPath+"db", available)
	run, rest := look(10 * time.Millisecond)
	if !run.gated || rest > maxJudgePause {
		t.Errorf("gated %v, comes back after %s, want a look at what it waits for", run.gated, rest)
	}
	if run, _ = look(rest); run.gated || c.took() != "patch later" {
		t.Errorf("gated %v, want the new values applied", run.gated)
	}
	if h := d.read(t).Status.History; h[0].Reason != v1alpha1.SyncSecret || h[0].Changed != 1 {
		t.Errorf("history %+v, want the new values", h)
	}
}
