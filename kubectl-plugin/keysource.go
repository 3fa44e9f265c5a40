package kubectlplugin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/sops"
)

// keySource finds the age identities to decrypt with.
type keySource struct {
	*session
	files             []string
	cluster           string
	operatorNamespace string
}

func (k *keySource) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&k.files, "age-key-file", nil, "A file with age identities; may be given several times.")
	cmd.Flags().StringVar(&k.cluster, "from-cluster", "", "A key in the operator's namespace, if you may read it.")
	addOperatorNamespaceFlag(cmd, &k.operatorNamespace)
	complete(cmd, "from-cluster", k.completeKeys(&k.operatorNamespace))
}

// load uses what the flags name, or else what sops would use.
func (k *keySource) load(ctx context.Context) (*sops.Keyring, error) {
	ring := sops.NewKeyring()
	for _, path := range k.files {
		if err := addKeyFile(ring, path); err != nil {
			return nil, err
		}
	}
	if k.cluster != "" {
		if err := k.addFromCluster(ctx, ring); err != nil {
			return nil, err
		}
	}
	if len(k.files) > 0 || k.cluster != "" {
		return ring, nil
	}
	return ring, k.addFromEnvironment(ring)
}

func (k *keySource) addFromCluster(ctx context.Context, ring *sops.Keyring) error {
	c, err := k.client()
	if err != nil {
		return err
	}
	var key corev1.Secret
	if err := c.Get(ctx, client.ObjectKey{Namespace: k.operatorNamespace, Name: k.cluster}, &key); err != nil {
		return explainKey(err, k.cluster, k.operatorNamespace)
	}
	return ring.AddSecret(fmt.Sprintf("key %q", k.cluster), key.Data)
}

// addFromEnvironment looks where sops looks for age identities.
func (k *keySource) addFromEnvironment(ring *sops.Keyring) error {
	found := false
	if identities := k.getenv("SOPS_AGE_KEY"); identities != "" {
		found = true
		if err := addIdentities(ring, "SOPS_AGE_KEY", []byte(identities)); err != nil {
			return err
		}
	}
	if path := k.getenv("SOPS_AGE_KEY_FILE"); path != "" {
		found = true
		if err := addKeyFile(ring, path); err != nil {
			return err
		}
	}
	if path := k.userKeyFile(); path != "" {
		switch err := addKeyFile(ring, path); {
		case err == nil:
			found = true
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	if !found {
		return withHint(errors.New("no age identity to decrypt with"),
			"give --age-key-file FILE or --from-cluster NAME, or set SOPS_AGE_KEY_FILE")
	}
	return nil
}

// userKeyFile is the file that sops reads by default, or "".
func (k *keySource) userKeyFile() string {
	directory := k.getenv("XDG_CONFIG_HOME")
	home := k.getenv("HOME")
	switch {
	case directory != "":
	case runtime.GOOS == "windows":
		directory = k.getenv("AppData")
	case home == "":
	case runtime.GOOS == "darwin":
		directory = filepath.Join(home, "Library", "Application Support")
	default:
		directory = filepath.Join(home, ".config")
	}
	if directory == "" {
		return ""
	}
	return filepath.Join(directory, "sops", "age", "keys.txt")
}

func addKeyFile(ring *sops.Keyring, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	raw, err := readBounded(f, path)
	if err != nil {
		return err
	}
	return addIdentities(ring, path, raw)
}

// addIdentities passes lines of identities off as the one entry of a Secret.
func addIdentities(ring *sops.Keyring, origin string, raw []byte) error {
	return ring.AddSecret(origin, map[string][]byte{"identity" + v1alpha1.AgeKeySuffix: raw})
}
