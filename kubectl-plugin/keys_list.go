package kubectlplugin

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

type keysListOptions struct {
	*session
	operatorNamespace string
	beside            bool
	output            string
	namespace         string
}

// keyEntry is one key in the list. Its fields are chosen one by one: an
// annotation of kubectl apply may hold the private key.
type keyEntry struct {
	Name              string      `json:"name"`
	Namespace         string      `json:"namespace"`
	AllowedNamespaces []string    `json:"allowedNamespaces,omitempty"`
	Recipients        []string    `json:"recipients,omitempty"`
	Created           metav1.Time `json:"created"`
}

func newKeysListCommand(s *session) *cobra.Command {
	o := &keysListOptions{session: s}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List keys, the namespaces that may use them and their recipients",
		Long: `List keys, the namespaces that may use them and their recipients, from the metadata
of Secrets alone: the keys themselves are not read.`,
		Args: arguments(0, 0),
		RunE: runE(o),
	}
	addOperatorNamespaceFlag(cmd, &o.operatorNamespace)
	cmd.Flags().BoolVar(&o.beside, "beside", false, "List keys in the namespace given by -n, next to the Applications.")
	addDocumentFlag(cmd, &o.output)
	return cmd
}

func (o *keysListOptions) Complete(cmd *cobra.Command, _ []string) (err error) {
	if err := checkDocumentFormat(cmd, o.output); err != nil {
		return err
	}
	o.namespace = o.operatorNamespace
	if o.beside {
		o.namespace, err = o.session.namespace()
	}
	return err
}

func (o *keysListOptions) Run(ctx context.Context) error {
	c, err := o.client()
	if err != nil {
		return err
	}
	list := newKeyMetadataList()
	if err := c.List(ctx, list, client.InNamespace(o.namespace)); err != nil {
		return fmt.Errorf("list keys in namespace %q: %w", o.namespace, err)
	}
	keys := []keyEntry{}
	for i := range list.Items {
		if m := &list.Items[i]; isKey(m) {
			keys = append(keys, newKeyEntry(m))
		}
	}
	if o.output != "" {
		return o.printDocument(o.output, keys)
	}
	if len(keys) == 0 {
		o.sayf("No keys found in %s namespace.", o.namespace)
		return nil
	}
	t := o.newTable("NAME", "ALLOWED NAMESPACES", "RECIPIENTS", "AGE")
	for _, k := range keys {
		t.row(k.Name, orNone(strings.Join(k.AllowedNamespaces, ",")), orNone(abbreviate(k.Recipients)), o.age(k.Created))
	}
	return t.flush()
}

func newKeyEntry(m *metav1.PartialObjectMetadata) keyEntry {
	return keyEntry{
		Name: m.Name, Namespace: m.Namespace, Created: m.CreationTimestamp,
		AllowedNamespaces: allowedNamespaces(m),
		Recipients:        splitList(m.Annotations[annotationRecipients]),
	}
}

// abbreviate keeps a post-quantum recipient, which has 1,959 letters, from
// filling the screen; 'keys recipient' prints it in full.
func abbreviate(recipients []string) string {
	const most = 62 // what an X25519 recipient has
	var short []string
	for _, r := range recipients {
		if len(r) > most {
			r = r[:most-3] + "..."
		}
		short = append(short, r)
	}
	return strings.Join(short, ",")
}
