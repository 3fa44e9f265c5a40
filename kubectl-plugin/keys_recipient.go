package kubectlplugin

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/internal/sops"
)

type keysRecipientOptions struct {
	*session
	key keyLocation
}

// keyLocation finds one key.
type keyLocation struct {
	name              string
	operatorNamespace string
	beside            bool
	namespace         string
}

func (k *keyLocation) addFlags(cmd *cobra.Command) {
	addOperatorNamespaceFlag(cmd, &k.operatorNamespace)
	cmd.Flags().BoolVar(&k.beside, "beside", false, "The key is in the namespace given by -n, next to the Application.")
}

func (k *keyLocation) complete(s *session, args []string) (err error) {
	k.name, k.namespace = defaultKeyName, k.operatorNamespace
	if len(args) > 0 {
		k.name = args[0]
	}
	if k.beside {
		k.namespace, err = s.namespace()
	}
	return err
}

// read reads the key's metadata, and nothing secret.
func (k *keyLocation) read(ctx context.Context, c client.Client) (*metav1.PartialObjectMetadata, error) {
	m := newKeyMetadata()
	if err := c.Get(ctx, client.ObjectKey{Namespace: k.namespace, Name: k.name}, m); err != nil {
		return nil, explainKey(err, k.name, k.namespace)
	}
	return m, nil
}

func newKeysRecipientCommand(s *session) *cobra.Command {
	o := &keysRecipientOptions{session: s}
	cmd := &cobra.Command{
		Use:   "recipient [NAME]",
		Short: "Print the recipient to encrypt to, one per line",
		Long: `Print the recipient of a key (default: ` + defaultKeyName + `), to which secrets are encrypted.

It is read from the metadata of the Secret. Where a key was made by other means
and has no annotation ` + annotationRecipients + `, the Secret itself is read, if you may.`,
		Args:              arguments(0, 1),
		RunE:              runE(o),
		ValidArgsFunction: s.completeKeys(&o.key.operatorNamespace),
	}
	o.key.addFlags(cmd)
	return cmd
}

func (o *keysRecipientOptions) Complete(_ *cobra.Command, args []string) error {
	return o.key.complete(o.session, args)
}

func (o *keysRecipientOptions) Run(ctx context.Context) error {
	c, err := o.client()
	if err != nil {
		return err
	}
	m, err := o.key.read(ctx, c)
	if err != nil {
		return err
	}
	recipients, err := recipientsOf(ctx, c, m)
	if err != nil {
		return err
	}
	for _, recipient := range recipients {
		fmt.Fprintln(o.Out, recipient)
	}
	return nil
}

// recipientsOf takes the recipients from a key's annotation, or derives them
// from the identities.
func recipientsOf(ctx context.Context, c client.Client, m *metav1.PartialObjectMetadata) ([]string, error) {
	if recipients := splitList(m.Annotations[annotationRecipients]); len(recipients) > 0 {
		return recipients, nil
	}
	var key corev1.Secret
	if err := c.Get(ctx, client.ObjectKeyFromObject(m), &key); err != nil {
		return nil, withHint(fmt.Errorf("key %q has no annotation %s, and to read the Secret itself: %w", m.Name, annotationRecipients, err),
			"ask its owner for the recipient")
	}
	ring := sops.NewKeyring()
	if err := ring.AddSecret(fmt.Sprintf("key %q", m.Name), key.Data); err != nil {
		return nil, err
	}
	return ring.Recipients(), nil
}
