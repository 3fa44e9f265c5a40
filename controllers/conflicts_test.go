package controllers

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/apply"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/live"
)

// rival makes another Application that is refused for ConfigMaps of ns/app.
func (d *desk) rival(t *testing.T, objects ...string) *v1alpha1.Application {
	t.Helper()
	other := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Name: "rival", Namespace: "elsewhere"}}
	for _, name := range objects {
		other.Status.Conflicts = append(other.Status.Conflicts, v1alpha1.ConflictStatus{
			ObjectReference: v1alpha1.ObjectReference{Kind: "ConfigMap", Namespace: "ns", Name: name},
			Application:     v1alpha1.ApplicationReference{Name: "app", Namespace: "ns"},
		})
	}
	if err := d.Client.Create(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	return other
}

// owner is a run of ns/app, whose watches show ConfigMaps that it owns.
func (d *desk) owner(t *testing.T) *run {
	t.Helper()
	run := d.begin(d.read(t))
	run.looked = true
	run.memory.scopes = []live.Scope{{Identity: run.target.Identity, Namespace: "ns", Resource: schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}}}
	d.watches.present = &live.Object{ApplySet: run.target.ApplySet()}
	return run
}

func TestTheOwnerMirrorsAConflictAndTellsOnce(t *testing.T) {
	d := newDesk(t)
	d.rival(t, "b", "a")
	run := d.owner(t)
	if !d.reportConflicts(t.Context(), run, nil) {
		t.Error("reportConflicts() does not call it news")
	}
	c := meta.FindStatusCondition(run.app.Status.Conditions, v1alpha1.ConditionConflicted)
	want := `Application elsewhere/rival declares what this one owns: ConfigMap "a" in namespace "ns", and 1 more: remove it from one of the two Applications`
	if c == nil || c.Status != metav1.ConditionTrue || c.Reason != v1alpha1.ReasonObjectConflict || c.Message != want {
		t.Errorf("Conflicted = %+v, want %s", c, want)
	}
	if got := fmt.Sprint(run.app.Status.Conflicts); !strings.HasPrefix(got, "[{{ ConfigMap ns a} {rival elsewhere}}") {
		t.Errorf("status.conflicts = %s, want a before b", got)
	}
	if d.reportConflicts(t.Context(), run, nil) || len(d.recorder.Events) != 1 {
		t.Errorf("told again: %d events", len(d.recorder.Events))
	}
	d.watches.present.ApplySet = "another's" // it is handed over
	if !d.reportConflicts(t.Context(), run, nil) || len(run.app.Status.Conflicts) != 0 ||
		meta.FindStatusCondition(run.app.Status.Conditions, v1alpha1.ConditionConflicted) != nil {
		t.Errorf("status %+v, want no conflict any more", run.app.Status)
	}
}

// What is not known after a restart, while Git does not answer, stays as it is
// written.
func TestConflictsAreKeptUntilItWasLooked(t *testing.T) {
	d := newDesk(t)
	run := d.begin(d.read(t))
	run.app.Status.Conflicts = []v1alpha1.ConflictStatus{{Application: v1alpha1.ApplicationReference{Name: "x"}}}
	if d.reportConflicts(t.Context(), run, errors.New("no answer")) || len(run.app.Status.Conflicts) != 1 {
		t.Errorf("status.conflicts = %v, want it left alone", run.app.Status.Conflicts)
	}
}

func TestConflictsAreBounded(t *testing.T) {
	var all []apply.Conflict
	for i := range 100 {
		all = append(all, apply.Conflict{ID: apply.ID{Name: fmt.Sprint(i)}, Application: types.NamespacedName{Namespace: "ns", Name: "x"}})
	}
	if got := conflictList("ns", all); len(got) != maxConflicts || got[0].Application.Namespace != "" {
		t.Errorf("%d conflicts, first %+v, want %d and no namespace that is our own", len(got), got[0], maxConflicts)
	}
}

func TestConflictNewsReachesWhomItConcerns(t *testing.T) {
	d := newDesk(t)
	rival := d.rival(t, "a")
	q := newQueue(t)
	handler := d.conflictNews()
	before := rival.DeepCopy()
	before.Status.Conflicts = nil
	handler.Update(t.Context(), event.UpdateEvent{ObjectOld: before, ObjectNew: rival}, q)
	if q.Len() != 1 {
		t.Errorf("%d queued by a new conflict, want the owner", q.Len())
	}
	handler.Update(t.Context(), event.UpdateEvent{ObjectOld: rival, ObjectNew: rival.DeepCopy()}, q)
	if q.Len() != 1 {
		t.Errorf("%d queued where nothing is new", q.Len())
	}
	handler.Delete(t.Context(), event.DeleteEvent{Object: d.app}, q) // who waits for it hears of it
	if q.Len() != 2 {
		t.Errorf("%d queued by the owner's deletion, want the rival, too", q.Len())
	}
}

func TestASpentConfirmationIsTakenOff(t *testing.T) {
	d := newDesk(t)
	run := d.begin(d.read(t))
	run.app.Annotations = map[string]string{v1alpha1.AnnotationConfirmPrune: confirmedPrune(d.applied("main@sha1:a"), run.app)}
	if err := d.Client.Update(t.Context(), run.app); err != nil {
		t.Fatal(err)
	}
	for _, commit := range []string{"main@sha1:b", "main@sha1:a"} {
		run := d.begin(d.read(t))
		if err := d.spend(t.Context(), run, d.applied(commit)); err != nil {
			t.Fatal(err)
		}
		_, there := d.read(t).Annotations[v1alpha1.AnnotationConfirmPrune]
		if want := commit != "main@sha1:a"; there != want || run.app.ResourceVersion != d.read(t).ResourceVersion {
			t.Errorf("at %s the confirmation is there = %v, want %v", commit, there, want)
		}
	}
}

// What Git takes back while its watch does not work is not known to be let go.
func TestConflictsAreKeptUntilTheObjectsAreLookedAt(t *testing.T) {
	configs := live.Scope{Identity: live.Identity{Namespace: "ns", ServiceAccount: "deployer"}, Namespace: "ns", Resource: schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}}
	item := apply.Item{ID: apply.ID{GroupKind: schema.GroupKind{Kind: "ConfigMap"}, Namespace: "ns", Name: "a"}, Scope: configs}
	tests := map[string]struct {
		items  []apply.Item
		watch  error
		barred error
		kept   bool
	}{
		"the watch fails":          {items: []apply.Item{item}, watch: &live.WatchError{Scope: configs, Err: errors.New("no answer")}, kept: true},
		"there is nothing to send": {},
		"another tool's":           {items: []apply.Item{item}, barred: failure.Stallf(v1alpha1.ReasonOwnedByOther, "x")},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			run, w := d.begin(d.read(t)), d.applied("main@sha1:one")
			m := run.memory
			w.items, m.wanted = tt.items, w
			m.conflicts, m.looked = []apply.Conflict{{ID: item.ID, Application: types.NamespacedName{Namespace: "ns", Name: "owner"}}}, true
			m.barred, m.barredFor, m.barredAt = tt.barred, w, run.now
			if tt.watch != nil {
				d.watches.errs = []error{tt.watch}
			}
			err := d.bring(t.Context(), run, w)
			d.reportConflicts(t.Context(), run, err)
			if got := len(run.app.Status.Conflicts); (got == 1) != tt.kept {
				t.Errorf("%d conflicts after %v, want them kept: %v", got, err, tt.kept)
			}
		})
	}
}
