package stores

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/condition"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/live"
	"github.com/gitseal/gitseal/internal/store"
	"github.com/gitseal/gitseal/providers"
)

// capabilities of every store.
const capabilities = "ReadOnly"

// ofConnection reports whether an error speaks of a store rather than of one
// key.
func ofConnection(err error) bool {
	return errors.Is(err, providers.ErrUnauthenticated) || errors.Is(err, providers.ErrUnavailable)
}

func statusOf(o client.Object) *v1alpha1.SecretStoreStatus {
	if c, ok := o.(*v1alpha1.ClusterSecretStore); ok {
		return &c.Status
	}
	return &o.(*v1alpha1.SecretStore).Status
}

func readiness(o client.Object) metav1.ConditionStatus {
	if ready := meta.FindStatusCondition(statusOf(o).Conditions, v1alpha1.ConditionReady); ready != nil {
		return ready.Status
	}
	return metav1.ConditionUnknown
}

// write brings the status up to date. That a condition changed is written at
// once; counts alone wait for more.
func (r *reconciler) write(ctx context.Context, o client.Object, s store.Store, opened *store.Opened, check *storeCheck) (ctrl.Result, error) {
	before := statusOf(o).DeepCopy()
	if check.status != nil && live.Version(o.GetResourceVersion()) < check.version {
		before = check.status.DeepCopy()
	}
	now := r.keeper.clock.Now()
	again := max(check.due.Sub(now), minRetry)
	after := before.DeepCopy()
	r.describe(after, o, s, check)
	news := !equality.Semantic.DeepEqual(before, after)
	countCalls(after, opened)
	if equality.Semantic.DeepEqual(before, after) {
		return ctrl.Result{RequeueAfter: again}, nil
	}
	if wait := check.wrote.Add(countPause).Sub(now); !news && wait > 0 {
		return ctrl.Result{RequeueAfter: min(again, wait)}, nil
	}
	if err := r.patch(ctx, o, before, after, check); err != nil {
		return ctrl.Result{}, err
	}
	check.wrote = now
	r.announce(ctx, o, before, after, check.err)
	return ctrl.Result{RequeueAfter: again}, nil
}

// describe sets what a check found.
func (r *reconciler) describe(status *v1alpha1.SecretStoreStatus, o client.Object, s store.Store, check *storeCheck) {
	status.ObservedGeneration = o.GetGeneration()
	status.Provider, status.Capabilities, status.Identity = s.Provider(), capabilities, condition.Shorten(check.provider)
	conditions := condition.Writer{Conditions: &status.Conditions, Generation: o.GetGeneration(), Now: r.keeper.clock.Now()}
	if check.err != nil {
		conditions.Fail(failure.From(check.err, v1alpha1.ReasonStoreUnavailable))
		return
	}
	conditions.Set(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "the provider lets the operator in")
	conditions.Remove(v1alpha1.ConditionReconciling)
	conditions.Remove(v1alpha1.ConditionStalled)
}

// countCalls sets what the client of the store's identity has counted.
func countCalls(status *v1alpha1.SecretStoreStatus, opened *store.Opened) {
	if opened == nil {
		return
	}
	stats := opened.Stats()
	status.Calls = &stats.Calls
	if stats.LastError == nil {
		return
	}
	at := metav1.NewTime(stats.LastErrorAt.Truncate(time.Second))
	message := condition.Shorten(failure.From(opened.Failed(stats.LastError), v1alpha1.ReasonStoreUnavailable).Error())
	if status.LastError == nil || !status.LastError.At.Equal(&at) || status.LastError.Message != message {
		status.LastError = &v1alpha1.StoreError{At: at, Message: message}
	}
}

func (r *reconciler) patch(ctx context.Context, o client.Object, before, after *v1alpha1.SecretStoreStatus, check *storeCheck) error {
	name := client.ObjectKeyFromObject(o)
	// Both kinds have the same status.
	data, err := client.MergeFrom(&v1alpha1.SecretStore{Status: *before}).Data(&v1alpha1.SecretStore{Status: *after})
	if err != nil {
		return fmt.Errorf("write the status of %s %q: %w", r.kind, name, err)
	}
	answer := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}}
	answer.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(string(r.kind)))
	if err := r.keeper.client.Status().Patch(ctx, answer, client.RawPatch(types.MergePatchType, data)); err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("write the status of %s %q: %w", r.kind, name, err)
	}
	check.status, check.version = after, live.Version(answer.ResourceVersion)
	return nil
}

// announce tells of a store that became ready or no longer is.
func (r *reconciler) announce(ctx context.Context, o client.Object, before, after *v1alpha1.SecretStoreStatus, err error) {
	was, is := meta.FindStatusCondition(before.Conditions, v1alpha1.ConditionReady), meta.FindStatusCondition(after.Conditions, v1alpha1.ConditionReady)
	if was != nil && was.Reason == is.Reason && was.Message == is.Message {
		return
	}
	if err == nil {
		r.recorder.Eventf(o, nil, corev1.EventTypeNormal, "Ready", "Check", "The provider lets the operator in")
		return
	}
	logf.FromContext(ctx).Info("The store is not ready", "reason", is.Reason, "why", is.Message)
	if condition.Alarming(failure.From(err, v1alpha1.ReasonStoreUnavailable)) {
		r.recorder.Eventf(o, nil, corev1.EventTypeWarning, is.Reason, "Check", "%s", is.Message)
	}
}
