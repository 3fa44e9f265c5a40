package kubectlplugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitseal/gitseal/kubectl-plugin/migrate"
)

func newMigrateCommand(s *session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Move manifests of other tools to gitseal",
		Args:  arguments(0, 0),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newMigrateFromESOCommand(s))
	return cmd
}

type migrateOptions struct {
	*session
	paths   []string
	inPlace bool
	print   bool
	output  string

	operatorNamespace string
}

func newMigrateFromESOCommand(s *session) *cobra.Command {
	o := &migrateOptions{session: s}
	cmd := &cobra.Command{
		Use:   "from-eso FILE|DIRECTORY...",
		Short: "Say what of External Secrets works, and change what has to",
		Long: `Read manifests of External Secrets Operator and say of each whether it works with
policy External: as it is, changed, or not at all, and what to do then.

ExternalSecrets, and the generators Password, UUID and Fake, work as they are: gitseal
makes the Secret in the same sync and never applies the ExternalSecret. Of stores only
the apiVersion changes, so that they get a status, access rules and a watch of their
credentials; unchanged they are understood, too, where they stand beside the
ExternalSecrets that use them.

Files are read as they stand in the repository. What is generated, as by Helm, has to
be rendered first. Nothing is changed without -i.

Exit code 1 says that something does not work.`,
		Example: `  kubectl gitseal migrate from-eso envs/
  kubectl gitseal migrate from-eso -i envs/prod stores.yaml
  helm template shop | kubectl gitseal migrate from-eso -
  kubectl get externalsecrets,secretstores.external-secrets.io -A -o yaml | kubectl gitseal migrate from-eso -`,
		Args: arguments(1, -1),
		RunE: runE(o),
	}
	cmd.Flags().BoolVarP(&o.inPlace, "in-place", "i", false, "Replace the files whose manifests change.")
	cmd.Flags().BoolVar(&o.print, "print", false, "Write the changed manifests to stdout, and the report to stderr.")
	addOperatorNamespaceFlag(cmd, &o.operatorNamespace)
	addDocumentFlag(cmd, &o.output)
	return cmd
}

// Complete implements verb.
func (o *migrateOptions) Complete(cmd *cobra.Command, args []string) error {
	o.paths = args
	switch {
	case o.inPlace && slices.Contains(args, stdinName):
		return usagef(cmd, "standard input cannot be replaced in place")
	case o.print && (o.inPlace || o.output != ""):
		return usagef(cmd, "--print takes neither -i nor -o")
	}
	return checkDocumentFormat(cmd, o.output)
}

// Run implements verb.
func (o *migrateOptions) Run(context.Context) error {
	files, err := o.read()
	if err != nil {
		return err
	}
	var all []migrate.Finding
	var changed []*document
	target := migrate.Target{Namespace: cmp.Or(*o.config.Namespace, metav1.NamespaceDefault), OperatorNamespace: o.operatorNamespace}
	for _, file := range files {
		found, after := target.File(file.name, file.before)
		all, file.after = append(all, found...), after
		if file.after != nil {
			changed = append(changed, file)
		}
	}
	if o.inPlace {
		if err := replaceAll(changed); err != nil {
			return err
		}
	}
	if o.print {
		for _, file := range changed {
			if _, err := o.Out.Write(file.after); err != nil {
				return err
			}
		}
	}
	return errors.Join(o.report(all), o.conclude(all, len(changed)))
}

// read reads the files named, and the YAML and JSON files of the directories
// named.
func (o *migrateOptions) read() ([]*document, error) {
	var files []*document
	for _, path := range o.paths {
		if path == stdinName {
			raw, err := readBounded(o.In, "standard input")
			if err != nil {
				return nil, err
			}
			files = append(files, &document{name: stdinName, before: raw})
			continue
		}
		err := filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && d.Name() == ".git":
				return filepath.SkipDir
			case d.IsDir() || name != path && (!d.Type().IsRegular() || !isManifestName(name)):
				return nil
			}
			file, err := readDocument(name)
			files = append(files, file)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}

func isManifestName(name string) bool {
	return slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(name))
}

func (o *migrateOptions) report(all []migrate.Finding) error {
	if o.output != "" {
		return o.printDocument(o.output, map[string]any{"manifests": all})
	}
	if len(all) == 0 {
		return nil
	}
	to := *o.session
	if o.print {
		to.Out = to.ErrOut
	}
	t := to.newTable("MANIFEST", "WORKS", "PLACE", "MESSAGE")
	for _, m := range all {
		name := orNone("")
		if m.Kind != "" {
			name = strings.ToLower(m.Kind) + "/" + m.Name
		}
		t.row(name, m.Works, fmt.Sprintf("%s:%d", m.File, m.Line), m.Message)
	}
	return t.flush()
}

// conclude says what to do next; that something does not work is a failure.
func (o *migrateOptions) conclude(all []migrate.Finding, changed int) error {
	works := map[string]int{}
	for _, m := range all {
		works[m.Works]++
	}
	files := count(int32(changed), "file")
	switch {
	case len(all) == 0:
		o.sayf("No manifest of external-secrets.io found.")
		return nil
	case changed > 0 && !o.inPlace && !o.print:
		o.sayf("%s would change: -i replaces what changes, --print shows what is new.", files)
	case o.inPlace:
		o.sayf("%s replaced.", files)
	}
	if n := works[migrate.Never] + works[migrate.Unread]; n > 0 {
		return withHint(fmt.Errorf("%d of %d manifests do not work with policy External", n, len(all)),
			"the report says what to do about each; the others can move without them")
	}
	o.sayf("Everything works with policy External: 'kubectl gitseal init APP --policy External' writes the Application.")
	return nil
}
