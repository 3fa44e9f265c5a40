package stores

import (
	"context"
	"sync"
	"time"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// queues carries what is noticed of stores to the queues of their
// reconcilers.
type queues struct {
	mu     sync.Mutex
	byKind map[v1alpha1.StoreKind]workqueue.TypedRateLimitingInterface[reconcile.Request]
}

// of begins to fill the queue of a kind; it is a controller-runtime source.
func (q *queues) of(kind v1alpha1.StoreKind) func(context.Context, workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	return func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.byKind == nil {
			q.byKind = map[v1alpha1.StoreKind]workqueue.TypedRateLimitingInterface[reconcile.Request]{}
		}
		q.byKind[kind] = queue
		return nil
	}
}

// add queues a store after a pause. It never blocks.
func (q *queues) add(key storeKey, after time.Duration) {
	q.mu.Lock()
	queue := q.byKind[key.kind]
	q.mu.Unlock()
	if queue != nil {
		queue.AddAfter(reconcile.Request{NamespacedName: key.name}, after)
	}
}
