package controllers

import (
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
)

// A janitor may remove both before the one that failed is mended.
func TestARunThatFailsDoesNotHideThatAnotherHasEnded(t *testing.T) {
	d, c := newTheatre(t)
	w := d.wants(t, "one", jobNamed("one", "Before", "a"), jobNamed("other", "Before", "a"))
	if _, err := d.sync(t, w); err != nil {
		t.Fatal(err)
	}
	c.took()
	failed, ended := w.items[0].ID.Name, w.items[1].ID.Name
	c.report(jobsPath+failed, hasFailed)
	c.report(jobsPath+ended, completed)
	if _, err := d.sync(t, w); failure.From(err, "").Reason != v1alpha1.ReasonRunFailed {
		t.Errorf("it ended with %v, want RunFailed", err)
	}
	c.remove(jobsPath + failed)
	c.remove(jobsPath + ended)
	if _, err := d.sync(t, w); err != nil {
		t.Error(err)
	}
	if got := c.took(); got != "patch "+failed {
		t.Errorf("once both are gone it did: %s, want the one that failed run again", got)
	}
}

// outdated begins a run with an Application that was written meanwhile.
func (d *desk) outdated(t *testing.T, w *wanted) *run {
	t.Helper()
	outdated, current := d.read(t), d.read(t)
	current.Labels = map[string]string{"somebody": "wrote"}
	if err := d.Client.Update(t.Context(), current); err != nil {
		t.Fatal(err)
	}
	run := d.begin(outdated)
	run.memory.wanted = w
	return run
}

// What runs may be what another operator has started.
func TestWhoIsOutdatedStopsNoRun(t *testing.T) {
	d, c := newTheatre(t)
	if _, err := d.sync(t, d.wants(t, "one", jobIn("Before", "a"))); err != nil {
		t.Fatal(err)
	}
	c.took()
	w := d.wants(t, "two", jobIn("Before", "b"))
	run := d.outdated(t, w)
	if _, err := d.step(t.Context(), run, w, w.items[0]); !apierrors.IsConflict(err) || c.took() != "" {
		t.Errorf("with an outdated Application: %v, want a conflict and the Job left alone", err)
	}
}

// To announce a sync must not pass for having seen what was written of runs.
func TestWhoIsOutdatedAnnouncesNoRun(t *testing.T) {
	for name, tt := range map[string]struct {
		object string
		want   bool
	}{
		"a Job that runs once": {object: jobIn("After", "a")},
		"anything else":        {object: configIn("settings", "0"), want: true},
	} {
		t.Run(name, func(t *testing.T) {
			d, _ := newTheatre(t)
			w := d.wants(t, "one", tt.object)
			w.announced = false
			err := d.announce(t.Context(), d.outdated(t, w), w, 2)
			if apierrors.IsConflict(err) == tt.want || w.announced != tt.want {
				t.Errorf("announce() = %v, announced: %v, want %v", err, w.announced, tt.want)
			}
		})
	}
}
