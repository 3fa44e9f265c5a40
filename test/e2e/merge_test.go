package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// mergedSecret adds a key to a Secret of somebody else.
func mergedSecret(name, key, value, annotations string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Secret
metadata:
  name: %s
  annotations: {gitseal.dev/prune: Release%s}
stringData: {%s: %s}
`, name, annotations, key, value)
}

// wantData waits until a Secret holds just some entries.
func (s *story) wantData(name string, want map[string]string) *corev1.Secret {
	s.t.Helper()
	var last *corev1.Secret
	eventually(s.t, "data of Secret "+name, func(ctx context.Context) (err error) {
		if last, err = get(ctx, s, name, &corev1.Secret{}); err != nil {
			return err
		}
		have := map[string]string{}
		for k, v := range last.Data {
			have[k] = string(v)
		}
		if diff := cmp.Diff(want, have); diff != "" {
			return fmt.Errorf("(-want +got):\n%s", diff)
		}
		return nil
	})
	return last
}

// A Secret of somebody else gets our keys, is waited for where it is not there,
// and is as it was before when they leave Git.
func TestASecretIsMergedIntoAnothersAndLetGo(t *testing.T) {
	t.Parallel()
	s := newStory(t, "merge")
	s.app.Spec.Secrets.Exceptions = []v1alpha1.SecretException{{Name: "theirs", Reason: "a test of merging"}, {Name: "made", Reason: "a test of merging"}}
	s.write(map[string]string{
		"theirs.yaml": mergedSecret("theirs", "ours", "one", ", gitseal.dev/apply: Merge"),
		"made.yaml":   mergedSecret("made", "ours", "one", ""),
		"c.yaml":      configMap("c", "1"),
	})
	s.create()
	s.push("first")
	if m := s.waitRefused(v1alpha1.ReasonTargetMissing); !strings.Contains(m, `theirs.yaml:1: Secret "theirs" in namespace "merge"`) {
		t.Errorf("message %q does not name the Secret", m)
	}
	if _, err := get(t.Context(), s, "c", &corev1.ConfigMap{}); !apierrors.IsNotFound(err) {
		t.Errorf("ConfigMap c: %v, want nothing applied", err)
	}

	s.kubectl("", "-n", s.ns, "create", "secret", "generic", "theirs", "--from-literal=own=kept")
	s.wantData("theirs", map[string]string{"own": "kept", "ours": "one"})
	s.wantData("made", map[string]string{"ours": "one"})

	s.by("other", "secret", "theirs", `{"stringData":{"ours":"drifted","more":"theirs"}}`)
	s.wantData("theirs", map[string]string{"own": "kept", "more": "theirs", "ours": "one"})
	eventually(t, "one drift, that of our key", func(ctx context.Context) error {
		if app, err := s.read(ctx); err != nil || app.Status.Resources.Drifted != 1 {
			return fmt.Errorf("resources %+v, %w", app.Status.Resources, err)
		}
		return nil
	})

	s.write(map[string]string{"theirs.yaml": "", "made.yaml": ""})
	s.waitReady(s.push("second"))
	left := s.wantData("theirs", map[string]string{"own": "kept", "more": "theirs"})
	s.wantData("made", map[string]string{})
	eventually(t, "everything of ours gone", func(ctx context.Context) (err error) {
		if left, err = get(ctx, s, "theirs", &corev1.Secret{}); err == nil && len(left.Labels)+len(left.Annotations) > 0 {
			err = fmt.Errorf("labels %v, annotations %v", left.Labels, left.Annotations)
		}
		return err
	})
}

// With the Application goes what it added, and nothing else.
func TestADeletedApplicationLetsGoOfWhatItMerged(t *testing.T) {
	t.Parallel()
	s := newStory(t, "merge-gone")
	s.app.Spec.Secrets.Exceptions = []v1alpha1.SecretException{{Name: "theirs", Reason: "a test of merging"}}
	s.kubectl("", "-n", s.ns, "create", "secret", "generic", "theirs", "--from-literal=own=kept")
	s.write(map[string]string{"theirs.yaml": mergedSecret("theirs", "ours", "one", ", gitseal.dev/apply: Merge")})
	s.create()
	s.waitReady(s.push("first"))
	s.wantData("theirs", map[string]string{"own": "kept", "ours": "one"})
	// A target that goes is not made again from our part of it.
	s.kubectl("", "-n", s.ns, "delete", "secret", "theirs")
	s.waitRefused(v1alpha1.ReasonTargetMissing)
	if _, err := get(t.Context(), s, "theirs", &corev1.Secret{}); !apierrors.IsNotFound(err) {
		t.Errorf("Secret theirs: %v, want it not to be created", err)
	}
	s.kubectl("", "-n", s.ns, "create", "secret", "generic", "theirs", "--from-literal=own=again")
	s.wantData("theirs", map[string]string{"own": "again", "ours": "one"})
	s.remove()
	s.wantData("theirs", map[string]string{"own": "again"})
}
