package kubectlplugin

import (
	"context"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/external"
	"github.com/gitseal/gitseal/internal/render"
	"github.com/gitseal/gitseal/internal/store"
)

// tree is a directory of manifests, rendered as the operator would render it.
type tree struct {
	dir       string
	storeName string
	storeKind string

	namespace string
}

func (t *tree) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&t.dir, "filename", "f", "", "The directory of manifests, rendered as the operator renders it.")
	cmd.Flags().StringVar(&t.storeName, "default-store", "", "The store of what names none, as spec.secrets.external.storeRef of the Application says.")
	cmd.Flags().StringVar(&t.storeKind, "default-store-kind", string(v1alpha1.KindSecretStore), "Its kind: SecretStore or ClusterSecretStore.")
	complete(cmd, "default-store-kind", fixed(string(v1alpha1.KindSecretStore), string(v1alpha1.KindClusterSecretStore)))
}

func (t *tree) complete(s *session, cmd *cobra.Command) (err error) {
	if kind := v1alpha1.StoreKind(t.storeKind); kind != v1alpha1.KindSecretStore && kind != v1alpha1.KindClusterSecretStore {
		return usagef(cmd, "unknown kind of store %q: use SecretStore or ClusterSecretStore", t.storeKind)
	}
	t.namespace, err = s.namespace()
	return err
}

// content is what a tree says about secrets.
type content struct {
	references []external.Reference
	stores     []store.Store
}

// read renders the tree. Files above it are found where it is in a repository,
// as a Kustomize base may be there.
func (t *tree) read(ctx context.Context) (content, error) {
	root, path := t.dir, "."
	if w, err := openWorkingCopy(t.dir); err == nil {
		root, path = w.root, w.here
	}
	dir, err := os.OpenRoot(root)
	if err != nil {
		return content{}, err
	}
	defer dir.Close()
	objects, err := render.Render(ctx, dir.FS(), filepath.ToSlash(path))
	if err != nil {
		return content{}, err
	}
	return t.understand(objects)
}

func (t *tree) understand(objects []render.Object) (content, error) {
	var c content
	collected, err := external.Collect(objects)
	if err != nil {
		return c, err
	}
	defaults := external.Defaults{Namespace: t.namespace}
	if t.storeName != "" {
		defaults.StoreRef = &v1alpha1.StoreReference{Name: t.storeName, Kind: v1alpha1.StoreKind(t.storeKind)}
	}
	for _, m := range collected.Manifests {
		c.references = append(c.references, external.References(m, defaults)...)
	}
	for _, o := range objects {
		if !store.IsStore(o) {
			continue
		}
		s, err := store.FromGit(o, t.namespace, t.namespace)
		if err != nil {
			return c, err
		}
		c.stores = append(c.stores, s)
	}
	return c, nil
}
