// Package stores keeps the secret stores of the cluster: it opens SecretStores
// and ClusterSecretStores for the Applications that ask them, watches what they
// are made of, and writes in their status whether they can be used.
//
// It must not name a provider, look into a value, or judge who may ask a store
// for what, which internal/store does. It does not know how an Application is
// synced: it tells who has asked for a store that the store has changed.
package stores

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"reflect"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/egress"
	"github.com/gitseal/gitseal/internal/external"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/fetch"
	"github.com/gitseal/gitseal/internal/live"
	"github.com/gitseal/gitseal/internal/render"
	"github.com/gitseal/gitseal/internal/seam"
	"github.com/gitseal/gitseal/internal/store"
	"github.com/gitseal/gitseal/providers"
)

// Applications are who stores are opened for.
type Applications interface {
	// Reread queues an Application, for which what stores answered before a
	// moment is not good enough. It never blocks.
	Reread(application types.NamespacedName, at time.Time)
	// WorkWith names who works with a Secret: an Application that is read or
	// decrypted with it, or the operator itself; "" where there is nobody.
	WorkWith(ctx context.Context, secret types.NamespacedName) (who string, err error)
}

// Watches opens and closes an owner's watches, and says what they saw.
type Watches interface {
	Ensure(ctx context.Context, owner string, scopes []live.Scope) error
	Release(owner string)
	Find(s live.Scope, key live.Key, written uint64) (live.Object, live.Presence)
}

// Options of a Keeper.
type Options struct {
	// Client reads stores from the cache, and writes their status; Reader reads
	// what they name past the cache. Both are the operator.
	Client       client.Client
	Reader       client.Reader
	Applications Applications
	// Watches call Notify with what they see.
	Watches Watches
	// Providers are the backends that stores can name.
	Providers providers.Registry
	// Egress guards what is connected to for stores.
	Egress egress.Guard
	// Gate sees every call to a provider. It may be nil.
	Gate  seam.Gate
	Clock clock.WithTicker
	// Digest is a keyed digest, by which stores of the same identity find one
	// another.
	Digest func([]byte) string
	// OperatorNamespace is the operator's own.
	OperatorNamespace string
}

// Keeper keeps stores open for Applications, and watches what they were made
// of: a credential that is rotated, or a Role that is mended, opens the store
// anew and brings a run of everybody who uses it.
type Keeper struct {
	client            client.Client
	applications      Applications
	watches           Watches
	namespaces        store.Namespaces
	opener            *store.Opener
	clock             clock.Clock
	operatorNamespace string
	queues            queues

	mu   sync.Mutex
	held map[string]*heldStore // by owner
}

// New returns a Keeper that holds no store yet.
func New(o Options) *Keeper {
	things := objects{reader: o.Reader, cache: o.Client}
	k := &Keeper{
		client: o.Client, applications: o.Applications, watches: o.Watches, namespaces: things, clock: o.Clock,
		operatorNamespace: o.OperatorNamespace, held: map[string]*heldStore{},
	}
	k.opener = &store.Opener{
		Registry: o.Providers, Objects: things, Clock: o.Clock, Digest: o.Digest, OperatorNamespace: o.OperatorNamespace,
		Fetcher: fetch.New(fetch.Options{Clock: o.Clock, Gate: o.Gate, Called: k.called}),
		Dial:    egress.Guard{}.Dial, DialAllowed: o.Egress.Dial,
	}
	return k
}

// Run sweeps out, until the context ends, what nobody uses any more.
func (k *Keeper) Run(ctx context.Context) error { return k.opener.Fetcher.Run(ctx) }

// storeKey names a store of the cluster.
type storeKey struct {
	kind v1alpha1.StoreKind
	name types.NamespacedName
}

// ownerPrefix begins the names under which watches of stores are opened. No
// ApplySet has such a name.
const ownerPrefix = "store/"

func (k storeKey) owner() string { return ownerPrefix + string(k.kind) + "/" + k.name.String() }

func (k storeKey) empty() client.Object {
	if k.kind == v1alpha1.KindClusterSecretStore {
		return &v1alpha1.ClusterSecretStore{}
	}
	return &v1alpha1.SecretStore{}
}

// ownerOf names a store. Those in Git are told apart by what they say: two
// revisions of one may be in use at once.
func ownerOf(application types.NamespacedName, s store.Store) string {
	owner := storeKey{s.Kind, s.Key()}.owner()
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

var _ store.Stores = (*Keeper)(nil)

// For returns what answers the questions of an Application in one run, with the
// stores of its revision; those in use of other revisions stay open. What a
// store in Git lacks is an error, whether it is used or not: it would be one as
// soon as it is.
func (k *Keeper) For(app *v1alpha1.Application, stores, inUse []render.Object) (external.Resolver, error) {
	git, err := fromGit(app, stores)
	if err != nil {
		return nil, err
	}
	others, _ := fromGit(app, inUse) // one that was refused is not open
	application := client.ObjectKeyFromObject(app)
	k.leave(application, slices.Concat(git, others))
	return &store.Resolver{
		Application: application, Git: git, Stores: k, Namespaces: k.namespaces, MaxStaleness: maxStaleness(app), Clock: k.clock,
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

const defaultMaxStaleness = 24 * time.Hour

func maxStaleness(app *v1alpha1.Application) time.Duration {
	if e := app.Spec.Secrets.External; e != nil && e.MaxStaleness != nil {
		return e.MaxStaleness.Duration
	}
	return defaultMaxStaleness
}

// Cluster implements store.Stores.
func (k *Keeper) Cluster(ctx context.Context, application types.NamespacedName, ref v1alpha1.StoreReference) (store.Store, error) {
	key := storeKey{kind: ref.Kind, name: types.NamespacedName{Namespace: application.Namespace, Name: ref.Name}}
	if ref.Kind == v1alpha1.KindClusterSecretStore {
		key.name.Namespace = ""
	}
	// Noted before it is read, so that a store that comes is not missed.
	if _, err := k.use(ctx, application, store.Store{Kind: key.kind, Namespace: key.name.Namespace, Name: key.name.Name}); err != nil {
		return store.Store{}, err
	}
	found, err := k.read(ctx, key)
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
func (k *Keeper) read(ctx context.Context, key storeKey) (store.Store, error) {
	o := key.empty()
	if err := k.client.Get(ctx, key.name, o); err != nil {
		return store.Store{}, err
	}
	return k.of(o), nil
}

func (k *Keeper) of(o client.Object) store.Store {
	if c, ok := o.(*v1alpha1.ClusterSecretStore); ok {
		return store.FromClusterSecretStore(c, k.operatorNamespace)
	}
	return store.FromSecretStore(o.(*v1alpha1.SecretStore))
}

// Open implements store.Stores. Nobody's name is a zero Application.
func (k *Keeper) Open(ctx context.Context, application types.NamespacedName, st store.Store) (*store.Opened, error) {
	h, err := k.use(ctx, application, st)
	if err != nil {
		return nil, err
	}
	h.opening.Lock()
	defer h.opening.Unlock()
	// Watched before it is read, so that no change is missed.
	scopes, err := scopesOf(st)
	if err != nil {
		return nil, err
	}
	if err := k.reserved(ctx, st, scopes); err != nil {
		return nil, err
	}
	if err := k.watch(ctx, h, scopes); err != nil {
		return nil, k.refusal(st, err)
	}
	if opened := k.opened(h); opened != nil && k.fresh(opened, st) {
		return opened, nil
	}
	opened, err := k.opener.Open(ctx, st)
	k.mu.Lock()
	defer k.mu.Unlock()
	h.opened = opened
	return opened, err
}

func (k *Keeper) opened(h *heldStore) *store.Opened {
	k.mu.Lock()
	defer k.mu.Unlock()
	return h.opened
}

// reserved refuses a store that names what an Application is read or decrypted
// with, or what the operator itself works with. The namespace has let the
// operator read those Secrets for that alone; a store would send them to whatever
// server its author wrote down.
func (k *Keeper) reserved(ctx context.Context, st store.Store, scopes []live.Scope) error {
	for _, scope := range scopes {
		if scope.Resource.Resource != resourceOf[store.ThingSecret] {
			continue
		}
		who, err := k.applications.WorkWith(ctx, scope.Key())
		if err != nil {
			return failure.Waitf(v1alpha1.ReasonStoreUnavailable, "%s: it is not known yet what the Secrets that it names are for", st)
		}
		if who != "" {
			return failure.Stallf(v1alpha1.ReasonStoreInvalid, "%s: Secret %q is what %s works with, and is given to no provider", st, scope.Name, who).
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
func (k *Keeper) fresh(o *store.Opened, st store.Store) bool {
	if !reflect.DeepEqual(o.Store, st) {
		return false
	}
	for n, version := range o.Versions {
		scope := scopeOf(n)
		found, presence := k.watches.Find(scope, scope.Key(), live.Version(version))
		if presence == live.Absent || presence == live.Present && found.ResourceVersion != live.Version(version) {
			return false
		}
	}
	return true
}

// refusal says what to do about a watch that does not work.
func (k *Keeper) refusal(st store.Store, err error) error {
	var w *live.WatchError
	if errors.As(err, &w) && apierrors.IsForbidden(w.Err) {
		return failure.Failf(v1alpha1.ReasonAccessDenied, "%s: namespace %q has not let gitseal read and watch %s", st, w.Scope.Namespace, w.Scope).
			WithHint("grant get and watch on it by name to ServiceAccount %s of namespace %s, as `kubectl gitseal init` does", v1alpha1.OperatorServiceAccount, k.operatorNamespace)
	}
	return failure.Waitf(v1alpha1.ReasonStoreUnavailable, "%s: what it names cannot be watched yet", st)
}
