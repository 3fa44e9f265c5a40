// Package store owns what lies between a store as people write it and a client
// that reads its values: whether its spec makes sense, which Secrets,
// ConfigMaps and ServiceAccounts it names and where they may stand, who may use
// what of it, and what an error of its provider means to those people.
//
// It must not know a backend, and asks the cluster for nothing but what the
// spec names, through the interfaces that it is given.
package store

import (
	"fmt"

	"k8s.io/apimachinery/pkg/types"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// Store is a store as people wrote it, in the cluster or in Git.
type Store struct {
	Kind v1alpha1.StoreKind
	Name string
	// Namespace of a SecretStore; "" for a ClusterSecretStore.
	Namespace string
	// Home is the namespace in which everything stands that the spec names.
	Home string
	// Origin is where it stands in Git, as FILE:LINE; "" for one of the cluster.
	Origin string
	// Private: it comes from Git and serves one Application, whatever it says of
	// namespaces.
	Private bool
	Spec    v1alpha1.SecretStoreSpec
}

// FromSecretStore gives a SecretStore of the cluster.
func FromSecretStore(s *v1alpha1.SecretStore) Store {
	return Store{Kind: v1alpha1.KindSecretStore, Name: s.Name, Namespace: s.Namespace, Home: s.Namespace, Spec: s.Spec}
}

// FromClusterSecretStore gives a ClusterSecretStore of the cluster.
func FromClusterSecretStore(s *v1alpha1.ClusterSecretStore, operatorNamespace string) Store {
	return Store{Kind: v1alpha1.KindClusterSecretStore, Name: s.Name, Home: operatorNamespace, Spec: s.Spec}
}

// Reference names the store as an ExternalSecret does.
func (s Store) Reference() v1alpha1.StoreReference {
	return v1alpha1.StoreReference{Kind: s.Kind, Name: s.Name}
}

// Key is the store's namespace and name.
func (s Store) Key() types.NamespacedName {
	return types.NamespacedName{Namespace: s.Namespace, Name: s.Name}
}

// String names the store in messages: `SecretStore "x"`, and where it stands in
// Git if it does.
func (s Store) String() string {
	if s.Origin != "" {
		return fmt.Sprintf("%s %q of %s", s.Kind, s.Name, s.Origin)
	}
	return fmt.Sprintf("%s %q", s.Kind, s.Name)
}

// ambient reports whether the operator's own identity at the provider may
// serve. What a tenant writes must never be done as the operator.
func (s Store) ambient() bool {
	return s.Kind == v1alpha1.KindClusterSecretStore && !s.Private
}

// Provider is the field of spec.provider that is set, "" where none is.
func (s Store) Provider() string {
	names := s.providers()
	if len(names) != 1 {
		return ""
	}
	return names[0]
}

// providers are the fields of spec.provider that are set.
func (s Store) providers() []string {
	p := s.Spec.Provider
	var names []string
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"aws", p.AWS != nil}, {"gcpsm", p.GCPSM != nil}, {"vault", p.Vault != nil},
		{"kubernetes", p.Kubernetes != nil}, {"fake", p.Fake != nil}, {"file", p.File != nil}, {"plugin", p.Plugin != nil},
	} {
		if f.set {
			names = append(names, f.name)
		}
	}
	return names
}
