package stores

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
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
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/shard"
	"github.com/gitseal/gitseal/internal/store"
)

// reconciler keeps the conditions of SecretStores or ClusterSecretStores true:
// it logs in and asks, through the same client that reads values.
type reconciler struct {
	keeper   *Keeper
	recorder events.EventRecorder
	// random gives numbers in [0, 1), for jitter.
	random func() float64
	kind   v1alpha1.StoreKind
	// share says which stores are this replica's; nil: all.
	share *shard.Member

	mu     sync.Mutex
	checks map[types.NamespacedName]*storeCheck
}

// +kubebuilder:rbac:groups=gitseal.dev,resources=secretstores;clustersecretstores,verbs=get;list;watch
// +kubebuilder:rbac:groups=gitseal.dev,resources=secretstores/status;clustersecretstores/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=configmaps;serviceaccounts,namespace=gitseal-system,verbs=get;watch
// +kubebuilder:rbac:groups="",resources=serviceaccounts/token,namespace=gitseal-system,verbs=create

const (
	// checkTimeout bounds one look at a store.
	checkTimeout = 60 * time.Second
	// firstRecheck after a check that failed; it doubles, up to the interval,
	// and up to outageRecheck where nobody has to mend anything.
	firstRecheck  = 10 * time.Second
	outageRecheck = time.Minute
	// workers is how many stores of a kind are looked at at once.
	workers = 8
	// gather waits for more calls before the counts are looked at, and countPause
	// is the least time between two writes for counts alone.
	gather     = 2 * time.Second
	countPause = 15 * time.Second
	// minRetry and maxRetry bound the pause after a status could not be written.
	minRetry = 100 * time.Millisecond
	maxRetry = 30 * time.Second
)

// storeCheck is what is known of a store between two looks.
type storeCheck struct {
	identity   string // of the client that was checked
	generation int64
	at         time.Time // of the last check
	due        time.Time // of the next
	failures   int
	provider   string // as whom the provider knows us
	err        error

	// status is the last one written, at a resource version that the cache may
	// not have reached yet.
	status  *v1alpha1.SecretStoreStatus
	version uint64
	wrote   time.Time
}

func (r *reconciler) checkOf(name types.NamespacedName) *storeCheck {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.checks == nil {
		r.checks = map[types.NamespacedName]*storeCheck{}
	}
	if r.checks[name] == nil {
		r.checks[name] = &storeCheck{}
	}
	return r.checks[name]
}

func (r *reconciler) drop(name types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.checks, name)
}

// Reconcile checks one store, where that is due, and writes down what came of
// it. With several replicas one of them does.
func (r *reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	key := storeKey{kind: r.kind, name: req.NamespacedName}
	ctx, done, mine := r.share.Hold(ctx, ownerPrefix+req.Namespace, req.Name)
	if !mine {
		r.drop(req.NamespacedName)
		r.keeper.unchecked(key)
		return ctrl.Result{RequeueAfter: r.jitter(store.DefaultRefresh)}, nil // it may become so
	}
	defer done()
	o := key.empty()
	if err := r.keeper.client.Get(ctx, req.NamespacedName, o); err != nil {
		if apierrors.IsNotFound(err) {
			r.drop(req.NamespacedName)
			r.keeper.gone(key)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	s := r.keeper.of(o)
	if c := s.Spec.Controller; c != "" && c != v1alpha1.StoreController {
		r.keeper.gone(key) // another operator's, and so is its status
		return ctrl.Result{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	check := r.checkOf(req.NamespacedName)
	opened := r.look(ctx, o, s, check)
	if errors.Is(context.Cause(ctx), context.Canceled) {
		return ctrl.Result{}, nil // the operator stops, which says nothing about the store
	}
	return r.write(context.WithoutCancel(ctx), o, s, opened, check)
}

// look opens a store and checks it, where that is due.
func (r *reconciler) look(ctx context.Context, o client.Object, s store.Store, check *storeCheck) *store.Opened {
	now := r.keeper.clock.Now()
	opened, err := r.keeper.Open(ctx, types.NamespacedName{}, s)
	if err != nil {
		r.checked(check, s, now, "", err)
		check.identity, check.generation = "", o.GetGeneration()
		return nil
	}
	stats := opened.Stats()
	troubled := check.err == nil && stats.LastErrorAt.After(check.at) && ofConnection(stats.LastError)
	if opened.Identity == check.identity && o.GetGeneration() == check.generation && now.Before(check.due) && !troubled {
		return opened
	}
	identity, err := opened.Check(ctx, 0)
	r.checked(check, s, now, identity, err)
	check.identity, check.generation = opened.Identity, o.GetGeneration()
	return opened
}

// checked takes down how a check ended, and when the next is due.
func (r *reconciler) checked(check *storeCheck, s store.Store, now time.Time, identity string, err error) {
	check.at, check.provider, check.err = now, identity, err
	pause := s.RefreshInterval()
	if err == nil {
		check.failures = 0
	} else {
		if failure.From(err, v1alpha1.ReasonStoreUnavailable).Class == failure.Wait {
			pause = min(outageRecheck, pause)
		}
		pause = min(firstRecheck<<min(check.failures, 10), pause)
		check.failures++
	}
	check.due = now.Add(r.jitter(pause))
}

// jitter is d, up to a tenth less or more, so that stores do not march in step.
func (r *reconciler) jitter(d time.Duration) time.Duration {
	return d*9/10 + time.Duration(r.random()*float64(d)/5)
}

// SetupWithManager registers the reconcilers of stores. Share says which stores
// are this replica's; nil: all.
func (k *Keeper) SetupWithManager(mgr ctrl.Manager, share *shard.Member) error {
	for _, kind := range []v1alpha1.StoreKind{v1alpha1.KindSecretStore, v1alpha1.KindClusterSecretStore} {
		r := &reconciler{keeper: k, recorder: mgr.GetEventRecorder("gitseal"), random: rand.Float64, kind: kind, share: share}
		if err := r.setup(mgr); err != nil {
			return fmt.Errorf("set up the %s controller: %w", kind, err)
		}
	}
	return nil
}

// setup registers the reconciler.
func (r *reconciler) setup(mgr ctrl.Manager) error {
	kind := storeKey{kind: r.kind}.empty()
	return ctrl.NewControllerManagedBy(mgr).Named(strings.ToLower(string(r.kind))).
		Watches(kind, &handler.EnqueueRequestForObject{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(kind, r.news(), builder.WithPredicates(storeChanged())).
		WatchesRawSource(crsource.Func(r.keeper.queues.of(r.kind))).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: workers,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](minRetry, maxRetry),
		}).
		Complete(r)
}

// news tells the Applications that use a store.
func (r *reconciler) news() handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		r.keeper.changed(storeKey{kind: r.kind, name: client.ObjectKeyFromObject(o)})
		return nil
	})
}

// storeChanged lets through what the users of a store wait for: that it comes
// or goes, another spec, and that it becomes ready or no longer is.
func storeChanged() predicate.Predicate {
	return predicate.Funcs{
		GenericFunc: func(event.GenericEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			return e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() || readiness(e.ObjectOld) != readiness(e.ObjectNew)
		},
	}
}
