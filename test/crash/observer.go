package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// version is one state that an object was seen in.
type version struct {
	key     key
	rv      uint64
	deleted bool
	object  *unstructured.Unstructured
}

// key names an object. In reports the cell's name is CELL in it.
type key struct {
	gk        schema.GroupKind
	namespace string
	name      string
}

func (k key) String() string { return k.gk.String() + " " + k.namespace + "/" + k.name }

// observer holds one watch per kind over the whole cluster, opened before
// anything is run, and keeps every version that it sees, by cell.
type observer struct {
	client client.WithWatch

	mu      sync.Mutex
	history map[string][]version
	live    map[string]map[key]version
	changed chan struct{} // closed and replaced at each event
	failed  error
}

// observed are the kinds that scenarios use; that of the custom resource is
// added for each cell once it is defined.
var observed = []schema.GroupVersionKind{
	{Version: "v1", Kind: "Secret"},
	{Version: "v1", Kind: "ConfigMap"},
	{Version: "v1", Kind: "Service"},
	{Group: "apps", Version: "v1", Kind: "Deployment"},
	{Group: "batch", Version: "v1", Kind: "Job"},
	{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"},
	{Group: "gitseal.dev", Version: "v1alpha1", Kind: "Application"},
	{Group: "events.k8s.io", Version: "v1", Kind: "Event"},
}

func newObserver(ctx context.Context, c client.WithWatch) (*observer, error) {
	o := &observer{client: c, history: map[string][]version{}, live: map[string]map[key]version{}, changed: make(chan struct{})}
	for _, gvk := range observed {
		if err := o.open(ctx, gvk); err != nil {
			return nil, err
		}
	}
	return o, nil
}

func (o *observer) open(ctx context.Context, gvk schema.GroupVersionKind) error {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
	if err := o.client.List(ctx, list); err != nil {
		return fmt.Errorf("observe %s: %w", gvk.Kind, err)
	}
	for i := range list.Items {
		o.record(ctx, gvk, watch.Modified, &list.Items[i])
	}
	go func() {
		if err := o.follow(ctx, gvk, list.GetResourceVersion()); err != nil && ctx.Err() == nil {
			o.fail(fmt.Errorf("observe %s: %w", gvk.Kind, err))
		}
	}()
	return nil
}

// follow watches until the context ends, or the kind is gone.
func (o *observer) follow(ctx context.Context, gvk schema.GroupVersionKind, from string) error {
	for ctx.Err() == nil {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
		w, err := o.client.Watch(ctx, list, &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: from}})
		if strings.HasSuffix(gvk.Group, crashGroup) && err != nil {
			return nil
		}
		if err != nil {
			return err
		}
		for e := range w.ResultChan() {
			u, ok := e.Object.(*unstructured.Unstructured)
			if !ok || e.Type == watch.Error {
				if strings.HasSuffix(gvk.Group, crashGroup) {
					return nil
				}
				return fmt.Errorf("the watch broke: %v", e.Object)
			}
			from = u.GetResourceVersion()
			o.record(ctx, gvk, e.Type, u)
		}
	}
	return nil
}

func (o *observer) record(ctx context.Context, gvk schema.GroupVersionKind, event watch.EventType, u *unstructured.Unstructured) {
	if u.GetName() == "kube-root-ca.crt" {
		return
	}
	cell := cellOf(u)
	rv, _ := strconv.ParseUint(u.GetResourceVersion(), 10, 64) // orders all objects of one etcd
	v := version{key: key{gvk.GroupKind(), u.GetNamespace(), u.GetName()}, rv: rv, deleted: event == watch.Deleted, object: u}
	o.mu.Lock()
	defer o.mu.Unlock()
	before, known := o.live[cell][v.key]
	if known && before.rv >= rv {
		return
	}
	o.history[cell] = append(o.history[cell], v)
	if o.live[cell] == nil {
		o.live[cell] = map[key]version{}
	}
	o.live[cell][v.key] = v
	if v.deleted {
		delete(o.live[cell], v.key)
	}
	close(o.changed)
	o.changed = make(chan struct{})
	definition := gvk.Kind == "CustomResourceDefinition" && strings.HasSuffix(u.GetName(), crashGroup)
	if news := !known || !established(before.object); definition && news && event != watch.Deleted && established(u) {
		group, _, _ := unstructured.NestedString(u.Object, "spec", "group")
		go o.openServed(ctx, schema.GroupVersionKind{Group: group, Version: "v1", Kind: "Widget"})
	}
}

// openServed observes a kind that is about to be served.
func (o *observer) openServed(ctx context.Context, gvk schema.GroupVersionKind) {
	for end := time.Now().Add(patience); o.open(ctx, gvk) != nil && time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return
		case <-time.After(tick):
		}
	}
}

// caughtUp waits until what was seen of a cell is what its namespaces hold.
func (o *observer) caughtUp(ctx context.Context, cell string) error {
	kinds := slices.Clone(observed)
	if o.until(ctx, cell, func(live map[key]version) error {
		for k, v := range live {
			if k.gk.Kind == "CustomResourceDefinition" && established(v.object) {
				kinds = append(kinds, schema.GroupVersionKind{Group: cell + crashGroup, Version: "v1", Kind: "Widget"})
			}
		}
		return nil
	}) != nil {
		return context.Cause(ctx)
	}
	for _, gvk := range kinds {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
		if err := o.client.List(ctx, list, client.InNamespace(cell)); err != nil {
			return fmt.Errorf("list %s: %w", gvk.Kind, err)
		}
		err := o.until(ctx, cell, func(live map[key]version) error { return shows(live, gvk, list.Items) })
		if err != nil {
			return fmt.Errorf("the observer does not catch up: %w", err)
		}
	}
	return nil
}

func shows(live map[key]version, gvk schema.GroupVersionKind, items []metav1.PartialObjectMetadata) error {
	there := map[key]bool{}
	for _, i := range items {
		k := key{gvk.GroupKind(), i.Namespace, i.Name}
		if i.Name == "kube-root-ca.crt" || gvk.Kind == "CustomResourceDefinition" {
			continue
		}
		there[k] = true
		if rv, _ := strconv.ParseUint(i.ResourceVersion, 10, 64); live[k].rv < rv {
			return fmt.Errorf("%s is at %d, seen at %d", k, rv, live[k].rv)
		}
	}
	for k := range live {
		if k.gk == gvk.GroupKind() && !there[k] && gvk.Kind != "CustomResourceDefinition" && !strings.HasSuffix(k.namespace, operatorSuffix) {
			return fmt.Errorf("%s is gone, but still seen", k)
		}
	}
	return nil
}

func established(u *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, c := range conditions {
		if m, ok := c.(map[string]any); ok && m["type"] == "Established" && m["status"] == "True" {
			return true
		}
	}
	return false
}

func (o *observer) fail(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failed = err
	close(o.changed)
	o.changed = make(chan struct{})
}

// crashGroup ends the group of a cell's custom resource: CELL.crash.test.
const crashGroup = ".crash.test"

// cellOf says which cell an object belongs to.
func cellOf(u *unstructured.Unstructured) string {
	if ns := u.GetNamespace(); ns != "" {
		return strings.TrimSuffix(ns, operatorSuffix)
	}
	if group, ok := strings.CutSuffix(u.GetName(), crashGroup); ok {
		_, cell, _ := strings.Cut(group, ".")
		return cell
	}
	return ""
}

// until waits for what is live in a cell to be as asked.
func (o *observer) until(ctx context.Context, cell string, ok func(map[key]version) error) error {
	for {
		o.mu.Lock()
		err, failed, changed := ok(o.live[cell]), o.failed, o.changed
		o.mu.Unlock()
		if err == nil || failed != nil {
			return failed
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-changed:
		}
	}
}

// take returns what was seen of a cell.
func (o *observer) take(cell string) []version {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]version(nil), o.history[cell]...)
}

// newest is the last resource version seen of a cell.
func (o *observer) newest(cell string) (rv uint64) {
	for _, v := range o.take(cell) {
		rv = max(rv, v.rv)
	}
	return rv
}

// forget drops a cell.
func (o *observer) forget(cell string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.history, cell)
	delete(o.live, cell)
}
