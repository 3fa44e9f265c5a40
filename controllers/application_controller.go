// Package controllers holds one reconciler per kind. It puts the stages of the
// pipeline in order and is the only writer of conditions, events and metrics;
// what a stage does is in the internal packages.
package controllers

import (
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	crsource "sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/apply"
	"github.com/gitseal/gitseal/internal/live"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/internal/source"
)

// Source gives the files of a repository at a reference.
type Source interface {
	Fetch(ctx context.Context, r source.Request) (*source.Snapshot, error)
}

// Watcher opens and closes an owner's watches, and says what they saw.
type Watcher interface {
	Ensure(ctx context.Context, owner string, scopes []live.Scope) error
	Release(owner string)
	Find(s live.Scope, key live.Key, written uint64) (live.Object, live.Presence)
}

// ApplicationReconciler keeps Applications in sync.
type ApplicationReconciler struct {
	// Client reads Applications from the cache and writes them.
	Client client.Client
	// Secrets reads, as the operator and past the cache, the Secrets that
	// Applications name.
	Secrets   client.Reader
	Source    Source
	Watches   Watcher
	Engine    *apply.Engine
	Recorder  events.EventRecorder
	Clock     clock.Clock
	Tokenizer *secret.Tokenizer
	// OperatorNamespace holds the keys that keyRef names.
	OperatorNamespace string

	signals  *Signals
	memories memories
}

// +kubebuilder:rbac:groups=gitseal.dev,resources=applications,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=gitseal.dev,resources=applications/status,verbs=patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch
// +kubebuilder:rbac:groups=coordination.k8s.io,resources=leases,namespace=gitseal-system,verbs=get;create;update;patch
// +kubebuilder:rbac:groups="",resources=secrets,namespace=gitseal-system,verbs=get;watch;create
// +kubebuilder:rbac:groups="",resources=events,namespace=gitseal-system,verbs=create;patch

// Reconcile brings one Application a step closer to what Git says.
func (r *ApplicationReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	app := &v1alpha1.Application{}
	if err := r.Client.Get(ctx, req.NamespacedName, app); err != nil {
		if apierrors.IsNotFound(err) {
			r.forget(req.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	run := r.begin(app)
	ctx, cancel := context.WithTimeoutCause(ctx, run.timeout(),
		fmt.Errorf("it took longer than spec.sync.timeout of %s", run.timeout()))
	defer cancel()
	if !app.DeletionTimestamp.IsZero() {
		return r.finishDeletion(ctx, run, r.finalize(ctx, run))
	}
	if run.suspended() {
		return r.finishSuspended(ctx, run)
	}
	return r.finish(ctx, run, r.sync(ctx, run))
}

// sync is the pipeline, from Git to healthy objects. A failure before apply
// leaves the last good state in place, and drift from that is still corrected.
func (r *ApplicationReconciler) sync(ctx context.Context, run *run) error {
	if err := r.dependencies(ctx, run); err != nil {
		r.hold(ctx, run)
		return err
	}
	wanted, err := r.desire(ctx, run)
	if err != nil {
		r.hold(ctx, run)
		return err
	}
	if err := r.bring(ctx, run, wanted); err != nil {
		return err
	}
	if err := r.prune(ctx, run, wanted); err != nil {
		return err
	}
	return r.judge(ctx, run, wanted)
}

// SetupWithManager registers the reconciler. Signals tell it for which
// Applications a watch noticed something.
func (r *ApplicationReconciler) SetupWithManager(mgr ctrl.Manager, signals *Signals, concurrency int) error {
	asked := predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{})
	err := ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.Application{}, builder.WithPredicates(asked)).
		Watches(&v1alpha1.Application{}, handler.EnqueueRequestsFromMapFunc(r.dependents), builder.WithPredicates(readyChanged())).
		WatchesRawSource(crsource.Func(signals.Start)).
		WithOptions(controller.Options{MaxConcurrentReconciles: concurrency}).
		Complete(r)
	if err != nil {
		return fmt.Errorf("set up the Application controller: %w", err)
	}
	return nil
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
	var all v1alpha1.ApplicationList
	if err := r.Client.List(ctx, &all); err != nil {
		return nil
	}
	var waiting []reconcile.Request
	for i := range all.Items {
		app := &all.Items[i]
		if slices.ContainsFunc(app.Spec.DependsOn, func(d v1alpha1.ApplicationReference) bool {
			return dependency(app, d) == client.ObjectKeyFromObject(o)
		}) {
			waiting = append(waiting, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(app)})
		}
	}
	return waiting
}

func dependency(app *v1alpha1.Application, d v1alpha1.ApplicationReference) types.NamespacedName {
	if d.Namespace == "" {
		d.Namespace = app.Namespace
	}
	return types.NamespacedName{Namespace: d.Namespace, Name: d.Name}
}

// forget drops everything held for an Application that is gone.
func (r *ApplicationReconciler) forget(name types.NamespacedName) {
	r.Watches.Release(apply.Target{Application: name}.ApplySet())
	r.signals.forget(name)
	r.memories.drop(name)
}

const defaultTimeout = 5 * time.Minute
