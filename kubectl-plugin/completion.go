package kubectlplugin

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// completionTimeout bounds a lookup while somebody waits at a prompt.
const completionTimeout = 3 * time.Second

// kubectlHelper is the program that kubectl runs to complete a plugin's words.
const kubectlHelper = `#!/bin/sh
# Completes 'kubectl gitseal': kubectl runs kubectl_complete-NAME from the PATH.
exec kubectl-gitseal __complete "$@"
`

type completionOptions struct {
	*session
	shell string
	root  *cobra.Command
}

func newCompletionCommand(s *session) *cobra.Command {
	o := &completionOptions{session: s}
	shells := []string{"bash", "zsh", "fish", "powershell", "kubectl"}
	return &cobra.Command{
		Use:       "completion SHELL",
		Short:     "Print the completion script of a shell",
		ValidArgs: shells,
		Long: `Print the completion script of a shell: bash, zsh, fish or powershell. It
completes the command kubectl-gitseal. Names of Applications, keys, namespaces
and contexts are completed from the cluster.

To complete 'kubectl gitseal' as well, kubectl needs a program by the name of
kubectl_complete-gitseal in the PATH; 'completion kubectl' prints it.`,
		Example: `  source <(kubectl gitseal completion bash)

  kubectl gitseal completion kubectl > ~/.local/bin/kubectl_complete-gitseal
  chmod +x ~/.local/bin/kubectl_complete-gitseal`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(shells, args[0]) {
				return usagef(cmd, "name one of %s", strings.Join(shells, ", "))
			}
			return nil
		},
		RunE: runE(o),
	}
}

func (o *completionOptions) Complete(cmd *cobra.Command, args []string) error {
	o.shell, o.root = args[0], cmd.Root()
	return nil
}

func (o *completionOptions) Run(context.Context) error {
	var err error
	switch o.shell {
	case "bash":
		err = o.root.GenBashCompletionV2(o.Out, true)
	case "zsh":
		err = o.root.GenZshCompletion(o.Out)
	case "fish":
		err = o.root.GenFishCompletion(o.Out, true)
	case "powershell":
		err = o.root.GenPowerShellCompletionWithDesc(o.Out)
	default:
		_, err = io.WriteString(o.Out, kubectlHelper)
	}
	if err != nil {
		return fmt.Errorf("write the completion script for %s: %w", o.shell, err)
	}
	return nil
}

// completeApplications completes names of Applications in the namespace.
func (s *session) completeApplications(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	namespace, err := s.namespace()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names := s.names(cmd.Context(), v1alpha1.GroupVersion.WithKind("ApplicationList"), client.InNamespace(namespace))
	return without(names, args), cobra.ShellCompDirectiveNoFileComp
}

// completeOneApplication completes the only argument of a verb.
func (s *session) completeOneApplication(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return s.completeApplications(cmd, args, word)
}

func (s *session) completeNamespaces(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	kind := schema.GroupVersionKind{Version: "v1", Kind: "NamespaceList"}
	return s.names(cmd.Context(), kind), cobra.ShellCompDirectiveNoFileComp
}

func (s *session) completeContexts(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	config, err := s.config.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for name := range config.Contexts {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, cobra.ShellCompDirectiveNoFileComp
}

// names lists what exists, by metadata only. At a prompt an error is no answer.
func (s *session) names(ctx context.Context, kind schema.GroupVersionKind, options ...client.ListOption) []string {
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	c, err := s.client()
	if err != nil {
		return nil
	}
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(kind)
	if err := c.List(ctx, list, options...); err != nil {
		return nil
	}
	var names []string
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	return names
}

// without is names except those taken.
func without(names, taken []string) []string {
	return slices.DeleteFunc(names, func(name string) bool { return slices.Contains(taken, name) })
}
