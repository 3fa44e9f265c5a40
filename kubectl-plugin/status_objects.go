package kubectlplugin

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// writeObjects prints the objects that somebody should look at.
func (o *statusOptions) writeObjects(r report) error {
	if err := o.writeDrift(r.Drift); err != nil {
		return err
	}
	if err := o.writeConflicts(r); err != nil {
		return err
	}
	return o.writeRuns(r.Runs)
}

func (o *statusOptions) writeDrift(drift []v1alpha1.DriftStatus) error {
	if len(drift) == 0 {
		return nil
	}
	fmt.Fprintln(o.Out)
	t := o.newTable("DRIFTED", "BY", "WHAT")
	for _, d := range drift {
		t.row(objectName(d.ObjectReference), orNone(d.Manager), describeDrift(d))
	}
	return t.flush()
}

func describeDrift(d v1alpha1.DriftStatus) string {
	var what []string
	if d.Deleted {
		what = append(what, "gone")
	}
	if d.Contested {
		what = append(what, "changed back each time")
	}
	if len(d.Fields) > 0 {
		what = append(what, strings.Join(d.Fields, " "))
	}
	return orNone(strings.Join(what, ": "))
}

func (o *statusOptions) writeConflicts(r report) error {
	if len(r.Conflicts) == 0 {
		return nil
	}
	fmt.Fprintln(o.Out)
	t := o.newTable("CONFLICT", "WITH APPLICATION")
	for _, c := range r.Conflicts {
		namespace := c.Application.Namespace
		if namespace == "" {
			namespace = r.Namespace
		}
		t.row(objectName(c.ObjectReference), namespace+"/"+c.Application.Name)
	}
	return t.flush()
}

func (o *statusOptions) writeRuns(runs []v1alpha1.RunStatus) error {
	if len(runs) == 0 {
		return nil
	}
	fmt.Fprintln(o.Out)
	t := o.newTable("RUN", "STATE", "REVISION", "ENDED")
	for _, run := range runs {
		ended := "<none>"
		if run.EndedAt != nil {
			ended = o.age(*run.EndedAt) + " ago"
		}
		t.row(objectName(run.ObjectReference), string(run.State), orNone(shorten(run.Revision)), ended)
	}
	return t.flush()
}

// objectName is KIND[.GROUP] NAMESPACE/NAME.
func objectName(o v1alpha1.ObjectReference) string {
	if o.Namespace == "" {
		return groupKind(o) + " " + o.Name
	}
	return groupKind(o) + " " + o.Namespace + "/" + o.Name
}

// writeNext prints the commands that go on from here; other failures say in
// their messages what to do.
func (o *statusOptions) writeNext(r report) {
	steps := o.next(r)
	if len(steps) == 0 {
		return
	}
	fmt.Fprintln(o.Out, "\nNext:")
	for _, step := range steps {
		fmt.Fprintln(o.Out, "  "+step)
	}
}

func (o *statusOptions) next(r report) []string {
	var steps []string
	add := func(ok bool, format string, args ...any) {
		if ok {
			steps = append(steps, fmt.Sprintf(format, args...))
		}
	}
	command := func(verb string) string { return fmt.Sprintf("kubectl gitseal %s %s -n %s", verb, r.Name, r.Namespace) }
	reason := func(condition string) string {
		if c := meta.FindStatusCondition(r.Conditions, condition); c != nil {
			return c.Reason
		}
		return ""
	}
	add(isSuspended(r.Suspend, o.clock.Now()), "%s   # goes on syncing", command("resume"))
	add(r.Confirmation != nil, "%s --dry-run=client   # shows what waits; without the flag, confirms it", command("confirm"))
	switch reason(v1alpha1.ConditionDrifted) {
	case v1alpha1.ReasonDriftReported:
		add(true, "%s   # puts back what drifted", command("sync"))
	case v1alpha1.ReasonContested:
		add(true, "stop who changes the contested objects back, or give up the fields in spec.sync.ignoreDifferences")
	}
	add(len(r.Conflicts) > 0, "remove the objects in conflict from one of the two Applications; what the owner drops is handed over")
	add(reason(v1alpha1.ConditionReady) == v1alpha1.ReasonOwnedByOther, "let the other tool go of the object, then set spec.sync.adopt to true")
	add(reason(v1alpha1.ConditionReady) == v1alpha1.ReasonRunFailed, "read the logs of the run that failed; it runs again when its content changes in Git")
	return steps
}
