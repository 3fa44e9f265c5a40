package kubectlplugin

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // the logins that kubeconfigs name
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// fieldOwner owns what the plugin writes to the cluster.
const fieldOwner = client.FieldOwner("kubectl-gitseal")

// requestTimeout bounds a verb that waits for nothing but answers.
const requestTimeout = time.Minute

// session is everything outside of the process that a verb may touch.
type session struct {
	genericiooptions.IOStreams
	clock      clock.PassiveClock
	isTerminal func(io.Writer) bool
	getenv     func(string) string
	config     *genericclioptions.ConfigFlags
}

// newConfigFlags are kubectl's flags for reaching a cluster, without those
// that put a credential on the command line.
func newConfigFlags() *genericclioptions.ConfigFlags {
	flags := genericclioptions.NewConfigFlags(true)
	flags.CacheDir, flags.BearerToken, flags.DisableCompression = nil, nil, nil
	flags.CertFile, flags.KeyFile = nil, nil
	return flags
}

// newScheme holds the kinds that the plugin reads or writes.
func newScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	utilruntime.Must(corev1.AddToScheme(scheme))
	utilruntime.Must(rbacv1.AddToScheme(scheme))
	return scheme
}

// newMapper knows the plugin's kinds, which saves asking the cluster for all
// of its own before every command.
func newMapper() meta.RESTMapper {
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(v1alpha1.GroupVersion.WithKind("Application"), meta.RESTScopeNamespace)
	mapper.Add(v1alpha1.GroupVersion.WithKind("SecretStore"), meta.RESTScopeNamespace)
	mapper.Add(v1alpha1.GroupVersion.WithKind("ClusterSecretStore"), meta.RESTScopeRoot)
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Namespace"), meta.RESTScopeRoot)
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Secret"), meta.RESTScopeNamespace)
	mapper.Add(rbacv1.SchemeGroupVersion.WithKind("Role"), meta.RESTScopeNamespace)
	mapper.Add(rbacv1.SchemeGroupVersion.WithKind("RoleBinding"), meta.RESTScopeNamespace)
	return mapper
}

// client connects to the cluster that flags and kubeconfig name.
func (s *session) client() (client.WithWatch, error) {
	config, err := s.config.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	config.QPS = -1 // the API server paces its clients by itself
	c, err := client.NewWithWatch(config, client.Options{Scheme: newScheme(), Mapper: newMapper()})
	if err != nil {
		return nil, fmt.Errorf("prepare the connection to the cluster: %w", err)
	}
	return c, nil
}

// namespace is the one that -n or the kubeconfig's context names.
func (s *session) namespace() (string, error) {
	namespace, _, err := s.config.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return "", fmt.Errorf("find the namespace to work in: %w", err)
	}
	return namespace, nil
}

// sayf tells the user something that is not data.
func (s *session) sayf(format string, args ...any) {
	fmt.Fprintf(s.ErrOut, format+"\n", args...)
}

// warnf tells the user something that they should act on.
func (s *session) warnf(format string, args ...any) {
	fmt.Fprintf(s.ErrOut, "%s %s\n", s.palette(s.ErrOut).yellow("warning:"), fmt.Sprintf(format, args...))
}

// verb is one command's options after its flags were parsed.
type verb interface {
	Complete(cmd *cobra.Command, args []string) error
	Run(ctx context.Context) error
}

// runE completes and runs a verb, within requestTimeout.
func runE(v verb) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := v.Complete(cmd, args); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), requestTimeout)
		defer cancel()
		return v.Run(ctx)
	}
}

// runPatiently completes and runs a verb that bounds its own time.
func runPatiently(v verb) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := v.Complete(cmd, args); err != nil {
			return err
		}
		return v.Run(cmd.Context())
	}
}

// palette colours text, or leaves it as it is.
type palette struct{ enabled bool }

// palette is coloured on a terminal that shows colours and whose user has not
// asked for none (https://no-color.org).
func (s *session) palette(w io.Writer) palette {
	return palette{s.isTerminal(w) && s.getenv("NO_COLOR") == "" && s.getenv("TERM") != "dumb"}
}

func (p palette) paint(code, text string) string {
	if !p.enabled {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (p palette) red(text string) string    { return p.paint("31", text) }
func (p palette) yellow(text string) string { return p.paint("33", text) }
func (p palette) bold(text string) string   { return p.paint("1", text) }
