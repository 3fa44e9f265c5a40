package kubectlplugin

import (
	"context"

	"github.com/spf13/cobra"
)

type resumeOptions struct {
	*session
	target target
	dryRun dryRun
}

func newResumeCommand(s *session) *cobra.Command {
	o := &resumeOptions{session: s}
	cmd := &cobra.Command{
		Use:               "resume {APP... | -l SELECTOR | --all}",
		Short:             "Go on syncing suspended Applications",
		Args:              arguments(0, -1),
		RunE:              runE(o),
		ValidArgsFunction: s.completeApplications,
	}
	o.target.addFlags(cmd)
	addDryRunFlag(cmd, &o.dryRun)
	return cmd
}

func (o *resumeOptions) Complete(cmd *cobra.Command, args []string) error {
	if err := o.dryRun.check(cmd); err != nil {
		return err
	}
	return o.target.complete(o.session, cmd, args)
}

func (o *resumeOptions) Run(ctx context.Context) error {
	return o.patchSpec(ctx, specPatch{target: &o.target, dryRun: o.dryRun, done: "resumed"})
}
