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
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// wavedConfig is a ConfigMap in a sync wave.
func wavedConfig(name string, wave int) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, annotations: {gitseal.dev/sync-wave: \"%d\"}}\ndata: {key: \"1\"}\n", name, wave)
}

// wavedDeployment is a Deployment in a sync wave; fate is a label of the
// sandbox, "" for one that becomes ready.
func wavedDeployment(name string, wave int, fate string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s, annotations: {argocd.argoproj.io/sync-wave: "%[2]d"}}
spec:
  selector: {matchLabels: {app: %[1]s}}
  strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}
  template:
    metadata: {labels: {app: %[1]s, sandbox.gitseal.dev/fate: "%[3]s"}}
    spec: {containers: [{name: main, image: registry.example/app:1}]}
`, name, wave, fate)
}

// heal lets a pod with a label become ready whose template says that it never
// does, as soon as there is one: kubectl is content with none.
func (s *story) heal(label, value string) {
	s.t.Helper()
	eventually(s.t, "a pod with "+label+"="+value, func(ctx context.Context) error {
		var pods corev1.PodList
		if err := sandbox.Client.List(ctx, &pods, client.InNamespace(s.ns), client.MatchingLabels{label: value}); err != nil {
			return err
		}
		if len(pods.Items) == 0 {
			return errors.New("there is none yet")
		}
		return nil
	})
	s.kubectl("", "-n", s.ns, "label", "pods", "-l", label+"="+value, "sandbox.gitseal.dev/fate-")
}

// waitProgress waits until Ready is Unknown with a message that holds text.
func (s *story) waitProgress(text string) {
	s.t.Helper()
	eventually(s.t, "Application "+s.ns+" "+text, func(ctx context.Context) error {
		app, err := s.read(ctx)
		if err != nil {
			return err
		}
		ready := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil || ready.Status != metav1.ConditionUnknown || !strings.Contains(ready.Message, text) {
			return fmt.Errorf("conditions %+v", app.Status.Conditions)
		}
		return nil
	})
}

// absent reports an error unless a ConfigMap is not there.
func (s *story) absent(name string) error {
	_, err := get(s.t.Context(), s, name, &corev1.ConfigMap{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("ConfigMap %s is there: %w", name, err)
}

func TestSyncWavesWaitForHealth(t *testing.T) {
	t.Parallel()
	s := newStory(t, "waves")
	s.write(map[string]string{
		"a.yaml": wavedConfig("a", -1), "db.yaml": wavedDeployment("db", 1, ""), "web.yaml": wavedDeployment("web", 2, ""), "z.yaml": wavedConfig("z", 3),
	})
	s.create()
	app := s.waitReady(s.push("first"))
	if got := app.Status.Resources.Applied; got != 4 || len(app.Status.History) != 1 || app.Status.History[0].Changed != 4 {
		t.Errorf("applied %d, history %+v, want one entry of 4 objects", got, app.Status.History)
	}
	db, web := &appsv1.Deployment{}, &appsv1.Deployment{}
	for name, o := range map[string]*appsv1.Deployment{"db": db, "web": web} {
		if _, err := get(t.Context(), s, name, o); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range db.Status.Conditions {
		if c.Type == appsv1.DeploymentAvailable && c.LastTransitionTime.After(web.CreationTimestamp.Time) {
			t.Errorf("web was made at %s, before db was available at %s", web.CreationTimestamp, c.LastTransitionTime)
		}
	}
}

// A wave that does not become healthy holds the later ones back, but neither a
// newer revision nor the correction of what is in place.
func TestANewRevisionPreEmptsAStuckWave(t *testing.T) {
	t.Parallel()
	s := newStory(t, "stuck-wave")
	s.app.Spec.Sync.Timeout.Duration = 10 * time.Minute
	s.write(map[string]string{"db.yaml": wavedDeployment("db", 0, ""), "later.yaml": wavedConfig("later", 1), "old.yaml": configMap("old", "1")})
	s.create()
	first := s.push("first")
	s.waitReady(first)

	s.write(map[string]string{"db.yaml": wavedDeployment("db", 0, "never-ready"), "new.yaml": wavedConfig("new", 1), "old.yaml": "",
		"later.yaml": strings.Replace(wavedConfig("later", 1), `"1"}`+"\n", `"2"}`+"\n", 1)})
	s.push("stuck")
	s.waitProgress(`waiting for sync wave 0: Deployment "db" in namespace "stuck-wave": `)
	if app, err := s.read(t.Context()); err != nil || app.Status.Source.Revision != "main@sha1:"+first {
		t.Errorf("source %+v, %v, want the first revision while the second is not in place", app.Status.Source, err)
	}
	s.kubectl("", "-n", s.ns, "delete", "configmap", "later")
	s.wantConfig("later", "1") // as it was in place
	s.wantConfig("old", "1")   // not pruned
	s.looked()
	if err := s.absent("new"); err != nil {
		t.Error(err)
	}

	s.write(map[string]string{"db.yaml": wavedDeployment("db", 0, "")})
	s.waitReady(s.push("mended"))
	s.wantConfig("later", "2")
	s.wantConfig("new", "1")
	if err := s.absent("old"); err != nil {
		t.Error(err)
	}
}

func TestAWaveThatTakesTooLongIsTold(t *testing.T) {
	t.Parallel()
	s := newStory(t, "late-wave")
	s.app.Spec.Sync.Timeout.Duration = 10 * time.Second // is for a look at Git, too
	s.write(map[string]string{"db.yaml": wavedDeployment("db", -3, "never-ready"), "later.yaml": configMap("later", "1")})
	s.create()
	commit := s.push("first")
	s.waitSaid(v1alpha1.ReasonUnhealthy, `Deployment "db" in namespace "late-wave" of sync wave -3 is not healthy: `, ": wave 0 comes once it is")
	if err := s.absent("later"); err != nil {
		t.Error(err)
	}
	// It goes on by itself once what it waits for has become healthy.
	s.heal("app", "db")
	s.waitReady(commit)
}

// A definition, what is of its kind and what serves it may come in one commit,
// in any order of files.
func TestAnOperatorItsDefinitionAndAResourceComeInOneCommit(t *testing.T) {
	t.Parallel()
	s := newStory(t, "operator-waves")
	s.everywhere("cluster-admin")
	resource := "apiVersion: example.com/v1\nkind: Cog\nmetadata: {name: one, annotations: {gitseal.dev/sync-wave: \"2\"}}\n"
	s.write(map[string]string{
		"a-cog.yaml": resource, "b-operator.yaml": wavedDeployment("operator", 1, ""),
		"c-crd.yaml": strings.Replace(fmt.Sprintf(gadgets, "cogs", "Cog"), "metadata: {name", "metadata: {annotations: {gitseal.dev/sync-wave: \"-1\"}, name", 1),
		"d.yaml":     wavedConfig("d", 3),
	})
	s.create()
	s.waitReady(s.push("first"))

	s.write(map[string]string{"a-cog.yaml": strings.Replace(resource, `"2"`, `"-2"`, 1)})
	s.push("too early")
	s.waitSaid(v1alpha1.ReasonObjectInvalid,
		`a-cog.yaml:1: Cog "one" in namespace "operator-waves" is in sync wave -2, before CustomResourceDefinition "cogs.example.com" in wave -1`)
}
