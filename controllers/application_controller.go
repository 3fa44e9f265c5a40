// Package controllers syncs Applications, and puts the operator together. It
// puts the stages of the pipeline in order and is the only writer of conditions,
// events and metrics of Applications; what a stage does is in the internal
// packages, and secret stores are those of controllers/stores.
package controllers

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	crsource "sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/apply"
	"github.com/gitseal/gitseal/internal/live"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/internal/shard"
	"github.com/gitseal/gitseal/internal/source"
	"github.com/gitseal/gitseal/internal/turns"
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
	// Applications name, and the Applications that the cache does not know yet.
	Secrets   client.Reader
	Source    Source
	Watches   Watcher
	Engine    *apply.Engine
	Recorder  events.EventRecorder
	Clock     clock.Clock
	Tokenizer *secret.Tokenizer
	// Resolvers is for policy External.
	Resolvers Resolvers
	// OperatorNamespace holds the keys that keyRef names.
	OperatorNamespace string

	// share says which Applications are this replica's; nil: all.
	share    *shard.Member
	signals  *Signals
	memories memories
	// waiting holds one for each worker that waits for a server of others.
	waiting  chan struct{}
	heldKeys heldKeys
	runs     *turns.Turns
}

// +kubebuilder:rbac:groups=gitseal.dev,resources=applications,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=gitseal.dev,resources=applications/status,verbs=patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch
// +kubebuilder:rbac:groups=coordination.k8s.io,resources=leases,namespace=gitseal-system,verbs=get;list;watch;create;update;patch;delete
// +kubebuilder:rbac:groups="",resources=secrets,namespace=gitseal-system,verbs=get;watch;create
// +kubebuilder:rbac:groups="",resources=events,namespace=gitseal-system,verbs=create;patch

// Reconcile brings one Application a step closer to what Git says. One that
// another replica works on is none of this one's business.
func (r *ApplicationReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	end, ok := r.runs.Take(ctx)
	if !ok {
		return ctrl.Result{}, nil // the operator stops
	}
	defer end()
	ctx, done, mine := r.share.Hold(ctx, req.Namespace, req.Name)
	if !mine {
		r.handOff(req.NamespacedName)
		return ctrl.Result{}, nil
	}
	defer done()
	app := &v1alpha1.Application{}
	if err := r.Client.Get(ctx, req.NamespacedName, app); err != nil {
		if apierrors.IsNotFound(err) {
			r.forget(req.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	run := r.begin(app)
	run.noteRefresh()
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
	if run.blocked = r.dependencies(ctx, run); run.blocked != nil && !run.inPlace() {
		r.hold(ctx, run)
		return run.blocked
	}
	wanted, err := r.desire(ctx, run)
	if err != nil {
		return r.uphold(ctx, run, err)
	}
	if r.atRest(ctx, run, wanted) {
		return nil
	}
	begun := r.Clock.Now()
	if err := r.bring(ctx, run, wanted); err != nil || run.gated {
		return err
	}
	if err := r.prune(ctx, run, wanted); err != nil {
		return err
	}
	err = r.judge(ctx, run, wanted)
	run.settle(wanted, err)
	if run.changed+run.pruned == 0 {
		r.signals.looked(run.target.Application, r.Clock.Since(begun))
	}
	return err
}

const (
	// longRun is how long a run takes that does not wait for an answer.
	longRun = 2 * time.Second
	// waitingRuns is how many may wait for each that works.
	waitingRuns = 64
	// minRetry and maxRetry bound the pause after a status could not be
	// written. Nothing tells when it can be again.
	minRetry = 100 * time.Millisecond
	maxRetry = 30 * time.Second
)

// SetupWithManager registers the reconciler. Signals tell it for which
// Applications something was noticed.
func (r *ApplicationReconciler) SetupWithManager(mgr ctrl.Manager, signals *Signals, concurrency int) error {
	for field, keys := range indexes {
		if err := mgr.GetFieldIndexer().IndexField(context.Background(), &v1alpha1.Application{}, field, keys); err != nil {
			return fmt.Errorf("index Applications by %s: %w", field, err)
		}
	}
	r.runs = turns.New(concurrency, longRun)
	r.waiting = make(chan struct{}, max(1, concurrency/2))
	asked := predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{})
	err := ctrl.NewControllerManagedBy(mgr).Named("application").
		Watches(&v1alpha1.Application{}, &noticing{signals: signals, clock: r.Clock}, builder.WithPredicates(asked)).
		Watches(&v1alpha1.Application{}, handler.EnqueueRequestsFromMapFunc(r.dependents), builder.WithPredicates(readyChanged())).
		Watches(&v1alpha1.Application{}, r.conflictNews()).
		WatchesRawSource(crsource.Func(signals.Start)).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: waitingRuns * concurrency,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](minRetry, maxRetry),
		}).
		Complete(r)
	if err != nil {
		return fmt.Errorf("set up the Application controller: %w", err)
	}
	return nil
}

// forget drops everything held for an Application that is gone.
func (r *ApplicationReconciler) forget(name types.NamespacedName) {
	r.signals.forget(name)
	r.handOff(name)
}

// handOff drops what is held for an Application that another replica works on.
// What was asked for stays: it may have been gained again meanwhile.
func (r *ApplicationReconciler) handOff(name types.NamespacedName) {
	r.Watches.Release(apply.Target{Application: name}.ApplySet())
	r.memories.drop(name)
	r.Resolvers.Forget(name)
	r.heldKeys.keep(func(s live.Scope) bool {
		_, presence := r.Watches.Find(s, s.Key(), 0)
		return presence != live.Unknown
	})
}

const defaultTimeout = 5 * time.Minute
