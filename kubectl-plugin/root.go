package kubectlplugin

import (
	"github.com/spf13/cobra"
)

// Groups of verbs in the help text.
const (
	groupFiles   = "files"
	groupCluster = "cluster"
	groupOther   = "other"
)

func newRootCommand(s *session) *cobra.Command {
	root := &cobra.Command{
		Use:         "kubectl-gitseal",
		Annotations: map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl gitseal"},
		Short:       "Encrypt secrets for Git and follow what gitseal syncs from it",
		Long: `Encrypt secrets for Git, and follow what gitseal syncs from it.

A first Application, from the repository that holds its manifests:

  kubectl gitseal keys init --for shop
  kubectl gitseal init web -n shop --path envs/prod
  kubectl gitseal encrypt -i envs/prod/secret.yaml
  git add -A && git commit -m "web, with its secrets" && git push
  kubectl apply -f envs/gitseal/web.yaml
  kubectl gitseal status web -n shop

Data goes to stdout, everything else to stderr. Colour is used on a terminal
only, and not where NO_COLOR is set.`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef(cmd, "unknown command %q", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.ErrOut)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usagef(cmd, "%w", err) })
	addConfigFlags(root, s)
	root.AddGroup(
		&cobra.Group{ID: groupFiles, Title: "In the repository:"},
		&cobra.Group{ID: groupCluster, Title: "In the cluster:"},
		&cobra.Group{ID: groupOther, Title: "Other:"})
	root.SetHelpCommandGroupID(groupOther)
	addGroup(root, groupFiles, newInitCommand(s), newEncryptCommand(s), newDecryptCommand(s),
		newRefsCommand(s), newPolicyForCommand(s), newMigrateCommand(s))
	addGroup(root, groupCluster, newKeysCommand(s), newGetCommand(s), newStatusCommand(s), newSyncCommand(s), newConfirmCommand(s), newStoresCommand(s),
		newSuspendCommand(s), newResumeCommand(s))
	addGroup(root, groupOther, newVersionCommand(s), newCompletionCommand(s))
	root.AddCommand(newExitCodesTopic())
	return root
}

func addGroup(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, command := range commands {
		command.GroupID = group
	}
	root.AddCommand(commands...)
}

// addConfigFlags adds kubectl's flags for reaching a cluster and shows the
// common ones in help texts.
func addConfigFlags(root *cobra.Command, s *session) {
	flags := root.PersistentFlags()
	s.config.AddFlags(flags)
	for _, name := range []string{
		"as-group", "as-uid", "as-user-extra", "certificate-authority", "cluster", "insecure-skip-tls-verify",
		"proxy-url", "server", "tls-server-name", "user",
	} {
		if flag := flags.Lookup(name); flag != nil {
			flag.Hidden = true
		}
	}
	complete(root, "namespace", s.completeNamespaces)
	complete(root, "context", s.completeContexts)
}

// complete sets how the values of a flag are completed.
func complete(cmd *cobra.Command, flag string, f cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, f); err != nil {
		panic(err) // the flag does not exist: every test of this package fails
	}
}

// fixed completes one of the words given.
func fixed(words ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
}
