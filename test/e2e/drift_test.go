package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// by changes an object of the story's namespace under a field manager.
func (s *story) by(manager, resource, name, patch string) {
	s.t.Helper()
	s.kubectl("", "-n", s.ns, "patch", resource, name, "--type=merge", "--field-manager="+manager, "-p", patch)
}

// drifts waits until status.drift is as it should be.
func (s *story) drifts(want ...v1alpha1.DriftStatus) *v1alpha1.Application {
	s.t.Helper()
	var app *v1alpha1.Application
	eventually(s.t, "status.drift", func(ctx context.Context) (err error) {
		if app, err = s.read(ctx); err != nil {
			return err
		}
		if diff := cmp.Diff(want, app.Status.Drift); diff != "" {
			return fmt.Errorf("status.drift (-want +got):\n%s", diff)
		}
		return nil
	})
	return app
}

// told waits for an event of the Application.
func (s *story) told(note string) {
	s.t.Helper()
	eventually(s.t, "event "+note, func(ctx context.Context) error {
		var list eventsv1.EventList
		if err := sandbox.Client.List(ctx, &list, client.InNamespace(s.ns)); err != nil {
			return err
		}
		var notes []string
		for _, e := range list.Items {
			notes = append(notes, e.Note)
		}
		if !slices.Contains(notes, note) {
			return fmt.Errorf("events %q", notes)
		}
		return nil
	})
}

func ref(group, kind, namespace, name string) v1alpha1.ObjectReference {
	return v1alpha1.ObjectReference{Group: group, Kind: kind, Namespace: namespace, Name: name}
}

func drifted(app *v1alpha1.Application) *metav1.Condition {
	return meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionDrifted)
}

// What is put back is told: which object, which fields, and who changed them.
func TestCorrectedDriftIsTold(t *testing.T) {
	t.Parallel()
	s := newStory(t, "told-drift")
	s.sops()
	s.write(map[string]string{"web.yaml": deployment, "config.yaml": configMap("settings", "one")})
	s.encrypt("db.yaml", plainSecret("db", "drift-secret-value"))
	s.create()
	s.waitReady(s.push("first"))

	s.by("mallory", "secret", "db", `{"data":{"password":"eHh4"}}`)
	s.told(`Corrected drift of Secret "db" in namespace "told-drift": data.password, changed by field manager "mallory"`)
	s.kubectl("", "-n", s.ns, "set", "image", "deployment/web", "web=registry.example/web:2", "--field-manager=mallory")
	s.told(`Corrected drift of Deployment "web" in namespace "told-drift": spec.template.spec.containers[name=web].image, changed by field manager "mallory"`)
	s.kubectl("", "-n", s.ns, "delete", "configmap", "settings")
	s.told(`Corrected drift of ConfigMap "settings" in namespace "told-drift": it was deleted`)
	eventually(t, "all put back", func(ctx context.Context) error { return intact(ctx, s) })
	if app := s.drifts(); drifted(app) != nil {
		t.Errorf("condition %+v, want none once all is put back", drifted(app))
	}
}

// Under Report nothing is put back, and the status says what differs until
// somebody mends it or asks for a sync.
func TestReportedDriftIsLeftAndTold(t *testing.T) {
	t.Parallel()
	s := newStory(t, "report-drift")
	s.sops()
	s.app.Spec.Sync.Drift = v1alpha1.DriftReport
	s.write(map[string]string{"web.yaml": deployment, "a.yaml": configMap("a", "1"), "b.yaml": configMap("b", "1"), "c.yaml": configMap("c", "1")})
	s.encrypt("db.yaml", plainSecret("db", "report-secret-value"))
	s.create()
	commit := s.push("first")
	s.waitReady(commit)

	s.by("mallory", "configmap", "a", `{"data":{"key":"by hand"}}`)
	s.by("mallory", "secret", "db", `{"data":{"password":"eHh4"}}`)
	s.kubectl("", "-n", s.ns, "delete", "configmap", "b")
	s.kubectl("", "-n", s.ns, "label", "configmap", "c", v1alpha1.ApplySetPartOfLabel+"-")
	a := v1alpha1.DriftStatus{ObjectReference: ref("", "ConfigMap", s.ns, "a"), Fields: []string{"data.key"}, Manager: "mallory"}
	rest := []v1alpha1.DriftStatus{
		{ObjectReference: ref("", "ConfigMap", s.ns, "b"), Deleted: true},
		{ObjectReference: ref("", "ConfigMap", s.ns, "c"), Fields: []string{"metadata.labels[" + v1alpha1.ApplySetPartOfLabel + "]"}, Deleted: true},
		{ObjectReference: ref("", "Secret", s.ns, "db"), Fields: []string{"data.password"}, Manager: "mallory"},
	}
	app := s.drifts(append([]v1alpha1.DriftStatus{a}, rest...)...)
	if c := drifted(app); c == nil || c.Status != metav1.ConditionTrue || c.Reason != v1alpha1.ReasonDriftReported {
		t.Errorf("condition %+v, want Drifted because of DriftReported", c)
	}
	if !meta.IsStatusConditionTrue(app.Status.Conditions, v1alpha1.ConditionReady) {
		t.Errorf("conditions %+v, want Ready to stay", app.Status.Conditions)
	}

	// Mended by hand it is as in Git, and what is done to it later is seen again.
	s.by("mallory", "configmap", "a", `{"data":{"key":"1"}}`)
	s.drifts(rest...)
	s.by("mallory", "configmap", "a", `{"data":{"key":"once more"}}`)
	s.drifts(append([]v1alpha1.DriftStatus{a}, rest...)...)

	s.looked()
	s.drifts()
	s.waitReady(commit)
	for name := range map[string]bool{"a": true, "b": true, "c": true} {
		if o, err := get(t.Context(), s, name, &corev1.ConfigMap{}); err != nil || o.Data["key"] != "1" {
			t.Errorf("ConfigMap %s: %v, data %v, want it put back by the sync that was asked for", name, err, o.Data)
		}
	}
}

// What others add to an object, and what they do to the rest of it, is no
// drift: nothing is sent.
func TestWhatOthersAddIsNoDrift(t *testing.T) {
	t.Parallel()
	s := newStory(t, "others-add")
	s.write(map[string]string{"web.yaml": strings.Replace(deployment, "          envFrom: [{secretRef: {name: db}}]\n", "", 1)})
	s.create()
	commit := s.push("first")
	s.waitReady(commit)
	s.kubectl("", "-n", s.ns, "rollout", "restart", "deployment", "web")
	s.kubectl("", "-n", s.ns, "patch", "deployment", "web", "--type=strategic", "--field-manager=injector", "-p",
		`{"spec":{"template":{"spec":{"containers":[{"name":"sidecar","image":"registry.example/sidecar:1"}]}}}}`)
	s.kubectl("", "-n", s.ns, "annotate", "deployment", "web", "example.com/note=1")
	s.kubectl("", "-n", s.ns, "label", "deployment", "web", "team=blue")
	s.kubectl("", "-n", s.ns, "patch", "deployment", "web", "--subresource=status", "--type=merge", "-p", `{"status":{"observedGeneration":1}}`)
	s.looked()
	// Whoever knows of what happens to the object last knows of all of that.
	s.kubectl("", "-n", s.ns, "set", "image", "deployment/web", "web=registry.example/web:2", "--field-manager=mallory")
	eventually(t, "one drift, that of the image", func(ctx context.Context) error {
		app, err := s.read(ctx)
		if err != nil {
			return err
		}
		if h := app.Status.History; app.Status.Resources.Drifted != 1 || len(h) != 2 || h[0].Changed != 1 {
			return fmt.Errorf("resources %+v, history %+v, want one drift, and nothing sent for others", app.Status.Resources, h)
		}
		return nil
	})
	web, err := get(t.Context(), s, "web", &appsv1.Deployment{})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(web.Spec.Template.Spec.Containers); n != 2 || web.Annotations["example.com/note"] != "1" || web.Labels["team"] != "blue" ||
		web.Spec.Template.Annotations["kubectl.kubernetes.io/restartedAt"] == "" {
		t.Errorf("%d containers, annotations %v, labels %v: somebody's work was undone", n, web.Annotations, web.Labels)
	}
	s.waitReady(commit)
}

// Somebody who changes a field back each time is named, is not raced, and once
// they stop the object is as in Git.
func TestAFightNamesWhoFights(t *testing.T) {
	t.Parallel()
	s := newStory(t, "named-fight")
	s.write(map[string]string{"a.yaml": configMap("a", "1")})
	s.create()
	commit := s.push("first")
	s.waitReady(commit)
	want := v1alpha1.DriftStatus{ObjectReference: ref("", "ConfigMap", s.ns, "a"), Fields: []string{"data.key"}, Manager: "other-operator", Contested: true}
	eventually(t, "the fight told", func(ctx context.Context) error {
		a := &corev1.ConfigMap{ObjectMeta: meta1("a", s.ns)}
		if err := sandbox.Client.Patch(ctx, a, client.RawPatch("application/merge-patch+json", []byte(`{"data":{"key":"other"}}`)), client.FieldOwner("other-operator")); err != nil {
			return err
		}
		app, err := s.read(ctx)
		if err != nil {
			return err
		}
		c := drifted(app)
		if diff := cmp.Diff([]v1alpha1.DriftStatus{want}, app.Status.Drift); diff != "" || c == nil || c.Reason != v1alpha1.ReasonContested {
			return errors.Join(fmt.Errorf("condition %+v", c), errors.New(diff))
		}
		ready := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionReady)
		if !strings.Contains(ready.Message, `is changed back each time that it is corrected: stop field manager "other-operator", or take data.key out of Git`) {
			return fmt.Errorf("condition %+v", ready)
		}
		return nil
	})
	s.wantConfig("a", "1") // after which nobody changes it back
	s.drifts()
	s.waitReady(commit)
}
