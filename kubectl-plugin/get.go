package kubectlplugin

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

type getOptions struct{ listing }

func newGetCommand(s *session) *cobra.Command {
	o := &getOptions{newListing(s, "Application")}
	cmd := &cobra.Command{
		Use:               "get [APP]",
		Short:             "List Applications",
		Args:              arguments(0, 1),
		RunE:              runE(o),
		ValidArgsFunction: s.completeOneApplication,
		Example: `  kubectl gitseal get -A
  kubectl gitseal get -n shop -l tier=web -o wide
  kubectl gitseal get web -o yaml`,
	}
	o.addFlags(cmd)
	return cmd
}

// Run implements verb.
func (o *getOptions) Run(ctx context.Context) error {
	c, err := o.client()
	if err != nil {
		return err
	}
	if o.name != "" {
		app, err := getApplication(ctx, c, o.namespace, o.name)
		if err != nil {
			return err
		}
		return o.writeAll(app, []v1alpha1.Application{*app})
	}
	list := &v1alpha1.ApplicationList{}
	if err := c.List(ctx, list, o.selected()...); err != nil {
		return fmt.Errorf("list applications: %w", err)
	}
	for i := range list.Items {
		list.Items[i].SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Application"))
	}
	return o.writeAll(list, list.Items)
}

func (o *getOptions) writeAll(obj runtime.Object, apps []v1alpha1.Application) error {
	var items []client.Object
	for i := range apps {
		items = append(items, &apps[i])
	}
	return o.write(obj, items, func() error { return o.writeTable(apps) })
}

func (o *getOptions) writeTable(apps []v1alpha1.Application) error {
	headings := o.headings("NAME", "READY", "REASON", "NOTES", "REVISION", "POLICY", "AGE")
	if o.wide {
		headings = append(headings, "DRIFT", "CONFLICTS", "RUNS", "MESSAGE")
	}
	t := o.newTable(headings...)
	for i := range apps {
		t.row(o.row(&apps[i])...)
	}
	return t.flush()
}

func (o *getOptions) row(app *v1alpha1.Application) []string {
	ready := readyOf(app.Status.Conditions)
	cells := o.cells(app.Namespace,
		app.Name, string(ready.Status), orNone(ready.Reason), orNone(notes(app)), orNone(shortRevision(app.Status.Source)),
		string(app.Spec.Secrets.Policy), o.age(app.CreationTimestamp))
	if o.wide {
		s := app.Status
		cells = append(cells, fmt.Sprint(len(s.Drift)), fmt.Sprint(len(s.Conflicts)), fmt.Sprint(len(s.Runs)), ready.Message)
	}
	return cells
}

// readyOf is the condition Ready, Unknown where there is none.
func readyOf(conditions []metav1.Condition) metav1.Condition {
	if ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady); ready != nil {
		return *ready
	}
	return metav1.Condition{Status: metav1.ConditionUnknown}
}

// notes are the conditions that an Application may have beside Ready.
func notes(app *v1alpha1.Application) string {
	var notes []string
	for _, kind := range []string{v1alpha1.ConditionDrifted, v1alpha1.ConditionConflicted} {
		if meta.IsStatusConditionTrue(app.Status.Conditions, kind) {
			notes = append(notes, kind)
		}
	}
	return strings.Join(notes, ",")
}

// age is how long ago t was, as kubectl writes it.
func (s *session) age(t metav1.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(s.clock.Since(t.Time))
}
