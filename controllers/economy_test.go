package controllers

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/apply"
	"github.com/gitseal/gitseal/internal/render"
	"github.com/gitseal/gitseal/internal/source"
)

// quietClient answers from memory, as a cache does, and takes no writes.
type quietClient struct {
	client.Client
	t   testing.TB
	app *v1alpha1.Application
}

func (c quietClient) Get(_ context.Context, _ client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	c.app.DeepCopyInto(o.(*v1alpha1.Application))
	return nil
}
func (c quietClient) List(context.Context, client.ObjectList, ...client.ListOption) error { return nil }
func (c quietClient) Status() client.SubResourceWriter {
	c.t.Fatal("a status is written where nothing changed")
	return nil
}
func (c quietClient) Patch(context.Context, client.Object, client.Patch, ...client.PatchOption) error {
	c.t.Fatal("an Application is written where nothing changed")
	return nil
}

// settled is a desk whose Application has n objects, all of them in place.
func settled(t testing.TB, n int) (*desk, ctrl.Request) {
	t.Helper()
	d := newDesk(t)
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			_, _ = io.WriteString(rw, `{"apiVersion":"v1","kind":"ConfigMapList","metadata":{},"items":[]}`)
			return
		}
		var o map[string]any
		if json.NewDecoder(r.Body).Decode(&o) == nil {
			o["metadata"].(map[string]any)["resourceVersion"] = "100"
			_ = json.NewEncoder(rw).Encode(o)
		}
	}))
	t.Cleanup(server.Close)
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{{Version: "v1"}})
	mapper.Add(schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, meta.RESTScopeNamespace)
	d.Engine = apply.NewEngine(apply.Options{Clients: apply.NewClients(&rest.Config{Host: server.URL}), Mapper: mapper, Watches: d.watches, Digest: func(b []byte) string { return fmt.Sprint(len(b)) }})
	run := d.begin(d.read(t))
	var objects []render.Object
	for i := range n {
		objects = append(objects, render.Object{Unstructured: &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": fmt.Sprintf("c%d", i)}, "data": map[string]any{"a": "b"},
		}}})
	}
	w := d.applied("main@sha1:one")
	w.basis.reads = &source.ReadSet{}
	var err error
	if w.items, err = d.Engine.Build(run.target, objects); err != nil {
		t.Fatal(err)
	}
	w.values = d.Tokenizer.NewSet()
	run.memory.wanted = w
	d.fetched(run, "main@sha1:one")
	request := ctrl.Request{NamespacedName: client.ObjectKeyFromObject(d.app)}
	for range 3 {
		if _, err := d.Reconcile(t.Context(), request); err != nil {
			t.Fatal(err)
		}
	}
	app := d.read(t)
	if !conditionTrue(app, v1alpha1.ConditionReady) {
		t.Fatalf("conditions = %+v, want it ready", app.Status.Conditions)
	}
	d.Client = quietClient{d.Client, t, app}
	return d, request
}

func TestNothingIsWrittenWhereNothingChanged(t *testing.T) {
	d, request := settled(t, 10)
	if _, err := d.Reconcile(t.Context(), request); err != nil {
		t.Fatal(err)
	}
}

// The figure to reach is under 1 ms.
func BenchmarkReconcileWithoutAChange(b *testing.B) {
	d, request := settled(b, 10)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Reconcile(b.Context(), request); err != nil {
			b.Fatal(err)
		}
	}
}
