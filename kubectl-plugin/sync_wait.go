package kubectlplugin

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// syncWait follows one Application until a requested sync has ended.
type syncWait struct {
	*session
	client      client.WithWatch
	app         *v1alpha1.Application // as last seen
	requestedAt string
	said        string
}

// outcome is what an Application's status says about a request.
type outcome int

const (
	outcomePending outcome = iota
	outcomeDone
	outcomeFailed
)

// judge reads the outcome of the request made at requestedAt. Before the
// operator echoes the request, its conditions speak of earlier work. Where
// values were to be read again, too, that has an echo of its own.
func judge(app *v1alpha1.Application, requestedAt string) outcome {
	if app.Status.LastHandledSyncAt != requestedAt || app.Status.ObservedGeneration != app.Generation {
		return outcomePending
	}
	conditions := app.Status.Conditions
	unread := app.Annotations[v1alpha1.AnnotationRefreshRequestedAt] == requestedAt && app.Status.LastHandledRefreshAt != requestedAt
	switch {
	case unread && meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReady):
		return outcomePending
	case meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReady):
		return outcomeDone
	case meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionStalled):
		return outcomeFailed
	}
	working := meta.FindStatusCondition(conditions, v1alpha1.ConditionReconciling)
	if working != nil && working.Status == metav1.ConditionTrue && working.Reason != v1alpha1.ReasonRetrying {
		return outcomePending
	}
	if meta.IsStatusConditionFalse(conditions, v1alpha1.ConditionReady) {
		return outcomeFailed
	}
	return outcomePending
}

// run watches until the request is judged; a watch that ends is opened again
// from a fresh read.
func (w *syncWait) run(ctx context.Context) error {
	for {
		over, err := w.check()
		if over || err != nil {
			return err
		}
		over, err = w.follow(ctx)
		if over || err != nil {
			return w.explainTimeout(ctx, err)
		}
		if err := pause(ctx); err != nil {
			return w.explainTimeout(ctx, err)
		}
		fresh, err := getApplication(ctx, w.client, w.app.Namespace, w.app.Name)
		if err != nil {
			return w.explainTimeout(ctx, err)
		}
		w.app = fresh
	}
}

// pause keeps a server that ends every watch at once from being asked without
// end.
func pause(ctx context.Context) error {
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// follow watches from the version last seen until the end of the request or of
// the watch.
func (w *syncWait) follow(ctx context.Context) (over bool, err error) {
	events, err := w.client.Watch(ctx, &v1alpha1.ApplicationList{}, client.InNamespace(w.app.Namespace), &client.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("metadata.name", w.app.Name),
		Raw:           &metav1.ListOptions{ResourceVersion: w.app.ResourceVersion},
	})
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("watch application %q: %w", w.app.Name, err)
	}
	defer events.Stop()
	for {
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case event, open := <-events.ResultChan():
			if !open || event.Type == watch.Error {
				return false, nil
			}
			if over, err := w.take(event); over || err != nil {
				return over, err
			}
		}
	}
}

func (w *syncWait) take(event watch.Event) (over bool, err error) {
	app, ok := event.Object.(*v1alpha1.Application)
	if !ok {
		return false, nil
	}
	if event.Type == watch.Deleted {
		return false, fmt.Errorf("application %q was deleted", app.Name)
	}
	w.app = app
	return w.check()
}

// check judges what was last seen and tells the user what is new.
func (w *syncWait) check() (over bool, err error) {
	switch judge(w.app, w.requestedAt) {
	case outcomeDone:
		w.sayf("%s is ready at %s", w.app.Name, orNone(shortRevision(w.app.Status.Source)))
		return true, nil
	case outcomeFailed:
		return true, withHint(fmt.Errorf("application %q: %s", w.app.Name, w.readyMessage()),
			"kubectl gitseal status %s -n %s", w.app.Name, w.app.Namespace)
	}
	if message := w.readyMessage(); w.app.Status.LastHandledSyncAt == w.requestedAt && message != w.said {
		w.sayf("%s: %s", w.app.Name, message)
		w.said = message
	}
	return false, nil
}

func (w *syncWait) readyMessage() string {
	ready := meta.FindStatusCondition(w.app.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil {
		return "the operator has not reported yet"
	}
	return ready.Reason + ": " + ready.Message
}

// explainTimeout says what was missing when the time was up.
func (w *syncWait) explainTimeout(ctx context.Context, err error) error {
	if err == nil || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return err
	}
	if w.app.Status.LastHandledSyncAt != w.requestedAt {
		return withHint(fmt.Errorf("application %q: the operator did not carry out the sync in time", w.app.Name),
			"see whether it runs: kubectl get pods -n %s; the Application last said %s", v1alpha1.OperatorNamespace, w.readyMessage())
	}
	return withHint(fmt.Errorf("application %q is not ready in time: %s", w.app.Name, w.readyMessage()),
		"kubectl gitseal status %s -n %s", w.app.Name, w.app.Namespace)
}
