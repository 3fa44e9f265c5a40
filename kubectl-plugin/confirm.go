package kubectlplugin

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

type confirmOptions struct {
	*session
	name      string
	namespace string
	dryRun    dryRun
	wait      bool
	timeout   time.Duration
}

func newConfirmCommand(s *session) *cobra.Command {
	o := &confirmOptions{session: s}
	cmd := &cobra.Command{
		Use:   "confirm APP",
		Short: "Confirm a prune over the limit, or a rewritten history",
		Long: `Confirm what an Application waits for: to prune more objects than
spec.sync.pruneLimit (reason PruneBlocked), or to follow a branch whose history
was rewritten (reason HistoryRewritten). What would happen is printed; with
--dry-run=client that is all.

The confirmation holds for the revision that waits now and for no later one. It
is the annotation ` + v1alpha1.AnnotationConfirmPrune + ` or
` + v1alpha1.AnnotationConfirmRewrite + ` on the Application.

With --wait, exits with 0 once the Application is Ready, and with 1 when the
sync failed or --timeout has passed.`,
		Example: `  kubectl gitseal confirm web -n shop --dry-run=client
  kubectl gitseal confirm web -n shop --wait`,
		Args:              arguments(1, 1),
		RunE:              runPatiently(o),
		ValidArgsFunction: s.completeOneApplication,
	}
	addDryRunFlag(cmd, &o.dryRun)
	cmd.Flags().BoolVar(&o.wait, "wait", false, "Wait until what was confirmed is done.")
	cmd.Flags().DurationVar(&o.timeout, "timeout", 5*time.Minute, "How long to wait.")
	return cmd
}

func (o *confirmOptions) Complete(cmd *cobra.Command, args []string) (err error) {
	o.name = args[0]
	if err := o.dryRun.check(cmd); err != nil {
		return err
	}
	if o.timeout <= 0 {
		return usagef(cmd, "--timeout must be more than 0")
	}
	if o.wait && o.dryRun != dryRunNone {
		return usagef(cmd, "a dry run changes nothing that --wait could wait for")
	}
	o.namespace, err = o.session.namespace()
	return err
}

func (o *confirmOptions) Run(ctx context.Context) error {
	limit := requestTimeout
	if o.wait {
		limit = o.timeout
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	c, err := o.client()
	if err != nil {
		return err
	}
	app, err := getApplication(ctx, c, o.namespace, o.name)
	if err != nil {
		return err
	}
	annotation, err := o.waiting(app)
	if err != nil {
		return err
	}
	if err := o.show(app, annotation); err != nil {
		return err
	}
	confirmed := app.Status.Confirmation.Revision
	annotations := map[string]string{annotation: app.Status.Confirmation.Token}
	requestedAt := o.clock.Now().UTC().Format(time.RFC3339Nano)
	if o.wait {
		annotations[v1alpha1.AnnotationSyncRequestedAt] = requestedAt // its echo is what is waited for
	}
	raw, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": annotations}})
	if err != nil {
		return fmt.Errorf("write the patch: %w", err)
	}
	if err := o.patchApplication(ctx, c, app, raw, o.dryRun); err != nil {
		return err
	}
	fmt.Fprintf(o.Out, "%s confirmed at %s%s\n", resourceName(app), shorten(confirmed), o.dryRun.suffix())
	if !o.wait {
		return nil
	}
	return (&syncWait{session: o.session, client: c, app: app, requestedAt: requestedAt}).run(ctx)
}

// waiting returns the annotation by which what the Application waits for is
// confirmed.
func (o *confirmOptions) waiting(app *v1alpha1.Application) (annotation string, err error) {
	ready := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil || app.Status.Confirmation == nil {
		return "", o.nothing(app)
	}
	switch ready.Reason {
	case v1alpha1.ReasonPruneBlocked:
		return v1alpha1.AnnotationConfirmPrune, nil
	case v1alpha1.ReasonHistoryRewritten:
		return v1alpha1.AnnotationConfirmRewrite, nil
	}
	return "", o.nothing(app)
}

func (o *confirmOptions) nothing(app *v1alpha1.Application) error {
	return withHint(fmt.Errorf("application %q in namespace %q waits for no confirmation", app.Name, app.Namespace),
		"kubectl gitseal status %s -n %s", app.Name, app.Namespace)
}

// show prints what a confirmation brings about.
func (o *confirmOptions) show(app *v1alpha1.Application, annotation string) error {
	waits := app.Status.Confirmation
	if annotation == v1alpha1.AnnotationConfirmRewrite {
		o.sayf("The history of %s was rewritten: %s replaces %s.", describeRef(app.Spec.Source.Git.Ref), shorten(waits.Revision), orNone(shortRevision(app.Status.Source)))
		return nil
	}
	o.sayf("At %s, %s would be pruned.", shorten(waits.Revision), count(waits.Objects, "object"))
	t := o.newTable("KIND", "NAMESPACE", "NAME")
	for _, p := range waits.Prune {
		t.row(groupKind(p), p.Namespace, p.Name)
	}
	if err := t.flush(); err != nil {
		return err
	}
	if more := int(waits.Objects) - len(waits.Prune); more > 0 {
		fmt.Fprintf(o.Out, "... and %d more\n", more)
	}
	return nil
}

// groupKind is KIND[.GROUP].
func groupKind(o v1alpha1.ObjectReference) string {
	if o.Group == "" {
		return o.Kind
	}
	return o.Kind + "." + o.Group
}
