package kubectlplugin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/printers"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/secret"
)

type keysInitOptions struct {
	*session
	name              string
	namespaces        []string
	operatorNamespace string
	beside            bool
	postQuantum       bool
	reveal            bool
	output            string
	dryRun            dryRun

	namespace string // of the key
	printer   printers.ResourcePrinter
}

func newKeysInitCommand(s *session) *cobra.Command {
	o := &keysInitOptions{session: s}
	cmd := &cobra.Command{
		Use:   "init [NAME]",
		Short: "Make an age key for the operator and print its recipient",
		Long: `Make an age key for the operator and print its recipient, to which secrets are
then encrypted. The key is stored as a Secret (default name: ` + defaultKeyName + `) in the operator's
namespace, where only the operator reads it, and usable only from the namespaces
given by --for.

--beside stores it next to the Application instead, as Flux does, with a Role that
lets the operator read that one Secret. Whoever may read Secrets there then reads
the key: without --beside is the stronger choice.

An existing key is never replaced.`,
		Example: `  kubectl gitseal keys init --for shop,shop-staging
  kubectl gitseal keys init team-a --pq --for team-a
  kubectl gitseal keys init --beside -n shop`,
		Args: arguments(0, 1),
		RunE: runE(o),
	}
	addForFlag(s, cmd, &o.namespaces)
	addOperatorNamespaceFlag(cmd, &o.operatorNamespace)
	cmd.Flags().BoolVar(&o.beside, "beside", false, "Store the key in the namespace given by -n, next to the Application.")
	cmd.Flags().BoolVar(&o.postQuantum, "pq", false, "Make a hybrid post-quantum key (ML-KEM-768 with X25519).")
	cmd.Flags().BoolVar(&o.reveal, "reveal", false, "Let --dry-run -o write the private key to a terminal.")
	addDryRunFlag(cmd, &o.dryRun)
	addDocumentFlag(cmd, &o.output)
	cmd.Flags().Lookup("output").Usage = "With --dry-run: print the objects, private key included, as json or yaml."
	return cmd
}

func (o *keysInitOptions) Complete(cmd *cobra.Command, args []string) (err error) {
	o.name = defaultKeyName
	if len(args) > 0 {
		o.name = args[0]
	}
	if err := o.dryRun.check(cmd); err != nil {
		return err
	}
	switch {
	case o.beside && len(o.namespaces) > 0:
		return usagef(cmd, "a key beside its Application is usable from its own namespace: leave out --for")
	case !o.beside && len(o.namespaces) == 0:
		return usagef(cmd, "--for must name the namespaces whose Applications may use the key")
	case o.output != "" && o.dryRun == dryRunNone:
		return usagef(cmd, "-o prints the private key and needs --dry-run=client")
	}
	if o.namespaces, err = checkNamespaces(cmd, o.namespaces); err != nil {
		return err
	}
	if o.output != "" {
		if o.printer, err = genericclioptions.NewJSONYamlPrintFlags().ToPrinter(o.output); err != nil {
			return usagef(cmd, "%w", err)
		}
		o.printer = printers.NewTypeSetter(newScheme()).ToPrinter(o.printer)
	}
	o.namespace = o.operatorNamespace
	if o.beside {
		o.namespace, err = o.session.namespace()
	}
	return err
}

func (o *keysInitOptions) Run(ctx context.Context) error {
	if o.output != "" && !o.reveal && o.isTerminal(o.Out) {
		return withHint(errors.New("a private key is not written to a terminal"), "add --reveal, or send the output to a program or a file")
	}
	identity, recipient, err := generateIdentity(o.postQuantum)
	if err != nil {
		return fmt.Errorf("make an age key: %w", err)
	}
	objects := o.objects(identity, recipient)
	if o.dryRun != dryRunClient {
		if err := o.create(ctx, objects); err != nil {
			return err
		}
	}
	if o.output != "" {
		return o.printObjects(objects)
	}
	if o.dryRun != dryRunNone {
		o.sayf("key %q would be made in namespace %q%s; the recipient is known once it is", o.name, o.namespace, o.dryRun.suffix())
		return nil
	}
	fmt.Fprintln(o.Out, recipient)
	o.sayNext()
	return nil
}

// generateIdentity makes a private key and its public recipient.
func generateIdentity(postQuantum bool) (secret.Value, string, error) {
	if postQuantum {
		identity, err := age.GenerateHybridIdentity()
		if err != nil {
			return secret.Value{}, "", err
		}
		return secret.NewValue([]byte(identity.String())), identity.Recipient().String(), nil
	}
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return secret.Value{}, "", err
	}
	return secret.NewValue([]byte(identity.String())), identity.Recipient().String(), nil
}

// objects are the key and, beside an Application, what lets the operator in.
// The key comes last: where it cannot be made, nothing secret is left behind.
func (o *keysInitOptions) objects(identity secret.Value, recipient string) []client.Object {
	key := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name: o.name, Namespace: o.namespace,
			Labels:      map[string]string{labelManagedBy: managedBy},
			Annotations: map[string]string{annotationRecipients: recipient},
		},
		Type: corev1.SecretTypeOpaque,
		Data: map[string][]byte{"identity" + v1alpha1.AgeKeySuffix: fmt.Appendf(nil, "# created: %s\n# public key: %s\n%s\n",
			o.clock.Now().UTC().Format(time.RFC3339), recipient, identity.Reveal())},
	}
	if !o.beside {
		key.Annotations[v1alpha1.AnnotationAllowedNamespaces] = strings.Join(o.namespaces, ",")
		return []client.Object{key}
	}
	a := access{name: "gitseal-key-" + o.name, namespace: o.namespace, operatorNamespace: o.operatorNamespace, secrets: []string{o.name}}
	return []client.Object{a.role(), a.roleBinding(), key}
}

// create asks the cluster first whether it would accept everything, so that
// an existing key or a missing right is known before anything is made.
func (o *keysInitOptions) create(ctx context.Context, objects []client.Object) error {
	c, err := o.client()
	if err != nil {
		return err
	}
	for _, object := range objects {
		probe := object.DeepCopyObject().(client.Object)
		if err := c.Create(ctx, probe, fieldOwner, client.DryRunAll); err != nil && !tolerable(object, err) {
			return o.explainRefusal(object, err)
		}
	}
	if o.dryRun == dryRunServer {
		return nil
	}
	for _, object := range objects {
		if err := c.Create(ctx, object, fieldOwner); err != nil && !tolerable(object, err) {
			return o.explainRefusal(object, err)
		}
	}
	return nil
}

// tolerable lets access rights stand that an interrupted run left behind: they
// have one shape for one name.
func tolerable(object client.Object, err error) bool {
	_, isSecret := object.(*corev1.Secret)
	return !isSecret && apierrors.IsAlreadyExists(err)
}

// explainRefusal keeps to the reason: the server's text may quote what it was
// sent.
func (o *keysInitOptions) explainRefusal(object client.Object, err error) error {
	switch {
	case apierrors.IsAlreadyExists(err):
		return withHint(fmt.Errorf("key %q exists in namespace %q and is not replaced", o.name, o.namespace),
			"'kubectl gitseal keys recipient %s' prints its recipient; 'keys allow %s --for NAMESPACE' lets one more namespace use it", o.name, o.name)
	case apierrors.IsNotFound(err):
		return withHint(fmt.Errorf("namespace %q does not exist", o.namespace), "install gitseal first, or create the namespace")
	case apierrors.IsForbidden(err):
		return withHint(fmt.Errorf("you may not create %s %q in namespace %q", kindOf(object), object.GetName(), o.namespace),
			"ask whoever runs the cluster to make the key, or for this right")
	case apierrors.ReasonForError(err) != metav1.StatusReasonUnknown:
		return fmt.Errorf("create %s %q in namespace %q: refused by the cluster as %s", kindOf(object), object.GetName(), o.namespace, apierrors.ReasonForError(err))
	}
	return fmt.Errorf("create %s %q in namespace %q: %w", kindOf(object), object.GetName(), o.namespace, err)
}

func (o *keysInitOptions) printObjects(objects []client.Object) error {
	for _, object := range objects {
		if err := o.printer.PrintObj(object, o.Out); err != nil {
			return fmt.Errorf("print %s %q: %w", kindOf(object), object.GetName(), err)
		}
	}
	return nil
}

func (o *keysInitOptions) sayNext() {
	o.sayf("Key %q is in namespace %q; the line on stdout is its recipient, which is public.", o.name, o.namespace)
	if o.beside {
		o.sayf("Next: kubectl gitseal init APP -n %s --key-beside %s --path DIR", o.namespace, o.name)
	} else {
		o.sayf("It may be used from: %s.", strings.Join(o.namespaces, ", "))
		o.sayf("Next: kubectl gitseal init APP -n %s --key %s --path DIR", o.namespaces[0], o.name)
	}
	o.sayf("Back the key up where you keep your most secret things: without it, nothing that is encrypted to it opens.")
}
