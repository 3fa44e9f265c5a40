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

// What was there before is not pruned, and no watch shows it. What one is late to
// show is looked for again: that it has caught up it tells nobody.
func TestAPruneWaitsForNothingElse(t *testing.T) {
	const config = "/api/v1/namespaces/ns/configmaps/"
	for name, tt := range map[string]struct {
		first func(d *desk, c *cluster) string // what is applied once or again
		ready bool
	}{
		"of what was there before": {ready: true, first: func(_ *desk, c *cluster) string {
			c.put(config+"b", map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "b", "uid": "b"}})
			return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b, annotations: {gitseal.dev/apply: Once}}"
		}},
		"of what was applied": {first: func(*desk, *cluster) string { return configIn("b", "0") }},
	} {
		t.Run(name, func(t *testing.T) {
			d, c := newTheatre(t)
			if _, err := d.sync(t, d.wants(t, "one", configIn("a", "0"), tt.first(d, c))); err != nil {
				t.Fatal(err)
			}
			d.Watches.(*mirror).unseen = "b" // of which nothing was told up to the version it was read at
			run, err := d.syncAndPrune(t, d.wants(t, "two", configIn("a", "0")))
			if ready := conditionTrue(d.read(t), v1alpha1.ConditionReady); err != nil || ready != tt.ready {
				t.Errorf("%s, %v, want ready %v", conditions(d.read(t)), err, tt.ready)
			}
			if soon := run.again > 0 && run.again <= time.Minute; soon == tt.ready {
				t.Errorf("it looks again after %s, want it soon: %v", run.again, !tt.ready)
			}
		})
	}
}
