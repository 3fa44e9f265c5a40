package kubectlplugin

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// storeAccess is what the stores of a namespace name, so that the operator may
// read it, and the store of what names none.
type storeAccess struct {
	store           string // NAME or KIND/NAME
	secrets         []string
	configMaps      []string
	serviceAccounts []string
}

func addStoreFlags(cmd *cobra.Command, s *storeAccess) {
	f := cmd.Flags()
	f.StringVar(&s.store, "store", "", "Policy External: the store of ExternalSecrets that name none, as NAME or ClusterSecretStore/NAME.")
	f.StringSliceVar(&s.secrets, "store-secret", nil, "Policy External: Secrets next to the Application that its SecretStores name.")
	f.StringSliceVar(&s.configMaps, "store-configmap", nil, "Policy External: ConfigMaps that they name, with authorities.")
	f.StringSliceVar(&s.serviceAccounts, "store-serviceaccount", nil, "Policy External: ServiceAccounts that they name, whose tokens the operator may ask for.")
}

// check refuses what no policy but External has a use for, and names that are
// none.
func (s storeAccess) check(policy v1alpha1.Policy) error {
	names := slices.Concat(s.secrets, s.configMaps, s.serviceAccounts)
	if policy != v1alpha1.PolicyExternal && (s.store != "" || len(names) > 0) {
		return fmt.Errorf("policy %s asks no stores: leave out --store and all --store-* flags", policy)
	}
	if s.store != "" {
		names = append(names, s.reference().Name)
		if kind := s.reference().Kind; kind != v1alpha1.KindSecretStore && kind != v1alpha1.KindClusterSecretStore {
			return errors.New("--store takes NAME, SecretStore/NAME or ClusterSecretStore/NAME")
		}
	}
	for _, name := range names {
		if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
			return fmt.Errorf("%q is not a name: %s", name, problems[0])
		}
	}
	return nil
}

func (s storeAccess) reference() *v1alpha1.StoreReference {
	kind, name, found := strings.Cut(s.store, "/")
	if !found {
		kind, name = string(v1alpha1.KindSecretStore), s.store
	}
	return &v1alpha1.StoreReference{Kind: v1alpha1.StoreKind(kind), Name: name}
}
