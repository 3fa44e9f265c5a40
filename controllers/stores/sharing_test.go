package stores

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/shard"
	"github.com/gitseal/gitseal/providers"
)

// How replicas renew their leases.
const (
	leaseDuration = 10 * time.Second
	leaseRenewal  = 2 * time.Second
	leaveGrace    = 3 * time.Second
)

// leases are those of all replicas, which hear of one another's at once.
type leases struct {
	mu      sync.Mutex
	all     map[string]shard.Record
	writes  int
	members map[string]*shard.Member
}

// lease is a replica's way to them.
type lease struct {
	*leases
	id string
}

func (l lease) Write(_ context.Context, view []string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writes++
	l.all[l.id] = shard.Record{ID: l.id, View: slices.Clone(view), Version: fmt.Sprint(l.writes)}
	for id, m := range l.members {
		if id != l.id {
			m.Observe(l.all[l.id])
		}
	}
	return nil
}

func (l lease) List(context.Context) ([]shard.Record, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []shard.Record
	for _, r := range l.all {
		all = append(all, r)
	}
	return all, nil
}

func (l lease) Delete(_ context.Context, r shard.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.Version == "" || l.all[r.ID].Version == r.Version {
		delete(l.all, r.ID)
		for _, m := range l.members {
			m.Gone(r.ID)
		}
	}
	return nil
}

// sharing are replicas that look at the same stores.
type sharing struct {
	t      *testing.T
	leases *leases
	base   client.WithWatch
	names  []types.NamespacedName
}

// partner is one of them.
type partner struct {
	*counter
	queue workqueue.TypedRateLimitingInterface[reconcile.Request]
	stop  context.CancelFunc
	ended chan error
}

func newSharing(t *testing.T, size int) *sharing {
	t.Helper()
	s := &sharing{t: t, leases: &leases{all: map[string]shard.Record{}, members: map[string]*shard.Member{}}}
	var stores []client.Object
	for i := range size {
		st := countedStore()
		st.Name = fmt.Sprintf("s%d", i)
		stores = append(stores, st)
		s.names = append(s.names, client.ObjectKeyFromObject(st))
	}
	s.base = clusterWith(t, stores...)
	return s
}

func (s *sharing) start(id string) *partner {
	s.t.Helper()
	p := &partner{counter: newCounterOn(s.t, s.base), queue: workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]()), ended: make(chan error, 1)}
	s.t.Cleanup(p.queue.ShutDown)
	if err := p.keeper.queues.of(v1alpha1.KindSecretStore)(s.t.Context(), p.queue); err != nil {
		s.t.Fatal(err)
	}
	p.share = shard.New(shard.Options{
		ID: id, Store: lease{s.leases, id}, Clock: clock.RealClock{}, Duration: leaseDuration, Renew: leaseRenewal, Grace: leaveGrace,
		Changed: p.keeper.ShareChanged, Log: logr.Discard(),
	})
	s.leases.mu.Lock()
	s.leases.members[id] = p.share
	s.leases.mu.Unlock()
	var ctx context.Context
	ctx, p.stop = context.WithCancel(s.t.Context())
	go func() { p.ended <- p.share.Run(ctx) }()
	return p
}

// end stops a replica, in good order.
func (p *partner) end() {
	p.t.Helper()
	p.stop()
	if err := <-p.ended; err != nil {
		p.t.Error(err)
	}
}

// all looks at every store, as the queue of a replica that starts does, and
// counts those that it writes.
func (s *sharing) all(p *partner) (written int) {
	s.t.Helper()
	before := p.writes
	for _, name := range s.names {
		if _, err := p.Reconcile(s.t.Context(), ctrl.Request{NamespacedName: name}); err != nil {
			s.t.Fatal(err)
		}
	}
	return p.writes - before
}

// ready counts the stores that say so.
func (s *sharing) ready(want metav1.ConditionStatus) (n int) {
	s.t.Helper()
	var list v1alpha1.SecretStoreList
	if err := s.base.List(s.t.Context(), &list); err != nil {
		s.t.Fatal(err)
	}
	for i := range list.Items {
		if readiness(&list.Items[i]) == want {
			n++
		}
	}
	return n
}

// Replicas that share look at each store once: one of them asks its provider
// and writes its status, and who takes over goes on with it at once.
func TestReplicasShareStores(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 40
		s := newSharing(t, size)
		a, b := s.start("a"), s.start("b")
		<-time.After(3 * leaseDuration) // in the bubble, where it takes no time
		first, second := s.all(a), s.all(b)
		if first+second != size || first < size/5 || second < size/5 || s.ready(metav1.ConditionTrue) != size {
			t.Errorf("%d stores were written by one replica and %d by the other, %d are ready, want %d in sum, shared", first, second, s.ready(metav1.ConditionTrue), size)
		}
		if a.vault.checks != first || b.vault.checks != second {
			t.Errorf("the provider was asked %d and %d times for %d and %d stores", a.vault.checks, b.vault.checks, first, second)
		}
		if got := s.all(a) + s.all(b); got != 0 {
			t.Errorf("%d stores were written again, though nothing changed", got)
		}

		a.end()
		b.vault.feel(&providers.Error{Kind: providers.ErrUnauthenticated})
		<-time.After(3 * leaseDuration)
		if got := b.queue.Len(); got != size { // its own were queued when it began
			t.Errorf("%d stores are queued for who took over, want all %d", got, size)
		}
		if got := s.all(b); got != first || s.ready(metav1.ConditionFalse) != first {
			t.Errorf("%d stores were written by who took over, and %d are not ready, want those %d that it took", got, s.ready(metav1.ConditionFalse), first)
		}
		if got := s.all(a); got != 0 {
			t.Errorf("who left wrote %d stores", got)
		}
		b.end()
		if len(s.leases.all) > 0 {
			t.Errorf("leases %v are left", s.leases.all)
		}
	})
}
