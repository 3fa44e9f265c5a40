package controllers

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/gitseal/gitseal/internal/apply"
)

// Signals carries what is noticed outside of a reconcile to the reconciler's
// queue, which folds repetitions into one.
type Signals struct {
	mu    sync.Mutex
	names map[string]types.NamespacedName // by ApplySet
	polls map[types.NamespacedName]time.Time
	news  map[types.NamespacedName]uint64
	took  map[types.NamespacedName]time.Duration
	// rereads say when a store changed whose values may be used.
	rereads map[types.NamespacedName]time.Time
	queue   workqueue.TypedRateLimitingInterface[reconcile.Request]
}

// NewSignals returns a Signals that queues nothing until it is started.
func NewSignals() *Signals {
	return &Signals{names: map[string]types.NamespacedName{}, polls: map[types.NamespacedName]time.Time{}, news: map[types.NamespacedName]uint64{},
		took: map[types.NamespacedName]time.Duration{}, rereads: map[types.NamespacedName]time.Time{}}
}

// Start begins to fill a queue; it is a controller-runtime source.
func (s *Signals) Start(_ context.Context, q workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = q
	return nil
}

// A watch's news waits for more: a rollout brings some every few milliseconds,
// and each is looked at among all objects of an Application. What that takes
// long for waits longer, so that looking leaves most of the time to others.
const (
	minGather = 20 * time.Millisecond
	maxGather = 250 * time.Millisecond
	gatherFor = 8 // times as long as the last look took
)

// Notify queues the Application that an ApplySet belongs to, of which a watch
// has news. It never blocks.
func (s *Signals) Notify(applySet string) {
	s.mu.Lock()
	name, known := s.names[applySet]
	if known {
		s.news[name]++
	}
	queue, gather := s.queue, min(max(gatherFor*s.took[name], minGather), maxGather)
	s.mu.Unlock()
	if known && queue != nil {
		queue.AddAfter(reconcile.Request{NamespacedName: name}, gather)
	}
}

// looked notes how long it took to look at an Application.
func (s *Signals) looked(name types.NamespacedName, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.took[name] = took
}

// newsOf counts what the watches had to tell of an Application so far.
func (s *Signals) newsOf(name types.NamespacedName) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.news[name]
}

// Poll queues an Application and says that what is known of its repository from
// before a moment is not good enough. It never blocks. However many
// Applications are told the same moment, the server is asked once.
func (s *Signals) Poll(name types.NamespacedName, at time.Time) {
	s.ask(name, at)
	s.Queue(name)
}

// Queue queues an Application. It never blocks.
func (s *Signals) Queue(name types.NamespacedName) {
	s.mu.Lock()
	queue := s.queue
	s.mu.Unlock()
	if queue != nil {
		queue.Add(reconcile.Request{NamespacedName: name})
	}
}

// Reread queues an Application and says that what stores answered before a
// moment is not good enough. What has not changed is not read again for it. It
// never blocks.
func (s *Signals) Reread(name types.NamespacedName, at time.Time) {
	s.mu.Lock()
	s.rereads[name] = latest(s.rereads[name], at)
	s.mu.Unlock()
	s.Queue(name)
}

// reread returns when a store changed last that an Application may use.
func (s *Signals) reread(name types.NamespacedName) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rereads[name]
}

// ask does as Poll for an Application that is being queued anyway.
func (s *Signals) ask(name types.NamespacedName, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.polls[name] = latest(s.polls[name], at)
}

// asked returns when a look at the repository was asked for last.
func (s *Signals) asked(name types.NamespacedName) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.polls[name]
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
	delete(s.polls, name)
	delete(s.news, name)
	delete(s.took, name)
	delete(s.rereads, name)
}
