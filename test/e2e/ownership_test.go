package e2e

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// scale sets the replicas of the Deployment web through its subresource.
func (s *story) scale(manager string, replicas int32) {
	s.t.Helper()
	web := &appsv1.Deployment{ObjectMeta: meta1("web", s.ns)}
	body := &autoscalingv1.Scale{Spec: autoscalingv1.ScaleSpec{Replicas: replicas}}
	body.Name, body.Namespace = "web", s.ns
	if err := sandbox.Client.SubResource("scale").Update(s.t.Context(), web, client.WithSubResourceBody(body), client.FieldOwner(manager)); err != nil {
		s.t.Fatal(err)
	}
}

// wantWeb waits until the Deployment web has so many replicas of an image.
func (s *story) wantWeb(replicas int32, image string) {
	s.t.Helper()
	eventually(s.t, "Deployment web", func(ctx context.Context) error {
		web, err := get(ctx, s, "web", &appsv1.Deployment{})
		if err == nil && (*web.Spec.Replicas != replicas || web.Spec.Template.Spec.Containers[0].Image != image) {
			err = fmt.Errorf("%d replicas of %s, want %d of %s", *web.Spec.Replicas, web.Spec.Template.Spec.Containers[0].Image, replicas, image)
		}
		return err
	})
}

// undisturbed checks that nothing but new revisions was ever sent.
func (s *story) undisturbed() {
	s.t.Helper()
	s.looked()
	app, err := s.read(s.t.Context())
	if err != nil || app.Status.Resources.Drifted != 0 || len(app.Status.Drift) != 0 {
		s.t.Errorf("resources %+v, drift %+v, %v, want no drift", app.Status.Resources, app.Status.Drift, err)
	}
	for _, h := range app.Status.History {
		if h.Reason == v1alpha1.SyncDrift || h.Reason == v1alpha1.SyncRequested {
			s.t.Errorf("history %+v, want nothing sent but for new revisions", app.Status.History)
		}
	}
}

const plainWeb = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "registry.example/web:%s"}]}
`

// What the autoscaler has set is the autoscaler's, at a new revision too. What
// a human scales is drift.
func TestAnAutoscalerOwnsTheReplicas(t *testing.T) {
	t.Parallel()
	s := newStory(t, "autoscaled")
	s.write(map[string]string{"web.yaml": fmt.Sprintf(plainWeb, "1")})
	s.create()
	s.waitReady(s.push("first"))
	s.scale("kube-controller-manager", 3)
	s.looked()
	s.wantWeb(3, "registry.example/web:1")
	s.write(map[string]string{"web.yaml": fmt.Sprintf(plainWeb, "2")})
	commit := s.push("second")
	s.waitReady(commit)
	s.wantWeb(3, "registry.example/web:2")
	s.undisturbed()

	s.kubectl("", "-n", s.ns, "label", "deployment", "web", v1alpha1.ApplySetPartOfLabel+"-")
	eventually(t, "the label", func(ctx context.Context) error {
		web, err := get(ctx, s, "web", &appsv1.Deployment{})
		if err == nil && web.Labels[v1alpha1.ApplySetPartOfLabel] == "" {
			err = errors.New("it is not back")
		}
		return err
	})
	s.wantWeb(3, "registry.example/web:2")

	s.kubectl("", "-n", s.ns, "scale", "deployment", "web", "--replicas=5")
	s.wantWeb(1, "registry.example/web:2")
	s.told(`Corrected drift of Deployment "web" in namespace "autoscaled": spec.replicas, changed by field manager "kubectl"`)
}

// A field that a rule names is neither corrected nor overwritten nor removed,
// and without the rule it is as in Git again.
func TestIgnoredDifferencesAreLeft(t *testing.T) {
	t.Parallel()
	s := newStory(t, "ignored-fields")
	s.app.Spec.Sync.IgnoreDifferences = []v1alpha1.IgnoreDifference{
		{Kind: "ConfigMap", Name: "a", JSONPointers: []string{"/data/tuned", "/data/kept"}},
		{Group: "apps", Kind: "Deployment", ManagedFieldsManagers: []string{"tuner"}},
	}
	config := func(other string) string {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {tuned: git, kept: git, other: " + other + "}\n"
	}
	s.write(map[string]string{"a.yaml": config("one"), "web.yaml": fmt.Sprintf(plainWeb, "1")})
	s.create()
	s.waitReady(s.push("first"))
	s.by("tuner", "configmap", "a", `{"data":{"tuned":"live"}}`)
	s.by("tuner", "deployment", "web", `{"spec":{"replicas":2}}`)
	s.looked()
	s.write(map[string]string{"a.yaml": strings.Replace(config("two"), ", kept: git", "", 1), "web.yaml": fmt.Sprintf(plainWeb, "2")})
	s.waitReady(s.push("second"))
	s.wantWeb(2, "registry.example/web:2")
	a, err := get(t.Context(), s, "a", &corev1.ConfigMap{})
	if err != nil || a.Data["tuned"] != "live" || a.Data["kept"] != "git" || a.Data["other"] != "two" {
		t.Errorf("data %v, %v, want what is ignored left, and the rest as in Git", a.Data, err)
	}
	s.undisturbed()

	s.by("mallory", "configmap", "a", `{"data":{"other":"by hand"}}`)
	s.wantConfigKey("a", "other", "two")
	if err := s.tryEdit(func(spec *v1alpha1.ApplicationSpec) { spec.Sync.IgnoreDifferences = nil }); err != nil {
		t.Fatal(err)
	}
	s.wantConfigKey("a", "tuned", "git")
	s.wantWeb(1, "registry.example/web:2")
}

func (s *story) wantConfigKey(name, key, value string) {
	s.t.Helper()
	eventually(s.t, "ConfigMap "+name, func(ctx context.Context) error {
		a, err := get(ctx, s, name, &corev1.ConfigMap{})
		if err != nil || a.Data[key] != value {
			return errors.Join(err, fmt.Errorf("data %v, want %s: %s", a.Data, key, value))
		}
		return nil
	})
}

// What a webhook makes of an object, each time that it is written, is no drift.
func TestAWebhookThatMutatesIsNoDrift(t *testing.T) {
	t.Parallel()
	s := newStory(t, "mutated")
	s.mutate()
	s.write(map[string]string{"web.yaml": fmt.Sprintf(plainWeb, "1")})
	s.create()
	s.waitReady(s.push("first"))
	s.wantWeb(1, "mirror.example/web")
	s.kubectl("", "-n", s.ns, "annotate", "deployment", "web", "example.com/note=1")
	<-time.After(time.Second) // managed fields tell times in seconds
	s.kubectl("", "-n", s.ns, "rollout", "restart", "deployment", "web")
	s.undisturbed()
	web, err := get(t.Context(), s, "web", &appsv1.Deployment{})
	if err != nil || len(web.Spec.Template.Spec.Containers) != 2 {
		t.Errorf("%v, containers %+v, want the one that the webhook adds", err, web.Spec.Template.Spec.Containers)
	}
	s.write(map[string]string{"web.yaml": fmt.Sprintf(plainWeb, "2")})
	s.waitReady(s.push("second"))
	s.undisturbed()
}

// maxWebhookSeconds is how long an API server waits for a webhook at most.
const maxWebhookSeconds = int32(30)

// mutate puts a webhook in front of the namespace's Deployments that replaces
// the image and adds a container.
func (s *story) mutate() {
	s.t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(mirrorAndInject))
	s.t.Cleanup(server.Close)
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	hook := &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: s.ns}}
	hook.Webhooks = []admissionregistrationv1.MutatingWebhook{{
		Name: "mirror.example.com", AdmissionReviewVersions: []string{"v1"}, SideEffects: ptr.To(admissionregistrationv1.SideEffectClassNone), TimeoutSeconds: ptr.To(maxWebhookSeconds),
		ClientConfig:      admissionregistrationv1.WebhookClientConfig{URL: &server.URL, CABundle: authority},
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: s.ns}},
		Rules: []admissionregistrationv1.RuleWithOperations{{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
			Rule:       admissionregistrationv1.Rule{APIGroups: []string{"apps"}, APIVersions: []string{"v1"}, Resources: []string{"deployments"}},
		}},
	}}
	if err := sandbox.Client.Create(s.t.Context(), hook); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _, _ = sandbox.Kubectl(cleanupContext(), "", "delete", "mutatingwebhookconfiguration", s.ns) })
	eventually(s.t, "the webhook in place", func(ctx context.Context) error {
		probe := &appsv1.Deployment{ObjectMeta: meta1("probe", s.ns)}
		probe.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
		probe.Spec.Template.Labels = map[string]string{"a": "b"}
		probe.Spec.Template.Spec.Containers = []corev1.Container{{Name: "c", Image: "x"}}
		if err := sandbox.Client.Create(ctx, probe, client.DryRunAll); err != nil {
			return err
		}
		if len(probe.Spec.Template.Spec.Containers) != 2 {
			return errors.New("nothing is mutated yet")
		}
		return nil
	})
}

func mirrorAndInject(w http.ResponseWriter, request *http.Request) {
	var review admissionv1.AdmissionReview
	var d appsv1.Deployment
	if err := json.NewDecoder(request.Body).Decode(&review); err != nil || json.Unmarshal(review.Request.Object.Raw, &d) != nil {
		http.Error(w, "no review", http.StatusBadRequest)
		return
	}
	patch := `[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"mirror.example/web"}`
	if len(d.Spec.Template.Spec.Containers) == 1 {
		patch += `,{"op":"add","path":"/spec/template/spec/containers/-","value":{"name":"injected","image":"mirror.example/side"}}`
	}
	review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true, Patch: []byte(patch + "]"), PatchType: ptr.To(admissionv1.PatchTypeJSONPatch)}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(review)
}

// What is created once belongs to whoever changes it, also where it was there
// before; where it is gone it is created again, and it is pruned.
func TestWhatIsCreatedOnceIsLeftAlone(t *testing.T) {
	t.Parallel()
	s := newStory(t, "once")
	once := func(name, value string) string {
		return strings.Replace(configMap(name, value), "metadata: {", "metadata: {annotations: {gitseal.dev/apply: Once}, ", 1)
	}
	s.kubectl("", "-n", s.ns, "create", "configmap", "theirs", "--from-literal=key=theirs")
	s.write(map[string]string{"a.yaml": once("a", "1"), "theirs.yaml": once("theirs", "1"), "c.yaml": configMap("c", "1")})
	s.create()
	s.waitReady(s.push("first"))
	s.wantConfigKey("a", "key", "1")
	s.by("other", "configmap", "a", `{"data":{"key":"theirs"}}`)
	s.write(map[string]string{"a.yaml": once("a", "2"), "theirs.yaml": once("theirs", "2"), "c.yaml": configMap("c", "2")})
	s.waitReady(s.push("second"))
	s.undisturbed()
	for _, name := range []string{"a", "theirs"} {
		o, err := get(t.Context(), s, name, &corev1.ConfigMap{})
		if err != nil || o.Data["key"] != "theirs" || name == "theirs" && len(o.Labels)+len(o.Annotations) > 0 {
			t.Errorf("ConfigMap %s: %v, data %v, metadata %+v, want it left alone", name, err, o.Data, o.ObjectMeta)
		}
	}
	s.kubectl("", "-n", s.ns, "delete", "configmap", "a")
	s.wantConfigKey("a", "key", "2")
	s.write(map[string]string{"a.yaml": "", "theirs.yaml": ""})
	s.waitReady(s.push("third"))
	eventually(t, "what was created pruned", func(ctx context.Context) error {
		if _, err := get(ctx, s, "a", &corev1.ConfigMap{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("ConfigMap a is still there: %w", err)
		}
		return nil
	})
	s.wantConfigKey("theirs", "key", "theirs")
}
