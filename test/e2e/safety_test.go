package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// An object may be written in a version of its kind that the API server does
// not prefer. It is one object all the same: to watch it twice and compare it
// once would prune and create it again without end.
func TestAnObjectInAnotherVersionOfItsKindIsLeftInPeace(t *testing.T) {
	t.Parallel()
	s := newStory(t, "versions")
	s.write(map[string]string{"hpa.yaml": `apiVersion: autoscaling/v1
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  maxReplicas: 3
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
`})
	s.create()
	s.waitReady(s.push("first"))
	before, err := get(t.Context(), s, "web", &autoscalingv2.HorizontalPodAutoscaler{})
	if err != nil {
		t.Fatal(err)
	}
	s.write(map[string]string{"a.yaml": configMap("a", "1")})
	s.waitReady(s.push("second"))
	after, err := get(t.Context(), s, "web", &autoscalingv2.HorizontalPodAutoscaler{})
	if err != nil || after.UID != before.UID {
		t.Errorf("the autoscaler is another one (%s, then %s): %v", before.UID, after.UID, err)
	}
	if app, err := s.read(t.Context()); err != nil || app.Status.Resources.Drifted != 0 {
		t.Errorf("status.resources = %+v, %v, want no drift", app.Status.Resources, err)
	}
}

const changesMeanwhile = 40 // of each object

// A delete that loses a race with a change of the same object is tried again:
// the Application must not go while an object of its own is left.
func TestObjectsThatChangeWhileTheyAreDeletedGoToo(t *testing.T) {
	t.Parallel()
	s := newStory(t, "busy-delete")
	files := map[string]string{}
	for i := range 5 {
		files[fmt.Sprintf("c%d.yaml", i)] = configMap(fmt.Sprintf("c%d", i), "1")
	}
	s.write(files)
	s.create()
	s.waitReady(s.push("first"))

	// The changes end: until then a delete may lose every time.
	var writers sync.WaitGroup
	for i := range 5 {
		writers.Go(func() {
			for n := range changesMeanwhile {
				touch := fmt.Appendf(nil, `{"metadata":{"annotations":{"touched":"%d"}}}`, n)
				_ = sandbox.Client.Patch(t.Context(), &corev1.ConfigMap{ObjectMeta: meta1(fmt.Sprintf("c%d", i), s.ns)},
					client.RawPatch("application/merge-patch+json", touch))
			}
		})
	}
	err := sandbox.Client.Delete(t.Context(), s.app)
	writers.Wait()
	if err != nil {
		t.Fatal(err)
	}
	s.waitGone()
	for name := range files {
		o, err := get(t.Context(), s, name[:2], &corev1.ConfigMap{})
		if !apierrors.IsNotFound(err) && o.DeletionTimestamp == nil {
			t.Errorf("ConfigMap %s is left behind: %v", name[:2], err)
		}
	}
}

func (s *story) waitGone() {
	s.t.Helper()
	eventually(s.t, "Application gone", func(ctx context.Context) error {
		if app, err := s.read(ctx); !apierrors.IsNotFound(err) {
			return fmt.Errorf("still there: %w, %+v", err, app.Status.Conditions)
		}
		return nil
	})
}

// Who deletes an Application with Orphan and creates it again, for another
// path, wants the first objects left alone.
func TestOrphansDoNotBelongToANamesake(t *testing.T) {
	t.Parallel()
	s := newStory(t, "namesake")
	s.write(map[string]string{"one/a.yaml": configMap("a", "1"), "two/b.yaml": configMap("b", "1")})
	commit := s.push("both")
	s.app.Spec.Source.Path = "one"
	s.app.Spec.Sync.DeletionPolicy = v1alpha1.DeletionOrphan
	s.create()
	s.waitReady(commit)
	if err := sandbox.Client.Delete(t.Context(), s.app); err != nil {
		t.Fatal(err)
	}
	s.waitGone()
	s.app = &v1alpha1.Application{ObjectMeta: meta1(s.app.Name, s.ns), Spec: s.app.Spec}
	s.app.Spec.Source.Path = "two"
	s.create()
	s.waitReady(commit)
	a, err := get(t.Context(), s, "a", &corev1.ConfigMap{})
	if err != nil || a.Labels[v1alpha1.ApplySetPartOfLabel] != "" {
		t.Errorf("ConfigMap a: %v with labels %v, want it there and without the ApplySet's label", err, a.Labels)
	}
}

// With a namespace go the Roles in it. An Application that had objects there
// must still take a new commit, and must still be deletable.
func TestANamespaceThatIsGoneHoldsNothingUp(t *testing.T) {
	t.Parallel()
	s := newStory(t, "held-back")
	other := "survivor-other"
	if err := sandbox.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: other}}); err != nil {
		t.Fatal(err)
	}
	binding := fmt.Sprintf(`apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: deployer, namespace: %s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}
subjects:
  - {kind: ServiceAccount, name: deployer, namespace: %s}
`, other, s.ns)
	if _, err := sandbox.Kubectl(t.Context(), binding, "apply", "--server-side", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	s.write(map[string]string{"a.yaml": configMap("a", "1"), "b.yaml": "metadata: {namespace: " + other + ", name: b}\napiVersion: v1\nkind: ConfigMap\n"})
	s.create()
	s.waitReady(s.push("two namespaces"))
	if _, err := sandbox.Kubectl(t.Context(), "", "delete", "namespace", other, "--wait", "--timeout="+patience.String()); err != nil {
		t.Fatal(err)
	}
	s.write(map[string]string{"a.yaml": configMap("a", "2"), "b.yaml": ""})
	s.waitReady(s.push("one namespace"))
	if err := sandbox.Client.Delete(t.Context(), s.app); err != nil {
		t.Fatal(err)
	}
	s.waitGone()
}

func TestIgnoredDriftIsLeftUntilThereIsANewRevision(t *testing.T) {
	t.Parallel()
	s := newStory(t, "ignored-drift")
	s.app.Spec.Sync.Drift = v1alpha1.DriftIgnore
	s.write(map[string]string{"a.yaml": configMap("a", "1"), "b.yaml": configMap("b", "1")})
	s.create()
	s.waitReady(s.push("first"))
	a := &corev1.ConfigMap{ObjectMeta: meta1("a", s.ns)}
	if err := sandbox.Client.Patch(t.Context(), a, client.RawPatch("application/merge-patch+json", []byte(`{"data":{"key":"by hand"}}`))); err != nil {
		t.Fatal(err)
	}
	// A change that only moves the operator to look, so that it has had every
	// chance to put a back.
	if _, err := sandbox.Kubectl(t.Context(), "", "annotate", "application", "app", "-n", s.ns, "example.com/look=1"); err != nil {
		t.Fatal(err)
	}
	throughout(t, 2*time.Second, func() error {
		if a, err := get(t.Context(), s, "a", &corev1.ConfigMap{}); err != nil || a.Data["key"] != "by hand" {
			return errors.Join(err, fmt.Errorf("ConfigMap a holds %v, want the change left", a.Data))
		}
		return nil
	})
	// A revision puts back what the operator has seen by then, which nothing tells.
	for revision, begun := 2, time.Now(); ; revision++ {
		s.write(map[string]string{"b.yaml": configMap("b", fmt.Sprint(revision))})
		s.waitReady(s.push(fmt.Sprint("revision ", revision)))
		a, err := get(t.Context(), s, "a", &corev1.ConfigMap{})
		if err == nil && a.Data["key"] == "1" {
			return
		}
		if time.Since(begun) > patience {
			t.Fatalf("ConfigMap a: %v, data %v, want it as in Git at a new revision", err, a.Data)
		}
	}
}

// Somebody who changes a field back each time is not raced at full speed, and
// once they stop the object is as in Git.
func TestAFightOverAFieldIsNotFoughtAtFullSpeed(t *testing.T) {
	t.Parallel()
	s := newStory(t, "fight")
	s.write(map[string]string{"a.yaml": configMap("a", "1")})
	s.create()
	s.waitReady(s.push("first"))
	eventually(t, "the fight told", func(ctx context.Context) error {
		a := &corev1.ConfigMap{ObjectMeta: meta1("a", s.ns)}
		if err := sandbox.Client.Patch(ctx, a, client.RawPatch("application/merge-patch+json", []byte(`{"data":{"key":"other"}}`))); err != nil {
			return err
		}
		app, err := s.read(ctx)
		if err != nil {
			return err
		}
		ready := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionReady)
		if !strings.Contains(ready.Message, `ConfigMap "a" in namespace "fight" is changed back each time that it is corrected`) {
			return fmt.Errorf("condition %+v", ready)
		}
		return nil
	})
	app, err := s.read(t.Context())
	if err != nil || app.Status.Resources.Drifted == 0 || app.Status.Resources.Drifted > 8 {
		t.Errorf("status.resources = %+v, %v, want a few corrections", app.Status.Resources, err)
	}
	eventually(t, "the object as in Git", func(ctx context.Context) error {
		if a, err := get(ctx, s, "a", &corev1.ConfigMap{}); err != nil || a.Data["key"] != "1" {
			return errors.Join(err, fmt.Errorf("data %v", a.Data))
		}
		return nil
	})
}
