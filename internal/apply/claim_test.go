package apply

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/live"
)

// onlyAlive knows one ApplySet of another Application that exists.
func onlyAlive(_ context.Context, set string) (types.NamespacedName, bool, error) {
	return types.NamespacedName{Namespace: "other", Name: "app"}, set == "alive", nil
}

// store is an API server with one ConfigMap "a", which is nil where it is absent.
// It checks preconditions as Kubernetes does.
type store struct {
	w      *world
	object map[string]any
	// before runs ahead of each write.
	before func()
}

func (s *store) serve(rw http.ResponseWriter, r *http.Request, body string) {
	if r.Method == http.MethodGet {
		if s.object == nil {
			refuse(rw, 404, `{"reason":"NotFound","code":404,"details":{"kind":"configmaps"}}`)
			return
		}
		_ = json.NewEncoder(rw).Encode(s.object)
		return
	}
	if s.before != nil {
		s.before()
	}
	var sent map[string]any
	if err := json.Unmarshal([]byte(body), &sent); err != nil {
		s.w.t.Errorf("body %s: %v", body, err)
	}
	meta := sent["metadata"].(map[string]any)
	version, uid := meta["resourceVersion"], meta["uid"]
	switch now := metaOf(s.object); {
	case s.object == nil && uid != nil,
		s.object != nil && version != nil && version != now["resourceVersion"]:
		refuse(rw, 409, `{"reason":"Conflict","code":409}`)
		return
	}
	s.object = sent
	meta["uid"], meta["resourceVersion"] = "u", "100"
	_ = json.NewEncoder(rw).Encode(sent)
}

func metaOf(o map[string]any) map[string]any {
	m, _ := o["metadata"].(map[string]any)
	return m
}

func existing(labels, annotations map[string]any) map[string]any {
	return map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{
		"name": "a", "namespace": "ns", "uid": "u", "resourceVersion": "7", "labels": labels, "annotations": annotations,
	}}
}

func TestWhatIsThereDecidesWhetherItMayBeTaken(t *testing.T) {
	tests := map[string]struct {
		object map[string]any
		reason string // of the refusal
		text   string
	}{
		"nothing":        {},
		"made by a user": {object: existing(map[string]any{"team": "shop"}, nil)},
		"another Application's": {
			object: existing(map[string]any{v1alpha1.ApplySetPartOfLabel: "alive"}, nil), reason: v1alpha1.ReasonObjectConflict,
			text: `app.yaml:1: ConfigMap "a" in namespace "ns" already belongs to Application other/app`,
		},
		"another ApplySet's": {
			object: existing(map[string]any{v1alpha1.ApplySetPartOfLabel: "applyset-kubectl"}, nil), reason: v1alpha1.ReasonOwnedByOther,
			text: `app.yaml:1: ConfigMap "a" in namespace "ns" is there already and belongs to another ApplySet (applyset-kubectl)`,
		},
		"Argo CD's": {
			object: existing(nil, map[string]any{"argocd.argoproj.io/tracking-id": "shop:/ConfigMap:ns/a"}), reason: v1alpha1.ReasonOwnedByOther,
			text: `app.yaml:1: ConfigMap "a" in namespace "ns" is there already and belongs to Argo CD (Application "shop")`,
		},
		"a Flux Kustomization's": {
			object: existing(map[string]any{"kustomize.toolkit.fluxcd.io/name": "shop", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}, nil), reason: v1alpha1.ReasonOwnedByOther,
			text: `app.yaml:1: ConfigMap "a" in namespace "ns" is there already and belongs to Flux (Kustomization "flux-system/shop")`,
		},
		"a HelmRelease's": {
			object: existing(map[string]any{"helm.toolkit.fluxcd.io/name": "shop", "app.kubernetes.io/managed-by": "Helm"}, map[string]any{"meta.helm.sh/release-name": "shop"}), reason: v1alpha1.ReasonOwnedByOther,
			text: `app.yaml:1: ConfigMap "a" in namespace "ns" is there already and belongs to Flux (HelmRelease "shop")`,
		},
		"Helm's": {
			object: existing(map[string]any{"app.kubernetes.io/managed-by": "Helm"}, map[string]any{"meta.helm.sh/release-name": "shop", "meta.helm.sh/release-namespace": "ns"}), reason: v1alpha1.ReasonOwnedByOther,
			text: `app.yaml:1: ConfigMap "a" in namespace "ns" is there already and belongs to Helm (release "ns/shop")`,
		},
		"labelled as Helm's only": {object: existing(map[string]any{"app.kubernetes.io/managed-by": "Helm"}, nil)},
		"kapp's": {
			object: existing(map[string]any{"kapp.k14s.io/app": "123"}, nil), reason: v1alpha1.ReasonOwnedByOther,
			text: `app.yaml:1: ConfigMap "a" in namespace "ns" is there already and belongs to kapp (app "123")`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := &store{w: w, object: tt.object}
			w.answer = s.serve
			items := w.build(configMap("a"))
			w.seen[items[0].Scope] = map[live.Key]live.Object{}
			if tt.reason == v1alpha1.ReasonObjectConflict {
				w.seen.put(items[0].Scope, "a", live.Object{ResourceVersion: 7, ApplySet: "alive"})
			}
			claimed, err := w.Claim(t.Context(), w.target, items, w.ledger, Rules{Parent: onlyAlive})
			if tt.reason != "" {
				f := failure.From(err, "")
				if f.Class != failure.Stall || f.Reason != tt.reason || f.Error() != tt.text || f.Hint == "" {
					t.Errorf("Claim() = %s %s %q (%s)\nwant %s %q", f.Class, f.Reason, f.Error(), f.Hint, tt.reason, tt.text)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if changed, err := w.Apply(t.Context(), claimed, w.ledger, w.values); err != nil || changed != 1 {
				t.Errorf("Apply() = %d, %v, want it applied", changed, err)
			}
		})
	}
}

func TestMembersAreNotLookedAt(t *testing.T) {
	w := newWorld(t)
	items := w.build(configMap("a"))
	w.seen.put(items[0].Scope, "a", live.Object{ResourceVersion: 1, ApplySet: w.target.ApplySet()})
	claimed, err := w.Claim(t.Context(), w.target, items, w.ledger, Rules{Parent: onlyAlive})
	if err != nil || claimed[0].claim != nil || len(w.seenCalls()) != 0 {
		t.Errorf("Claim() = %+v, %v after %d calls, want no claim and no call", claimed[0].claim, err, len(w.seenCalls()))
	}
}

func TestManyAreListedAndNothingIsLookedAtTwice(t *testing.T) {
	w := newWorld(t)
	w.answer = func(rw http.ResponseWriter, r *http.Request, body string) {
		if r.Method == http.MethodGet {
			_, _ = rw.Write([]byte(`{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","items":[]}`))
			return
		}
		echo(rw, r, body)
	}
	var docs []string
	for i := range 100 {
		docs = append(docs, configMap(fmt.Sprintf("c%d", i)))
	}
	items := w.build(strings.Join(docs, "\n---\n"))
	w.seen[items[0].Scope] = map[live.Key]live.Object{}
	for range 3 {
		if _, err := w.Claim(t.Context(), w.target, items, w.ledger, Rules{Parent: onlyAlive}); err != nil {
			t.Fatal(err)
		}
	}
	if calls := w.seenCalls(); len(calls) != 1 || !strings.Contains(calls[0].path, "limit=500") {
		t.Errorf("calls %v, want one list", calls)
	}
}

// Applications of one namespace that begin together ask once what is there;
// an object that was there is looked at anew each time.
func TestApplicationsThatBeginTogetherAskOnce(t *testing.T) {
	w := newWorld(t)
	lists, gets := 0, 0
	w.answer = func(rw http.ResponseWriter, r *http.Request, _ string) {
		if strings.Contains(r.URL.RawQuery, "limit=") {
			lists++
			_, _ = rw.Write([]byte(`{"items":[{"metadata":{"name":"there","namespace":"ns","uid":"u","resourceVersion":"5"}}]}`))
			return
		}
		gets++
		refuse(rw, 404, `{"reason":"NotFound","code":404}`)
	}
	ask := func(at time.Time, names ...string) {
		t.Helper()
		var docs []string
		for _, name := range names {
			docs = append(docs, configMap(name))
		}
		items := w.build(strings.Join(docs, "\n---\n"))
		w.seen[items[0].Scope] = map[live.Key]live.Object{}
		if _, err := w.Claim(t.Context(), w.target, items, NewLedger(), Rules{Now: at, Parent: onlyAlive}); err != nil {
			t.Fatal(err)
		}
	}
	begun := time.Unix(1e9, 0)
	ask(begun, "a", "b")
	ask(begun.Add(time.Second), "c", "d")
	ask(begun.Add(time.Second), "e")
	if lists != 1 || gets != 0 {
		t.Errorf("%d lists and %d gets, want one list", lists, gets)
	}
	ask(begun.Add(time.Second), "there")
	if lists != 1 || gets != 1 {
		t.Errorf("%d lists and %d gets, want a look at what was there", lists, gets)
	}
	ask(begun.Add(time.Minute), "f", "g")
	if lists != 2 {
		t.Errorf("%d lists, want another one once the first is old", lists)
	}
}

// Somebody creates the object between the look and the write: whose it is
// decides, and no write of ours takes it away.
func TestWhoComesSecondIsRefused(t *testing.T) {
	w := newWorld(t)
	s := &store{w: w}
	w.answer = s.serve
	items := w.build(configMap("a"))
	w.seen[items[0].Scope] = map[live.Key]live.Object{}
	claimed, err := w.Claim(t.Context(), w.target, items, w.ledger, Rules{Parent: onlyAlive})
	if err != nil {
		t.Fatal(err)
	}
	s.before = func() {
		s.object = existing(map[string]any{v1alpha1.ApplySetPartOfLabel: "alive"}, nil)
		s.before = nil
	}
	w.seen.put(items[0].Scope, "a", live.Object{ResourceVersion: 7, ApplySet: "alive"})
	_, err = w.Apply(t.Context(), claimed, w.ledger, w.values)
	if got := Conflicts(err); len(got) != 1 || got[0].Application.String() != "other/app" || got[0].ID != items[0].ID {
		t.Errorf("Apply() = %v with conflicts %v, want the one", err, got)
	}
	if set := metaOf(s.object)["labels"].(map[string]any)[v1alpha1.ApplySetPartOfLabel]; set != "alive" {
		t.Errorf("the object is %v's now, want it left alone", set)
	}
}

// An object without an owner that changes all the time is taken in the end, or
// the sync says that it could not be.
func TestABusyObjectIsTakenOrToldOf(t *testing.T) {
	for _, tt := range []struct{ changes, want int }{{3, 1}, {100, 0}} {
		w := newWorld(t)
		s := &store{w: w, object: existing(nil, nil)}
		w.answer = s.serve
		n := 0
		s.before = func() {
			if n++; n <= tt.changes {
				metaOf(s.object)["resourceVersion"] = fmt.Sprint(7 + n)
			}
		}
		items := w.build(configMap("a"))
		w.seen[items[0].Scope] = map[live.Key]live.Object{}
		claimed, err := w.Claim(t.Context(), w.target, items, w.ledger, Rules{Parent: onlyAlive})
		if err != nil {
			t.Fatal(err)
		}
		if changed, err := w.Apply(t.Context(), claimed, w.ledger, w.values); changed != tt.want || (err == nil) != (tt.want == 1) {
			t.Errorf("after %d changes Apply() = %d, %v, want %d", tt.changes, changed, err, tt.want)
		}
	}
}

// Adoption is one write: the other tool's marks, owner reference and field
// managers go, our label comes, and what others own stays theirs.
func TestAdoptionTakesAnObjectInOneWrite(t *testing.T) {
	w := newWorld(t)
	object := existing(
		map[string]any{"helm.toolkit.fluxcd.io/name": "shop", "app.kubernetes.io/managed-by": "Helm", "team": "shop"},
		map[string]any{"meta.helm.sh/release-name": "shop", "kubectl.kubernetes.io/last-applied-configuration": "{}", "note": "stays"})
	meta := metaOf(object)
	meta["ownerReferences"] = []any{
		map[string]any{"apiVersion": "v1", "kind": "SealedSecret", "name": "a", "uid": "s", "controller": true},
		map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "name": "b", "uid": "b"},
	}
	meta["managedFields"] = []any{
		map[string]any{"manager": "helm-controller", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": map[string]any{"f:data": map[string]any{}}},
		map[string]any{"manager": "helm", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": map[string]any{"f:data": map[string]any{}}},
		map[string]any{"manager": "autoscaler", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": map[string]any{"f:spec": map[string]any{}}},
		map[string]any{"manager": "helm", "operation": "Update", "apiVersion": "v1", "subresource": "status", "fieldsType": "FieldsV1", "fieldsV1": map[string]any{"f:status": map[string]any{}}},
	}
	var patches []string
	w.answer = func(rw http.ResponseWriter, r *http.Request, body string) {
		if r.Method == http.MethodGet {
			_ = json.NewEncoder(rw).Encode(object)
			return
		}
		if r.Header.Get("Content-Type") == string(types.MergePatchType) {
			patches = append(patches, body)
		}
		echo(rw, r, body)
	}
	items := w.build(configMap("a"))
	w.seen[items[0].Scope] = map[live.Key]live.Object{}
	claimed, err := w.Claim(t.Context(), w.target, items, w.ledger, Rules{Adopt: true, Parent: onlyAlive})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Apply(t.Context(), claimed, w.ledger, w.values); err != nil || len(patches) != 1 {
		t.Fatalf("Apply() = %v after %d patches, want one", err, len(patches))
	}
	want := `{"metadata":{` +
		`"annotations":{"kubectl.kubernetes.io/last-applied-configuration":null,"meta.helm.sh/release-name":null},` +
		`"labels":{"app.kubernetes.io/managed-by":null,"applyset.kubernetes.io/part-of":"` + w.target.ApplySet() + `","helm.toolkit.fluxcd.io/name":null},` +
		`"managedFields":[` +
		`{"manager":"autoscaler","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{}}},` +
		`{"manager":"helm","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:status":{}},"subresource":"status"},` +
		`{"manager":"gitseal","operation":"Apply","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:labels":{"f:applyset.kubernetes.io/part-of":{}}}}}],` +
		`"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"b","uid":"b"}],"resourceVersion":"7","uid":"u"}}`
	if patches[0] != want {
		t.Errorf("patch %s\nwant  %s", patches[0], want)
	}
	if got, want := w.ledger.Adopted(), `ConfigMap "a" in namespace "ns" from Flux (HelmRelease "shop")`; got != want || w.ledger.Adopted() != "" {
		t.Errorf("Adopted() = %q, want %q, once", got, want)
	}
}

// An object without our label is not in the watch: whether an autoscaler owns
// its replicas is known from the look that decided whose the object is.
func TestAnAutoscalerKeepsItsReplicasWhereTheWatchShowsNothing(t *testing.T) {
	own := newWorld(t).target.ApplySet()
	tests := map[string]struct {
		label, value string
		known, adopt bool
		looks        int
	}{
		"it has lost its label":         {known: true, looks: 1},
		"it had no owner":               {looks: 1},
		"it was looked at a run before": {looks: 2},
		"it was another tool's":         {label: "kustomize.toolkit.fluxcd.io/name", value: "shop", adopt: true, looks: 1},
		"it was labelled just now":      {label: v1alpha1.ApplySetPartOfLabel, value: own, looks: 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			web := &unstructured.Unstructured{Object: parsed(t, ignoredDeployment)}
			web.SetUID("u")
			web.SetResourceVersion("7")
			web.SetManagedFields([]metav1.ManagedFieldsEntry{ownedBy("kube-controller-manager", "scale", `{"f:spec":{"f:replicas":{}}}`)})
			if tt.label != "" {
				web.SetLabels(map[string]string{tt.label: tt.value})
			}
			var sent map[string]any
			w.answer = func(rw http.ResponseWriter, r *http.Request, body string) {
				if r.Method == http.MethodGet || r.Header.Get("Content-Type") != string(types.ApplyYAMLPatchType) {
					_ = json.NewEncoder(rw).Encode(web.Object)
					return
				}
				sent = parsed(t, body)
				if version := metaOf(sent)["resourceVersion"]; version != nil && version != "7" {
					refuse(rw, 409, `{"reason":"Conflict","code":409}`)
					return
				}
				echo(rw, r, body)
			}
			items := w.build(ignoredDeployment)
			w.seen[items[0].Scope] = map[live.Key]live.Object{}
			if tt.known {
				w.ledger.put(items[0].ID, record{scope: items[0].Scope, digest: items[0].digest, version: 6})
			}
			claimed := items
			for range tt.looks {
				var err error
				if claimed, err = w.Claim(t.Context(), w.target, items, w.ledger, Rules{Adopt: tt.adopt, Parent: onlyAlive}); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := w.Apply(t.Context(), claimed, w.ledger, w.values); err != nil {
				t.Fatal(err)
			}
			if replicas, told, _ := unstructured.NestedFieldNoCopy(sent, "spec", "replicas"); told {
				t.Errorf("replicas: %v was sent, want them left to the autoscaler", replicas)
			}
		})
	}
}

// Names come from annotations that anybody may have written.
func TestNamesOfOwnersAreBounded(t *testing.T) {
	if got := bounded(strings.Repeat("ä", 1000)); len(got) > maxOwner+len("…") {
		t.Errorf("bounded() has %d bytes", len(got))
	}
}
