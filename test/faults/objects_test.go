package faults

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/test/rig"
)

// An object that is too large, for etcd or for the API server, is named with
// its file; what else the revision has is not harmed, and it mends in Git.
func TestAnObjectIsTooLarge(t *testing.T) {
	t.Parallel()
	const limit = 1536 << 10
	for name, tt := range map[string]struct {
		manifest      string
		reason, words string
	}{
		"for any cluster": {configMap("big", strings.Repeat("x", limit)), v1alpha1.ReasonRenderFailed, "larger than 1.5 MiB, which no cluster stores: split it"},
		"for a request":   {configMap("big", strings.Repeat("x", 2*limit)), v1alpha1.ReasonRenderFailed, "larger than 1.5 MiB, which no cluster stores: split it"},
		"for its kind":    {configMap("big", strings.Repeat("x", 1200<<10)), v1alpha1.ReasonApplyFailed, "may not be more than 1048576 bytes: correct it in Git"},
		"for etcd":        {deployment("big", limit-64), v1alpha1.ReasonApplyFailed, "too large to be stored: split it"},
	} {
		s := newStory(t, "large")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.t = t
			commit := s.push(someConfigs(3, "1"))
			s.create()
			s.waitReady(commit)
			before := s.configs()
			s.push(map[string]string{"c01.yaml": "", "big.yaml": "---\n" + tt.manifest})
			s.waitRefused(tt.reason, "big.yaml:2", ` "big"`, tt.words)
			s.sees(tt.reason, "big.yaml:2")
			throughout(t, 2*time.Second, func() error {
				if after := s.configs(); !maps.Equal(before, after) {
					return fmt.Errorf("objects are %v, were %v", after, before)
				}
				return nil
			})
			commit = s.push(map[string]string{"big.yaml": configMap("big", "small")})
			s.waitReady(commit)
			if after := s.waitConfigs(func(now map[string]string) bool { return len(now) == 3 }); after["c00"] != before["c00"] || after["big"] == "" {
				t.Errorf("objects are %v, were %v", after, before)
			}
		})
	}
}

// deployment is one of a size that gitseal lets pass, if barely.
func deployment(name string, size int) string {
	const form = `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":%q},"spec":{"replicas":0,"selector":{"matchLabels":{"a":"b"}},` +
		`"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"a","image":"a","env":[{"name":"A","value":%q}]}]}}}}`
	return fmt.Sprintf(form, name, strings.Repeat("x", size-len(fmt.Sprintf(form, name, "")))) + "\n"
}

// A namespace that cannot go, because somebody's finalizer holds an object in
// it, takes nothing new. The Application in it can go all the same, and one
// that deploys to it from elsewhere says what it waits for, and comes back.
func TestANamespaceIsStuckTerminating(t *testing.T) {
	t.Parallel()
	within, from := newStory(t, "terminating"), newStory(t, "elsewhere")
	access := fmt.Sprintf(`apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: elsewhere, namespace: %s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}
subjects: [{kind: ServiceAccount, name: deployer, namespace: %s}]
`, within.ns, from.ns)
	within.kubectl(access, "apply", "--server-side", "-f", "-")
	within.kubectl("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: stuck, finalizers: [example.com/hold]}\n", "-n", within.ns, "apply", "-f", "-")
	from.app.Spec.Destination.Namespace = within.ns
	commit, other := within.push(someConfigs(2, "1")), from.push(map[string]string{"away.yaml": configMap("away", "1")})
	within.create()
	from.create()
	within.waitReady(commit)
	from.waitReady(other)

	within.kubectl("", "delete", "namespace", within.ns, "--wait=false")
	within.waitGone()
	eventually(t, "the other one says so", func(ctx context.Context) error {
		app, err := from.read(ctx)
		if err != nil {
			return err
		}
		ready := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionReady)
		if ready.Status != "False" || !strings.Contains(ready.Message, within.ns) {
			return fmt.Errorf("condition %+v", ready)
		}
		return nil
	})
	app, _ := from.read(t.Context())
	t.Logf("while it terminates: %+v", meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionReady))
	ns := &corev1.Namespace{}
	if err := sandbox.Client.Get(t.Context(), types.NamespacedName{Name: within.ns}, ns); err != nil || ns.Status.Phase != corev1.NamespaceTerminating {
		t.Errorf("the namespace is %q, %v, want it stuck", ns.Status.Phase, err)
	}
	asked, begun := proxy.Count(in(within.ns)), time.Now()
	throughout(t, 4*time.Second, func() error { return nil })
	if n, took := proxy.Count(in(within.ns))-asked, time.Since(begun); n > int(10*took.Seconds()) {
		t.Errorf("%d requests in %s about a namespace that goes", n, took)
	}

	within.kubectl("", "-n", within.ns, "patch", "configmap", "stuck", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
	within.kubectl("", "wait", "--for=delete", "--timeout=5m", "namespace/"+within.ns)
	if err := sandbox.Namespace(t.Context(), within.ns); err != nil {
		t.Fatal(err)
	}
	within.kubectl(access, "apply", "--server-side", "-f", "-")
	from.waitReady(other)
	within.waitValue("away", "1")
}

// An Application that is deleted in the middle of its sync, at whichever
// request, takes along what it applied and nothing else; one of the same name
// that comes at once begins anew.
func TestAnApplicationIsDeletedWhileItSyncs(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]func(rig.Asked) bool{
		"when it is about to be recorded": func(a rig.Asked) bool { return strings.HasSuffix(a.Path, "/applications/app") && a.Writes() },
		"at the trial":                    func(a rig.Asked) bool { return strings.Contains(a.Query, "dryRun") },
		"at an object":                    func(a rig.Asked) bool { return strings.HasSuffix(a.Path, "/configmaps/c02") && a.Writes() },
		"when its status is written":      func(a rig.Asked) bool { return strings.HasSuffix(a.Path, "/status") && a.Writes() },
	} {
		s := newStory(t, "deleted")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.t = t
			s.kubectl(configMap("foreign", "mine"), "-n", s.ns, "apply", "-f", "-")
			commit := s.push(someConfigs(5, "1"))
			reached, release := held(t, func(a rig.Asked) bool { return in(s.ns)(a) && at(a) })
			s.create()
			s.reaches("the middle of the sync", reached)
			if err := sandbox.Client.Delete(t.Context(), s.app); err != nil {
				t.Fatal(err)
			}
			release()
			s.waitGone()
			s.rest(s.written, func() error {
				if left := s.configs(); len(left) > 0 {
					return fmt.Errorf("of a deleted Application there are %v", left)
				}
				return nil
			})
			s.again()
			s.waitReady(commit)
			if err := sandbox.Client.Delete(t.Context(), s.app); err != nil {
				t.Fatal(err)
			}
			s.again()
			s.waitReady(commit)
			s.waitConfigs(func(there map[string]string) bool { return len(there) == 5 })
			s.waitValue("foreign", "mine")
		})
	}
}

// again creates the Application as soon as its name is free.
func (s *story) again() {
	s.t.Helper()
	s.app = newApplication(s.ns, s.app.Name, s.repo.URL)
	eventually(s.t, "the name free", func(ctx context.Context) error { return sandbox.Client.Create(ctx, s.app) })
}

// What users do to what gitseal keeps on objects is undone or does no harm.
func TestWhatGitsealKeepsIsTamperedWith(t *testing.T) {
	t.Parallel()
	patch := func(s *story, args ...string) {
		s.kubectl("", append([]string{"-n", s.ns, "patch"}, args...)...)
	}
	places := func(value string) func(*story) {
		return func(s *story) {
			patch(s, "application", "app", "--type=merge", "-p", fmt.Sprintf(`{"metadata":{"annotations":{%q:%s}}}`, v1alpha1.AnnotationPlaces, value))
		}
	}
	for name, tamper := range map[string]func(*story){
		"managed fields are cleared": func(s *story) {
			patch(s, "configmap", "c00", "--type=merge", "-p", `{"metadata":{"managedFields":[{}]}}`)
		},
		"labels and annotations go": func(s *story) {
			patch(s, "configmap", "c00", "--type=json", "-p", `[{"op":"replace","path":"/metadata/labels","value":{}},{"op":"replace","path":"/metadata/annotations","value":{"kubectl.kubernetes.io/last-applied-configuration":"{","gitseal.dev/digest":"no digest"}}]`)
		},
		"the places are gone":             places("null"),
		"the places are nonsense":         places(`"/,//,,ConfigMap,Secret.,../..,Nothing.example.com/nowhere"`),
		"the places are not of this kind": places(`"ConfigMap/,Namespace/kube-system,Application.gitseal.dev/"`),
		"the status is wiped": func(s *story) {
			patch(s, "application", "app", "--subresource=status", "--type=json", "-p", `[{"op":"replace","path":"/status","value":{}}]`)
		},
		"the finalizer and the ApplySet go": func(s *story) {
			patch(s, "application", "app", "--type=json", "-p", `[{"op":"remove","path":"/metadata/finalizers"},{"op":"remove","path":"/metadata/labels"}]`)
		},
	} {
		s := newStory(t, "tampered")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.t = t
			s.waitReady(s.begin(3))
			before := s.configs()
			tamper(s)
			// It works on: what comes is applied, what goes is pruned.
			commit := s.push(map[string]string{"c01.yaml": configMap("c01", "2"), "c02.yaml": ""})
			s.waitReady(commit)
			s.rest(s.written, func() error {
				after := s.configs()
				if len(after) != 2 || after["c00"] != before["c00"] || !strings.HasSuffix(after["c01"], "=2") {
					return fmt.Errorf("objects are %v, were %v", after, before)
				}
				return s.recorded()
			})
			if err := sandbox.Client.Delete(t.Context(), s.app); err != nil {
				t.Fatal(err)
			}
			s.waitGone()
			if left := s.configs(); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// Whoever writes another's place into the annotation gets no more than the
// ServiceAccount may see, and is told where to take it out again.
func TestAPlaceOfAnotherIsWrittenIntoTheAnnotation(t *testing.T) {
	t.Parallel()
	s := newStory(t, "places")
	commit := s.begin(3)
	s.waitReady(commit)
	before := s.configs()
	s.edit(func(app *v1alpha1.Application) {
		app.Annotations[v1alpha1.AnnotationPlaces] += ",ConfigMap/gitseal-system,Secret/kube-system"
	})
	s.waitRefused(v1alpha1.ReasonForbidden, `may not watch`, "annotation "+v1alpha1.AnnotationPlaces)
	s.kubectl("", "-n", s.ns, "delete", "configmap", "c00") // what is in place is still guarded
	s.waitValue("c00", "1")
	s.edit(func(app *v1alpha1.Application) { delete(app.Annotations, v1alpha1.AnnotationPlaces) })
	s.waitReady(commit)
	if after := s.configs(); len(after) != 3 || after["c01"] != before["c01"] {
		t.Errorf("objects are %v, were %v", after, before)
	}
}

// begin pushes n ConfigMaps and creates the Application.
func (s *story) begin(n int) (commit string) {
	s.t.Helper()
	commit = s.push(someConfigs(n, "1"))
	s.create()
	return commit
}

// written is how often the operator wrote something in the story's namespace.
func (s *story) written() int { return proxy.Count(writesIn(s.ns)) }

// recorded is nil while the Application keeps all by which its objects are
// found, and stays until they are gone.
func (s *story) recorded() error {
	app, err := s.read(s.t.Context())
	if err != nil {
		return err
	}
	places := strings.Split(app.Annotations[v1alpha1.AnnotationPlaces], ",")
	if !slices.Contains(app.Finalizers, v1alpha1.Finalizer) || app.Labels[v1alpha1.ApplySetIDLabel] == "" || !slices.Contains(places, "ConfigMap/"+s.ns) {
		return fmt.Errorf("finalizers %v, labels %v, annotations %v", app.Finalizers, app.Labels, app.Annotations)
	}
	return nil
}

const gizmo = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gizmos.faults.example.com}
spec:
  group: faults.example.com
  names: {plural: gizmos, singular: gizmo, kind: Gizmo, listKind: GizmoList}
  scope: Namespaced
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
`

// A kind that goes takes its objects with it. The Application says so, keeps
// everything else, and brings the objects back when the kind is.
func TestAKindGoesUnderItsObjects(t *testing.T) {
	t.Parallel()
	s := newStory(t, "kind")
	s.kubectl(gizmo, "apply", "--server-side", "-f", "-")
	if err := sandbox.Serves(t.Context(), "gizmos.faults.example.com"); err != nil {
		t.Fatal(err)
	}
	s.kubectl("", "create", "clusterrole", s.ns, "--verb=*", "--resource=gizmos.faults.example.com")
	s.kubectl("", "-n", s.ns, "create", "rolebinding", "gizmos", "--clusterrole="+s.ns, "--serviceaccount="+s.ns+":deployer")
	files := someConfigs(2, "1")
	files["g.yaml"] = "apiVersion: faults.example.com/v1\nkind: Gizmo\nmetadata: {name: one}\nspec: {size: 1}\n"
	commit := s.push(files)
	s.create()
	s.waitReady(commit)
	before := s.configs()

	s.kubectl("", "delete", "crd", "gizmos.faults.example.com", "--wait", "--timeout=5m")
	s.waitRefused(v1alpha1.ReasonKindUnknown, "gizmos.faults.example.com", "CustomResourceDefinition")
	s.kubectl("", "-n", s.ns, "delete", "configmap", "c00") // the rest is still guarded
	s.waitValue("c00", "1")
	if after := s.configs(); after["c01"] != before["c01"] {
		t.Errorf("objects are %v, were %v", after, before)
	}
	s.kubectl(gizmo, "apply", "--server-side", "-f", "-")
	s.waitReady(commit)
	s.kubectl("", "-n", s.ns, "get", "gizmo", "one")
}
