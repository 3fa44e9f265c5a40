package controllers

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/seam"
	"github.com/gitseal/gitseal/internal/shard"
)

// How replicas that share renew their Leases. A replica that dies is replaced
// after leaseDuration; one that stops, at once.
const (
	leaseDuration = 10 * time.Second
	leaseRenewal  = 2 * time.Second
	// leaveGrace is how long work may go on whose Application is given away.
	leaveGrace = 3 * time.Second
)

// replica is this process among others.
type replica struct {
	id     string
	leases coordinationclient.LeaseInterface
}

// replica names this process, where it has others to deal with.
func (o Operator) replica(cfg *rest.Config, mgr ctrl.Manager) (replica, error) {
	if !o.Share && (!o.LeaderElection || !o.receivesWebhooks()) {
		return replica{}, nil
	}
	leases, err := coordinationclient.NewForConfigAndClient(cfg, mgr.GetHTTPClient())
	if err != nil {
		return replica{}, fmt.Errorf("set up the leases of replicas: %w", err)
	}
	id, err := o.replicaID()
	if err != nil {
		return replica{}, err
	}
	return replica{id: id, leases: leases.Leases(o.Namespace)}, nil
}

// share makes this replica one of several that divide the Applications, where
// that is asked for. StoresChanged is told what changes for stores.
func (o Operator) share(me replica, mgr ctrl.Manager, r *ApplicationReconciler, storesChanged func(shard.Change)) error {
	if !o.Share {
		return nil
	}
	store := &shard.Leases{ID: me.id, Client: me.leases, Clock: o.Clock, Duration: leaseDuration}
	r.share = shard.New(shard.Options{
		ID: me.id, Store: store, Clock: o.Clock, Duration: leaseDuration, Renew: leaseRenewal, Grace: leaveGrace,
		Changed: func(c shard.Change) {
			r.shareChanged(c)
			storesChanged(c)
		},
		Log: o.Logger.WithName("share").WithValues("replica", me.id),
	})
	return mgr.Add(onEveryReplica(func(ctx context.Context) error {
		go store.Watch(ctx, r.share)
		return r.share.Run(ctx)
	}))
}

// fenced keeps the writes of a replica back that has lost an Application.
func (o Operator) fenced(cfg *rest.Config) {
	if o.Share {
		cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return shard.Fence(next) })
	}
}

// replicaID is never used again: a container that starts anew is another
// replica.
func (o Operator) replicaID() (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("name this replica: %w", err)
	}
	random := make([]byte, 4)
	if _, err := io.ReadFull(seam.Reader(o.Gate, o.Random), random); err != nil {
		return "", fmt.Errorf("name this replica: %w", err)
	}
	return host + "-" + hex.EncodeToString(random), nil
}

// shareChanged begins what was gained, with a look at Git as it is now, and
// drops what was lost.
func (r *ApplicationReconciler) shareChanged(c shard.Change) {
	shardMembers.Set(float64(c.Members))
	shardSlots.WithLabelValues("held").Set(float64(c.Held))
	shardSlots.WithLabelValues("waiting").Set(float64(c.Waiting))
	now, all := r.Clock.Now(), r.everybody()
	for i := range all {
		name := client.ObjectKeyFromObject(&all[i])
		switch slot := shard.SlotOf(name.Namespace, name.Name); {
		case c.Gained[slot]:
			r.signals.Poll(name, now)
		case c.Lost[slot]:
			r.signals.Queue(name)
		}
	}
}

// everybody lists all Applications, from the cache and without copying them.
// Before the cache has begun there are none; all come to the queue then anyway.
func (r *ApplicationReconciler) everybody() []v1alpha1.Application {
	var all v1alpha1.ApplicationList
	if err := r.Client.List(context.Background(), &all, client.UnsafeDisableDeepCopy); err != nil {
		return nil
	}
	return all.Items
}

// mailboxName is the Lease in which a replica that received a webhook leaves
// word for the others.
const mailboxName = "gitseal-webhook"

// passOn lets replicas tell one another of pushes: the Service may give a
// delivery to one that does not work on the Application. The leader has nobody
// to tell.
func (o Operator) passOn(me replica, mgr ctrl.Manager, r *ApplicationReconciler, p *polls) error {
	if !o.Share && !o.LeaderElection {
		return nil
	}
	box := &shard.Mailbox{
		ID: me.id, Name: mailboxName, Client: me.leases, Clock: o.Clock, Log: o.Logger.WithName("share"),
		Deliver: func(text string) { p.hear(text, r.everybody) },
	}
	p.pass = func(w word) {
		if o.Share || !elected(mgr) {
			box.Send(w.String())
		}
	}
	return mgr.Add(onEveryReplica(box.Run))
}

func elected(mgr ctrl.Manager) bool {
	select {
	case <-mgr.Elected():
		return true
	default:
		return false
	}
}
