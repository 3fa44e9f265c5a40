package apply

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/live"
	"github.com/gitseal/gitseal/internal/render"
)

const ignoredDeployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  strategy: {type: Recreate}
  template: {spec: {containers: [{name: side, image: s}, {name: main, image: git, args: [a]}]}}`

// ownedBy is what a manager owns.
func ownedBy(manager, subresource, fields string) metav1.ManagedFieldsEntry {
	e := metav1.ManagedFieldsEntry{Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, Subresource: subresource, FieldsV1: metav1.NewFieldsV1(fields)}
	if manager == v1alpha1.FieldManager {
		e.Operation = metav1.ManagedFieldsOperationApply
	}
	return e
}

func TestFieldsOfOthersAreYielded(t *testing.T) {
	const liveSpec = `replicas: 7
  strategy: {type: RollingUpdate}
  template: {spec: {containers: [{name: injected, image: i}, {name: main, image: live, args: [b]}, {name: side, image: s}]}}`
	ours := func(fields string) metav1.ManagedFieldsEntry {
		return ownedBy(v1alpha1.FieldManager, "", `{"f:spec":{`+fields+`}}`)
	}
	tests := map[string]struct {
		rule    v1alpha1.IgnoreDifference
		entries []metav1.ManagedFieldsEntry
		want    string // of spec; "": as in Git
	}{
		"a field that we do not own is left out": {
			rule: v1alpha1.IgnoreDifference{JSONPointers: []string{"/spec/replicas"}}, entries: []metav1.ManagedFieldsEntry{ours(`"f:strategy":{}`)},
			want: "strategy: {type: Recreate}\ntemplate: {spec: {containers: [{name: side, image: s}, {name: main, image: git, args: [a]}]}}",
		},
		"a field that we own keeps its live value": {
			rule: v1alpha1.IgnoreDifference{JSONPointers: []string{"/spec/replicas"}}, entries: []metav1.ManagedFieldsEntry{ours(`"f:replicas":{}`)},
			want: "replicas: 7\nstrategy: {type: Recreate}\ntemplate: {spec: {containers: [{name: side, image: s}, {name: main, image: git, args: [a]}]}}",
		},
		"an element stands elsewhere in the live list": {
			rule:    v1alpha1.IgnoreDifference{JSONPointers: []string{"/spec/template/spec/containers/1/image"}},
			entries: []metav1.ManagedFieldsEntry{ours(`"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"main\"}":{".":{},"f:image":{}}}}}`)},
			want:    "replicas: 3\nstrategy: {type: Recreate}\ntemplate: {spec: {containers: [{name: side, image: s}, {name: main, image: live, args: [a]}]}}",
		},
		"a map from which all is left out goes, too": {
			rule: v1alpha1.IgnoreDifference{JSONPointers: []string{"/spec/strategy/type"}},
			want: "replicas: 3\ntemplate: {spec: {containers: [{name: side, image: s}, {name: main, image: git, args: [a]}]}}",
		},
		"what a manager on the list owns": {
			rule: v1alpha1.IgnoreDifference{ManagedFieldsManagers: []string{"tuner"}},
			entries: []metav1.ManagedFieldsEntry{
				ours(`"f:strategy":{}`), ownedBy("other", "", `{"f:spec":{"f:replicas":{}}}`),
				ownedBy("tuner", "", `{"f:spec":{"f:strategy":{"f:type":{}},"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"main\"}":{".":{},"f:name":{},"f:image":{}}}}}}}`),
			},
			want: "replicas: 3\nstrategy: {type: RollingUpdate}\ntemplate: {spec: {containers: [{name: side, image: s}, {name: main, args: [a]}]}}",
		},
		"what an autoscaler has set": {
			entries: []metav1.ManagedFieldsEntry{ownedBy("kube-controller-manager", "scale", `{"f:spec":{"f:replicas":{}}}`)},
			want:    "strategy: {type: Recreate}\ntemplate: {spec: {containers: [{name: side, image: s}, {name: main, image: git, args: [a]}]}}",
		},
		"what somebody has scaled by hand": {entries: []metav1.ManagedFieldsEntry{ownedBy("kubectl", "scale", `{"f:spec":{"f:replicas":{}}}`)}},
		"a field that is nowhere":          {rule: v1alpha1.IgnoreDifference{JSONPointers: []string{"/spec/paused", "/spec/template/spec/containers/9/image", "/spec/replicas/x"}}},
		"a field that only the live object has, and that we own": {
			rule:    v1alpha1.IgnoreDifference{JSONPointers: []string{"/metadata/annotations/a~1b"}},
			entries: []metav1.ManagedFieldsEntry{ownedBy(v1alpha1.FieldManager, "", `{"f:metadata":{"f:annotations":{"f:a/b":{}}}}`)},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			tt.rule.Group, tt.rule.Kind = "apps", "Deployment"
			w.target.Ignore = []v1alpha1.IgnoreDifference{tt.rule}
			item := w.build(ignoredDeployment)[0]
			have := &unstructured.Unstructured{Object: parsed(t, "metadata: {name: web, resourceVersion: '9', annotations: {a/b: live}}\nspec:\n  "+liveSpec)}
			have.SetManagedFields(tt.entries)
			body, err := yield(item, item.body, have)
			if err != nil {
				t.Fatal(err)
			}
			var got map[string]any
			if err := utiljson.Unmarshal(body, &got); err != nil {
				t.Fatal(err)
			}
			want := parsed(t, ignoredDeployment)["spec"]
			if tt.want != "" {
				want = parsed(t, tt.want)
			}
			if diff := cmp.Diff(want, got["spec"]); diff != "" {
				t.Errorf("yield() (-want +got):\n%s", diff)
			}
			annotations, _, _ := unstructured.NestedStringMap(got, "metadata", "annotations")
			if strings.Contains(name, "only the live") != (annotations["a/b"] == "live") {
				t.Errorf("annotations %v", annotations)
			}
			if version, _, _ := unstructured.NestedString(got, "metadata", "resourceVersion"); version != "9" {
				t.Errorf("resourceVersion = %q, want that of the object that was read", version)
			}
		})
	}
}

// An element that Git brings or renames is not the one that stands in its place
// in the cluster: without its image the API server would refuse it.
func TestAnElementThatIsNewIsSentAsItIs(t *testing.T) {
	tests := map[string]struct {
		pointer, git, live string
		fields             string // that we own
		want               string // "": as in Git
	}{
		"a renamed container": {
			pointer: "containers/0/image", git: "containers: [{name: main, image: git}]", live: "containers: [{name: old, image: live}]",
			fields: `"f:containers":{"k:{\"name\":\"old\"}":{".":{},"f:image":{}}}`,
		},
		"a container before the others": {
			pointer: "containers/0/image", git: "containers: [{name: new, image: n}, {name: main, image: git}]", live: "containers: [{name: main, image: live}]",
			fields: `"f:containers":{"k:{\"name\":\"main\"}":{".":{},"f:name":{}}}`,
		},
		"a field of a container that Git has renamed": {
			pointer: "containers/0/command", git: "containers: [{name: main, image: git}]", live: "containers: [{name: old, image: live, command: [x]}]",
			fields: `"f:containers":{"k:{\"name\":\"old\"}":{".":{},"f:command":{}}}`,
		},
		"an element of a list that the cluster does not have": {
			pointer: "containers/0/env/0/value", git: "containers: [{name: main, env: [{name: x, value: git}]}]", live: "containers: [{name: main}]",
			fields: `"f:containers":{"k:{\"name\":\"main\"}":{".":{},"f:name":{}}}`,
		},
		"a container that is there": {
			pointer: "containers/0/image", git: "containers: [{name: main, image: git}]", live: "containers: [{name: main, image: live}]",
			fields: `"f:containers":{"k:{\"name\":\"main\"}":{".":{},"f:name":{}}}`, want: "containers: [{name: main}]",
		},
		"an element without a name": {
			pointer: "containers/0/args/0", git: "containers: [{name: main, args: [a]}]", live: "containers: [{name: main, args: [b]}]",
			fields: `"f:containers":{"k:{\"name\":\"main\"}":{".":{},"f:args":{}}}`, want: "containers: [{name: main, args: [b]}]",
		},
		"the field that tells the elements apart": {
			pointer: "tolerations/0/key", git: "tolerations: [{key: a}]", live: "tolerations: [{key: b}]",
			fields: `"f:tolerations":{}`, want: "tolerations: [{key: b}]",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.target.Ignore = []v1alpha1.IgnoreDifference{{Group: "apps", Kind: "Deployment", JSONPointers: []string{"/spec/template/spec/" + tt.pointer}}}
			const head = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, resourceVersion: '9'}\nspec: {template: {spec: {%s}}}"
			item := w.build(fmt.Sprintf(head, tt.git))[0]
			have := &unstructured.Unstructured{Object: parsed(t, fmt.Sprintf(head, tt.live))}
			have.SetManagedFields([]metav1.ManagedFieldsEntry{
				ownedBy(v1alpha1.FieldManager, "", `{"f:spec":{"f:template":{"f:spec":{`+tt.fields+`}}}}`),
			})
			body, err := yield(item, item.body, have)
			if err != nil {
				t.Fatal(err)
			}
			if tt.want == "" {
				tt.want = tt.git
			}
			got, _, _ := unstructured.NestedFieldNoCopy(parsed(t, string(body)), "spec", "template", "spec")
			if diff := cmp.Diff(any(parsed(t, tt.want)), got); diff != "" {
				t.Errorf("yield() (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRulesAreForTheObjectsThatTheyName(t *testing.T) {
	item := newWorld(t).build(configMap("a"))[0]
	for name, tt := range map[string]struct {
		rule v1alpha1.IgnoreDifference
		want bool
	}{
		"all of the kind":   {v1alpha1.IgnoreDifference{Kind: "ConfigMap"}, true},
		"another kind":      {v1alpha1.IgnoreDifference{Kind: "Secret"}, false},
		"another group":     {v1alpha1.IgnoreDifference{Group: "apps", Kind: "ConfigMap"}, false},
		"its name":          {v1alpha1.IgnoreDifference{Kind: "ConfigMap", Name: "a", Namespace: "ns"}, true},
		"another name":      {v1alpha1.IgnoreDifference{Kind: "ConfigMap", Name: "b"}, false},
		"another namespace": {v1alpha1.IgnoreDifference{Kind: "ConfigMap", Namespace: "other"}, false},
	} {
		if got := len(rulesFor([]v1alpha1.IgnoreDifference{tt.rule}, item.ID)) == 1; got != tt.want {
			t.Errorf("%s: rulesFor() = %v, want %v", name, got, tt.want)
		}
	}
}

// A rule that comes or goes makes the object be applied again.
func TestRulesAreInTheDigest(t *testing.T) {
	w := newWorld(t)
	before := w.build(configMap("a"))[0].digest
	w.target.Ignore = []v1alpha1.IgnoreDifference{{Kind: "ConfigMap", JSONPointers: []string{"/data/k"}}}
	with := w.build(configMap("a"))[0]
	if with.digest == before {
		t.Error("the digest does not change with the rules")
	}
	owned := "{" + labelled + "}"
	if !ownsAll(owned, false, with) {
		t.Error("ownsAll() asks for a field that others may own")
	}
}

func TestWhatIsAppliedOnce(t *testing.T) {
	const once = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, annotations: {gitseal.dev/apply: Once}}\ndata: {k: v}"
	w := newWorld(t)
	item := w.build(once)[0]
	w.seen.put(item.Scope, "a", live.Object{ResourceVersion: 5, Owned: 7, ApplySet: w.target.ApplySet()})
	if p := w.Compare([]Item{item}, w.ledger, time.Time{}); !p.Empty() {
		t.Errorf("Compare() = %+v for a member that is there, want nothing to be sent", p)
	}
	w.seen.put(item.Scope, "a", live.Object{ResourceVersion: 6, Owned: 8, ApplySet: w.target.ApplySet()})
	if p := w.Compare([]Item{item}, w.ledger, time.Time{}); !p.Empty() {
		t.Errorf("Compare() = %+v after somebody changed it, want nothing to be sent", p)
	}
	delete(w.seen[item.Scope], item.key())
	if p := w.Compare([]Item{item}, w.ledger, time.Time{}); len(p.Drifted) != 1 {
		t.Errorf("Compare() = %+v once it is gone, want it to be looked at", p)
	}
	_, err := w.Build(w.target, objects(t, strings.Replace(once, "Once", "Twice", 1)))
	want := `app.yaml:1: ConfigMap "a": annotation gitseal.dev/apply is "Twice": the values are Once and Merge`
	if err == nil || failure.From(err, "").Message() != want {
		t.Errorf("Build() = %v, want %s", err, want)
	}
}

// What is hollow is left as it is, and never created: there is nothing to create
// it of.
func TestWhatIsHollowIsNotCreated(t *testing.T) {
	const secretOnce = "apiVersion: v1\nkind: Secret\nmetadata: {name: a, annotations: {gitseal.dev/apply: Once}}\ndata: {}"
	tests := map[string]struct {
		watched bool   // as a member
		found   string // by a question
		made    bool
		asked   int // by Made
	}{
		"a member that the watch shows":   {watched: true, made: true},
		"somebody else's, or not watched": {found: `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a","resourceVersion":"5"}}`, made: true, asked: 1},
		"one that is gone":                {asked: 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.answer = func(rw http.ResponseWriter, _ *http.Request, _ string) {
				if tt.found == "" {
					refuse(rw, http.StatusNotFound, "NotFound")
					return
				}
				_, _ = io.WriteString(rw, tt.found)
			}
			o := objects(t, secretOnce)[0]
			o.Hollow = true
			items, err := w.Build(w.target, []render.Object{o})
			if err != nil {
				t.Fatal(err)
			}
			w.seen[items[0].Scope] = map[live.Key]live.Object{}
			if tt.watched {
				w.seen.put(items[0].Scope, "a", live.Object{ResourceVersion: 5, Owned: 7, ApplySet: w.target.ApplySet()})
			}
			made, err := w.Made(t.Context(), w.target, o)
			if made != tt.made || err != nil || len(w.seenCalls()) != tt.asked {
				t.Errorf("Made() = %v, %v after %d questions, want %v after %d", made, err, len(w.seenCalls()), tt.made, tt.asked)
			}
			_, err = w.Apply(t.Context(), w.Compare(items, w.ledger, time.Time{}).Changed, w.ledger, w.values)
			if errors.Is(err, ErrHollow) == tt.made || w.ledger.Holds(items[0].ID) != tt.made {
				t.Errorf("Apply() = %v, in place %v, want it left, or said that it is gone", err, w.ledger.Holds(items[0].ID))
			}
			if err != nil && failure.From(err, "").Class != failure.Wait {
				t.Errorf("Apply() = %v, want it waited for", err)
			}
			if sent := w.patches(); len(sent) > 0 {
				t.Errorf("sent %v, want nothing", sent)
			}
		})
	}
}
