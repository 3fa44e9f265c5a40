package kubectlplugin

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

const (
	defaultKeyName = "sops-age"

	// annotationRecipients holds a key's public recipients, so that listing
	// keys and encrypting to them needs metadata only, never the Secret's data.
	annotationRecipients = "gitseal.dev/recipients"

	labelManagedBy = "app.kubernetes.io/managed-by"
	managedBy      = "kubectl-gitseal"
)

func newKeysCommand(s *session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Make and look up the keys that the operator decrypts with",
		Long: `Make and look up the keys that the operator decrypts with.

A key is a Secret in the operator's own namespace, usable only from the namespaces
that it names. Whoever deploys an Application encrypts to its recipient and cannot
read the key.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef(cmd, "unknown command %q", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newKeysInitCommand(s), newKeysListCommand(s), newKeysRecipientCommand(s), newKeysAllowCommand(s))
	return cmd
}

func addOperatorNamespaceFlag(cmd *cobra.Command, namespace *string) {
	cmd.Flags().StringVar(namespace, "operator-namespace", v1alpha1.OperatorNamespace, "Where the operator and its keys are.")
}

func addForFlag(s *session, cmd *cobra.Command, namespaces *[]string) {
	cmd.Flags().StringSliceVar(namespaces, "for", nil, "Namespaces whose Applications may use the key, separated by commas.")
	complete(cmd, "for", s.completeNamespaces)
}

// checkNamespaces returns the namespaces sorted, each once.
func checkNamespaces(cmd *cobra.Command, namespaces []string) ([]string, error) {
	for _, namespace := range namespaces {
		if problems := validation.IsDNS1123Label(namespace); len(problems) > 0 {
			return nil, usagef(cmd, "--for: %q is not the name of a namespace", namespace)
		}
	}
	return normalise(namespaces), nil
}

// normalise returns the names sorted, each once.
func normalise(names []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(names)))
}

// allowedNamespaces reads the annotation of a key exactly as the operator does:
// what it takes for one name, no other reading may split.
func allowedNamespaces(key metav1.Object) []string {
	var names []string
	for name := range strings.SplitSeq(key.GetAnnotations()[v1alpha1.AnnotationAllowedNamespaces], ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// splitList reads recipients separated by commas or blanks.
func splitList(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\t' })
}

// newKeyMetadata is a Secret of which only the metadata is asked for.
func newKeyMetadata() *metav1.PartialObjectMetadata {
	key := &metav1.PartialObjectMetadata{}
	key.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "Secret"})
	return key
}

func newKeyMetadataList() *metav1.PartialObjectMetadataList {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "SecretList"})
	return list
}

// isKey tells keys from other Secrets by what this plugin writes on them, or
// by the annotation that a hand-made key needs to be usable at all.
func isKey(m *metav1.PartialObjectMetadata) bool {
	_, allowed := m.Annotations[v1alpha1.AnnotationAllowedNamespaces]
	_, recipients := m.Annotations[annotationRecipients]
	return allowed || recipients
}

// completeKeys completes the only argument, or the flag, that names a key.
func (s *session) completeKeys(namespace *string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		kind := schema.GroupVersionKind{Version: "v1", Kind: "SecretList"}
		return without(s.names(cmd.Context(), kind, client.InNamespace(*namespace)), args), cobra.ShellCompDirectiveNoFileComp
	}
}

// explainKey says which key could not be read.
func explainKey(err error, name, namespace string) error {
	missing := apierrors.IsNotFound(err)
	err = fmt.Errorf("read key %q in namespace %q: %w", name, namespace, err)
	if missing {
		return withHint(err, "'kubectl gitseal keys list' shows the keys there are")
	}
	return err
}
