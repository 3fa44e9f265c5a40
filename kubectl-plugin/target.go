package kubectlplugin

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// target says which Applications of a namespace a verb is for: those named,
// those selected by labels, or all.
type target struct {
	namespace string
	names     []string
	selector  string
	all       bool
	labels    labels.Selector
}

func (t *target) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&t.selector, "selector", "l", "", "Only Applications with these labels, for instance tier=web.")
	cmd.Flags().BoolVar(&t.all, "all", false, "All Applications of the namespace.")
}

func (t *target) complete(s *session, cmd *cobra.Command, args []string) (err error) {
	ways := 0
	for _, used := range []bool{len(args) > 0, t.selector != "", t.all} {
		if used {
			ways++
		}
	}
	if ways != 1 {
		return usagef(cmd, "name Applications, or select them with -l, or take --all")
	}
	t.names = args
	if t.labels, err = labels.Parse(t.selector); err != nil {
		return usagef(cmd, "selector: %w", err)
	}
	t.namespace, err = s.namespace()
	return err
}

// find reads the Applications. None at all is an error: the verbs that use a
// target were asked to change something.
func (t *target) find(ctx context.Context, c client.Client) ([]v1alpha1.Application, error) {
	if len(t.names) == 0 {
		return t.list(ctx, c)
	}
	var apps []v1alpha1.Application
	for _, name := range t.names {
		app, err := getApplication(ctx, c, t.namespace, name)
		if err != nil {
			return nil, err
		}
		apps = append(apps, *app)
	}
	return apps, nil
}

func (t *target) list(ctx context.Context, c client.Client) ([]v1alpha1.Application, error) {
	var list v1alpha1.ApplicationList
	err := c.List(ctx, &list, client.InNamespace(t.namespace), client.MatchingLabelsSelector{Selector: t.labels})
	if err != nil {
		return nil, fmt.Errorf("list applications in namespace %q: %w", t.namespace, err)
	}
	if len(list.Items) == 0 {
		return nil, withHint(fmt.Errorf("no Application in namespace %q is selected", t.namespace), "'kubectl gitseal get -A' lists them all")
	}
	return list.Items, nil
}

// getApplication reads one Application.
func getApplication(ctx context.Context, c client.Client, namespace, name string) (*v1alpha1.Application, error) {
	app := &v1alpha1.Application{}
	err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, app)
	if err == nil {
		return app, nil
	}
	err = fmt.Errorf("read application %q in namespace %q: %w", name, namespace, err)
	if apierrors.IsNotFound(err) && apiHint(err) == "" {
		return nil, withHint(err, "'kubectl gitseal get -A' lists them all")
	}
	return nil, err
}

// resourceName is how kubectl names an Application in its answers.
func resourceName(app *v1alpha1.Application) string { return "application.gitseal.dev/" + app.Name }
