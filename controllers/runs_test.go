package controllers

import (
	"testing"

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
