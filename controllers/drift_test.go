package controllers

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"

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
