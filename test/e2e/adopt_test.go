package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

const shop = `apiVersion: apps/v1
kind: Deployment
metadata: {name: shop, labels: {team: shop}}
spec:
  replicas: 2
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec: {containers: [{name: shop, image: registry.example/shop:1, env: [{name: COLOUR, value: blue}]}]}
`

// The guide in docs/install.md: what Flux applied is taken over without one pod
// being restarted, and is then gitseal's alone.
func TestMovingFromFlux(t *testing.T) {
	t.Parallel()
	s := newStory(t, "from-flux")
	byFlux := func(manifest, name string) {
		s.kubectl(strings.Replace(manifest, "metadata: {name: "+name,
			"metadata: {name: "+name+", labels: {team: shop, kustomize.toolkit.fluxcd.io/name: shop, kustomize.toolkit.fluxcd.io/namespace: flux-system}", 1),
			"apply", "--server-side", "--field-manager=kustomize-controller", "--namespace", s.ns, "-f", "-")
	}
	byFlux(strings.Replace(shop, ", labels: {team: shop}", "", 1), "shop")
	byFlux("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: colours}\ndata: {sky: blue, grass: green}\n", "colours")
	s.kubectl("", "rollout", "status", "deployment/shop", "--namespace", s.ns, "--timeout="+patience.String())
	before := s.workload()

	s.write(map[string]string{
		"a-new.yaml": configMap("new", "1"), "shop.yaml": shop,
		"colours.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: colours}\ndata: {sky: blue, grass: green}\n",
	})
	commit := s.push("what Flux applied")
	s.create()
	want := `colours.yaml:1: ConfigMap "colours" in namespace "from-flux" is there already and belongs to Flux (Kustomization "flux-system/shop"); ` +
		`shop.yaml:1: Deployment "shop" in namespace "from-flux" is there already and belongs to Flux (Kustomization "flux-system/shop"): ` +
		"once Flux has let go of it, set spec.sync.adopt to true to take it over; or remove it from Git"
	if got := s.waitRefused(v1alpha1.ReasonOwnedByOther); got != want {
		t.Errorf("message = %s\nwant      %s", got, want)
	}
	if got := s.members(); len(got) != 0 {
		t.Errorf("applied before it was refused: %v", got)
	}
	if err := s.tryEdit(func(spec *v1alpha1.ApplicationSpec) { spec.Sync.Adopt = true }); err != nil {
		t.Fatal(err)
	}
	s.waitReady(commit)
	if diff := cmp.Diff(before, s.workload()); diff != "" {
		t.Errorf("the workload changed (-before +after):\n%s", diff)
	}
	for _, o := range []client.Object{&appsv1.Deployment{ObjectMeta: meta1("shop", s.ns)}, &corev1.ConfigMap{ObjectMeta: meta1("colours", s.ns)}} {
		s.wantOurs(o)
	}
	s.told(`Took over ConfigMap "colours" in namespace "from-flux" from Flux (Kustomization "flux-system/shop"), and 1 more objects`)

	s.write(map[string]string{
		"colours.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: colours}\ndata: {sky: blue}\n",
		"shop.yaml":    strings.Replace(shop, ", labels: {team: shop}", "", 1),
	})
	s.waitReady(s.push("less"))
	if c, err := get(t.Context(), s, "colours", &corev1.ConfigMap{}); err != nil || len(c.Data) != 1 {
		t.Errorf("ConfigMap colours: %v, %v, want the key that left Git to be gone", c.Data, err)
	}
	if d, err := get(t.Context(), s, "shop", &appsv1.Deployment{}); err != nil || d.Labels["team"] != "" {
		t.Errorf("Deployment shop: labels %v, %v, want the label that left Git to be gone", d.Labels, err)
	}
}

// workload is all that would change if a pod were restarted. The Deployment's
// generation is no part of it: it counts changes of annotations, too.
func (s *story) workload() map[string]string {
	s.t.Helper()
	found := map[string]string{}
	d, err := get(s.t.Context(), s, "shop", &appsv1.Deployment{})
	if err != nil {
		s.t.Fatal(err)
	}
	spec, err := json.Marshal(d.Spec)
	if err != nil {
		s.t.Fatal(err)
	}
	found["Deployment"] = fmt.Sprint(d.UID, d.Annotations["deployment.kubernetes.io/revision"], string(spec))
	var sets appsv1.ReplicaSetList
	var pods corev1.PodList
	for _, list := range []client.ObjectList{&sets, &pods} {
		if err := sandbox.Client.List(s.t.Context(), list, client.InNamespace(s.ns)); err != nil {
			s.t.Fatal(err)
		}
	}
	for _, r := range sets.Items {
		found["ReplicaSet "+r.Name] = string(r.UID)
	}
	for _, p := range pods.Items {
		found["Pod "+p.Name] = string(p.UID)
	}
	return found
}

// wantOurs checks that no other tool owns an object any more.
func (s *story) wantOurs(o client.Object) {
	s.t.Helper()
	if err := sandbox.Client.Get(s.t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
		s.t.Fatal(err)
	}
	for key := range maps.All(o.GetLabels()) {
		if strings.Contains(key, "fluxcd") || strings.Contains(key, "kapp") || key == "app.kubernetes.io/managed-by" {
			s.t.Errorf("%s still has the label %s", o.GetName(), key)
		}
	}
	for key := range maps.All(o.GetAnnotations()) {
		if strings.Contains(key, "argoproj") || strings.Contains(key, "helm") || strings.Contains(key, "kapp") || strings.Contains(key, "last-applied") {
			s.t.Errorf("%s still has the annotation %s", o.GetName(), key)
		}
	}
	for _, e := range o.GetManagedFields() {
		if e.Subresource == "" && !slices.Contains([]string{v1alpha1.FieldManager, "kube-controller-manager"}, e.Manager) {
			s.t.Errorf("%s still has fields of %s", o.GetName(), e.Manager)
		}
	}
	if metav1.GetControllerOf(o) != nil {
		s.t.Errorf("%s is still owned by a controller", o.GetName())
	}
}

func TestMovingFromOtherTools(t *testing.T) {
	t.Parallel()
	owner := func(s *story) []metav1.OwnerReference {
		o := &corev1.ConfigMap{ObjectMeta: meta1("owner", s.ns)}
		if err := sandbox.Client.Create(s.t.Context(), o); err != nil {
			s.t.Fatal(err)
		}
		return []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: o.Name, UID: o.UID, Controller: ptr.To(true)}}
	}
	tests := map[string]struct {
		manager             string
		labels, annotations map[string]string
		owned               bool
		from                string
	}{
		"argo": {manager: "argocd-controller", annotations: map[string]string{"argocd.argoproj.io/tracking-id": "web:/ConfigMap:x/moved"}, from: `Argo CD (Application "web")`},
		"helm": {
			manager: "helm", labels: map[string]string{"app.kubernetes.io/managed-by": "Helm"},
			annotations: map[string]string{"meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": "x"}, from: `Helm (release "x/web")`,
		},
		"kapp":       {manager: "kapp", labels: map[string]string{"kapp.k14s.io/app": "17", "kapp.k14s.io/association": "v1.a"}, from: `kapp (app "17")`},
		"applyset":   {manager: "kubectl-client-side-apply", labels: map[string]string{v1alpha1.ApplySetPartOfLabel: "applyset-x-v1"}, annotations: map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "{}"}, from: "another ApplySet (applyset-x-v1)"},
		"controller": {manager: "helm", owned: true, from: `the controller of ConfigMap (ConfigMap "owner")`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t, "from-"+name)
			moved := &corev1.ConfigMap{ObjectMeta: meta1("moved", s.ns), Data: map[string]string{"key": "1", "later": "gone"}}
			moved.Labels, moved.Annotations = tt.labels, tt.annotations
			if tt.owned {
				moved.OwnerReferences = owner(s)
			}
			if err := sandbox.Client.Create(t.Context(), moved, client.FieldOwner(tt.manager)); err != nil {
				t.Fatal(err)
			}
			s.write(map[string]string{"moved.yaml": strings.Replace(configMap("moved", "1"), "{key:", "{later: gone, key:", 1), "new.yaml": configMap("new", "1")})
			commit := s.push("moved")
			s.create()
			want := fmt.Sprintf("moved.yaml:1: ConfigMap \"moved\" in namespace %q is there already and belongs to %s: ", s.ns, tt.from)
			if got := s.waitRefused(v1alpha1.ReasonOwnedByOther); !strings.HasPrefix(got, want) {
				t.Errorf("message = %s\nwant      %s...", got, want)
			}
			if got := s.members(); tt.labels[v1alpha1.ApplySetPartOfLabel] == "" && len(got) != 0 {
				t.Errorf("applied before it was refused: %v", got)
			}
			if err := s.tryEdit(func(spec *v1alpha1.ApplicationSpec) { spec.Sync.Adopt = true }); err != nil {
				t.Fatal(err)
			}
			s.waitReady(commit)
			s.wantOurs(&corev1.ConfigMap{ObjectMeta: meta1("moved", s.ns)})
			s.write(map[string]string{"moved.yaml": configMap("moved", "2")})
			s.waitReady(s.push("less"))
			eventually(t, "the object as Git has it", func(ctx context.Context) error {
				now, err := get(ctx, s, "moved", &corev1.ConfigMap{})
				if err != nil {
					return err
				}
				if now.UID != moved.UID || !maps.Equal(now.Data, map[string]string{"key": "2"}) {
					return fmt.Errorf("uid %s, data %v, want the same object and one key", now.UID, now.Data)
				}
				return nil
			})
		})
	}
}
