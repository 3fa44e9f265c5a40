package kubectlplugin

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/store"
	"github.com/gitseal/gitseal/providers"
	"github.com/gitseal/gitseal/providers/aws"
	"github.com/gitseal/gitseal/providers/gcp"
	"github.com/gitseal/gitseal/providers/vault"
)

// policyWriter writes the least rights that reading the uses takes.
type policyWriter struct {
	provider string  // the field of spec.provider
	member   *string // nil: none is needed
	write    func(spec v1alpha1.StoreProvider, uses []providers.Use) ([]byte, error)
}

type policyForOptions struct {
	*session
	tree      tree
	storeName string
	writer    policyWriter
}

func newPolicyForCommand(s *session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy-for",
		Short: "Write the least rights at a provider that a tree needs",
		Long: `Write the least rights at a provider that the ExternalSecrets of a tree need: to
read these keys and no others. The stores are those of the tree or of the cluster.

What a search (dataFrom.find) will find is not known before: its path is allowed, as
far as the provider can tell paths apart.`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newPolicyForAWS(s), newPolicyForGCP(s), newPolicyForVault(s))
	return cmd
}

func newPolicyForAWS(s *session) *cobra.Command {
	account := aws.Account{}
	cmd := newPolicyCommand(s, "aws", "An IAM policy, as JSON, for the role or user of a store", policyWriter{provider: "aws",
		write: func(spec v1alpha1.StoreProvider, uses []providers.Use) ([]byte, error) {
			return aws.Policy(*spec.AWS, uses, account)
		}})
	cmd.Flags().StringVar(&account.ID, "account", "*", "The account that owns the secrets.")
	cmd.Flags().StringVar(&account.Partition, "partition", "aws", "Its partition: aws, aws-cn or aws-us-gov.")
	complete(cmd, "partition", fixed("aws", "aws-cn", "aws-us-gov"))
	return cmd
}

func newPolicyForGCP(s *session) *cobra.Command {
	var member string
	cmd := newPolicyCommand(s, "gcp", "IAM policies, as JSON by resource, for a member", policyWriter{provider: "gcpsm", member: &member,
		write: func(spec v1alpha1.StoreProvider, uses []providers.Use) ([]byte, error) {
			return gcp.Policy(*spec.GCPSM, uses, member)
		}})
	cmd.Flags().StringVar(&member, "member", "", "Whom to grant it: serviceAccount:EMAIL, or principal://...")
	return cmd
}

func newPolicyForVault(s *session) *cobra.Command {
	return newPolicyCommand(s, "vault", "A policy of Vault or OpenBao, as HCL", policyWriter{provider: "vault",
		write: func(spec v1alpha1.StoreProvider, uses []providers.Use) ([]byte, error) {
			return vault.Policy(*spec.Vault, uses)
		}})
}

func newPolicyCommand(s *session, name, short string, w policyWriter) *cobra.Command {
	o := &policyForOptions{session: s, writer: w}
	cmd := &cobra.Command{
		Use: name + " -f DIRECTORY", Short: short, Args: arguments(0, 0), RunE: runE(o),
		Example: "  kubectl gitseal policy-for " + name + " -f envs/prod --store shop",
	}
	o.tree.addFlags(cmd)
	cmd.Flags().StringVar(&o.storeName, "store", "", "The store, as [KIND/]NAME. Default: the only one of this provider that the tree uses.")
	complete(cmd, "store", s.completeStore)
	return cmd
}

// Complete implements verb.
func (o *policyForOptions) Complete(cmd *cobra.Command, _ []string) error {
	if o.tree.dir == "" {
		return usagef(cmd, "name the directory of manifests with -f")
	}
	if o.writer.member != nil && *o.writer.member == "" {
		return usagef(cmd, "say with --member whom to grant it, for instance serviceAccount:EMAIL")
	}
	if o.storeName != "" {
		kind, name := cutStore(o.storeName)
		o.storeName = kind + "/" + name
	}
	return o.tree.complete(o.session, cmd)
}

// Run implements verb.
func (o *policyForOptions) Run(ctx context.Context) error {
	c, err := o.tree.read(ctx)
	if err != nil {
		return err
	}
	uses, order := map[string][]providers.Use{}, []string(nil)
	refs := map[string]v1alpha1.StoreReference{}
	for _, r := range c.references {
		name := storeName(r.Store)
		if _, known := uses[name]; !known {
			order, refs[name] = append(order, name), r.Store
		}
		uses[name] = append(uses[name], providers.Use{Ref: r.Ref, Find: r.Find})
	}
	found, err := o.choose(ctx, c, order, refs)
	if err != nil {
		return err
	}
	raw, err := o.writer.write(found.Spec.Provider, uses[storeName(found.Reference())])
	if err != nil {
		return fmt.Errorf("write the policy for %s: %w", found, err)
	}
	_, err = o.Out.Write(raw)
	return err
}

// choose finds the store that was asked for, or else the only one of the
// provider.
func (o *policyForOptions) choose(ctx context.Context, c content, order []string, refs map[string]v1alpha1.StoreReference) (store.Store, error) {
	var fitting []store.Store
	for _, name := range order {
		if o.storeName != "" && name != o.storeName {
			continue
		}
		found, err := o.find(ctx, c, refs[name])
		if err != nil {
			return store.Store{}, err
		}
		if found.Provider() == o.writer.provider {
			fitting = append(fitting, found)
		}
	}
	what := "with provider " + o.writer.provider
	if o.storeName != "" {
		what = o.storeName + " " + what
	}
	switch len(fitting) {
	case 0:
		return store.Store{}, withHint(fmt.Errorf("%s uses no store %s", o.tree.dir, what),
			"'kubectl gitseal refs -f %s' lists what it uses", o.tree.dir)
	case 1:
		return fitting[0], nil
	}
	var names []string
	for _, s := range fitting {
		names = append(names, storeName(s.Reference()))
	}
	return store.Store{}, withHint(fmt.Errorf("%s uses %d stores %s", o.tree.dir, len(fitting), what),
		"choose one with --store: %s", strings.Join(names, ", "))
}

// find looks in the tree, then in the cluster, as the operator does.
func (o *policyForOptions) find(ctx context.Context, c content, ref v1alpha1.StoreReference) (store.Store, error) {
	for _, s := range c.stores {
		if s.Reference() == ref {
			return s, nil
		}
	}
	var found storeObject
	api, err := o.client()
	if err == nil {
		found, err = getStore(ctx, api, o.tree.namespace, storeName(ref))
	}
	if err != nil {
		return store.Store{}, withHint(fmt.Errorf("%s is not in the tree, and cannot be had from the cluster: %w", storeName(ref), err),
			"add its manifest to the tree, or set KUBECONFIG to a cluster that has it")
	}
	return store.Store{Kind: found.kind, Name: found.object.GetName(), Namespace: found.object.GetNamespace(), Spec: *found.spec}, nil
}
