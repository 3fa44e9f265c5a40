package stores

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/live"
	"github.com/gitseal/gitseal/internal/store"
)

// A sample that lets the operator read what its store is made of lets it watch
// that, too: without both the store is not used.
func TestTheSamplesLetTheOperatorIn(t *testing.T) {
	files, err := filepath.Glob("../../config/samples/secretstore_*.yaml")
	if err != nil || len(files) < 10 {
		t.Fatalf("samples: %q, %v", files, err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		wanted, granted := sampled(t, string(raw))
		for _, scope := range wanted {
			if verbs := granted[scope]; len(verbs) > 0 && !slices.Equal(verbs, []string{"get", "watch"}) {
				t.Errorf("%s grants %q on %s, want get and watch", filepath.Base(file), verbs, scope)
			}
		}
	}
}

// sampled lists what the stores of a file are made of, and what its Roles let be
// done with what.
func sampled(t *testing.T, text string) (wanted []live.Scope, granted map[live.Scope][]string) {
	t.Helper()
	granted = map[live.Scope][]string{}
	for document := range strings.SplitSeq(text, "\n---\n") {
		var o struct {
			Kind     string
			Metadata metav1.ObjectMeta
			Spec     v1alpha1.SecretStoreSpec
			Rules    []rbacv1.PolicyRule
		}
		if err := yaml.Unmarshal([]byte(document), &o); err != nil {
			t.Fatal(err)
		}
		for _, r := range o.Rules {
			granted[live.Scope{Resource: corev1.SchemeGroupVersion.WithResource(r.Resources[0]), Namespace: o.Metadata.Namespace, Name: r.ResourceNames[0]}] = r.Verbs
		}
		kind, home := v1alpha1.StoreKind(o.Kind), o.Metadata.Namespace
		if kind == v1alpha1.KindClusterSecretStore {
			home = v1alpha1.OperatorNamespace
		} else if kind != v1alpha1.KindSecretStore {
			continue
		}
		scopes, err := scopesOf(store.Store{Kind: kind, Name: o.Metadata.Name, Namespace: o.Metadata.Namespace, Home: home, Spec: o.Spec})
		if err != nil {
			t.Fatal(err)
		}
		wanted = append(wanted, scopes...)
	}
	return wanted, granted
}
