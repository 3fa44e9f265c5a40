package controllers

import (
	"errors"
	"testing"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/apply"
)

// What only time or a person can tell of is looked at each time; all else is
// looked at again when something happens.
func TestWhatIsAtRestIsNotLookedAt(t *testing.T) {
	tests := map[string]struct {
		busy   func(*run)        // in the run that settles
		happen func(*desk, *run) // before the next
		err    error
		want   bool
	}{
		"nothing happened":   {want: true},
		"it failed":          {err: errors.New("no")},
		"something changed":  {busy: func(r *run) { r.changed = 1 }},
		"something is to go": {busy: func(r *run) { r.leaving = make([]apply.Member, 1) }},
		"a fight":            {busy: func(r *run) { r.contested = make([]apply.Drift, 1) }},
		"it is waited for":   {busy: func(r *run) { r.progress = "waiting" }},
		"a kind is away":     {busy: func(r *run) { r.unserved = true }},
		"a prune waits":      {busy: func(r *run) { r.confirmation = &v1alpha1.ConfirmationStatus{} }},
		"a watch told":       {happen: func(d *desk, r *run) { d.signals.Notify(r.target.ApplySet()) }},
		"a new content":      {happen: func(_ *desk, r *run) { r.memory.wanted = &wanted{} }},
		"somebody asks": {happen: func(_ *desk, r *run) {
			r.base.Annotations = map[string]string{v1alpha1.AnnotationSyncRequestedAt: "now"}
		}},
		"its ApplySet was tampered with": {happen: func(_ *desk, r *run) { r.base.Labels = map[string]string{"a": "b"} }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			before := d.begin(d.read(t))
			before.memory.wanted = &wanted{}
			if tt.busy != nil {
				tt.busy(before)
			}
			before.settle(before.memory.wanted, tt.err)
			app := d.read(t)
			if tt.happen != nil {
				before.base = app
				tt.happen(d, before)
			}
			next := d.begin(app)
			if got := d.atRest(t.Context(), next, next.memory.wanted); got != tt.want {
				t.Errorf("atRest() = %v, want %v", got, tt.want)
			}
		})
	}
}
