package kubectlplugin

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

type suspendOptions struct {
	*session
	target target
	dryRun dryRun
	reason string
	until  string
	end    time.Time // until, read; zero: without end
}

func newSuspendCommand(s *session) *cobra.Command {
	o := &suspendOptions{session: s}
	cmd := &cobra.Command{
		Use:   "suspend {APP... | -l SELECTOR | --all}",
		Short: "Stop syncing Applications for a while",
		Long: `Stop syncing Applications: nothing is applied, pruned or put back until 'resume',
or until the time given by --until. What runs in the cluster keeps running.`,
		Example: `  kubectl gitseal suspend web --reason "database migration" --until 2h
  kubectl gitseal suspend --all --until 2030-01-31T06:00:00Z`,
		Args:              arguments(0, -1),
		RunE:              runE(o),
		ValidArgsFunction: s.completeApplications,
	}
	o.target.addFlags(cmd)
	addDryRunFlag(cmd, &o.dryRun)
	cmd.Flags().StringVar(&o.reason, "reason", "", "Why, for those who find it suspended.")
	cmd.Flags().StringVar(&o.until, "until", "", "When work goes on by itself: a duration from now (2h) or a time (RFC 3339).")
	return cmd
}

func (o *suspendOptions) Complete(cmd *cobra.Command, args []string) (err error) {
	if err := o.dryRun.check(cmd); err != nil {
		return err
	}
	if o.end, err = parseUntil(o.until, o.clock.Now()); err != nil {
		return usagef(cmd, "--until: %w", err)
	}
	return o.target.complete(o.session, cmd, args)
}

func (o *suspendOptions) Run(ctx context.Context) error {
	suspend := map[string]any{"reason": nil, "until": nil} // null: what an earlier suspend said is gone
	if o.reason != "" {
		suspend["reason"] = o.reason
	}
	if !o.end.IsZero() {
		suspend["until"] = o.end.UTC().Format(time.RFC3339)
	}
	return o.patchSpec(ctx, specPatch{target: &o.target, dryRun: o.dryRun, suspend: suspend, done: "suspended"})
}

// parseUntil reads a duration from now or a time, which must be to come.
func parseUntil(until string, now time.Time) (time.Time, error) {
	if until == "" {
		return time.Time{}, nil
	}
	end, err := time.Parse(time.RFC3339, until)
	if d, durationErr := time.ParseDuration(until); durationErr == nil {
		end, err = now.Add(d), nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is neither a duration such as 2h nor a time such as 2030-01-31T06:00:00Z", until)
	}
	if !end.After(now) {
		return time.Time{}, fmt.Errorf("%q is not in the future", until)
	}
	return end, nil
}

// specPatch changes whether Applications are suspended.
type specPatch struct {
	target  *target
	dryRun  dryRun
	suspend any // nil: running
	done    string
}

// patchSpec carries out p for each Application and says so as kubectl does.
func (s *session) patchSpec(ctx context.Context, p specPatch) error {
	raw, err := json.Marshal(map[string]any{"spec": map[string]any{"suspend": p.suspend}})
	if err != nil {
		return fmt.Errorf("write the patch: %w", err)
	}
	c, err := s.client()
	if err != nil {
		return err
	}
	apps, err := p.target.find(ctx, c)
	if err != nil {
		return err
	}
	for i := range apps {
		app := &apps[i]
		if err := s.patchApplication(ctx, c, app, raw, p.dryRun); err != nil {
			return err
		}
		fmt.Fprintf(s.Out, "%s %s%s\n", resourceName(app), p.done, p.dryRun.suffix())
	}
	return nil
}

// patchApplication sends a merge patch, unless this is a client-side dry run.
func (s *session) patchApplication(ctx context.Context, c client.Client, app *v1alpha1.Application, raw []byte, d dryRun) error {
	if d == dryRunClient {
		return nil
	}
	if err := c.Patch(ctx, app, client.RawPatch(types.MergePatchType, raw), d.patch()...); err != nil {
		return fmt.Errorf("change application %q in namespace %q: %w", app.Name, app.Namespace, err)
	}
	return nil
}

func isSuspended(suspend *v1alpha1.Suspend, now time.Time) bool {
	return suspend != nil && (suspend.Until == nil || now.Before(suspend.Until.Time))
}

// describeSuspend continues a sentence: " until TIME: REASON".
func describeSuspend(suspend *v1alpha1.Suspend) string {
	var text string
	if suspend.Until != nil {
		text += " until " + suspend.Until.UTC().Format(time.RFC3339)
	}
	if suspend.Reason != "" {
		text += ": " + suspend.Reason
	}
	return text
}
