package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// held is a ConfigMap that a finalizer keeps.
const held = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: held, finalizers: [example.com/hold]}\n"

func (s *story) letGo(name string) {
	s.t.Helper()
	s.kubectl("", "-n", s.ns, "patch", "configmap", name, "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
}

func TestDeletionWaitsForTheLastObject(t *testing.T) {
	t.Parallel()
	s := newStory(t, "delete-wait")
	s.app.Spec.Sync.DeletionPolicy = v1alpha1.DeletionWait
	s.write(map[string]string{"held.yaml": held, "a.yaml": configMap("a", "1")})
	s.create()
	s.waitReady(s.push("first"))
	if err := sandbox.Client.Delete(t.Context(), s.app); err != nil {
		t.Fatal(err)
	}
	message := s.waitRefused(v1alpha1.ReasonDeleting)
	want := `waiting for the objects of the Application to go: configmaps "held" in namespace "delete-wait": see to what its metadata.finalizers name`
	if message != want {
		eventually(t, "it names what it waits for", func(context.Context) error {
			if message = s.waitRefused(v1alpha1.ReasonDeleting); message != want {
				return errors.New(message)
			}
			return nil
		})
	}
	throughout(t, time.Second, func() error { _, err := s.read(t.Context()); return err })
	s.letGo("held")
	s.waitGone()
}

// With Delete, a finalizer of an object is its owner's business.
func TestDeletionDoesNotWaitForFinalizers(t *testing.T) {
	t.Parallel()
	s := newStory(t, "delete-held")
	s.write(map[string]string{"held.yaml": held})
	s.create()
	s.waitReady(s.push("first"))
	s.remove()
	s.letGo("held")
}

func TestWhatSurvivesPruningIsNamed(t *testing.T) {
	t.Parallel()
	s := newStory(t, "survivor")
	s.write(map[string]string{"held.yaml": held, "a.yaml": configMap("a", "1")})
	s.create()
	s.waitReady(s.push("first"))
	s.write(map[string]string{"held.yaml": ""})
	commit := s.push("second")
	eventually(t, "the survivor is named", func(context.Context) error {
		ready := meta.FindStatusCondition(s.waitReady(commit).Status.Conditions, v1alpha1.ConditionReady)
		if want := `kept by finalizers, though they are not in Git any more: configmaps "held" in namespace "survivor"`; !strings.Contains(ready.Message, want) {
			return errors.New(ready.Message)
		}
		return nil
	})
	s.letGo("held")
	eventually(t, "nothing is left", func(context.Context) error {
		ready := meta.FindStatusCondition(s.waitReady(commit).Status.Conditions, v1alpha1.ConditionReady)
		if ready.Message != "applied main@sha1:"+commit {
			return errors.New(ready.Message)
		}
		return nil
	})
}

// An Application goes at any moment of its life: while a sync wave or a
// migration is waited for, too.
func TestAnApplicationIsDeletedWhileItIsSyncing(t *testing.T) {
	t.Parallel()
	for name, files := range map[string]map[string]string{
		"in-a-wave":      {"db.yaml": wavedDeployment("db", -1, "never-ready"), "a.yaml": configMap("a", "1")},
		"in-a-migration": {"sa.yaml": migrator, "settings.yaml": configMap("settings", "1"), "job.yaml": job("migrate", "", "never-ready", "registry.example/app:1")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t, "deleted-"+name)
			s.app.Spec.Sync.DeletionPolicy = v1alpha1.DeletionWait
			s.write(files)
			s.create()
			s.push("first")
			s.waitProgress("waiting for ")
			s.remove()
			if left := s.members(); len(left) != 0 {
				t.Errorf("objects left: %v", left)
			}
		})
	}
}

// A namespace that does not go away holds up what is in it, and nothing else.
func TestAStuckNamespaceWedgesNobody(t *testing.T) {
	t.Parallel()
	stuck, other := newStory(t, "stuck-namespace"), newStory(t, "stuck-bystander")
	stuck.write(map[string]string{"a.yaml": configMap("a", "1")})
	stuck.create()
	stuck.waitReady(stuck.push("first"))
	stuck.kubectl(held, "-n", stuck.ns, "create", "-f", "-")
	if err := sandbox.Client.Delete(t.Context(), &corev1.Namespace{ObjectMeta: meta1(stuck.ns, "")}); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		other.write(map[string]string{"b.yaml": configMap("b", fmt.Sprint(i))})
		commit := other.push(fmt.Sprint(i))
		if i == 0 {
			other.create()
		}
		other.waitReady(commit)
	}
	stuck.waitGone() // the Application; the namespace is still there
	ns := &corev1.Namespace{}
	if err := sandbox.Client.Get(t.Context(), client.ObjectKey{Name: stuck.ns}, ns); err != nil || ns.DeletionTimestamp == nil {
		t.Errorf("Namespace: %v, want it to be stuck", err)
	}
	stuck.letGo("held")
	eventually(t, "the namespace is gone", func(ctx context.Context) error {
		if err := sandbox.Client.Get(ctx, client.ObjectKey{Name: stuck.ns}, ns); !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is there: %w", err)
		}
		return nil
	})
}

func TestACircleOfDependenciesIsNamed(t *testing.T) {
	t.Parallel()
	one, two, three := newStory(t, "circle-one"), newStory(t, "circle-two"), newStory(t, "circle-three")
	for s, next := range map[*story]*story{one: two, two: three, three: one} {
		s.app.Spec.DependsOn = []v1alpha1.ApplicationReference{{Name: "app", Namespace: next.ns}}
		s.write(map[string]string{"a.yaml": configMap("a", "1")})
	}
	commits := map[*story]string{one: one.push("first"), two: two.push("first"), three: three.push("first")}
	for s := range commits {
		s.create()
	}
	want := "spec.dependsOn leads back to this Application: circle-one/app -> circle-two/app -> circle-three/app -> circle-one/app: remove one of these entries"
	eventually(t, "the circle is named", func(context.Context) error {
		if got := one.waitRefused(v1alpha1.ReasonDependencyNotReady); got != want {
			return errors.New(got)
		}
		return nil
	})
	if err := three.tryEdit(func(spec *v1alpha1.ApplicationSpec) { spec.DependsOn = nil }); err != nil {
		t.Fatal(err)
	}
	for s, commit := range commits {
		s.waitReady(commit)
	}
}

// What is in place stays ready while what it depends on is not; what is new waits.
func TestADependencyThatTurnsUnreadyHoldsUpWhatIsNew(t *testing.T) {
	t.Parallel()
	first, second := newStory(t, "turns-unready"), newStory(t, "depends-on-it")
	first.app.Spec.Sync.Timeout.Duration = 10 * time.Second // also for a whole run
	first.write(map[string]string{"web.yaml": wavedDeployment("web", 0, "")})
	second.app.Spec.DependsOn = []v1alpha1.ApplicationReference{{Name: "app", Namespace: first.ns}}
	second.write(map[string]string{"b.yaml": configMap("b", "1")})
	first.create()
	second.create()
	first.waitReady(first.push("first"))
	commit := second.push("first")
	second.waitReady(commit)

	first.write(map[string]string{"web.yaml": wavedDeployment("web", 0, "never-ready")})
	first.push("sick")
	first.waitRefused(v1alpha1.ReasonUnhealthy)
	second.looked() // with that status of the first before it
	if app, err := second.read(t.Context()); err != nil || !meta.IsStatusConditionTrue(app.Status.Conditions, v1alpha1.ConditionReady) {
		t.Errorf("conditions %+v, %v, want what is in place to stay ready", app.Status.Conditions, err)
	}
	second.write(map[string]string{"b.yaml": configMap("b", "2")})
	commit = second.push("second")
	second.waitRefused(v1alpha1.ReasonDependencyNotReady)
	second.wantConfig("b", "1")
	second.kubectl("", "-n", second.ns, "delete", "configmap", "b")
	second.wantConfig("b", "1") // drift is corrected meanwhile

	first.write(map[string]string{"web.yaml": wavedDeployment("web", 0, "")})
	first.waitReady(first.push("well"))
	second.waitReady(commit)
	second.wantConfig("b", "2")
}
