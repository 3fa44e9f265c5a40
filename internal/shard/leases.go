package shard

import (
	"context"
	"fmt"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
)

const (
	// memberLabel is on the Lease of every replica that shares.
	memberLabel = "gitseal.dev/member"
	// viewAnnotation holds the view that a replica has published.
	viewAnnotation = "gitseal.dev/view"
	memberPrefix   = "gitseal-member-"
)

// Leases is a Store in the API server.
type Leases struct {
	ID       string
	Client   coordinationclient.LeaseInterface
	Clock    clock.PassiveClock
	Duration time.Duration

	// own is this member's Lease as it was last known: a write says which one
	// it replaces, so that one that was held up on the way comes too late.
	own *coordinationv1.Lease
}

// Write implements Store.
func (l *Leases) Write(ctx context.Context, view []string) error {
	if l.own == nil {
		return l.create(ctx, view)
	}
	renewed := l.describe(view)
	renewed.ResourceVersion, renewed.UID = l.own.ResourceVersion, l.own.UID
	stored, err := l.Client.Update(ctx, renewed, metav1.UpdateOptions{})
	switch {
	case apierrors.IsNotFound(err):
		l.own = nil
		return ErrGone
	case apierrors.IsConflict(err):
		return l.reread(ctx, err)
	case err != nil:
		return fmt.Errorf("renew lease %q: %w", renewed.Name, err)
	}
	l.own = stored
	return nil
}

func (l *Leases) create(ctx context.Context, view []string) error {
	stored, err := l.Client.Create(ctx, l.describe(view), metav1.CreateOptions{})
	switch {
	case apierrors.IsAlreadyExists(err): // an earlier try came through
		return l.reread(ctx, err)
	case err != nil:
		return fmt.Errorf("create lease %q: %w", memberPrefix+l.ID, err)
	}
	l.own = stored
	return nil
}

// reread finds out what the Lease is now, for the next try.
func (l *Leases) reread(ctx context.Context, cause error) error {
	stored, err := l.Client.Get(ctx, memberPrefix+l.ID, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		l.own = nil
		return ErrGone
	}
	if err != nil {
		return fmt.Errorf("read lease %q: %w", memberPrefix+l.ID, err)
	}
	l.own = stored
	return fmt.Errorf("renew lease %q: %w", stored.Name, cause)
}

func (l *Leases) describe(view []string) *coordinationv1.Lease {
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: memberPrefix + l.ID, Labels: map[string]string{memberLabel: "true"}},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity:       &l.ID,
			LeaseDurationSeconds: ptr.To(int32(max(l.Duration/time.Second, 1))),
			RenewTime:            &metav1.MicroTime{Time: l.Clock.Now()},
		},
	}
	if view != nil {
		lease.Annotations = map[string]string{viewAnnotation: strings.Join(view, ",")}
	}
	return lease
}

// List implements Store. Without a resource version the API server answers
// with the state of that moment.
func (l *Leases) List(ctx context.Context) ([]Record, error) {
	all, err := l.Client.List(ctx, metav1.ListOptions{LabelSelector: memberLabel})
	if err != nil {
		return nil, fmt.Errorf("list the leases of replicas: %w", err)
	}
	records := make([]Record, 0, len(all.Items))
	for i := range all.Items {
		records = append(records, record(&all.Items[i]))
	}
	return records, nil
}

// Delete implements Store.
func (l *Leases) Delete(ctx context.Context, r Record) error {
	var options metav1.DeleteOptions
	if r.Version != "" {
		options.Preconditions = &metav1.Preconditions{ResourceVersion: &r.Version}
	}
	err := l.Client.Delete(ctx, memberPrefix+r.ID, options)
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete lease %q: %w", memberPrefix+r.ID, err)
	}
	return nil
}

func record(l *coordinationv1.Lease) Record {
	r := Record{ID: strings.TrimPrefix(l.Name, memberPrefix), Version: l.ResourceVersion}
	if view, ok := l.Annotations[viewAnnotation]; ok {
		r.View = strings.Split(view, ",")
	}
	return r
}

// Watch tells a member of every Lease that comes, changes and goes, until the
// context ends.
func (l *Leases) Watch(ctx context.Context, m *Member) {
	tell := func(o any) {
		if lease, ok := o.(*coordinationv1.Lease); ok {
			m.Observe(record(lease))
		}
	}
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: l.members(), ObjectType: &coordinationv1.Lease{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    tell,
			UpdateFunc: func(_, o any) { tell(o) },
			DeleteFunc: func(o any) {
				if last, ok := o.(cache.DeletedFinalStateUnknown); ok {
					o = last.Obj
				}
				if lease, ok := o.(*coordinationv1.Lease); ok {
					m.Gone(record(lease).ID)
				}
			},
		},
	})
	informer.RunWithContext(ctx)
}

func (l *Leases) members() cache.ListerWatcher {
	return cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.LabelSelector = memberLabel
			return l.Client.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector = memberLabel
			return l.Client.Watch(ctx, o)
		},
	}, l.Client)
}
