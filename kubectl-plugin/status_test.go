package kubectlplugin

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

func TestCount(t *testing.T) {
	for n, want := range map[int32]string{0: "0 files", 1: "1 file", 2: "2 files"} {
		if got := count(n, "file"); got != want {
			t.Errorf("count(%d) = %q, want %q", n, got, want)
		}
	}
}

// The operator splits at commas and nowhere else (controllers/keys.go).
func TestAllowedNamespacesAreReadAsTheOperatorDoes(t *testing.T) {
	for text, want := range map[string][]string{
		"":              nil,
		"a,b":           {"a", "b"},
		" a ,\n b ,":    {"a", "b"},
		"a b,c":         {"a b", "c"},
		"shop\tstaging": {"shop\tstaging"},
	} {
		key := &metav1.ObjectMeta{Annotations: map[string]string{v1alpha1.AnnotationAllowedNamespaces: text}}
		if diff := cmp.Diff(want, allowedNamespaces(key)); diff != "" {
			t.Errorf("allowedNamespaces(%q) (-want +got):\n%s", text, diff)
		}
	}
}
