package kubectlplugin

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// access is the one Role by which a namespace lets the operator in: objects by
// name and nothing else.
type access struct {
	name              string
	namespace         string
	operatorNamespace string
	serviceAccount    string   // to impersonate; "": none
	secrets           []string // to read
	configMaps        []string // to read
	tokens            []string // ServiceAccounts, to ask for tokens of
}

func (a access) metadata() metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: a.name, Namespace: a.namespace, Labels: map[string]string{labelManagedBy: managedBy}}
}

func (a access) role() *rbacv1.Role {
	role := &rbacv1.Role{TypeMeta: typeMeta("Role"), ObjectMeta: a.metadata()}
	if a.serviceAccount != "" {
		role.Rules = append(role.Rules, rbacv1.PolicyRule{
			APIGroups: []string{""}, Resources: []string{"serviceaccounts"},
			ResourceNames: []string{a.serviceAccount}, Verbs: []string{"impersonate"},
		})
	}
	for _, r := range []struct {
		resource string
		names    []string
		verbs    []string
	}{
		// With resourceNames, list and watch are granted for a request that
		// selects one of these names only.
		{"secrets", a.secrets, []string{"get", "watch"}},
		{"configmaps", a.configMaps, []string{"get", "watch"}},
		{"serviceaccounts", a.tokens, []string{"get", "watch"}},
		{"serviceaccounts/token", a.tokens, []string{"create"}},
	} {
		if len(r.names) > 0 {
			role.Rules = append(role.Rules, rbacv1.PolicyRule{
				APIGroups: []string{""}, Resources: []string{r.resource}, ResourceNames: normalise(r.names), Verbs: r.verbs,
			})
		}
	}
	return role
}

func (a access) roleBinding() *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		TypeMeta: typeMeta("RoleBinding"), ObjectMeta: a.metadata(),
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: a.name},
		Subjects: []rbacv1.Subject{{
			Kind: rbacv1.ServiceAccountKind, Name: v1alpha1.OperatorServiceAccount, Namespace: a.operatorNamespace,
		}},
	}
}

func typeMeta(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: kind}
}

// kindOf names the kind of an object in a sentence.
func kindOf(object client.Object) string {
	if _, isSecret := object.(*corev1.Secret); isSecret {
		return "secret"
	}
	return strings.ToLower(object.GetObjectKind().GroupVersionKind().Kind)
}
