package kubectlplugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

type syncOptions struct {
	*session
	target  target
	dryRun  dryRun
	wait    bool
	refresh bool
	timeout time.Duration
}

func newSyncCommand(s *session) *cobra.Command {
	o := &syncOptions{session: s}
	cmd := &cobra.Command{
		Use:   "sync {APP... | -l SELECTOR | --all}",
		Short: "Ask the operator to look at Git and sync now",
		Long: `Ask the operator to look at Git and sync now, by setting the annotation
` + v1alpha1.AnnotationSyncRequestedAt + `.

With --refresh, the values of an Application with policy External are read again
from their stores, however young they are.

With --wait, exits with 0 once the request was carried out and the Application is
Ready, and with 1 when the sync failed or --timeout has passed.`,
		Args:              arguments(0, -1),
		RunE:              runPatiently(o),
		ValidArgsFunction: s.completeApplications,
	}
	o.target.addFlags(cmd)
	addDryRunFlag(cmd, &o.dryRun)
	cmd.Flags().BoolVar(&o.refresh, "refresh", false, "Read the values of policy External again.")
	cmd.Flags().BoolVar(&o.wait, "wait", false, "Wait until the sync was carried out.")
	cmd.Flags().DurationVar(&o.timeout, "timeout", 5*time.Minute, "How long to wait, for all Applications together.")
	return cmd
}

func (o *syncOptions) Complete(cmd *cobra.Command, args []string) error {
	if err := o.dryRun.check(cmd); err != nil {
		return err
	}
	if o.timeout <= 0 {
		return usagef(cmd, "--timeout must be more than 0")
	}
	if o.wait && o.dryRun != dryRunNone {
		return usagef(cmd, "a dry run changes nothing that --wait could wait for")
	}
	return o.target.complete(o.session, cmd, args)
}

func (o *syncOptions) Run(ctx context.Context) error {
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
	apps, err := o.target.find(ctx, c)
	if err != nil {
		return err
	}
	requestedAt := o.clock.Now().UTC().Format(time.RFC3339Nano)
	for i := range apps {
		if err := o.request(ctx, c, &apps[i], requestedAt); err != nil {
			return err
		}
	}
	if !o.wait {
		return nil
	}
	return o.waitForAll(ctx, c, apps, requestedAt)
}

// request asks for a sync of one Application; app is then as the cluster has it.
func (o *syncOptions) request(ctx context.Context, c client.Client, app *v1alpha1.Application, requestedAt string) error {
	if isSuspended(app.Spec.Suspend, o.clock.Now()) {
		return withHint(fmt.Errorf("application %q is suspended%s", app.Name, describeSuspend(app.Spec.Suspend)),
			"kubectl gitseal resume %s -n %s", app.Name, app.Namespace)
	}
	annotations := map[string]string{v1alpha1.AnnotationSyncRequestedAt: requestedAt}
	if o.refresh {
		if policy := app.Spec.Secrets.Policy; policy != v1alpha1.PolicyExternal {
			return withHint(fmt.Errorf("application %q has policy %s, and so no values to read again", app.Name, policy), "leave out --refresh")
		}
		annotations[v1alpha1.AnnotationRefreshRequestedAt] = requestedAt
	}
	raw, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": annotations}})
	if err != nil {
		return fmt.Errorf("write the patch: %w", err)
	}
	if err := o.patchApplication(ctx, c, app, raw, o.dryRun); err != nil {
		return err
	}
	fmt.Fprintf(o.Out, "%s sync requested%s\n", resourceName(app), o.dryRun.suffix())
	return nil
}

// waitForAll waits for one Application after the other: their syncs run at the
// same time in the operator, and each watch starts where its patch left off.
// Failures are printed as they are found, so that one does not hide the next.
func (o *syncOptions) waitForAll(ctx context.Context, c client.WithWatch, apps []v1alpha1.Application, requestedAt string) error {
	failed := false
	for i := range apps {
		w := &syncWait{session: o.session, client: c, app: &apps[i], requestedAt: requestedAt}
		err := w.run(ctx)
		if errors.Is(err, context.Canceled) {
			return err
		}
		if err != nil {
			o.printError(err)
			failed = true
		}
	}
	if failed {
		return errSilent
	}
	return nil
}
