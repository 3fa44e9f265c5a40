package kubectlplugin

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/printers"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

type getOptions struct {
	*session
	name          string
	allNamespaces bool
	selector      string
	print         *genericclioptions.PrintFlags

	namespace string
	labels    labels.Selector
	printer   printers.ResourcePrinter // nil: a table
	wide      bool
}

func newGetCommand(s *session) *cobra.Command {
	o := &getOptions{session: s, print: genericclioptions.NewPrintFlags("").WithTypeSetter(newScheme())}
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
	cmd.Flags().BoolVarP(&o.allNamespaces, "all-namespaces", "A", false, "List the Applications of all namespaces.")
	cmd.Flags().StringVarP(&o.selector, "selector", "l", "", "Only Applications with these labels, for instance tier=web.")
	o.print.AddFlags(cmd)
	cmd.Flags().Lookup("output").Usage = "Output format: wide, yaml, json, name, jsonpath=... or go-template=..."
	complete(cmd, "output", fixed("wide", "yaml", "json", "name", "jsonpath=", "go-template="))
	return cmd
}

func (o *getOptions) Complete(cmd *cobra.Command, args []string) (err error) {
	if len(args) > 0 {
		o.name = args[0]
	}
	if o.name != "" && (o.allNamespaces || o.selector != "") {
		return usagef(cmd, "an Application is given by its name: leave out -A and -l")
	}
	if o.labels, err = labels.Parse(o.selector); err != nil {
		return usagef(cmd, "selector: %w", err)
	}
	switch *o.print.OutputFormat {
	case "":
	case "wide":
		o.wide = true
	default:
		if o.printer, err = o.print.ToPrinter(); err != nil {
			return usagef(cmd, "%w", err)
		}
	}
	if o.allNamespaces {
		return nil
	}
	o.namespace, err = o.session.namespace()
	return err
}

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
		return o.write(app, []v1alpha1.Application{*app})
	}
	list := &v1alpha1.ApplicationList{}
	err = c.List(ctx, list, client.InNamespace(o.namespace), client.MatchingLabelsSelector{Selector: o.labels})
	if err != nil {
		return fmt.Errorf("list applications: %w", err)
	}
	for i := range list.Items {
		list.Items[i].SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Application"))
	}
	return o.write(list, list.Items)
}

// write prints obj, which is apps in the shape the API server gave it.
func (o *getOptions) write(obj runtime.Object, apps []v1alpha1.Application) error {
	byName := *o.print.OutputFormat == "name"
	switch {
	case len(apps) == 0 && (o.printer == nil || byName):
		o.sayf("%s", o.nothing())
		return nil
	case byName:
		return o.writeNames(apps)
	case o.printer != nil:
		return o.printer.PrintObj(obj, o.Out)
	}
	return o.writeTable(apps)
}

// writeNames prints one by one: the printer of names takes no typed lists.
func (o *getOptions) writeNames(apps []v1alpha1.Application) error {
	for i := range apps {
		if err := o.printer.PrintObj(&apps[i], o.Out); err != nil {
			return err
		}
	}
	return nil
}

func (o *getOptions) writeTable(apps []v1alpha1.Application) error {
	headings := []string{"NAME", "READY", "REASON", "NOTES", "REVISION", "POLICY", "AGE"}
	if o.allNamespaces {
		headings = append([]string{"NAMESPACE"}, headings...)
	}
	if o.wide {
		headings = append(headings, "DRIFT", "CONFLICTS", "RUNS", "MESSAGE")
	}
	t := o.newTable(headings...)
	for i := range apps {
		t.row(o.cells(&apps[i])...)
	}
	return t.flush()
}

// nothing is what kubectl says when it finds nothing.
func (o *getOptions) nothing() string {
	if o.allNamespaces {
		return "No resources found"
	}
	return fmt.Sprintf("No resources found in %s namespace.", o.namespace)
}

func (o *getOptions) cells(app *v1alpha1.Application) []string {
	ready := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil {
		ready = &metav1.Condition{Status: metav1.ConditionUnknown}
	}
	cells := []string{
		app.Name, string(ready.Status), orNone(ready.Reason), orNone(notes(app)), orNone(shortRevision(app.Status.Source)),
		string(app.Spec.Secrets.Policy), o.age(app.CreationTimestamp),
	}
	if o.allNamespaces {
		cells = append([]string{app.Namespace}, cells...)
	}
	if o.wide {
		s := app.Status
		cells = append(cells, fmt.Sprint(len(s.Drift)), fmt.Sprint(len(s.Conflicts)), fmt.Sprint(len(s.Runs)), ready.Message)
	}
	return cells
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
