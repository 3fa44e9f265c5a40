package controllers

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/gitseal/gitseal/internal/apply"
)

// Signals carries what the watches notice to the reconciler's queue, which
// folds repetitions into one.
type Signals struct {
	mu    sync.Mutex
	names map[string]types.NamespacedName // by ApplySet
	queue workqueue.TypedRateLimitingInterface[reconcile.Request]
}

// NewSignals returns a Signals that drops everything until it is started.
func NewSignals() *Signals { return &Signals{names: map[string]types.NamespacedName{}} }

// Start begins to fill a queue; it is a controller-runtime source.
func (s *Signals) Start(_ context.Context, q workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = q
	return nil
}

// Notify queues the Application that an ApplySet belongs to. It never blocks.
func (s *Signals) Notify(applySet string) {
	s.mu.Lock()
	name, known := s.names[applySet]
	queue := s.queue
	s.mu.Unlock()
	if known && queue != nil {
		queue.Add(reconcile.Request{NamespacedName: name})
	}
}

func (s *Signals) learn(name types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names[apply.Target{Application: name}.ApplySet()] = name
}

func (s *Signals) forget(name types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.names, apply.Target{Application: name}.ApplySet())
}
