package kubectlplugin

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

type keysAllowOptions struct {
	*session
	key        keyLocation
	namespaces []string
	replace    bool
	dryRun     dryRun
}

func newKeysAllowCommand(s *session) *cobra.Command {
	o := &keysAllowOptions{session: s}
	cmd := &cobra.Command{
		Use:   "allow NAME --for NAMESPACES",
		Short: "Let more namespaces use a key",
		Example: `  kubectl gitseal keys allow sops-age --for shop-staging
  kubectl gitseal keys allow sops-age --for shop --only`,
		Args:              arguments(1, 1),
		RunE:              runE(o),
		ValidArgsFunction: s.completeKeys(&o.key.operatorNamespace),
	}
	addForFlag(s, cmd, &o.namespaces)
	addOperatorNamespaceFlag(cmd, &o.key.operatorNamespace)
	cmd.Flags().BoolVar(&o.replace, "only", false, "Allow these namespaces and no others any more.")
	addDryRunFlag(cmd, &o.dryRun)
	return cmd
}

func (o *keysAllowOptions) Complete(cmd *cobra.Command, args []string) (err error) {
	if err := o.dryRun.check(cmd); err != nil {
		return err
	}
	if len(o.namespaces) == 0 {
		return usagef(cmd, "--for must name the namespaces to allow")
	}
	if o.namespaces, err = checkNamespaces(cmd, o.namespaces); err != nil {
		return err
	}
	return o.key.complete(o.session, args)
}

func (o *keysAllowOptions) Run(ctx context.Context) error {
	c, err := o.client()
	if err != nil {
		return err
	}
	m, err := o.key.read(ctx, c)
	if err != nil {
		return err
	}
	if !isKey(m) {
		return withHint(fmt.Errorf("secret %q in namespace %q is not a key", m.Name, m.Namespace), "'kubectl gitseal keys list' shows the keys there are")
	}
	allowed := o.namespaces
	if !o.replace {
		allowed = normalise(append(allowedNamespaces(m), allowed...))
	}
	before := m.DeepCopy()
	m.Annotations[v1alpha1.AnnotationAllowedNamespaces] = strings.Join(allowed, ",") // not nil: isKey found one
	if o.dryRun != dryRunClient {
		patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
		if err := c.Patch(ctx, m, patch, o.dryRun.patch()...); err != nil {
			return fmt.Errorf("change key %q in namespace %q: %w", o.key.name, o.key.namespace, err)
		}
	}
	fmt.Fprintf(o.Out, "key %s may be used from %s%s\n", o.key.name, strings.Join(allowed, ", "), o.dryRun.suffix())
	return nil
}
