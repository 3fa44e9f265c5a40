package controllers

import (
	"context"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

const (
	// longPatience and shortPatience are how long a worker waits for somebody
	// else's server. An errand that takes longer goes on by itself, and the
	// Application is queued when it ends.
	longPatience  = time.Second
	shortPatience = 10 * time.Millisecond
)

// asking is the error of a run that ends while a server has not answered yet.
// It says nothing about the Application.
type asking string

func (a asking) Error() string { return string(a) }

const (
	errAsking    = asking("the repository's server has not answered yet")
	errResolving = asking("the secret stores have not answered yet")
)

// errand is what is asked of a server that may hang.
type errand struct {
	left atomic.Bool   // nobody waits for it any more
	done chan struct{} // closed when it has ended
}

// dispatch begins an errand. It ends by itself.
func (r *ApplicationReconciler) dispatch(e *errand, name types.NamespacedName, do func()) {
	e.done = make(chan struct{})
	go func() {
		do()
		close(e.done)
		if e.left.Load() {
			r.signals.Queue(name)
		}
	}()
}

// await waits a while for an errand, and leaves it to itself where that is not
// enough. Only so many workers wait long at once that others are left for
// Applications whose servers answer.
func (r *ApplicationReconciler) await(ctx context.Context, e *errand) bool {
	if e.left.Load() {
		return e.ended() // that queues the Application
	}
	patience := shortPatience
	select {
	case r.waiting <- struct{}{}:
		defer func() { <-r.waiting }()
		patience = longPatience
	default:
	}
	timer := r.Clock.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-e.done:
		return true
	case <-timer.C():
	case <-ctx.Done():
	}
	e.left.Store(true)
	return e.ended() // while it was being left
}

func (e *errand) ended() bool {
	select {
	case <-e.done:
		return true
	default:
		return false
	}
}
