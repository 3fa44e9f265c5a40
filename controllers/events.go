package controllers

import (
	"context"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// noticing queues an Application that changed. A new one, a new spec and a
// request for a sync want a look at the repository as it is from then on.
type noticing struct {
	handler.EnqueueRequestForObject
	signals *Signals
	clock   clock.PassiveClock
}

// Create queues a new Application.
func (n *noticing) Create(ctx context.Context, e event.CreateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
	n.signals.ask(client.ObjectKeyFromObject(e.Object), n.clock.Now())
	n.EnqueueRequestForObject.Create(ctx, e, q)
}

// Update queues an Application that changed.
func (n *noticing) Update(ctx context.Context, e event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
	if requested := v1alpha1.AnnotationSyncRequestedAt; e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() ||
		e.ObjectOld.GetAnnotations()[requested] != e.ObjectNew.GetAnnotations()[requested] {
		n.signals.ask(client.ObjectKeyFromObject(e.ObjectNew), n.clock.Now())
	}
	n.EnqueueRequestForObject.Update(ctx, e, q)
}

// Delete queues an Application that is gone. What was asked for it is dropped
// by every replica, whoever worked on it.
func (n *noticing) Delete(ctx context.Context, e event.DeleteEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
	n.signals.forget(client.ObjectKeyFromObject(e.Object))
	n.EnqueueRequestForObject.Delete(ctx, e, q)
}

// readyChanged lets through what dependents wait for.
func readyChanged() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc:  func(event.CreateEvent) bool { return false },
		GenericFunc: func(event.GenericEvent) bool { return false },
		DeleteFunc:  func(event.DeleteEvent) bool { return true },
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, ok1 := e.ObjectOld.(*v1alpha1.Application)
			after, ok2 := e.ObjectNew.(*v1alpha1.Application)
			return ok1 && ok2 && isReady(before) != isReady(after)
		},
	}
}

// dependents maps an Application to those that wait for it.
func (r *ApplicationReconciler) dependents(ctx context.Context, o client.Object) []reconcile.Request {
	var waiting []reconcile.Request
	for _, app := range r.indexed(ctx, byDependency, client.ObjectKeyFromObject(o).String()) {
		waiting = append(waiting, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&app)})
	}
	return waiting
}

func dependency(app *v1alpha1.Application, d v1alpha1.ApplicationReference) types.NamespacedName {
	if d.Namespace == "" {
		d.Namespace = app.Namespace
	}
	return types.NamespacedName{Namespace: d.Namespace, Name: d.Name}
}
