// Package live watches what the operator must notice: the objects that
// Applications have applied, and the Secrets that they name. Every watch is
// metadata-only; no object body is ever asked for or held here.
//
// One watch serves everybody who is interested in the same scope. What a watch
// saw last is kept, so that a reconciler can compare without asking the API
// server.
package live

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"
	"k8s.io/utils/clock"
)

// Identity is who a watch is opened as. The zero Identity is the operator.
type Identity struct {
	Namespace      string
	ServiceAccount string
}

// IsOperator reports whether this is the operator's own identity.
func (i Identity) IsOperator() bool { return i == Identity{} }

// User is the user name that Kubernetes gives the ServiceAccount.
func (i Identity) User() string {
	return fmt.Sprintf("system:serviceaccount:%s:%s", i.Namespace, i.ServiceAccount)
}

// Scope is what one watch covers: the members of all ApplySets of one resource
// in one namespace ("" for cluster-scoped resources) or, where Name is given,
// the one object of that name.
type Scope struct {
	Identity  Identity
	Resource  schema.GroupVersionResource
	Namespace string
	Name      string
}

// Key names the object of a Scope that has a single one.
func (s Scope) Key() Key { return Key{Namespace: s.Namespace, Name: s.Name} }

func (s Scope) String() string {
	if s.Name != "" {
		return fmt.Sprintf("%s %q in namespace %q", s.Resource.Resource, s.Name, s.Namespace)
	}
	if s.Namespace == "" {
		return s.Resource.GroupResource().String()
	}
	return fmt.Sprintf("%s in namespace %q", s.Resource.GroupResource(), s.Namespace)
}

// Clients gives the metadata client of an identity.
type Clients interface {
	Metadata(Identity) (metadata.Interface, error)
}

// Notify is told that something changed for an owner. It must not block.
type Notify func(owner string)

// ErrNotSynced is returned while a watch has not seen its first full list.
var ErrNotSynced = errors.New("watch has not answered yet")

// WatchError says which watch does not work.
type WatchError struct {
	Scope Scope
	Err   error
}

func (e *WatchError) Error() string { return fmt.Sprintf("watch %s: %v", e.Scope, e.Err) }

// Unwrap gives the API server's error.
func (e *WatchError) Unwrap() error { return e.Err }

// Watches opens, shares and closes watches.
type Watches struct {
	ctx     context.Context // the life of the operator: watches outlive the call that opens them
	clients Clients
	notify  Notify
	clock   clock.WithTicker

	mu     sync.Mutex
	open   map[Scope]*view
	owners map[string]map[Scope]bool
}

// New returns a Watches whose watches end with ctx.
func New(ctx context.Context, clients Clients, clk clock.WithTicker, notify Notify) *Watches {
	return &Watches{
		ctx: ctx, clients: clients, notify: notify, clock: clk,
		open: map[Scope]*view{}, owners: map[string]map[Scope]bool{},
	}
}

// Ensure makes scopes the ones that owner is interested in: it opens those
// that are missing, closes those that nobody needs any more, and waits until
// each has seen everything once. One that takes long is not waited for: the
// owner is notified when it has answered. For member scopes the owner is the
// id of the ApplySet; it is notified of changes to its members only.
func (w *Watches) Ensure(ctx context.Context, owner string, scopes []Scope) error {
	views := w.assign(owner, scopes)
	for _, v := range views {
		if err := w.waitSynced(ctx, v); err != nil {
			return err
		}
	}
	return nil
}

// Release ends owner's interest in everything.
func (w *Watches) Release(owner string) { w.assign(owner, nil) }

func (w *Watches) assign(owner string, scopes []Scope) []*view {
	w.mu.Lock()
	defer w.mu.Unlock()
	wanted := make(map[Scope]bool, len(scopes))
	views := make([]*view, 0, len(scopes))
	for _, s := range scopes {
		wanted[s] = true
		v := w.open[s]
		if v == nil {
			v = w.start(s)
		}
		v.addOwner(owner)
		views = append(views, v)
	}
	for s := range w.owners[owner] {
		if !wanted[s] {
			w.drop(owner, s)
		}
	}
	w.owners[owner] = wanted
	if len(wanted) == 0 {
		delete(w.owners, owner)
	}
	return views
}

func (w *Watches) start(s Scope) *view {
	ctx, cancel := context.WithCancel(w.ctx)
	v := newView(s, w.notify, cancel)
	v.opened = w.clock.Now()
	w.open[s] = v
	go w.run(ctx, v)
	return v
}

func (w *Watches) drop(owner string, s Scope) {
	v := w.open[s]
	if v == nil || v.removeOwner(owner) > 0 {
		return
	}
	v.cancel()
	delete(w.open, s)
}

func (w *Watches) view(s Scope) *view {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.open[s]
}

// Find says what the watch of scope knows of an object, given the resource
// version at which the caller last wrote it (0 if it never did).
func (w *Watches) Find(s Scope, key Key, written uint64) (Object, Presence) {
	v := w.view(s)
	if v == nil {
		return Object{}, Unknown
	}
	return v.find(key, written)
}

// TakeFields returns what our field manager owned of an object (FieldsV1) when
// the watch first saw it, and forgets it: that is too much to be kept of every
// object. It is "" for one that was applied while it was watched.
func (w *Watches) TakeFields(s Scope, key Key) string {
	v := w.view(s)
	if v == nil {
		return ""
	}
	return v.takeFields(key)
}

// Members returns the objects in scope that belong to an ApplySet.
func (w *Watches) Members(s Scope, applySet string) map[Key]Object {
	v := w.view(s)
	if v == nil {
		return nil
	}
	return v.members(applySet)
}

// Await notifies owner once, when the watch of scope sees the next change of an
// object, whoever it belongs to. Who looks at the object after this call misses
// nothing.
func (w *Watches) Await(owner string, s Scope, key Key) {
	if v := w.view(s); v != nil {
		v.await(owner, key)
	}
}

// Len is the number of open watches.
func (w *Watches) Len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.open)
}

const (
	// syncPatience is how long after its opening a watch is waited for.
	syncPatience = 30 * time.Second
	firstBackoff = 500 * time.Millisecond
	maxBackoff   = 10 * time.Second
)

// waitSynced waits until the watch works, says why it does not, or has been
// given long enough.
func (w *Watches) waitSynced(ctx context.Context, v *view) error {
	patience := max(syncPatience-w.clock.Since(v.opened), 0)
	timer := w.clock.NewTimer(patience)
	defer timer.Stop()
	for {
		synced, changed, err := v.state()
		if err != nil {
			return &WatchError{Scope: v.scope, Err: err}
		}
		if synced {
			return nil
		}
		if patience == 0 {
			return &WatchError{Scope: v.scope, Err: ErrNotSynced}
		}
		select {
		case <-ctx.Done():
			return &WatchError{Scope: v.scope, Err: ErrNotSynced}
		case <-timer.C():
			return &WatchError{Scope: v.scope, Err: ErrNotSynced}
		case <-changed:
		}
	}
}

// run keeps one watch going until its context ends. A watch that ends well, or
// whose resource version is too old, starts again at once; one that fails, or
// that ends as soon as it has begun, waits longer each time.
func (w *Watches) run(ctx context.Context, v *view) {
	backoff := firstBackoff
	for ctx.Err() == nil {
		begun := w.clock.Now()
		err := w.watchOnce(ctx, v)
		if ctx.Err() != nil {
			return
		}
		lasted := w.clock.Since(begun)
		if err == nil && lasted >= firstBackoff {
			backoff = firstBackoff
			continue
		}
		if lasted > maxBackoff {
			backoff = firstBackoff
		}
		if err != nil {
			v.failed(err)
		}
		select {
		case <-ctx.Done():
		case <-w.clock.After(backoff):
		}
		backoff = min(2*backoff, maxBackoff)
	}
}
