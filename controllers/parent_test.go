package controllers

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/apply"
)

func secretNamed(name, namespace string, annotations map[string]string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, Annotations: annotations}}
}

func newQueue(t *testing.T) workqueue.TypedRateLimitingInterface[reconcile.Request] {
	t.Helper()
	q := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	t.Cleanup(q.ShutDown)
	return q
}

func TestTheParentIsWrittenAsTheKEPSays(t *testing.T) {
	d := newDesk(t)
	run := d.begin(d.read(t))
	run.app.Status.LastHandledSyncAt = "not written yet"
	config := schema.GroupKind{Kind: "ConfigMap"}
	places := []apply.Place{{GroupKind: schema.GroupKind{Group: "apps", Kind: "Deployment"}, Namespace: "z"}, {GroupKind: config, Namespace: "a"}, {GroupKind: schema.GroupKind{Kind: "Namespace"}}}
	if err := d.writeParent(t.Context(), run, places); err != nil {
		t.Fatal(err)
	}
	app := d.read(t)
	for key, want := range map[string]string{
		v1alpha1.ApplySetToolingAnnotation: "gitseal/v1", v1alpha1.ApplySetKindsAnnotation: "ConfigMap,Deployment.apps,Namespace", v1alpha1.ApplySetNamespacesAnnotation: "a,z",
		v1alpha1.AnnotationPlaces: "ConfigMap/a,Deployment.apps/z,Namespace/",
	} {
		if got := app.Annotations[key]; got != want {
			t.Errorf("annotation %s = %q, want %q", key, got, want)
		}
	}
	if app.Labels[v1alpha1.ApplySetIDLabel] != run.target.ApplySet() || !slices.Contains(app.Finalizers, v1alpha1.Finalizer) {
		t.Errorf("labels %v, finalizers %v, want the id and the finalizer", app.Labels, app.Finalizers)
	}
	if run.app.Status.LastHandledSyncAt == "" || run.base.ResourceVersion != app.ResourceVersion {
		t.Error("the run lost its status, or does not go on from what was written")
	}
	if err := d.writeParent(t.Context(), run, []apply.Place{places[2], places[1], places[0]}); err != nil || d.read(t).ResourceVersion != app.ResourceVersion {
		t.Errorf("writeParent(same) = %v, or wrote again", err)
	}
	if parent, ok, err := d.parent(t.Context(), run.target.ApplySet()); !ok || err != nil || parent.String() != "ns/app" {
		t.Errorf("parent() = %q, %v, %v, want ns/app", parent, ok, err)
	}
	if _, ok, err := d.parent(t.Context(), "applyset-other-v1"); ok || err != nil {
		t.Errorf("parent() knows an ApplySet that nobody has, or %v", err)
	}
}

func FuzzParentAnnotations(f *testing.F) {
	for _, seed := range []string{"", "ConfigMap/", "ConfigMap/a,Deployment.apps/b", ",", ",,", "..", "a.b.c//,,d", "\x00", " ConfigMap/ a"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		app := &v1alpha1.Application{}
		app.Annotations = map[string]string{v1alpha1.AnnotationPlaces: text}
		once := list(recorded(app), apply.Place.String)
		app.Annotations[v1alpha1.AnnotationPlaces] = once
		if twice := list(recorded(app), apply.Place.String); twice != once {
			t.Errorf("what is recorded as %q is read as %q", once, twice)
		}
	})
}
