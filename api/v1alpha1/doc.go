// Package v1alpha1 holds the kinds of the gitseal.dev API group. It imports
// apimachinery and nothing else, so that other programs can use the types
// without taking on the operator's dependencies.
//
// +kubebuilder:object:generate=true
// +groupName=gitseal.dev
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the API group and version of every kind in this package.
var GroupVersion = schema.GroupVersion{Group: "gitseal.dev", Version: "v1alpha1"}

// SchemeBuilder registers the kinds of this package with a scheme.
var SchemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)

// AddToScheme adds the kinds of this package to a scheme.
var AddToScheme = SchemeBuilder.AddToScheme

func addKnownTypes(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion, &Application{}, &ApplicationList{},
		&SecretStore{}, &SecretStoreList{}, &ClusterSecretStore{}, &ClusterSecretStoreList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
