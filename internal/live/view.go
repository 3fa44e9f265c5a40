package live

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// Key names an object within a scope.
type Key = types.NamespacedName

// Object is what a watch keeps of an object.
type Object struct {
	UID             types.UID
	ResourceVersion uint64
	Generation      int64
	// Owned is a fingerprint of what our field manager owns and when that last
	// changed; 0 where it owns nothing. The API server takes a field away from
	// its owner as soon as anybody else changes it, so an unchanged fingerprint
	// means that every field we applied still has the value we gave it.
	Owned uint64
	// Scaled: an autoscaler set the number of replicas last.
	Scaled bool
	// Digest is the value of the annotation gitseal.dev/digest.
	Digest   string
	ApplySet string
	Prune    string // value of the annotation gitseal.dev/prune
	Wave     string // value of the annotation gitseal.dev/sync-wave, or of Argo CD's
	Deleting bool

	// fields are what our field manager owns, as the API server writes it. They
	// are kept until somebody has taken them, for an object that its owner has
	// not applied since it is watched.
	fields string
}

// Presence says whether an object is there.
type Presence int

const (
	// Unknown: the watch has not caught up with what the caller wrote.
	Unknown Presence = iota
	// Present: the object is there, and Object is at least as new as asked.
	Present
	// Absent: the object is gone, or no longer in the scope's selection.
	Absent
)

// Describe reduces metadata to what a watch keeps.
func Describe(m *metav1.PartialObjectMetadata) Object {
	return Object{
		UID:             m.UID,
		ResourceVersion: Version(m.ResourceVersion),
		Generation:      m.Generation,
		Owned:           fingerprint(m.ManagedFields),
		Scaled:          IsScaled(m.ManagedFields),
		Digest:          m.Annotations[v1alpha1.AnnotationDigest],
		ApplySet:        m.Labels[v1alpha1.ApplySetPartOfLabel],
		Prune:           m.Annotations[v1alpha1.AnnotationPrune],
		Wave:            cmp.Or(m.Annotations[v1alpha1.AnnotationSyncWave], m.Annotations[v1alpha1.AnnotationArgoSyncWave]),
		Deleting:        m.DeletionTimestamp != nil,
	}
}

// Version reads a resource version as the ordered number that it is since
// KEP-5504; one that is not a number counts as 0, which is older than all.
func Version(rv string) uint64 {
	n, err := strconv.ParseUint(rv, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// own returns the entry of what was applied under our field manager, nil if
// there is none.
func own(entries []metav1.ManagedFieldsEntry) *metav1.ManagedFieldsEntry {
	for i, e := range entries {
		if e.Manager == v1alpha1.FieldManager && e.Operation == metav1.ManagedFieldsOperationApply && e.Subresource == "" {
			return &entries[i]
		}
	}
	return nil
}

// IsScaled reports whether the number of replicas was last set, and is owned, by
// the HorizontalPodAutoscaler.
func IsScaled(entries []metav1.ManagedFieldsEntry) bool {
	return slices.ContainsFunc(entries, func(e metav1.ManagedFieldsEntry) bool {
		return e.Manager == autoscaler && e.Subresource == "scale" &&
			e.FieldsV1 != nil && strings.Contains(e.FieldsV1.GetRawString(), `"f:replicas"`)
	})
}

// autoscaler is the field manager of the HorizontalPodAutoscaler's controller;
// it alone of those that run under this name writes the scale subresource.
const autoscaler = "kube-controller-manager"

// fingerprint covers whether an autoscaler owns the replicas: when somebody
// takes them from it that is news, though we do not own them.
func fingerprint(entries []metav1.ManagedFieldsEntry) uint64 {
	e := own(entries)
	if e == nil {
		return 0
	}
	h := fnv.New64a()
	if e.FieldsV1 != nil {
		_, _ = h.Write(e.FieldsV1.GetRawBytes())
	}
	if e.Time != nil {
		_, _ = fmt.Fprint(h, e.Time.Unix())
	}
	if IsScaled(entries) {
		_, _ = h.Write([]byte("scaled"))
	}
	return h.Sum64()
}

// describeNew is Describe for an object that its owner may know nothing of.
func describeNew(m *metav1.PartialObjectMetadata) Object {
	o := Describe(m)
	if e := own(m.ManagedFields); o.Digest != "" && e != nil && e.FieldsV1 != nil {
		o.fields = e.FieldsV1.GetRawString()
	}
	return o
}

// view is the state of one watch.
type view struct {
	scope  Scope
	notify Notify
	cancel context.CancelFunc
	opened time.Time

	mu      sync.Mutex
	objects objects
	asOf    uint64 // everything up to this resource version has been seen
	owners  map[string]bool
	awaited map[Key][]string // who is told when an object that is not theirs changes
	err     error            // why the watch does not work now
	synced  bool             // it has seen a full list
	changed chan struct{}    // closed and replaced whenever err or synced changes
}

func newView(s Scope, notify Notify, cancel context.CancelFunc) *view {
	return &view{
		scope: s, notify: notify, cancel: cancel,
		objects: newObjects(), owners: map[string]bool{}, awaited: map[Key][]string{}, changed: make(chan struct{}),
	}
}

func (v *view) addOwner(owner string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.owners[owner] = true
}

func (v *view) removeOwner(owner string) (left int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.owners, owner)
	return len(v.owners)
}

func (v *view) await(owner string, key Key) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !slices.Contains(v.awaited[key], owner) {
		v.awaited[key] = append(v.awaited[key], owner)
	}
}

// state says whether the watch has seen a full list, why it does not work, and
// when to look again.
func (v *view) state() (synced bool, changed <-chan struct{}, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.synced, v.changed, v.err
}

func (v *view) find(key Key, written uint64) (Object, Presence) {
	v.mu.Lock()
	defer v.mu.Unlock()
	o, ok := v.objects.all[key]
	switch {
	case ok && o.ResourceVersion >= written:
		return o, Present
	case !ok && v.synced && v.asOf >= written:
		return Object{}, Absent
	default:
		return Object{}, Unknown
	}
}

// takeFields gives what our field manager owned of an object when it was first
// seen, and forgets it.
func (v *view) takeFields(key Key) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	o := v.objects.all[key]
	fields := o.fields
	if fields != "" {
		o.fields = ""
		v.objects.put(key, o)
	}
	return fields
}

func (v *view) members(applySet string) map[Key]Object {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.objects.members(applySet)
}

// failed records why the watch does not work, and tells everybody who relies
// on it, unless they know already.
func (v *view) failed(err error) {
	v.mu.Lock()
	known := v.err != nil && v.err.Error() == err.Error()
	v.err = err
	owners := v.signal()
	v.mu.Unlock()
	if !known {
		v.tell(owners)
	}
}

// signal wakes those who wait and returns the owners to notify. v.mu is held.
func (v *view) signal() []string {
	close(v.changed)
	v.changed = make(chan struct{})
	owners := make([]string, 0, len(v.owners))
	for o := range v.owners {
		owners = append(owners, o)
	}
	return owners
}

func (v *view) tell(owners []string) {
	for _, o := range owners {
		v.notify(o)
	}
}
