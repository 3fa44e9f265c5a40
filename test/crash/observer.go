package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
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
	go o.follow(ctx, gvk, list.GetResourceVersion())
	return nil
}

// follow watches until the context ends, or the kind is gone. A watch that
// breaks goes on where it was; one that cannot has missed something.
func (o *observer) follow(ctx context.Context, gvk schema.GroupVersionKind, from string) {
	for ctx.Err() == nil {
		err := o.watch(ctx, gvk, &from)
		switch {
		case isGone(gvk, err):
			return
		case apierrors.IsResourceExpired(err), apierrors.IsGone(err):
			o.fail(fmt.Errorf("observe %s: %w", gvk.Kind, err))
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(tick):
		}
	}
}

// watch records what one watch tells, until it ends.
func (o *observer) watch(ctx context.Context, gvk schema.GroupVersionKind, from *string) error {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
	w, err := o.client.Watch(ctx, list, &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: *from}})
	if err != nil {
		return err
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		u, ok := e.Object.(*unstructured.Unstructured)
		if !ok || e.Type == watch.Error {
			return apierrors.FromObject(e.Object)
		}
		*from = u.GetResourceVersion()
		o.record(ctx, gvk, e.Type, u)
	}
	return nil
}

// isGone reports whether an error says that a cell's own kind is not served.
func isGone(gvk schema.GroupVersionKind, err error) bool {
	return strings.HasSuffix(gvk.Group, crashGroup) && (apierrors.IsNotFound(err) || meta.IsNoMatchError(err))
}

func (o *observer) record(ctx context.Context, gvk schema.GroupVersionKind, event watch.EventType, u *unstructured.Unstructured) {
	if u.GetName() == "kube-root-ca.crt" {
		return
	}
	cell := cellOf(u)
	rv := versionOf(u.GetResourceVersion())
	v := version{key: key{gvk.GroupKind(), u.GetNamespace(), u.GetName()}, rv: rv, deleted: event == watch.Deleted, object: u}
	o.mu.Lock()
	defer o.mu.Unlock()
	before, known := o.live[cell][v.key]
	if known && before.rv >= rv || v.deleted && !known {
		return
	}
	o.note(cell, v)
	definition := gvk.Kind == "CustomResourceDefinition" && strings.HasSuffix(u.GetName(), crashGroup)
	if definition && v.deleted {
		o.lose(cell, rv)
	}
	if news := !known || !established(before.object); definition && news && event != watch.Deleted && established(u) {
		group, _, _ := unstructured.NestedString(u.Object, "spec", "group")
		go o.openServed(ctx, schema.GroupVersionKind{Group: group, Version: "v1", Kind: "Widget"})
	}
}

// note keeps a version. o.mu is held.
func (o *observer) note(cell string, v version) {
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
}

// lose notes the end of what goes with its definition: the watch may have ended
// before it told. o.mu is held.
func (o *observer) lose(cell string, rv uint64) {
	for k, v := range o.live[cell] {
		if strings.HasSuffix(k.gk.Group, crashGroup) {
			v.rv, v.deleted = rv, true
			o.note(cell, v)
		}
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

// settled waits until what was seen of a cell is what its namespaces hold, and
// nothing of it is about to go.
func (o *observer) settled(ctx context.Context, cell string) error {
	if err := o.caughtUp(ctx, cell); err != nil {
		return err
	}
	return o.until(ctx, cell, func(live map[key]version) error {
		for k, v := range live {
			if v.object.GetDeletionTimestamp() != nil {
				return fmt.Errorf("%s is being deleted", k)
			}
		}
		return nil
	})
}

// caughtUp waits until what was seen of a cell is what its namespaces hold.
func (o *observer) caughtUp(ctx context.Context, cell string) error {
	kinds := slices.Clone(observed)
	if err := o.until(ctx, cell, func(live map[key]version) error {
		for k, v := range live {
			if k.gk.Kind == "CustomResourceDefinition" && established(v.object) {
				kinds = append(kinds, schema.GroupVersionKind{Group: cell + crashGroup, Version: "v1", Kind: "Widget"})
			}
		}
		return nil
	}); err != nil {
		return err
	}
	for _, gvk := range kinds {
		if err := o.caughtUpWith(ctx, cell, gvk); err != nil {
			return fmt.Errorf("the observer does not catch up: %w", err)
		}
	}
	return nil
}

// caughtUpWith lists as often as it takes: the operator may be at work meanwhile.
func (o *observer) caughtUpWith(ctx context.Context, cell string, gvk schema.GroupVersionKind) error {
	for {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
		err := o.client.List(ctx, list, client.InNamespace(cell))
		if isGone(gvk, err) {
			list.ResourceVersion, err = strconv.FormatUint(math.MaxUint64, 10), nil
		}
		if err != nil {
			return fmt.Errorf("list %s: %w", gvk.Kind, err)
		}
		o.mu.Lock()
		behind, failed := shows(o.live[cell], cell, gvk, list), o.failed
		o.mu.Unlock()
		if behind == nil || failed != nil {
			return failed
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), behind)
		case <-time.After(tick):
		}
	}
}

// shows returns nil if what is live is no older than a list.
func shows(live map[key]version, cell string, gvk schema.GroupVersionKind, list *metav1.PartialObjectMetadataList) error {
	there := map[key]bool{}
	for i := range list.Items {
		o := &list.Items[i]
		k := key{gvk.GroupKind(), o.Namespace, o.Name}
		if k.name == "kube-root-ca.crt" || cellOf(o) != cell {
			continue
		}
		there[k] = true
		if v, known := live[k]; !known || v.rv < versionOf(o.ResourceVersion) {
			return fmt.Errorf("%s is at %s, seen at %d", k, o.ResourceVersion, v.rv)
		}
	}
	for k, v := range live {
		if k.gk == gvk.GroupKind() && !there[k] && !strings.HasSuffix(k.namespace, operatorSuffix) && v.rv <= versionOf(list.ResourceVersion) {
			return fmt.Errorf("%s is gone, but still seen", k)
		}
	}
	return nil
}

// versionOf orders all objects of one etcd, and lists of them.
func versionOf(resourceVersion string) uint64 {
	rv, _ := strconv.ParseUint(resourceVersion, 10, 64)
	return rv
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
func cellOf(u client.Object) string {
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
