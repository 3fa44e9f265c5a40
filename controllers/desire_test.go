package controllers

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/source"
)

// fetched puts a Snapshot into memory as the newest. Snapshots without files
// read the same, and rendering one would panic.
func (d *desk) fetched(run *run, commit string) {
	run.memory.snapshot, run.memory.polledAt, run.memory.polledSpec = &source.Snapshot{Revision: commit}, d.clock.Now(), 3
}

func (d *desk) appliedAndRead(commit string) *wanted {
	w := d.applied(commit)
	w.basis.reads = &source.ReadSet{}
	return w
}

func TestACommitThatTouchesNothingIsNotWrittenDown(t *testing.T) {
	d := newDesk(t)
	run := d.begin(d.read(t))
	w := d.appliedAndRead("main@sha1:one")
	run.memory.wanted = w
	if _, err := d.finish(t.Context(), run, nil); err != nil {
		t.Fatal(err)
	}
	before := d.read(t)
	for _, commit := range []string{"main@sha1:two", "main@sha1:three"} {
		run = d.begin(before)
		d.fetched(run, commit)
		got, err := d.desire(t.Context(), run)
		if got != w || err != nil {
			t.Fatalf("desire(%s) = %v, %v, want the state that is held", commit, got, err)
		}
		if _, err := d.finish(t.Context(), run, nil); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(before, d.read(t)); diff != "" {
		t.Errorf("the Application was written (-before +after):\n%s", diff)
	}
	if run.revision() != "main@sha1:one" || w.basis.inputs.commit != "main@sha1:three" {
		t.Errorf("revision %s, known to hold at %s", run.revision(), w.basis.inputs.commit)
	}
}

// Why something changes is told by what it was made of, not by commits in
// between that touched nothing of it.
func TestAValueThatChangesAfterACommitThatTouchesNothing(t *testing.T) {
	d, a, w := filledDesk(t)
	w.settled, w.basis.inputs.commit = true, "main@sha1:two"
	a.value = "hunter3"
	run := d.run(t)
	if _, err := d.renew(t.Context(), run); err != nil || run.reason != v1alpha1.SyncSecret || run.revision() != "main@sha1:one" {
		t.Errorf("renew() = %v, for %s at %s, want a new value at the revision that is in place", err, run.reason, run.revision())
	}
}

// What is on its way goes on with other values, for the reason it had.
func TestARevisionOnItsWayKeepsItsReasonWhenAValueChanges(t *testing.T) {
	d, a, w := filledDesk(t)
	w.why, w.first, w.changed = v1alpha1.SyncRevision, true, 2
	a.value = "hunter3"
	run := d.run(t)
	got, err := d.renew(t.Context(), run)
	if err != nil || got == w || got.why != v1alpha1.SyncRevision || !got.first || got.changed != 2 || run.reason != v1alpha1.SyncRevision {
		t.Errorf("renew() = %+v, %v, want the same revision with another value", got, err)
	}
}

// What one try changed before yet another value came is not forgotten.
func TestValuesThatChangeOnTheirWayAreCountedTogether(t *testing.T) {
	d, a, w := filledDesk(t)
	w.why, w.settled, w.changed = v1alpha1.SyncSecret, true, 2
	a.value = "hunter3"
	run := d.run(t)
	if got, err := d.renew(t.Context(), run); err != nil || got == w || got.why != v1alpha1.SyncSecret || got.changed != 2 {
		t.Errorf("renew() = %+v, %v, want what was changed to be told with the rest", got, err)
	}
}

func TestARefusalLastsUntilWhatWasReadChanges(t *testing.T) {
	d := newDesk(t)
	run := d.begin(d.read(t))
	refusal := failure.Stallf(v1alpha1.ReasonRenderFailed, "bad")
	run.memory.refusal, run.memory.refused = refusal, basis{inputs: inputs{generation: 3, commit: "main@sha1:bad"}, reads: &source.ReadSet{}}
	d.fetched(run, "main@sha1:unrelated")
	if _, err := d.desire(t.Context(), run); !errors.Is(err, refusal) {
		t.Errorf("desire() = %v, want the refusal that is held", err)
	}
}

func TestARevisionThatTakesBackARefusedOneIsWrittenDown(t *testing.T) {
	d := newDesk(t)
	run := d.begin(d.read(t))
	run.memory.wanted, run.memory.refusal = d.appliedAndRead("main@sha1:good"), failure.Stallf(v1alpha1.ReasonRenderFailed, "bad")
	run.memory.refused.inputs = inputs{generation: 3, commit: "main@sha1:bad"}
	d.fetched(run, "main@sha1:revert")
	if _, err := d.desire(t.Context(), run); err != nil || run.revision() != "main@sha1:revert" || run.reason != v1alpha1.SyncRevision {
		t.Errorf("desire() = %v at %s for %s, want the revision that took the bad one back", err, run.revision(), run.reason)
	}
}

func TestOtherInputsThanTheCommitDoNotHold(t *testing.T) {
	held := inputs{generation: 3, commit: "a", keys: "k=1;"}
	tests := map[string]struct {
		in    inputs
		reads *source.ReadSet
		want  bool
	}{
		"the same":                           {held, nil, true},
		"a commit that reads the same":       {inputs{3, "b", "k=1;"}, &source.ReadSet{}, true},
		"a commit of which nothing is known": {inputs{3, "b", "k=1;"}, nil, false},
		"a new spec":                         {inputs{4, "b", "k=1;"}, &source.ReadSet{}, false},
		"a new key":                          {inputs{3, "b", "k=2;"}, &source.ReadSet{}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := basis{inputs: held, reads: tt.reads}
			if got := b.holds(tt.in, &source.Snapshot{Revision: tt.in.commit}); got != tt.want || (b.inputs == tt.in) != tt.want {
				t.Errorf("holds() = %v with %+v held, want %v", got, b.inputs, tt.want)
			}
		})
	}
}

func TestARestartKeepsTheRevisionThatTouchedSomething(t *testing.T) {
	d := newDesk(t)
	app := d.read(t)
	app.Status.Source = &v1alpha1.SourceStatus{Revision: "main@sha1:one", Author: "A <a@b>", Subject: "s"}
	meta.SetStatusCondition(&app.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionSynced, Status: metav1.ConditionTrue, Reason: "Succeeded", ObservedGeneration: 3})
	for name, tt := range map[string]struct {
		changed int
		want    string
	}{"nothing changed": {0, "main@sha1:one"}, "something did": {1, "main@sha1:two"}} {
		t.Run(name, func(t *testing.T) {
			d.clock.Step(time.Minute)
			run := d.begin(app)
			run.memory.wanted, run.changed = d.applied("main@sha1:two"), tt.changed
			run.memory.wanted.first = true
			run.record()
			if got := run.app.Status.Source.Revision; got != tt.want || run.revision() != tt.want || len(run.app.Status.History) != tt.changed {
				t.Errorf("revision %s (%s) and history %v, want %s", got, run.revision(), run.app.Status.History, tt.want)
			}
		})
	}
}
