package aws_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/providers"
)

func TestTheSamplesCanBeOpened(t *testing.T) {
	files, err := filepath.Glob("../../config/samples/secretstore_aws_*.yaml")
	if err != nil || len(files) < 4 {
		t.Fatalf("samples: %q, %v", files, err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		stores := 0
		for document := range strings.SplitSeq(string(raw), "\n---\n") {
			var store v1alpha1.ClusterSecretStore // which has the fields of the other
			if !strings.Contains(document, "SecretStore\n") {
				continue
			}
			stores++
			if err := yaml.UnmarshalStrict([]byte(document), &store); err != nil {
				t.Errorf("%s: %v", file, err)
			}
			_, err := tryOpen(providers.Store{
				Spec: store.Spec.Provider, Ambient: store.Kind == string(v1alpha1.KindClusterSecretStore),
				Credentials: entries{"access-key-id": "AKIA", "secret-access-key": "key"},
			})
			if err != nil {
				t.Errorf("%s: Open: %v", file, err)
			}
		}
		if stores != 1 {
			t.Errorf("%s has %d stores, want 1", file, stores)
		}
	}
}
