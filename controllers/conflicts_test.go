package controllers

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/apply"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/live"
)

// rival makes another Application that is refused for ConfigMaps of ns/app.
func (d *desk) rival(t *testing.T, objects ...string) *v1alpha1.Application {
	t.Helper()
	other := d.rivalOf(objects...)
	if err := d.Client.Create(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	return other
}

func (d *desk) rivalOf(objects ...string) *v1alpha1.Application {
	other := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Name: "rival", Namespace: "elsewhere"}}
	for _, name := range objects {
		other.Status.Conflicts = append(other.Status.Conflicts, v1alpha1.ConflictStatus{
			ObjectReference: v1alpha1.ObjectReference{Kind: "ConfigMap", Namespace: "ns", Name: name},
			Application:     v1alpha1.ApplicationReference{Name: "app", Namespace: "ns"},
		})
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
	for i := range 2 * maxConflicts {
		all = append(all, apply.Conflict{ID: apply.ID{Name: fmt.Sprint(i)}, Application: types.NamespacedName{Namespace: "ns", Name: "x"}})
	}
	last := types.NamespacedName{Namespace: "elsewhere", Name: "y"}
	got := conflictList("ns", append(all, apply.Conflict{ID: apply.ID{Name: "a"}, Application: last}))
	if len(got) != maxConflicts || got[0].Application.Namespace != "" {
		t.Errorf("%d conflicts, first %+v, want %d and no namespace that is our own", len(got), got[0], maxConflicts)
	}
	if got[maxConflicts-1].Application.Name != last.Name {
		t.Errorf("the list ends with %+v, want each Application in it", got[maxConflicts-1])
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

// own puts ConfigMaps into a cluster that belong to an Application.
func (c *cluster) own(by types.NamespacedName, names ...string) {
	for _, name := range names {
		c.put("/api/v1/namespaces/ns/configmaps/"+name, map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{
			"name": name, "namespace": "ns", "uid": "uid of " + name,
			"labels": map[string]any{v1alpha1.ApplySetPartOfLabel: apply.Target{Application: by}.ApplySet()},
			"managedFields": []any{map[string]any{
				"manager": "gitseal", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": map[string]any{},
			}},
		}})
	}
}

// declares rewrites the status of a rival.
func (d *desk) declares(t *testing.T, rival *v1alpha1.Application, names ...string) {
	t.Helper()
	next := d.rivalOf(names...)
	rival.Status.Conflicts = next.Status.Conflicts
	if err := d.Client.Status().Update(t.Context(), rival); err != nil {
		t.Fatal(err)
	}
}

// dropsAll is a run of ns/app, which has ConfigMaps and wants none any more.
func (d *desk) dropsAll(t *testing.T) *run {
	t.Helper()
	app := d.read(t)
	app.Annotations = map[string]string{v1alpha1.AnnotationPlaces: "ConfigMap/ns"}
	if err := d.Client.Update(t.Context(), app); err != nil {
		t.Fatal(err)
	}
	run := d.begin(d.read(t))
	run.memory.wanted = d.applied("main@sha1:two")
	return run
}

func manyNames() []string {
	var names []string
	for i := range maxConflicts + 10 {
		names = append(names, fmt.Sprintf("c%03d", i))
	}
	return names
}

// A list of conflicts that is full may lack some. Nothing is pruned before the
// other Application has said what is left.
func TestNothingIsPrunedThatAFullListMayLack(t *testing.T) {
	for name, part := range map[string]func(*desk, *run) error{
		"dropped from Git":            func(d *desk, r *run) error { return d.prune(t.Context(), r, r.memory.wanted) },
		"left by the owner's removal": func(d *desk, r *run) error { return d.partWithMembers(t.Context(), r) },
	} {
		t.Run(name, func(t *testing.T) {
			d, c := newTheatre(t)
			names := manyNames()
			c.own(client.ObjectKeyFromObject(d.app), names...)
			rival := d.rival(t, names[:maxConflicts]...)
			take := func(released int, waits bool) {
				t.Helper()
				run := d.dropsAll(t)
				err := part(d, run)
				did := c.took()
				if n := strings.Count(did, "patch "); n != released || strings.Contains(did, "delete") {
					t.Errorf("it did %q, want %d released and none deleted", did, released)
				}
				if said := fmt.Sprint(run.readyMessage(), err); waits != strings.Contains(said, "elsewhere/rival may declare more") || waits != (run.again > 0) {
					t.Errorf("it says %q and looks again after %v, want to wait for the rival: %v", said, run.again, waits)
				}
			}
			take(maxConflicts, true)
			take(0, true) // the rival has not looked again yet
			d.declares(t, rival, names[maxConflicts:]...)
			take(10, false)
			d.declares(t, rival)
			take(0, false)
		})
	}
}

func TestAFullListHoldsUpPruningOnlyWhileItsOwnerGoesOn(t *testing.T) {
	past, future := metav1.NewTime(epoch.Add(-time.Minute)), metav1.NewTime(epoch.Add(time.Minute))
	tests := map[string]struct {
		change func(rival *v1alpha1.Application)
		own    bool // the rival owns what it lists
		pruned bool
	}{
		"it waits":                     {},
		"it was suspended for a while": {change: func(a *v1alpha1.Application) { a.Spec.Suspend = &v1alpha1.Suspend{Until: &past} }},
		"it is suspended":              {change: func(a *v1alpha1.Application) { a.Spec.Suspend = &v1alpha1.Suspend{Until: &future} }, pruned: true},
		"it is being deleted":          {change: func(a *v1alpha1.Application) { a.Finalizers = []string{v1alpha1.Finalizer} }, pruned: true},
		"its list is not full":         {change: func(a *v1alpha1.Application) { a.Status.Conflicts = a.Status.Conflicts[1:] }, pruned: true},
		"it mirrors what it owns":      {own: true, pruned: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d, c := newTheatre(t)
			names := manyNames()[:maxConflicts]
			c.own(client.ObjectKeyFromObject(d.app), "left")
			rival := d.rivalOf(names...)
			if tt.own {
				c.own(client.ObjectKeyFromObject(rival), names...)
			}
			if tt.change != nil {
				tt.change(rival)
			}
			if err := d.Client.Create(t.Context(), rival); err != nil {
				t.Fatal(err)
			}
			if len(rival.Finalizers) > 0 {
				if err := d.Client.Delete(t.Context(), rival); err != nil {
					t.Fatal(err)
				}
			}
			run := d.dropsAll(t)
			if err := d.prune(t.Context(), run, run.memory.wanted); err != nil {
				t.Fatal(err)
			}
			if got := c.took(); (got == "delete left") != tt.pruned || !tt.pruned && got != "" {
				t.Errorf("it did %q, want the object pruned: %v", got, tt.pruned)
			}
		})
	}
}
