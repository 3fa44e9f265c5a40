package live

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// watchOnce lists and watches until the watch ends.
func (w *Watches) watchOnce(ctx context.Context, v *view) error {
	client, err := w.clients.Metadata(v.scope.Identity)
	if err != nil {
		return err
	}
	lw := listerWatcher(v.scope, client)
	r := cache.NewReflectorWithOptions(lw, &metav1.PartialObjectMetadata{}, v, cache.ReflectorOptions{Name: "live"})
	return r.ListAndWatchWithContext(ctx)
}

// listerWatcher selects the members of ApplySets, or one object by name. The
// one object is read by get where a list is asked for, because get and watch
// are all that a namespace grants for its credentials.
func listerWatcher(s Scope, client metadata.Interface) *cache.ListWatch {
	resource := client.Resource(s.Resource).Namespace(s.Namespace)
	selection := func(o *metav1.ListOptions) {
		if s.Name != "" {
			o.FieldSelector = fields.OneTermEqualSelector("metadata.name", s.Name).String()
		} else {
			o.LabelSelector = v1alpha1.ApplySetPartOfLabel
		}
	}
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			if s.Name != "" {
				return getAsList(ctx, resource, s.Name)
			}
			selection(&o)
			return resource.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			selection(&o)
			return resource.Watch(ctx, o)
		},
	}
}

func getAsList(ctx context.Context, r metadata.ResourceInterface, name string) (runtime.Object, error) {
	// The object's own resource version may be long gone from the API server's
	// history; "0" stands for whatever it has.
	list := &metav1.PartialObjectMetadataList{ListMeta: metav1.ListMeta{ResourceVersion: "0"}}
	o, err := r.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return list, nil
	}
	if err != nil {
		return nil, err
	}
	list.Items = append(list.Items, *o)
	return list, nil
}

// Add implements cache.ReflectorStore.
func (v *view) Add(obj any) error { return v.set(obj, false) }

// Update implements cache.ReflectorStore.
func (v *view) Update(obj any) error { return v.set(obj, false) }

// Delete implements cache.ReflectorStore. The object is the last state with
// the resource version of the deletion.
func (v *view) Delete(obj any) error { return v.set(obj, true) }

func (v *view) set(obj any, gone bool) error {
	m, ok := obj.(*metav1.PartialObjectMetadata)
	if !ok {
		return fmt.Errorf("watch %s: unexpected %T", v.scope, obj)
	}
	key, o := Key{Namespace: m.Namespace, Name: m.Name}, Describe(m)
	v.mu.Lock()
	before := v.objects.all[key]
	if before.Owned == o.Owned {
		o.fields = before.fields // somebody else's field was written
	}
	if gone {
		v.objects.drop(key)
	} else {
		v.objects.put(key, o)
	}
	v.asOf = max(v.asOf, o.ResourceVersion)
	owners := append(v.interested(before.ApplySet, o.ApplySet), v.awaited[key]...)
	delete(v.awaited, key)
	v.mu.Unlock()
	v.tell(owners)
	return nil
}

// interested returns the owners that a change concerns. v.mu is held.
func (v *view) interested(applySets ...string) []string {
	var owners []string
	if v.scope.Name != "" {
		for o := range v.owners {
			owners = append(owners, o)
		}
		return owners
	}
	for i, set := range applySets {
		if v.owners[set] && (i == 0 || set != applySets[0]) {
			owners = append(owners, set)
		}
	}
	return owners
}

// Replace implements cache.ReflectorStore: a full list at a resource version.
func (v *view) Replace(list []any, resourceVersion string) error {
	describe := Describe
	if synced, _, _ := v.state(); !synced && v.scope.Name == "" {
		describe = describeNew
	}
	objects := newObjects()
	for _, item := range list {
		m, ok := item.(*metav1.PartialObjectMetadata)
		if !ok {
			return fmt.Errorf("watch %s: unexpected %T", v.scope, item)
		}
		objects.put(Key{Namespace: m.Namespace, Name: m.Name}, describe(m))
	}
	v.mu.Lock()
	v.objects, v.asOf = objects, Version(resourceVersion)
	v.synced, v.err = true, nil
	owners := v.signal()
	v.mu.Unlock()
	v.tell(owners)
	return nil
}

// Bookmark implements cache.ReflectorBookmarkStore: nothing that is not known
// has happened up to a resource version.
func (v *view) Bookmark(resourceVersion string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asOf = max(v.asOf, Version(resourceVersion))
	return nil
}

// Resync implements cache.ReflectorStore; there is nothing to resync.
func (v *view) Resync() error { return nil }
