package stores

import (
	"context"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/fetch"
	"github.com/gitseal/gitseal/internal/live"
	"github.com/gitseal/gitseal/internal/shard"
	"github.com/gitseal/gitseal/internal/store"
)

// heldStore is a store that somebody asked for.
type heldStore struct {
	key   storeKey
	owner string
	// application is whose it is that comes from Git; zero for one of the cluster.
	application types.NamespacedName
	// opening is held while it is opened.
	opening sync.Mutex

	// Guarded by Keeper.mu: what was opened last, and who has asked.
	opened *store.Opened
	users  map[types.NamespacedName]bool
	// checked: its reconciler looks at it.
	checked bool
}

// use notes who asks for a store, whether it is there or not. Who was given up
// meanwhile is not noted: nobody would forget him again.
func (k *Keeper) use(ctx context.Context, application types.NamespacedName, st store.Store) (*heldStore, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, failure.Waitf(v1alpha1.ReasonStoreUnavailable, "%s: it was not opened in the time that there was: %w", st, err)
	}
	owner := ownerOf(application, st)
	h := k.held[owner]
	if h == nil {
		h = &heldStore{key: storeKey{st.Kind, st.Key()}, owner: owner, users: map[types.NamespacedName]bool{}}
		if st.Private {
			h.application = application
		}
		k.held[owner] = h
	}
	if application == (types.NamespacedName{}) {
		h.checked = true
	} else {
		h.users[application] = true
	}
	return h, nil
}

// watch opens the watches of a store, for as long as it is held.
func (k *Keeper) watch(ctx context.Context, h *heldStore, scopes []live.Scope) error {
	err := k.watches.Ensure(ctx, h.owner, scopes)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held[h.owner] == nil {
		k.watches.Release(h.owner)
	}
	return err
}

// Notify takes news of a watch, and reports whether it was of a store. It never
// blocks.
func (k *Keeper) Notify(owner string) bool {
	if !strings.HasPrefix(owner, ownerPrefix) {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if h := k.held[owner]; h != nil {
		k.tell(h)
		if h.application == (types.NamespacedName{}) {
			k.queues.add(h.key, 0)
		}
	}
	return true
}

// changed brings a run of everybody who uses a store of the cluster.
func (k *Keeper) changed(key storeKey) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if h := k.ofCluster(key); h != nil {
		k.tell(h)
	}
}

// ofCluster is a store of the cluster, nil where nobody has asked for it. It is
// called with mu held.
func (k *Keeper) ofCluster(key storeKey) *heldStore {
	return k.held[key.owner()]
}

func (k *Keeper) tell(h *heldStore) {
	for name := range h.users {
		k.applications.Reread(name, k.clock.Now())
	}
}

// called notes that a provider was called, so that the counts in the status of
// the stores that share its identity follow.
func (k *Keeper) called(c fetch.Call) {
	observeProvider(c)
	if c.Operation == "check" {
		return // its own look follows
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, h := range k.held {
		if h.opened != nil && h.opened.Identity == c.Identity && h.application == (types.NamespacedName{}) {
			k.queues.add(h.key, gather)
		}
	}
}

// leave forgets the stores from Git that an Application has no longer.
func (k *Keeper) leave(application types.NamespacedName, git []store.Store) {
	keep := map[string]bool{}
	for _, st := range git {
		keep[ownerOf(application, st)] = true
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for owner, h := range k.held {
		if h.application == application && !keep[owner] {
			k.release(owner)
		}
	}
}

// Forget drops an Application that is gone, or another replica's.
func (k *Keeper) Forget(application types.NamespacedName) {
	k.leave(application, nil)
	k.mu.Lock()
	defer k.mu.Unlock()
	for owner, h := range k.held {
		delete(h.users, application)
		if len(h.users) == 0 && !h.checked {
			k.release(owner) // nobody waits for it any more
		}
	}
}

// gone drops a store that was deleted. Who waits for it stays known.
func (k *Keeper) gone(key storeKey) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if h := k.ofCluster(key); h != nil {
		h.opened, h.checked = nil, false
		k.watches.Release(h.owner)
		if len(h.users) == 0 {
			delete(k.held, h.owner)
		}
	}
}

// unchecked drops a store that another replica looks at now, unless somebody
// uses it here.
func (k *Keeper) unchecked(key storeKey) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if h := k.ofCluster(key); h != nil {
		h.checked = false
		if len(h.users) == 0 {
			k.release(h.owner)
		}
	}
}

func (k *Keeper) release(owner string) {
	delete(k.held, owner)
	k.watches.Release(owner)
}

// ShareChanged looks at the stores whose status this replica writes now.
func (k *Keeper) ShareChanged(c shard.Change) {
	var own v1alpha1.SecretStoreList
	var cluster v1alpha1.ClusterSecretStoreList
	if k.client.List(context.Background(), &own) != nil || k.client.List(context.Background(), &cluster) != nil {
		return // the cache has not begun: all come to the queue then anyway
	}
	gained := func(kind v1alpha1.StoreKind, o client.Object) {
		if name := client.ObjectKeyFromObject(o); c.Gained[slotOf(name.Namespace, name.Name)] {
			k.queues.add(storeKey{kind, name}, 0)
		}
	}
	for i := range own.Items {
		gained(v1alpha1.KindSecretStore, &own.Items[i])
	}
	for i := range cluster.Items {
		gained(v1alpha1.KindClusterSecretStore, &cluster.Items[i])
	}
}

func slotOf(namespace, name string) int { return shard.SlotOf(ownerPrefix+namespace, name) }
