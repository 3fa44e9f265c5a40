package controllers

import (
	"errors"
	"testing"
	"time"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// syncAndPrune does as sync, and prunes.
func (d *desk) syncAndPrune(t *testing.T, w *wanted) (*run, error) {
	t.Helper()
	d.clock.Step(time.Second)
	run := d.begin(d.read(t))
	run.memory.wanted = w
	err := errors.Join(d.bring(t.Context(), run, w), d.prune(t.Context(), run, w))
	if _, finished := d.finish(t.Context(), run, err); finished != nil {
		t.Fatal(finished)
	}
	return run, err
}

// Until all of it was seen it is not known how many objects a prune would take,
// nor whether one is left. The Application is not Ready before.
func TestAPruneWaitsForItsWatches(t *testing.T) {
	const limit = `2 objects are no longer in Git at two, more than spec.sync.pruneLimit of 1, the first of them configmaps "b" in namespace "ns"`
	for name, tt := range map[string]struct {
		late   mirror
		limit  int32
		before string // what is done while the watches are late
		after  string // what is done, or said, after that
	}{
		"for one that was just applied":  {mirror{unseen: "c"}, 2, "", "delete b, delete c"},
		"so that its limit counts":       {mirror{unseen: "c"}, 1, "", limit},
		"for one that was changed since": {mirror{outdated: "c"}, 2, "delete b, delete c", "delete c"},
	} {
		t.Run(name, func(t *testing.T) {
			d, c := newTheatre(t)
			d.app.Spec.Sync.PruneLimit = &tt.limit
			if err := d.Client.Update(t.Context(), d.app); err != nil {
				t.Fatal(err)
			}
			if _, err := d.sync(t, d.wants(t, "one", configIn("a", "0"), configIn("b", "0"), configIn("c", "0"))); err != nil {
				t.Fatal(err)
			}
			c.took()
			w := d.wants(t, "two", configIn("a", "0"))
			watches := d.Watches.(*mirror)
			watches.unseen, watches.outdated = tt.late.unseen, tt.late.outdated
			run, err := d.syncAndPrune(t, w)
			if did := c.took(); err != nil || did != tt.before || run.confirmation != nil || conditionTrue(d.read(t), v1alpha1.ConditionReady) {
				t.Errorf("before the watches told it did %q, %v, confirmation %+v and %s, want %q and not Ready", did, err, run.confirmation, conditions(d.read(t)), tt.before)
			}
			watches.unseen, watches.outdated = "", ""
			_, err = d.syncAndPrune(t, w)
			did := c.took()
			if err != nil {
				did = err.Error()
			}
			if did != tt.after || conditionTrue(d.read(t), v1alpha1.ConditionReady) != (err == nil) {
				t.Errorf("after that it did %q, and %s, want %q", did, conditions(d.read(t)), tt.after)
			}
		})
	}
}
