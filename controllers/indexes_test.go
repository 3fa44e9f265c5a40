package controllers

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// The namespace lets the operator read its SOPS key and Git token for its
// Applications. No store is given them.
func TestSecretsThatApplicationsAreWorkWithAreKnown(t *testing.T) {
	tests := map[string]struct {
		spec v1alpha1.ApplicationSpec
		want string
	}{
		"the key of another Application":       {v1alpha1.ApplicationSpec{Secrets: v1alpha1.Secrets{SOPS: &v1alpha1.SOPS{Keys: []v1alpha1.SOPSKey{{SecretRef: &v1alpha1.LocalReference{Name: "token"}}}}}}, `Application "other"`},
		"the credentials of a repository":      {v1alpha1.ApplicationSpec{Source: v1alpha1.Source{Git: v1alpha1.GitSource{SecretRef: &v1alpha1.LocalReference{Name: "token"}}}}, `Application "other"`},
		"a Secret that only is called alike":   {v1alpha1.ApplicationSpec{Secrets: v1alpha1.Secrets{SOPS: &v1alpha1.SOPS{Keys: []v1alpha1.SOPSKey{{KeyRef: &v1alpha1.LocalReference{Name: "token"}}}}}}, ""},
		"a Secret that is there for the store": {v1alpha1.ApplicationSpec{}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			other := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "other"}, Spec: tt.spec}
			if err := d.Client.Create(t.Context(), other); err != nil {
				t.Fatal(err)
			}
			a := askers{d.signals, d.Client, "gitseal-system"}
			if got, err := a.WorkWith(t.Context(), types.NamespacedName{Namespace: "ns", Name: "token"}); err != nil || got != tt.want {
				t.Errorf("WorkWith() = %q, %v, want %q", got, err, tt.want)
			}
			if got, err := a.WorkWith(t.Context(), types.NamespacedName{Namespace: "elsewhere", Name: "token"}); err != nil || got != "" {
				t.Errorf("WorkWith() in another namespace = %q, %v, want none", got, err)
			}
		})
	}
}

// The operator's own Secrets are not a cluster's store's either.
func TestTheOperatorsOwnSecretsAreKnown(t *testing.T) {
	d := newDesk(t)
	a := askers{d.signals, d.Client, "gitseal-system"}
	for secret, want := range map[types.NamespacedName]string{
		{Namespace: "gitseal-system", Name: installKeyName}:    "the operator",
		{Namespace: "gitseal-system", Name: webhookSecretName}: "the operator",
		{Namespace: "gitseal-system", Name: "vault-token"}:     "",
		{Namespace: "ns", Name: webhookSecretName}:             "",
	} {
		if got, err := a.WorkWith(t.Context(), secret); err != nil || got != want {
			t.Errorf("WorkWith(%s) = %q, %v, want %q", secret, got, err, want)
		}
	}
}
