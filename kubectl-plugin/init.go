package kubectlplugin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

type initOptions struct {
	*session
	manifest          manifest
	policy            string
	recipients        []string
	output            string
	operatorNamespace string
	force             bool
	dryRun            dryRun

	root string // of the repository, in the file system
}

func newInitCommand(s *session) *cobra.Command {
	o := &initOptions{session: s}
	cmd := &cobra.Command{
		Use:   "init APP",
		Short: "Write .sops.yaml and an Application to commit",
		Long: `Write .sops.yaml at the root of the repository, and an Application with all that its
namespace needs, as YAML to commit and apply:

  - a ServiceAccount as which everything is applied, bound to --cluster-role. The
    default, edit, deploys workloads, ConfigMaps and Secrets but grants no rights, so
    that a commit cannot widen what later commits may do;
  - a Role gitseal-access-APP that lets the operator impersonate that one
    ServiceAccount and read the credential Secrets by name, and nothing else. With
    policy External these are what its SecretStores name: --store-secret,
    --store-configmap, and --store-serviceaccount for tokens.

Secrets are encrypted to --recipient, or to the recipient of the key that --key or
--key-beside names, which is then asked of the cluster (its metadata only).`,
		Example: `  kubectl gitseal init web -n shop --path envs/prod
  kubectl gitseal init web -n shop --path envs/prod --recipient age1... --git-secret github
  kubectl gitseal init web -n shop --path envs/prod --policy External --store vault --store-secret vault-token
  kubectl gitseal init docs -n web --path site --policy None --output -`,
		Args: arguments(1, 1),
		RunE: runE(o),
	}
	o.addFlags(cmd)
	return cmd
}

func (o *initOptions) addFlags(cmd *cobra.Command) {
	f, m := cmd.Flags(), &o.manifest
	f.StringVar(&m.url, "url", "", "The repository. Default: the remote origin.")
	f.StringVar(&m.branch, "branch", "", "The branch to follow. Default: the one checked out.")
	f.StringVar(&m.path, "path", "", "The directory of manifests, from the root of the repository. Default: the current one.")
	f.StringVar(&o.policy, "policy", string(v1alpha1.PolicySOPS), "The one kind of secret allowed: SOPS, External or None.")
	f.StringVar(&m.keyRef, "key", "", "The key in the operator's namespace to decrypt with. Default: "+defaultKeyName+".")
	f.StringVar(&m.keyBeside, "key-beside", "", "A key next to the Application to decrypt with, instead.")
	f.StringSliceVar(&o.recipients, "recipient", nil, "The age recipients to encrypt to. Default: those of the key, from the cluster.")
	f.StringVar(&m.gitSecret, "git-secret", "", "A Secret next to the Application with the credentials for the repository.")
	f.StringVar(&m.signers, "verify-secret", "", "A Secret next to the Application with the allowed signers of commits.")
	f.StringVar(&m.serviceAccount, "service-account", "", "The ServiceAccount to apply as. Default: APP-applier.")
	f.StringVar(&m.clusterRole, "cluster-role", "edit", "The ClusterRole that the ServiceAccount gets in the destination namespace.")
	f.StringVar(&m.destination, "destination-namespace", "", "Where objects without a namespace go. Default: the Application's.")
	f.StringVar(&o.output, "output", "", "The file for the Application, - for stdout. Default: gitseal/APP.yaml beside the path.")
	f.BoolVar(&o.force, "force", false, "Replace files that exist.")
	addStoreFlags(cmd, &m.stores)
	addOperatorNamespaceFlag(cmd, &o.operatorNamespace)
	f.StringVar((*string)(&o.dryRun), "dry-run", string(dryRunNone), `"none", or "client": print what would be written.`)
	complete(cmd, "dry-run", fixed("none", "client"))
	complete(cmd, "policy", fixed(string(v1alpha1.PolicySOPS), string(v1alpha1.PolicyExternal), string(v1alpha1.PolicyNone)))
	complete(cmd, "key", o.completeKeys(&o.operatorNamespace))
	complete(cmd, "service-account", cobra.NoFileCompletions)
}

func (o *initOptions) Complete(cmd *cobra.Command, args []string) (err error) {
	m := &o.manifest
	m.name = args[0]
	if problems := validation.IsDNS1123Subdomain(m.name); len(problems) > 0 {
		return usagef(cmd, "%q is not a name for an Application: %s", m.name, problems[0])
	}
	if o.dryRun != dryRunNone && o.dryRun != dryRunClient {
		return usagef(cmd, "unknown value %q for --dry-run: use none or client", string(o.dryRun))
	}
	if err := o.completePolicy(cmd); err != nil {
		return err
	}
	if m.namespace, err = o.namespace(); err != nil {
		return err
	}
	if m.destination == "" {
		m.destination = m.namespace
	}
	if m.serviceAccount == "" {
		m.serviceAccount = m.name + "-applier"
	}
	m.operatorNamespace = o.operatorNamespace
	if err := o.completeRepository(cmd); err != nil {
		return err
	}
	return o.completeOutput(cmd)
}

func (o *initOptions) completePolicy(cmd *cobra.Command) error {
	m := &o.manifest
	m.policy = v1alpha1.Policy(o.policy)
	switch m.policy {
	case v1alpha1.PolicySOPS:
		if m.keyRef != "" && m.keyBeside != "" {
			return usagef(cmd, "name one of --key and --key-beside")
		}
		if m.keyRef == "" && m.keyBeside == "" {
			m.keyRef = defaultKeyName
		}
	case v1alpha1.PolicyExternal, v1alpha1.PolicyNone:
		if m.keyRef != "" || m.keyBeside != "" || len(o.recipients) > 0 {
			return usagef(cmd, "policy %s decrypts nothing: leave out --key, --key-beside and --recipient", m.policy)
		}
	default:
		return usagef(cmd, "unknown policy %q: use SOPS, External or None", o.policy)
	}
	if err := m.stores.check(m.policy); err != nil {
		return usagef(cmd, "%w", err)
	}
	for i, recipient := range o.recipients {
		if err := checkRecipient(recipient); err != nil {
			return usagef(cmd, "--recipient %d: %w", i+1, err)
		}
	}
	return nil
}

// completeRepository takes from the working copy what no flag says.
func (o *initOptions) completeRepository(cmd *cobra.Command) error {
	m := &o.manifest
	copied, err := openWorkingCopy(".")
	if err != nil {
		return err
	}
	o.root = copied.root
	if m.url == "" {
		m.url = copied.origin
	}
	if m.url == "" {
		return usagef(cmd, "the repository has no remote origin: give --url")
	}
	url, stripped, err := normaliseURL(m.url)
	if err != nil {
		return usagef(cmd, "--url: %w", err)
	}
	if stripped {
		o.warnf("the repository's URL holds credentials, which are left out; store them in a Secret and name it with --git-secret")
	}
	m.url = url
	if m.branch == "" {
		m.branch = copied.branch
	}
	if m.path == "" {
		m.path = copied.here
	}
	m.path = path.Clean(filepath.ToSlash(m.path))
	if path.IsAbs(m.path) || m.path == ".." || len(m.path) > 2 && m.path[:3] == "../" {
		return usagef(cmd, "--path %q is not within the repository", m.path)
	}
	return nil
}

func (o *initOptions) completeOutput(cmd *cobra.Command) error {
	if o.output == "-" {
		return nil
	}
	if o.output != "" {
		absolute, err := filepath.Abs(o.output)
		o.output = absolute
		return err
	}
	if o.manifest.path == "." {
		return usagef(cmd, "with the whole repository as its path, the Application would be part of itself: give --path DIR, or --output")
	}
	o.output = filepath.Join(o.root, filepath.FromSlash(path.Dir(o.manifest.path)), "gitseal", o.manifest.name+".yaml")
	return nil
}

func (o *initOptions) Run(ctx context.Context) error {
	application, err := o.manifest.render()
	if err != nil {
		return err
	}
	files := []*newFile{{path: o.output, content: application}}
	if o.manifest.policy == v1alpha1.PolicySOPS {
		if err := o.findRecipients(ctx); err != nil {
			return err
		}
		rules, err := o.rulesFile()
		if err != nil {
			return err
		}
		files = append(files, rules...)
	}
	if o.dryRun == dryRunClient {
		return o.show(files)
	}
	if err := o.write(files); err != nil {
		return err
	}
	o.sayNext()
	return nil
}

// findRecipients asks the cluster for the key's recipients, unless they are
// given.
func (o *initOptions) findRecipients(ctx context.Context) error {
	if len(o.recipients) > 0 {
		o.recipients = normalise(o.recipients)
		return nil
	}
	m := &o.manifest
	key := keyLocation{name: m.keyRef, namespace: o.operatorNamespace}
	if m.keyBeside != "" {
		key.name, key.namespace = m.keyBeside, m.namespace
	}
	c, err := o.client()
	if err != nil {
		return withHint(err, "reach the cluster that has the key, or give --recipient")
	}
	metadata, err := key.read(ctx, c)
	if apierrors.IsNotFound(err) {
		return withHint(err, "make the key with 'kubectl gitseal keys init', or give --recipient")
	}
	if err != nil {
		return withHint(err, "reach the cluster that has the key, or give --recipient")
	}
	if o.recipients, err = recipientsOf(ctx, c, metadata); err != nil {
		return err
	}
	for _, recipient := range o.recipients {
		if err := checkRecipient(recipient); err != nil {
			return fmt.Errorf("key %q: annotation %s: %w", key.name, annotationRecipients, err)
		}
	}
	allowed := allowedNamespaces(metadata)
	if m.keyRef != "" && !slices.Contains(allowed, m.namespace) {
		o.warnf("key %q may not be used from namespace %q yet: kubectl gitseal keys allow %s --for %s", key.name, m.namespace, key.name, m.namespace)
	}
	return nil
}

// newFile is a file that init writes; path "-" is stdout.
type newFile struct {
	path    string
	content []byte
}

func (o *initOptions) show(files []*newFile) error {
	for _, f := range files {
		o.sayf("%s:%s", fromHere(f.path), o.dryRun.suffix())
		if _, err := o.Out.Write(f.content); err != nil {
			return err
		}
	}
	return nil
}

// write creates all files or, where one exists, none.
func (o *initOptions) write(files []*newFile) error {
	for _, f := range files {
		if _, err := os.Lstat(f.path); f.path != "-" && err == nil && !o.force {
			return withHint(fmt.Errorf("%s exists", fromHere(f.path)), "--force replaces it, --output names another")
		}
	}
	for _, f := range files {
		if f.path == "-" {
			if _, err := o.Out.Write(f.content); err != nil {
				return err
			}
			continue
		}
		if err := createFile(f.path, f.content); err != nil {
			return err
		}
		o.sayf("wrote %s", fromHere(f.path))
	}
	return nil
}

// fromHere shortens a path to what one would type in the current directory.
func fromHere(path string) string {
	here, err := os.Getwd()
	if err != nil || !within(here, path) {
		return path
	}
	relative, err := filepath.Rel(here, path)
	if err != nil {
		return path
	}
	return relative
}

func createFile(path string, content []byte) error {
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // a directory of the repository, as Git makes it
		return err
	}
	temp, err := stage(path, 0o644, content)
	if err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return syncDirectory(filepath.Dir(path))
}

func (o *initOptions) sayNext() {
	m := &o.manifest
	if m.gitSecret == "" && isSSH(m.url) {
		o.warnf("a repository over SSH needs credentials: run this again with --git-secret NAME --force, and create that Secret with the entries identity and known_hosts")
	}
	if m.policy == v1alpha1.PolicySOPS {
		o.sayf("Next: kubectl gitseal encrypt -i %s/YOUR-SECRET.yaml, then commit and push", m.path)
	}
	if m.policy == v1alpha1.PolicyExternal {
		o.sayf("Next: commit ExternalSecrets to %s, and the store that they use unless the cluster has it, and push", m.path)
	}
	if o.output != "-" {
		o.sayf("Then: kubectl apply -f %s && kubectl gitseal status %s -n %s", fromHere(o.output), m.name, m.namespace)
	}
}
