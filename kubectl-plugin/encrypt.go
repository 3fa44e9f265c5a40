package kubectlplugin

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gitseal/gitseal/internal/sops"
)

type encryptOptions struct {
	*session
	files fileArguments
}

func newEncryptCommand(s *session) *cobra.Command {
	o := &encryptOptions{session: s}
	cmd := &cobra.Command{
		Use:   "encrypt [-i] FILE...",
		Short: "Encrypt files by the repository's .sops.yaml",
		Long: `Encrypt files by the repository's .sops.yaml, the one found in the directory of
the file or the nearest one above it.

Refused are files that are encrypted already and files in which the rule would
encrypt nothing. With -i every file is checked and encrypted before the first one
is replaced; a file is replaced as a whole or not at all.`,
		Example: `  kubectl gitseal encrypt -i envs/prod/secret.yaml envs/prod/db.env

  kubectl create secret generic db --from-file=password=/dev/stdin --dry-run=client -o yaml |
    kubectl gitseal encrypt --filename-override envs/prod/db.yaml - > envs/prod/db.yaml`,
		Args: arguments(1, -1),
		RunE: runE(o),
	}
	o.files.addFlags(cmd)
	return cmd
}

func (o *encryptOptions) Complete(cmd *cobra.Command, args []string) error {
	return o.files.complete(cmd, args)
}

func (o *encryptOptions) Run(context.Context) error {
	documents, err := o.files.read(o.In)
	if err != nil {
		return err
	}
	for _, d := range documents {
		if err := encryptDocument(d); err != nil {
			return err
		}
	}
	if !o.files.inPlace {
		_, err := o.Out.Write(documents[0].after)
		return err
	}
	if err := replaceAll(documents); err != nil {
		return err
	}
	for _, d := range documents {
		o.sayf("encrypted %s", d.name)
	}
	return nil
}

func encryptDocument(d *document) error {
	location := d.path
	if location == "" {
		location = d.name
	}
	config, err := sops.FindConfig(filepath.Dir(location))
	if err != nil {
		return err
	}
	if err := staysBeside(config, location, d.name); err != nil {
		return err
	}
	d.after, err = sops.EncryptFile(config, location, d.before)
	return err
}

// staysBeside refuses a link that leads out of the directory of the name it
// was given by: the rule of another repository would apply, or none.
func staysBeside(config, location, name string) error {
	given, err := filepath.Abs(filepath.Dir(name))
	if err != nil {
		return err
	}
	if given, err = filepath.EvalSymlinks(given); err != nil {
		return nil //nolint:nilerr // the name of standard input need not exist
	}
	root := filepath.Dir(config)
	if target, err := filepath.EvalSymlinks(root); err == nil {
		root = target
	}
	if !within(root, given) {
		return withHint(fmt.Errorf("%s is a link to %s, which another .sops.yaml is for", name, location), "encrypt that file itself")
	}
	return nil
}

// within reports whether path is root or below it.
func within(root, path string) bool {
	relative, err := filepath.Rel(root, path)
	return err == nil && relative != ".." && !strings.HasPrefix(relative, ".."+string(filepath.Separator))
}
