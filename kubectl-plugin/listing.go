package kubectlplugin

import (
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/printers"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// listing is what verbs share that list objects as kubectl get does: one by
// name, or those of a namespace or of all that labels select.
type listing struct {
	*session
	noun          string // what is listed, for help texts
	name          string
	allNamespaces bool
	selector      string
	print         *genericclioptions.PrintFlags

	namespace string
	labels    labels.Selector
	printer   printers.ResourcePrinter // nil: a table
	wide      bool
}

func newListing(s *session, noun string) listing {
	return listing{session: s, noun: noun, print: genericclioptions.NewPrintFlags("").WithTypeSetter(newScheme())}
}

func (l *listing) addFlags(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&l.allNamespaces, "all-namespaces", "A", false, fmt.Sprintf("List the %ss of all namespaces.", l.noun))
	cmd.Flags().StringVarP(&l.selector, "selector", "l", "", fmt.Sprintf("Only %ss with these labels, for instance tier=web.", l.noun))
	l.print.AddFlags(cmd)
	cmd.Flags().Lookup("output").Usage = "Output format: wide, yaml, json, name, jsonpath=... or go-template=..."
	complete(cmd, "output", fixed("wide", "yaml", "json", "name", "jsonpath=", "go-template="))
}

// Complete implements verb.
func (l *listing) Complete(cmd *cobra.Command, args []string) (err error) {
	if len(args) > 0 {
		l.name = args[0]
	}
	if l.name != "" && (l.allNamespaces || l.selector != "") {
		return usagef(cmd, "one %s is given by its name: leave out -A and -l", l.noun)
	}
	if l.labels, err = labels.Parse(l.selector); err != nil {
		return usagef(cmd, "selector: %w", err)
	}
	switch *l.print.OutputFormat {
	case "":
	case "wide":
		l.wide = true
	default:
		if l.printer, err = l.print.ToPrinter(); err != nil {
			return usagef(cmd, "%w", err)
		}
	}
	if l.allNamespaces {
		return nil
	}
	l.namespace, err = l.session.namespace()
	return err
}

// selected are the options by which the API server lists.
func (l *listing) selected() []client.ListOption {
	return []client.ListOption{client.InNamespace(l.namespace), client.MatchingLabelsSelector{Selector: l.labels}}
}

// write prints obj, which is items in the shape the API server gave it, in the
// format asked for; table prints them where none was.
func (l *listing) write(obj runtime.Object, items []client.Object, table func() error) error {
	byName := *l.print.OutputFormat == "name"
	switch {
	case len(items) == 0 && (l.printer == nil || byName):
		l.sayf("%s", l.nothing())
		return nil
	case byName: // its printer takes no typed lists
		for _, item := range items {
			if err := l.printer.PrintObj(item, l.Out); err != nil {
				return err
			}
		}
		return nil
	case l.printer != nil:
		return l.printer.PrintObj(obj, l.Out)
	}
	return table()
}

// nothing is what kubectl says when it finds nothing.
func (l *listing) nothing() string {
	if l.allNamespaces {
		return "No resources found"
	}
	return fmt.Sprintf("No resources found in %s namespace.", l.namespace)
}

// headings begin with that of the namespace where there are several.
func (l *listing) headings(headings ...string) []string {
	if l.allNamespaces {
		return append([]string{"NAMESPACE"}, headings...)
	}
	return headings
}

// cells begin with the namespace where there are several.
func (l *listing) cells(namespace string, cells ...string) []string {
	if l.allNamespaces {
		return append([]string{namespace}, cells...)
	}
	return cells
}
