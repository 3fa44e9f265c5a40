package kubectlplugin

import (
	"bytes"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// manifest is an Application and what its namespace needs for it.
type manifest struct {
	name, namespace   string
	url, branch, path string
	policy            v1alpha1.Policy
	keyRef, keyBeside string      // policy SOPS: one of them
	stores            storeAccess // policy External
	gitSecret         string
	signers           string // a Secret
	serviceAccount    string
	clusterRole       string
	destination       string
	operatorNamespace string
}

// part is one document of the manifest with a comment for its reviewers.
type part struct {
	comment string
	object  runtime.Object
}

// render writes the documents in the order in which they are applied.
func (m *manifest) render() ([]byte, error) {
	var b bytes.Buffer
	for i, p := range m.parts() {
		fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(p.object)
		if err != nil {
			return nil, fmt.Errorf("write the manifest: %w", err)
		}
		// Left out, these get their defaults; written out they would say zero.
		unstructured.RemoveNestedField(fields, "status")
		unstructured.RemoveNestedField(fields, "spec", "sync")
		unstructured.RemoveNestedField(fields, "metadata", "creationTimestamp")
		raw, err := yaml.Marshal(fields)
		if err != nil {
			return nil, fmt.Errorf("write the manifest: %w", err)
		}
		if i > 0 {
			b.WriteString("---\n")
		}
		fmt.Fprintf(&b, "# %s\n%s", p.comment, raw)
	}
	return b.Bytes(), nil
}

func (m *manifest) parts() []part {
	a := access{
		name: "gitseal-access-" + m.name, namespace: m.namespace, operatorNamespace: m.operatorNamespace,
		serviceAccount: m.serviceAccount, secrets: m.credentials(),
		configMaps: m.stores.configMaps, tokens: m.stores.serviceAccounts,
	}
	return []part{
		{"Everything is applied, watched and pruned as this identity.", m.account()},
		{"What a commit may do: what this ClusterRole allows in this namespace.", m.accountBinding()},
		{"How far this namespace lets the operator in: these names and nothing else.", a.role()},
		{"The operator's identity.", a.roleBinding()},
		{"What to sync.", m.application()},
	}
}

// credentials are the Secrets of the namespace that the operator must read.
func (m *manifest) credentials() []string {
	var names []string
	for _, name := range []string{m.gitSecret, m.keyBeside, m.signers} {
		if name != "" {
			names = append(names, name)
		}
	}
	return append(names, m.stores.secrets...)
}

func (m *manifest) account() *corev1.ServiceAccount {
	return &corev1.ServiceAccount{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
		ObjectMeta: metav1.ObjectMeta{Name: m.serviceAccount, Namespace: m.namespace},
	}
}

func (m *manifest) accountBinding() *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		TypeMeta:   typeMeta("RoleBinding"),
		ObjectMeta: metav1.ObjectMeta{Name: m.serviceAccount, Namespace: m.destination},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: m.clusterRole},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: m.serviceAccount, Namespace: m.namespace}},
	}
}

func (m *manifest) application() *v1alpha1.Application {
	app := &v1alpha1.Application{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Application"},
		ObjectMeta: metav1.ObjectMeta{Name: m.name, Namespace: m.namespace},
		Spec: v1alpha1.ApplicationSpec{
			Source: v1alpha1.Source{
				Git: v1alpha1.GitSource{
					URL: m.url, Ref: v1alpha1.GitRef{Branch: m.branch}, Interval: metav1.Duration{Duration: time.Minute},
				},
				Path: m.path,
			},
			Secrets:     v1alpha1.Secrets{Policy: m.policy},
			Destination: v1alpha1.Destination{ServiceAccountName: m.serviceAccount},
		},
	}
	if m.destination != m.namespace {
		app.Spec.Destination.Namespace = m.destination
	}
	if m.signers != "" {
		app.Spec.Source.Git.Verify = &v1alpha1.GitVerify{Mode: v1alpha1.VerifyHEAD, SecretRef: v1alpha1.LocalReference{Name: m.signers}}
	}
	if m.gitSecret != "" {
		app.Spec.Source.Git.SecretRef = &v1alpha1.LocalReference{Name: m.gitSecret}
	}
	if m.policy == v1alpha1.PolicySOPS {
		app.Spec.Secrets.SOPS = &v1alpha1.SOPS{Keys: []v1alpha1.SOPSKey{m.key()}}
	}
	if m.stores.store != "" {
		app.Spec.Secrets.External = &v1alpha1.External{StoreRef: m.stores.reference()}
	}
	return app
}

func (m *manifest) key() v1alpha1.SOPSKey {
	if m.keyBeside != "" {
		return v1alpha1.SOPSKey{SecretRef: &v1alpha1.LocalReference{Name: m.keyBeside}}
	}
	return v1alpha1.SOPSKey{KeyRef: &v1alpha1.LocalReference{Name: m.keyRef}}
}
