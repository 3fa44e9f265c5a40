package kubectlplugin

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gitseal/gitseal/internal/sops"
)

type decryptOptions struct {
	*session
	files  fileArguments
	keys   keySource
	reveal bool
}

func newDecryptCommand(s *session) *cobra.Command {
	o := &decryptOptions{session: s, keys: keySource{session: s}}
	cmd := &cobra.Command{
		Use:   "decrypt [-i] FILE...",
		Short: "Decrypt files that were encrypted with SOPS",
		Long: `Decrypt files that were encrypted with SOPS to age recipients.

Keys come from --age-key-file and --from-cluster where one of them is given;
otherwise, as for sops itself, from SOPS_AGE_KEY, SOPS_AGE_KEY_FILE and
sops/age/keys.txt in the user's configuration directory.

Plaintext is not written to a terminal unless --reveal asks for it. With -i
every file is decrypted before the first one is replaced.`,
		Example: `  kubectl gitseal decrypt envs/prod/secret.yaml | kubectl diff -f -
  kubectl gitseal decrypt --from-cluster sops-age --reveal envs/prod/secret.yaml`,
		Args: arguments(1, -1),
		RunE: runE(o),
	}
	o.files.addFlags(cmd)
	o.keys.addFlags(cmd)
	cmd.Flags().BoolVar(&o.reveal, "reveal", false, "Write plaintext also to a terminal.")
	return cmd
}

func (o *decryptOptions) Complete(cmd *cobra.Command, args []string) error {
	return o.files.complete(cmd, args)
}

func (o *decryptOptions) Run(ctx context.Context) error {
	if !o.files.inPlace && !o.reveal && o.isTerminal(o.Out) {
		return withHint(fmt.Errorf("plaintext is not written to a terminal"), "add --reveal, or send the output to a program or a file")
	}
	documents, err := o.files.read(o.In)
	if err != nil {
		return err
	}
	keys, err := o.keys.load(ctx)
	if err != nil {
		return err
	}
	for _, d := range documents {
		if d.after, err = sops.DecryptFile(d.name, d.before, keys); err != nil {
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
		o.warnf("%s holds plaintext now; before you commit: kubectl gitseal encrypt -i %s", d.name, d.name)
	}
	return nil
}
