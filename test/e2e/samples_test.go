package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var sampleNamespace = regexp.MustCompile(`(?m)^\s+namespace: ([a-z0-9-]+)$`)

// The API server takes every sample, with all that its schemas demand.
func TestSamplesAreWhatTheClusterTakes(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(sandbox.Root, "config", "samples", "*.yaml"))
	if err != nil || len(files) < 10 {
		t.Fatalf("%d samples, %v", len(files), err)
	}
	for _, file := range files {
		if filepath.Base(file) == "kustomization.yaml" {
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, found := range sampleNamespace.FindAllStringSubmatch(string(raw), -1) {
				err := sandbox.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: found[1]}})
				if err != nil && !apierrors.IsAlreadyExists(err) {
					t.Fatal(err)
				}
			}
			if _, err := sandbox.Kubectl(t.Context(), "", "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", file); err != nil {
				t.Error(err)
			}
		})
	}
}
