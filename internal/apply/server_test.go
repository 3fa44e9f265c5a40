package apply

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/gitseal/gitseal/internal/live"
	"github.com/gitseal/gitseal/internal/render"
	"github.com/gitseal/gitseal/internal/secret"
)

// call is one request that the API server saw.
type call struct {
	method, path, body string
}

// world is an engine against an API server whose answers a test gives.
type world struct {
	*Engine
	t      *testing.T
	target Target
	seen   fakeWatches
	values *secret.Set
	ledger *Ledger

	mu     sync.Mutex
	calls  []call
	answer func(w http.ResponseWriter, r *http.Request, body string)
}

// fakeWatches is what the watches know, by scope and key.
type fakeWatches map[live.Scope]map[live.Key]live.Object

func (f fakeWatches) Find(s live.Scope, key live.Key, written uint64) (live.Object, live.Presence) {
	objects, ok := f[s]
	o, found := objects[key]
	switch {
	case found && o.ResourceVersion >= written:
		return o, live.Present
	case ok && !found:
		return live.Object{}, live.Absent
	}
	return live.Object{}, live.Unknown
}

func (f fakeWatches) TakeFields(live.Scope, live.Key) string { return "" }

func (f fakeWatches) Members(s live.Scope, applySet string) map[live.Key]live.Object {
	members := map[live.Key]live.Object{}
	for key, o := range f[s] {
		if o.ApplySet == applySet {
			members[key] = o
		}
	}
	return members
}

func (f fakeWatches) Await(string, live.Scope, live.Key) {}

func (f fakeWatches) put(s live.Scope, name string, o live.Object) {
	if f[s] == nil {
		f[s] = map[live.Key]live.Object{}
	}
	f[s][live.Key{Namespace: s.Namespace, Name: name}] = o
}

func newWorld(t *testing.T) *world {
	t.Helper()
	tokenizer := secret.NewTokenizer([]byte("0123456789abcdef0123456789abcdef"))
	w := &world{t: t, seen: fakeWatches{}, ledger: NewLedger(), values: tokenizer.NewSet()}
	server := httptest.NewServer(http.HandlerFunc(w.serve))
	t.Cleanup(server.Close)
	w.Engine = NewEngine(Options{
		Clients: NewClients(&rest.Config{Host: server.URL}), Mapper: mapper(), Watches: w.seen, Digest: tokenizer.Digest,
		OperatorNamespace: "gitseal-system", Parallel: 4,
	})
	w.target = Target{
		Application: types.NamespacedName{Namespace: "ns", Name: "app"},
		Identity:    live.Identity{Namespace: "ns", ServiceAccount: "sa"}, Namespace: "ns",
	}
	return w
}

func (w *world) serve(rw http.ResponseWriter, r *http.Request) {
	raw, _ := io.ReadAll(r.Body)
	w.mu.Lock()
	w.calls = append(w.calls, call{r.Method, r.URL.RequestURI(), string(raw)})
	answer := w.answer
	w.mu.Unlock()
	rw.Header().Set("Content-Type", "application/json")
	if answer != nil {
		answer(rw, r, string(raw))
		return
	}
	echo(rw, r, string(raw))
}

// echo answers with what was sent, at resource version 100.
func echo(rw http.ResponseWriter, _ *http.Request, body string) {
	var o map[string]any
	if json.Unmarshal([]byte(body), &o) != nil || o["metadata"] == nil {
		_, _ = io.WriteString(rw, `{"apiVersion":"v1","kind":"Status","status":"Success"}`)
		return
	}
	o["metadata"].(map[string]any)["resourceVersion"] = "100"
	_ = json.NewEncoder(rw).Encode(o)
}

func (w *world) seenCalls() []call {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls
}

func mapper() meta.RESTMapper {
	m := meta.NewDefaultRESTMapper([]schema.GroupVersion{{Version: "v1"}})
	for kind, scope := range map[string]meta.RESTScope{
		"ConfigMap": meta.RESTScopeNamespace, "Secret": meta.RESTScopeNamespace, "Service": meta.RESTScopeNamespace,
		"ServiceAccount": meta.RESTScopeNamespace, "PersistentVolumeClaim": meta.RESTScopeNamespace, "Namespace": meta.RESTScopeRoot,
	} {
		m.Add(schema.GroupVersionKind{Version: "v1", Kind: kind}, scope)
	}
	m.Add(schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}, meta.RESTScopeNamespace)
	m.Add(schema.GroupVersionKind{Group: "batch", Version: "v1", Kind: "Job"}, meta.RESTScopeNamespace)
	m.Add(schema.GroupVersionKind{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "ClusterRole"}, meta.RESTScopeRoot)
	m.Add(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}, meta.RESTScopeRoot)
	return m
}

// objects parses YAML documents, each with an origin of its own.
func objects(t *testing.T, text string) []render.Object {
	t.Helper()
	var all []render.Object
	for i, doc := range strings.Split(text, "\n---\n") {
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(doc), &o.Object); err != nil {
			t.Fatal(err)
		}
		all = append(all, render.Object{Unstructured: o, Origin: render.Origin{File: "app.yaml", Line: i + 1}})
	}
	return all
}

func (w *world) build(text string) []Item {
	w.t.Helper()
	items, err := w.Build(w.target, objects(w.t, text))
	if err != nil {
		w.t.Fatalf("Build() = %v", err)
	}
	return items
}

func (w *world) stale(scopes []live.Scope, items []Item) []Member {
	stale, _ := w.Stale(w.target, scopes, items)
	return stale
}

func (w *world) token(value string, k secret.Kind) string {
	return string(w.values.Add(secret.NewValue([]byte(value)), k))
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func configMap(name string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + "}\ndata: {k: v}"
}
