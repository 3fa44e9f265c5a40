package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: web
          image: registry.example/web:1
          envFrom: [{secretRef: {name: db}}]
`

const service = `apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80}]
`

func configMap(name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {key: %q}\n", name, value)
}

func plainSecret(name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: %s}\nstringData: {password: %q}\n", name, value)
}

func TestACommitWithEncryptedSecretsBecomesRunningObjects(t *testing.T) {
	t.Parallel()
	s := newStory(t, "main-job")
	s.sops()
	s.write(map[string]string{"web.yaml": deployment, "service.yaml": service, "config.yaml": configMap("settings", "one")})
	s.encrypt("db.yaml", plainSecret("db", "correct horse battery"))
	commit := s.push("first")
	s.create()
	app := s.waitReady(commit)

	secret, err := get(t.Context(), s, "db", &corev1.Secret{})
	if err != nil || string(secret.Data["password"]) != "correct horse battery" {
		t.Fatalf("Secret db: %v, %d bytes, want the value that was encrypted", err, len(secret.Data["password"]))
	}
	web, err := get(t.Context(), s, "web", &appsv1.Deployment{})
	if err != nil || web.Status.AvailableReplicas != 1 {
		t.Fatalf("Deployment web: %v, %d replicas available, want 1", err, web.Status.AvailableReplicas)
	}
	if got := app.Status.History; len(got) != 1 || got[0].Author != "Test Author <author@example.com>" || got[0].Reason != v1alpha1.SyncRevision || got[0].Changed != 4 {
		t.Errorf("history = %+v, want one entry by the author for 4 objects", got)
	}
	if got := app.Status.Secrets; got == nil || got.Files != 1 || got.Opened != 1 {
		t.Errorf("secrets = %+v, want 1 file and 1 value", got)
	}
}

func TestDriftIsPutBackAtOnce(t *testing.T) {
	t.Parallel()
	s := newStory(t, "drift")
	s.sops()
	s.write(map[string]string{"web.yaml": deployment, "config.yaml": configMap("settings", "one")})
	s.encrypt("db.yaml", plainSecret("db", "drift-secret-value"))
	commit := s.push("first")
	s.create()
	s.waitReady(commit)
	ctx := t.Context()

	damages := map[string]func() error{
		"a deleted deployment": func() error {
			return sandbox.Client.Delete(ctx, &appsv1.Deployment{ObjectMeta: meta1("web", s.ns)})
		},
		"a patched config map": func() error {
			o := &corev1.ConfigMap{ObjectMeta: meta1("settings", s.ns)}
			return sandbox.Client.Patch(ctx, o, client.RawPatch("application/merge-patch+json", []byte(`{"data":{"key":"changed"}}`)))
		},
		"a patched secret": func() error {
			o := &corev1.Secret{ObjectMeta: meta1("db", s.ns)}
			return sandbox.Client.Patch(ctx, o, client.RawPatch("application/merge-patch+json", []byte(`{"data":{"password":"eHh4"}}`)))
		},
		"an unlabelled config map": func() error {
			o := &corev1.ConfigMap{ObjectMeta: meta1("settings", s.ns)}
			return sandbox.Client.Patch(ctx, o, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":null}}`)))
		},
	}
	for name, damage := range damages {
		if err := damage(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		begun := time.Now()
		eventually(t, name+" put back", func(ctx context.Context) error { return intact(ctx, s) })
		t.Logf("%s was put back in %s", name, time.Since(begun).Round(time.Millisecond))
	}
}

func intact(ctx context.Context, s *story) error {
	web, err1 := get(ctx, s, "web", &appsv1.Deployment{})
	config, err2 := get(ctx, s, "settings", &corev1.ConfigMap{})
	secret, err3 := get(ctx, s, "db", &corev1.Secret{})
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	if web.DeletionTimestamp != nil || config.Data["key"] != "one" || config.Labels[v1alpha1.ApplySetPartOfLabel] == "" || string(secret.Data["password"]) != "drift-secret-value" {
		return errors.New("an object is not as in Git")
	}
	return nil
}

func TestWhatLeavesGitIsPruned(t *testing.T) {
	t.Parallel()
	s := newStory(t, "prune")
	s.write(map[string]string{"a.yaml": configMap("a", "1"), "b.yaml": configMap("b", "1"), "service.yaml": service})
	s.create()
	s.waitReady(s.push("first"))
	s.write(map[string]string{"b.yaml": "", "service.yaml": ""})
	s.waitReady(s.push("less"))
	eventually(t, "b and the service pruned", func(ctx context.Context) error {
		_, err1 := get(ctx, s, "b", &corev1.ConfigMap{})
		_, err2 := get(ctx, s, "web", &corev1.Service{})
		if !apierrors.IsNotFound(err1) || !apierrors.IsNotFound(err2) {
			return fmt.Errorf("still there: %w, %w", err1, err2)
		}
		return nil
	})
	if _, err := get(t.Context(), s, "a", &corev1.ConfigMap{}); err != nil {
		t.Errorf("ConfigMap a: %v, want it kept", err)
	}
	eventually(t, "the parent forgets the kind", func(ctx context.Context) error {
		app, err := s.read(ctx)
		if err != nil {
			return err
		}
		if kinds := app.Annotations[v1alpha1.ApplySetKindsAnnotation]; strings.Contains(kinds, "Service") {
			return fmt.Errorf("kinds are %q", kinds)
		}
		return nil
	})
}

func TestDeletingAnApplicationDeletesItsObjects(t *testing.T) {
	t.Parallel()
	for name, policy := range map[string]v1alpha1.DeletionPolicy{"delete": v1alpha1.DeletionDelete, "orphan": v1alpha1.DeletionOrphan} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t, "finalize-"+name)
			s.app.Spec.Sync.DeletionPolicy = policy
			s.write(map[string]string{"a.yaml": configMap("a", "1")})
			s.create()
			s.waitReady(s.push("first"))
			if err := sandbox.Client.Delete(t.Context(), s.app); err != nil {
				t.Fatal(err)
			}
			eventually(t, "Application gone", func(ctx context.Context) error {
				if _, err := s.read(ctx); !apierrors.IsNotFound(err) {
					return fmt.Errorf("still there: %w", err)
				}
				return nil
			})
			_, err := get(t.Context(), s, "a", &corev1.ConfigMap{})
			if gone := apierrors.IsNotFound(err); gone != (policy == v1alpha1.DeletionDelete) {
				t.Errorf("ConfigMap a: gone = %v under policy %s", gone, policy)
			}
		})
	}
}
