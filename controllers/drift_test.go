package controllers

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientfake "k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/events"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/apply"
)

func fought(n int) apply.Drift {
	return apply.Drift{
		ID:     apply.ID{GroupKind: schema.GroupKind{Kind: "ConfigMap"}, Namespace: "ns", Name: fmt.Sprintf("c%02d", n)},
		Fields: []string{"data.k"}, Manager: "other", Contested: true,
	}
}

func TestContestedObjectsAreListedOnceAndUpToABound(t *testing.T) {
	d := newDesk(t)
	run := d.begin(d.read(t))
	run.examined = true
	for n := range maxDrift + 2 {
		run.contested = append(run.contested, fought(n), fought(n))
	}
	if !run.reportDrift() {
		t.Error("reportDrift() = false, want news")
	}
	if n := len(run.app.Status.Drift); n != maxDrift {
		t.Errorf("%d objects in status.drift, want %d", n, maxDrift)
	}
	want := v1alpha1.DriftStatus{
		ObjectReference: v1alpha1.ObjectReference{Kind: "ConfigMap", Namespace: "ns", Name: "c00"}, Fields: []string{"data.k"}, Manager: "other", Contested: true,
	}
	if diff := cmp.Diff(want, run.app.Status.Drift[0]); diff != "" {
		t.Errorf("status.drift[0] (-want +got):\n%s", diff)
	}
	c := meta.FindStatusCondition(run.app.Status.Conditions, v1alpha1.ConditionDrifted)
	if c == nil || c.Reason != v1alpha1.ReasonContested || !strings.HasSuffix(c.Message, "; and 19 more") || !strings.Contains(c.Message, `ConfigMap "c00" in namespace "ns": data.k, changed by field manager "other"`) {
		t.Errorf("condition %+v", c)
	}

	// A run that looked and found nothing takes it back; one that did not look
	// leaves it.
	run.contested, run.examined = nil, false
	if run.reportDrift(); len(run.app.Status.Drift) == 0 {
		t.Error("a run that did not look took back what was found")
	}
	run.examined = true
	if run.reportDrift(); len(run.app.Status.Drift) != 0 || meta.FindStatusCondition(run.app.Status.Conditions, v1alpha1.ConditionDrifted) != nil {
		t.Error("drift is still told once there is none")
	}
}

// Two objects that drifted at once are two events, and so are two fields of
// one, though they are told of one Application as it is.
func TestEachDriftIsAnEventOfItsOwn(t *testing.T) {
	d := newDesk(t)
	told := d.tells(t)
	other := fought(1)
	other.Fields = []string{"data.other"}
	d.tell(d.begin(d.read(t)), "Corrected", "Corrected drift of ", []apply.Drift{fought(1), other, fought(2)})
	told(
		`Corrected drift of ConfigMap "c01" in namespace "ns": data.k, changed by field manager "other"`,
		`Corrected drift of ConfigMap "c01" in namespace "ns": data.other, changed by field manager "other"`,
		`Corrected drift of ConfigMap "c02" in namespace "ns": data.k, changed by field manager "other"`,
	)
}

// What a sync did is an event of its own also where the cache has not seen yet
// what the one before wrote.
func TestEachSyncIsAnEventOfItsOwn(t *testing.T) {
	d := newDesk(t)
	told := d.tells(t)
	cached := d.read(t)
	for changed := range 2 {
		run := d.begin(cached)
		run.changed, run.pruned = changed, 1-changed
		if _, err := d.finish(t.Context(), run, nil); err != nil {
			t.Fatal(err)
		}
		run.memory.wanted = d.applied("c") // the next status is another one
	}
	told("Applied 0 objects and pruned 1 object at no revision", "Applied 1 object and pruned 0 objects at c")
}

// tells lets the events of a desk be recorded as those of the operator are. What
// it returns waits for those that are told, in order.
func (d *desk) tells(t *testing.T) (wait func(want ...string)) {
	t.Helper()
	cluster := clientfake.NewClientset()
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: cluster.EventsV1()})
	t.Cleanup(broadcaster.Shutdown)
	if err := broadcaster.StartRecordingToSinkWithContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.Recorder = broadcaster.NewRecorder(d.Client.Scheme(), reporter)
	return func(want ...string) {
		t.Helper()
		soon(t, func() bool {
			list, err := cluster.EventsV1().Events("ns").List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			var notes []string
			for _, e := range list.Items {
				notes = append(notes, e.Note)
			}
			slices.Sort(notes)
			return slices.Equal(notes, want)
		})
	}
}

func TestTextsOfDrift(t *testing.T) {
	d := fought(1)
	for got, want := range map[string]string{
		fight(d):                     `ConfigMap "c01" in namespace "ns" is changed back each time that it is corrected: stop field manager "other", or take data.k out of Git`,
		fight(apply.Drift{ID: d.ID}): `ConfigMap "c01" in namespace "ns" is changed back each time that it is corrected: find out who does it, or take the field out of Git`,
		driftText(apply.Drift{ID: d.ID, Deleted: true}): `ConfigMap "c01" in namespace "ns": it was deleted`,
	} {
		if got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
}

// A commit that touches nothing of an Application is new to a restarted operator
// nonetheless. It is no reason to put back what is to be left.
func TestDriftIsLeftOverARestartAtACommitThatTouchesNothing(t *testing.T) {
	config := func(name, value string) string { return configIn(name, "0") + "\ndata: {key: " + value + "}" }
	const tampered = "/api/v1/namespaces/ns/configmaps/a"
	tests := map[string]struct {
		policy  v1alpha1.DriftPolicy
		second  string // what Git says of b by then
		deleted bool
		asked   bool
		did     string
		drift   int
	}{
		"reported":              {policy: v1alpha1.DriftReport, second: "1", drift: 1},
		"ignored":               {policy: v1alpha1.DriftIgnore, second: "1"},
		"corrected":             {policy: v1alpha1.DriftCorrect, second: "1", did: "patch a"},
		"and one is missing":    {policy: v1alpha1.DriftReport, second: "1", deleted: true, did: "patch b", drift: 1},
		"and one is new in Git": {policy: v1alpha1.DriftReport, second: "2", did: "patch a, patch b"},
		"somebody asks":         {policy: v1alpha1.DriftReport, second: "1", asked: true, did: "patch a"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d, c := newTheatre(t)
			app := d.read(t)
			app.Spec.Sync.Drift = tt.policy
			if err := d.Client.Update(t.Context(), app); err != nil {
				t.Fatal(err)
			}
			if _, err := d.sync(t, d.wants(t, "one", config("a", "1"), config("b", "1"))); err != nil {
				t.Fatal(err)
			}
			c.took()
			c.mu.Lock()
			c.objects[tampered]["data"] = map[string]any{"key": "by hand"}
			c.put(tampered, c.objects[tampered])
			c.mu.Unlock()
			if tt.deleted {
				c.remove("/api/v1/namespaces/ns/configmaps/b")
			}
			d.operate(t, c)
			w := d.wants(t, "two", config("a", "1"), config("b", tt.second))
			w.first, w.why = true, v1alpha1.SyncRevision
			if tt.asked {
				asked := d.read(t)
				asked.Annotations[v1alpha1.AnnotationSyncRequestedAt] = "now"
				if err := d.Client.Update(t.Context(), asked); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				run := d.begin(d.read(t))
				run.memory.wanted, run.reason = w, w.why
				if err := d.bring(t.Context(), run, w); err != nil {
					t.Fatal(err)
				}
				if run.reportDrift(); len(run.app.Status.Drift) != tt.drift {
					t.Errorf("status.drift = %+v, want %d", run.app.Status.Drift, tt.drift)
				}
			}
			calls := strings.Split(c.took(), ", ")
			slices.Sort(calls)
			if got := strings.Join(calls, ", "); got != tt.did {
				t.Errorf("it did %q, want %q", got, tt.did)
			}
		})
	}
}
