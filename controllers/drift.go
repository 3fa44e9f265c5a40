package controllers

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/apply"
	"github.com/gitseal/gitseal/internal/condition"
	"github.com/gitseal/gitseal/internal/failure"
)

const (
	// maxDrift is how many drifted objects the status lists, and how many
	// events one run gives of them.
	maxDrift = 20
	// maxDriftNamed is how many a message names.
	maxDriftNamed = 3
)

// leaves reports whether drift stays as it is under a policy: until there is a
// new desired state, or somebody asks for a sync.
func (r *run) leaves(policy v1alpha1.DriftPolicy) bool {
	w := r.memory.wanted
	carried := w != nil && w.carried && r.reason == v1alpha1.SyncRevision && !r.requested()
	return r.app.Spec.Sync.Drift == policy && (r.reason == "" || r.reason == v1alpha1.SyncDrift || carried)
}

// examine asks of what seems to have drifted whether it has. The plan that it
// returns holds what is to be put back: under drift policy Report, nothing.
func (r *ApplicationReconciler) examine(ctx context.Context, run *run, w *wanted, plan apply.Plan) (apply.Plan, error) {
	ledger := run.memory.ledger
	run.examined = true
	if run.leaves(v1alpha1.DriftIgnore) {
		return apply.Plan{Changed: plan.Changed, Drifted: plan.Anew}, nil
	}
	run.contested = append(run.contested, plan.Contested...)
	suspects := plan.Drifted
	plan.Drifted = plan.Anew
	report := run.leaves(v1alpha1.DriftReport)
	if !report {
		suspects = append(suspects, plan.Reported...)
	}
	if len(suspects) == 0 {
		return plan, nil
	}
	found, err := r.Engine.Examine(ctx, suspects, ledger, w.values, run.now)
	if err == nil && len(found.Lost) > 0 {
		ledger.Correcting(found.Lost, run.now)
		_, err = r.Engine.Apply(ctx, found.Lost, ledger, w.values) // which changes no field
	}
	if err != nil {
		run.memory.unsent = r.clean(run, failure.From(err, v1alpha1.ReasonApplyFailed))
	}
	if report {
		r.tell(run, v1alpha1.ReasonDriftReported, "Found drift of ", found.Drifts)
	} else {
		plan.Drifted = slices.Concat(plan.Anew, found.Drifted)
		if len(found.Gone) > 0 {
			r.makeAnew(run, w, found.Gone)
		}
	}
	return plan, err
}

// tell gives one event for each of drifts, up to a bound.
func (r *ApplicationReconciler) tell(run *run, reason, what string, drifts []apply.Drift) {
	for _, d := range drifts[:min(len(drifts), maxDrift)] {
		r.Recorder.Eventf(run.subject(), run.about(d), corev1.EventTypeNormal, reason, "Drift", "%s", condition.Shorten(run.redact(what+driftText(d))))
	}
}

// about is what an event of drift concerns besides the Application. Of events
// that differ in their text only, the recorder would keep the first.
func (r *run) about(d apply.Drift) *corev1.ObjectReference {
	return &corev1.ObjectReference{
		Kind: d.ID.Kind, Namespace: d.ID.Namespace, Name: d.ID.Name, FieldPath: r.redact(strings.Join(d.Fields, ", ")),
	}
}

// driftText says what became of an object, and by whom.
func driftText(d apply.Drift) string {
	text := d.ID.String()
	switch {
	case d.Deleted && len(d.Fields) == 0:
		return text + ": it was deleted"
	case len(d.Fields) > 0:
		text += ": " + strings.Join(d.Fields, ", ")
	}
	if d.Manager != "" {
		text += fmt.Sprintf(", changed by field manager %q", d.Manager)
	}
	return text
}

// reportDrift writes down which objects are not as in Git and are left so. It
// reports whether that is news. A run that did not look leaves it as it was.
func (r *run) reportDrift() (news bool) {
	if !r.examined {
		return false
	}
	found := r.contested // more than once, where a run looked more than once
	if r.leaves(v1alpha1.DriftReport) {
		found = slices.Concat(found, r.memory.ledger.Drifts())
	}
	var drifts []apply.Drift
	for _, d := range found {
		if !slices.ContainsFunc(drifts, func(c apply.Drift) bool { return c.ID == d.ID }) {
			drifts = append(drifts, d)
		}
	}
	r.app.Status.Drift = nil
	for _, d := range drifts[:min(len(drifts), maxDrift)] {
		r.app.Status.Drift = append(r.app.Status.Drift, r.driftStatus(d))
	}
	reason, message := r.driftCondition(drifts)
	r.conditions().Toggle(len(drifts) > 0, v1alpha1.ConditionDrifted, reason, condition.Shorten(r.redact(message)))
	return !equality.Semantic.DeepEqual(r.app.Status.Drift, r.base.Status.Drift)
}

func (r *run) driftStatus(d apply.Drift) v1alpha1.DriftStatus {
	s := v1alpha1.DriftStatus{
		ObjectReference: v1alpha1.ObjectReference{Group: d.ID.Group, Kind: d.ID.Kind, Namespace: d.ID.Namespace, Name: d.ID.Name},
		Manager:         r.redact(d.Manager), Deleted: d.Deleted, Contested: d.Contested,
	}
	for _, f := range d.Fields {
		s.Fields = append(s.Fields, r.redact(f))
	}
	return s
}

func (r *run) driftCondition(drifts []apply.Drift) (reason, message string) {
	reason = v1alpha1.ReasonDriftReported
	contested := slices.DeleteFunc(slices.Clone(drifts), func(d apply.Drift) bool { return !d.Contested })
	if len(contested) > 0 {
		drifts, reason = contested, v1alpha1.ReasonContested
	}
	texts := make([]string, 0, maxDriftNamed)
	for _, d := range drifts[:min(len(drifts), maxDriftNamed)] {
		texts = append(texts, driftText(d))
	}
	message = strings.Join(texts, "; ")
	if more := len(drifts) - maxDriftNamed; more > 0 {
		message += fmt.Sprintf("; and %d more", more)
	}
	if reason == v1alpha1.ReasonContested {
		return reason, "changed back each time that it is corrected: " + message
	}
	return reason, "not as in Git, and left so under drift policy Report: " + message
}

// fight says who changes an object back each time.
func fight(d apply.Drift) string {
	by := "find out who does it"
	if d.Manager != "" {
		by = fmt.Sprintf("stop field manager %q", d.Manager)
	}
	what := "the field"
	if len(d.Fields) > 0 {
		what = strings.Join(d.Fields, ", ")
	}
	return fmt.Sprintf("%s is changed back each time that it is corrected: %s, or take %s out of Git", d.ID, by, what)
}

// drifted counts the objects found since the last new revision: here, or before
// a restart, or by another operator that was started by mistake. Two that count
// for themselves would correct each other's status for ever.
func (r *run) drifted(w *wanted) int32 {
	told := r.base.Status
	if told.Source == nil || told.Resources == nil || told.Source.Revision != w.inputs.commit || told.ObservedGeneration != w.inputs.generation {
		return r.memory.drifted
	}
	return max(r.memory.drifted, told.Resources.Drifted)
}
