package controllers

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"reflect"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/external"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/fetch"
	"github.com/gitseal/gitseal/internal/live"
	"github.com/gitseal/gitseal/internal/render"
	"github.com/gitseal/gitseal/internal/store"
)

// Stores keeps stores open for Applications, and watches what they were made
// of: a credential that is rotated, or a Role that is mended, opens the store
// anew and brings a run of everybody who uses it.
type Stores struct {
	// Client reads stores from the cache.
	Client  client.Reader
	Opener  *store.Opener
	Watches Watcher
	Clock   clock.PassiveClock
	// Labels of namespaces.
	Namespaces        store.Namespaces
	OperatorNamespace string

	signals *Signals      // of Applications
	queue   *storeSignals // of stores

	mu   sync.Mutex
	held map[string]*heldStore // by owner
}

// heldStore is a store that somebody asked for.
type heldStore struct {
	key   storeKey
	owner string
	// application is whose it is that comes from Git; zero for one of the cluster.
	application types.NamespacedName
	// opening is held while it is opened.
	opening sync.Mutex

	// Guarded by Stores.mu: what was opened last, and who has asked.
	opened *store.Opened
	users  map[types.NamespacedName]bool
	// checked: its reconciler looks at it.
	checked bool
}

// storeKey names a store of the cluster.
type storeKey struct {
	kind v1alpha1.StoreKind
	name types.NamespacedName
}

func newStores(s *Stores) *Stores {
	s.held, s.queue = map[string]*heldStore{}, &storeSignals{}
	return s
}

// storeOwner begins the names under which watches of stores are opened. No
// ApplySet has such a name.
const storeOwner = "store/"

// ownerOf names a store. Those in Git are told apart by what they say: two
// revisions of one may be in use at once.
func ownerOf(application types.NamespacedName, s store.Store) string {
	owner := storeOwner + string(s.Kind) + "/" + s.Key().String()
	if !s.Private {
		return owner
	}
	spec, err := json.Marshal(s.Spec)
	if err != nil {
		spec = nil // they take turns then
	}
	h := fnv.New64a()
	_, _ = h.Write(spec)
	return fmt.Sprintf("%s@%s#%x", owner, application, h.Sum64())
}

var _ store.Stores = (*Stores)(nil)

// For implements Resolvers. What a store in Git lacks is an error, whether it
// is used or not: it would be one as soon as it is.
func (s *Stores) For(app *v1alpha1.Application, stores, inUse []render.Object) (external.Resolver, error) {
	git, err := fromGit(app, stores)
	if err != nil {
		return nil, err
	}
	others, _ := fromGit(app, inUse) // one that was refused is not open
	application := client.ObjectKeyFromObject(app)
	s.leave(application, slices.Concat(git, others))
	return &store.Resolver{
		Application: application, Git: git, Stores: s, Namespaces: s.Namespaces, MaxStaleness: maxStaleness(app), Clock: s.Clock,
	}, nil
}

// fromGit reads the stores among objects. Of one that is refused it returns the
// error, and the others nevertheless.
func fromGit(app *v1alpha1.Application, objects []render.Object) (stores []store.Store, err error) {
	for _, o := range objects {
		if !store.IsStore(o) {
			continue
		}
		st, refused := store.FromGit(o, app.Namespace, cmp.Or(app.Spec.Destination.Namespace, app.Namespace))
		if refused != nil {
			err = refused
			continue
		}
		stores = append(stores, st)
	}
	return stores, err
}

// Cluster implements store.Stores.
func (s *Stores) Cluster(ctx context.Context, application types.NamespacedName, ref v1alpha1.StoreReference) (store.Store, error) {
	key := storeKey{kind: ref.Kind, name: types.NamespacedName{Namespace: application.Namespace, Name: ref.Name}}
	if ref.Kind == v1alpha1.KindClusterSecretStore {
		key.name.Namespace = ""
	}
	// Noted before it is read, so that a store that comes is not missed.
	s.use(application, store.Store{Kind: key.kind, Namespace: key.name.Namespace, Name: key.name.Name})
	found, err := s.read(ctx, key)
	switch {
	case apierrors.IsNotFound(err) && ref.Kind == v1alpha1.KindClusterSecretStore:
		return store.Store{}, failure.Waitf(v1alpha1.ReasonStoreMissing, "ClusterSecretStore %q does not exist", ref.Name).
			WithHint("create it; one in Git belongs to another Application, which this one depends on")
	case apierrors.IsNotFound(err):
		return store.Store{}, failure.Waitf(v1alpha1.ReasonStoreMissing, "SecretStore %q does not exist in namespace %q, nor in this revision", ref.Name, application.Namespace).
			WithHint("create it, or put it into Git beside the ExternalSecret")
	case err != nil:
		return store.Store{}, failure.Failf(v1alpha1.ReasonStoreUnavailable, "read %s %q: %w", ref.Kind, ref.Name, err)
	}
	return found, nil
}

// read reads a store of the cluster.
func (s *Stores) read(ctx context.Context, key storeKey) (store.Store, error) {
	o := key.empty()
	if err := s.Client.Get(ctx, key.name, o); err != nil {
		return store.Store{}, err
	}
	return s.of(o), nil
}

func (k storeKey) empty() client.Object {
	if k.kind == v1alpha1.KindClusterSecretStore {
		return &v1alpha1.ClusterSecretStore{}
	}
	return &v1alpha1.SecretStore{}
}

func (s *Stores) of(o client.Object) store.Store {
	if c, ok := o.(*v1alpha1.ClusterSecretStore); ok {
		return store.FromClusterSecretStore(c, s.OperatorNamespace)
	}
	return store.FromSecretStore(o.(*v1alpha1.SecretStore))
}

// use notes who asks for a store, whether it is there or not.
func (s *Stores) use(application types.NamespacedName, st store.Store) *heldStore {
	s.mu.Lock()
	defer s.mu.Unlock()
	owner := ownerOf(application, st)
	h := s.held[owner]
	if h == nil {
		h = &heldStore{key: storeKey{st.Kind, st.Key()}, owner: owner, users: map[types.NamespacedName]bool{}}
		if st.Private {
			h.application = application
		}
		s.held[owner] = h
	}
	if application == (types.NamespacedName{}) {
		h.checked = true
	} else {
		h.users[application] = true
	}
	return h
}

// Open implements store.Stores. Nobody's name is a zero Application.
func (s *Stores) Open(ctx context.Context, application types.NamespacedName, st store.Store) (*store.Opened, error) {
	h := s.use(application, st)
	h.opening.Lock()
	defer h.opening.Unlock()
	// Watched before it is read, so that no change is missed.
	scopes, err := scopesOf(st)
	if err != nil {
		return nil, err
	}
	if err := s.reserved(ctx, st, scopes); err != nil {
		return nil, err
	}
	if err := s.Watches.Ensure(ctx, h.owner, scopes); err != nil {
		return nil, s.refusal(st, err)
	}
	if opened := s.opened(h); opened != nil && s.fresh(opened, st) {
		return opened, nil
	}
	opened, err := s.Opener.Open(ctx, st)
	s.mu.Lock()
	defer s.mu.Unlock()
	h.opened = opened
	return opened, err
}

func (s *Stores) opened(h *heldStore) *store.Opened {
	s.mu.Lock()
	defer s.mu.Unlock()
	return h.opened
}

// reserved refuses a store that names what an Application is read or decrypted
// with. The namespace has let the operator read those Secrets for that alone; a
// store would send them to whatever server its author wrote down.
func (s *Stores) reserved(ctx context.Context, st store.Store, scopes []live.Scope) error {
	for _, scope := range scopes {
		if scope.Resource.Resource != resourceOf[store.ThingSecret] {
			continue
		}
		var users v1alpha1.ApplicationList
		at := client.MatchingFields{byCredential: scope.Namespace + "/" + scope.Name}
		if err := s.Client.List(ctx, &users, at, client.UnsafeDisableDeepCopy); err != nil {
			return failure.Waitf(v1alpha1.ReasonStoreUnavailable, "%s: it is not known yet what the Secrets that it names are for", st)
		}
		if len(users.Items) > 0 {
			return failure.Stallf(v1alpha1.ReasonStoreInvalid, "%s: Secret %q is what Application %q is read or decrypted with, and is given to no provider", st, scope.Name, users.Items[0].Name).
				WithHint("keep the credentials of the store in a Secret of their own")
		}
	}
	return nil
}

// scopesOf are the watches of everything that a store is made of.
func scopesOf(st store.Store) ([]live.Scope, error) {
	if err := st.Validate(); err != nil {
		return nil, err
	}
	named, err := st.Named()
	if err != nil {
		return nil, err
	}
	var scopes []live.Scope
	for _, n := range named {
		if n.Thing != store.ThingServiceAccount || n.Annotated {
			scopes = append(scopes, scopeOf(n))
		}
	}
	return scopes, nil
}

var resourceOf = map[store.Thing]string{
	store.ThingSecret: "secrets", store.ThingConfigMap: "configmaps", store.ThingServiceAccount: "serviceaccounts",
}

func scopeOf(n store.Named) live.Scope {
	return live.Scope{Resource: corev1.SchemeGroupVersion.WithResource(resourceOf[n.Thing]), Namespace: n.Namespace, Name: n.Name}
}

// fresh reports whether a store is still what it was opened as. A watch that
// has not caught up with what was read says nothing against it.
func (s *Stores) fresh(o *store.Opened, st store.Store) bool {
	if !reflect.DeepEqual(o.Store, st) {
		return false
	}
	for n, version := range o.Versions {
		scope := scopeOf(n)
		found, presence := s.Watches.Find(scope, scope.Key(), live.Version(version))
		if presence == live.Absent || presence == live.Present && found.ResourceVersion != live.Version(version) {
			return false
		}
	}
	return true
}

// refusal says what to do about a watch that does not work.
func (s *Stores) refusal(st store.Store, err error) error {
	var w *live.WatchError
	if errors.As(err, &w) && apierrors.IsForbidden(w.Err) {
		return failure.Failf(v1alpha1.ReasonAccessDenied, "%s: namespace %q has not let gitseal read and watch %s", st, w.Scope.Namespace, w.Scope).
			WithHint("grant get and watch on it by name to ServiceAccount %s of namespace %s, as `kubectl gitseal init` does", v1alpha1.OperatorServiceAccount, s.OperatorNamespace)
	}
	return failure.Waitf(v1alpha1.ReasonStoreUnavailable, "%s: what it names cannot be watched yet", st)
}

// Notify takes news of a watch, and reports whether it was of a store. It never
// blocks.
func (s *Stores) Notify(owner string) bool {
	if !strings.HasPrefix(owner, storeOwner) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.held[owner]; h != nil {
		s.tell(h)
		if h.application == (types.NamespacedName{}) {
			s.queue.add(h.key, 0)
		}
	}
	return true
}

// changed brings a run of everybody who uses a store of the cluster.
func (s *Stores) changed(key storeKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.ofCluster(key); h != nil {
		s.tell(h)
	}
}

// ofCluster is a store of the cluster, nil where nobody has asked for it. It is
// called with mu held.
func (s *Stores) ofCluster(key storeKey) *heldStore {
	return s.held[ownerOf(types.NamespacedName{}, store.Store{Kind: key.kind, Namespace: key.name.Namespace, Name: key.name.Name})]
}

func (s *Stores) tell(h *heldStore) {
	for name := range h.users {
		s.signals.Reread(name, s.Clock.Now())
	}
}

// called notes that a provider was called, so that the counts in the status of
// the stores that share its identity follow.
func (s *Stores) called(c fetch.Call) {
	observeProvider(c)
	if c.Operation == "check" {
		return // its own look follows
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.held {
		if h.opened != nil && h.opened.Identity == c.Identity && h.application == (types.NamespacedName{}) {
			s.queue.add(h.key, storeGather)
		}
	}
}

// leave forgets the stores from Git that an Application has no longer.
func (s *Stores) leave(application types.NamespacedName, git []store.Store) {
	keep := map[string]bool{}
	for _, st := range git {
		keep[ownerOf(application, st)] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for owner, h := range s.held {
		if h.application == application && !keep[owner] {
			s.release(owner)
		}
	}
}

// forget drops an Application that is gone, or another replica's. A nil Stores
// knows none.
func (s *Stores) forget(application types.NamespacedName) {
	if s == nil {
		return
	}
	s.leave(application, nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	for owner, h := range s.held {
		delete(h.users, application)
		if len(h.users) == 0 && !h.checked {
			s.release(owner) // nobody waits for it any more
		}
	}
}

// gone drops a store that was deleted. Who waits for it stays known.
func (s *Stores) gone(key storeKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.ofCluster(key); h != nil {
		h.opened, h.checked = nil, false
		s.Watches.Release(h.owner)
		if len(h.users) == 0 {
			delete(s.held, h.owner)
		}
	}
}

// unchecked drops a store that another replica looks at now, unless somebody
// uses it here.
func (s *Stores) unchecked(key storeKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.ofCluster(key); h != nil {
		h.checked = false
		if len(h.users) == 0 {
			s.release(h.owner)
		}
	}
}

func (s *Stores) release(owner string) {
	delete(s.held, owner)
	s.Watches.Release(owner)
}
