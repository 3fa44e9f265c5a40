package controllers

import (
	"context"
	"math/rand/v2"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/egress"
	"github.com/gitseal/gitseal/internal/fetch"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/internal/shard"
	"github.com/gitseal/gitseal/internal/store"
)

// stores sets up what opens stores, without the watches.
func (o Operator) stores(mgr ctrl.Manager, tokenizer *secret.Tokenizer, signals *Signals) (*Stores, error) {
	objects := storeObjects{reader: mgr.GetAPIReader(), cache: mgr.GetClient()}
	s := newStores(&Stores{Client: mgr.GetClient(), Clock: o.Clock, Namespaces: objects, OperatorNamespace: o.Namespace, signals: signals})
	fetcher := fetch.New(fetch.Options{Clock: o.Clock, Gate: o.Gate, Called: s.called})
	s.Opener = &store.Opener{
		Registry: o.Providers, Objects: objects, Fetcher: fetcher, Clock: o.Clock, Digest: tokenizer.Digest,
		Dial: egress.Guard{}.Dial, DialAllowed: o.Egress.Dial, OperatorNamespace: o.Namespace,
	}
	return s, mgr.Add(onEveryReplica(fetcher.Run))
}

// reconcileStores registers the reconcilers of stores. A nil share shares with
// nobody.
func (o Operator) reconcileStores(mgr ctrl.Manager, s *Stores, share *shard.Member) error {
	for _, kind := range []v1alpha1.StoreKind{v1alpha1.KindSecretStore, v1alpha1.KindClusterSecretStore} {
		r := &StoreReconciler{
			Client: mgr.GetClient(), Stores: s, Recorder: mgr.GetEventRecorder("gitseal"), Clock: o.Clock, Kind: kind, share: share,
			Random: rand.Float64,
		}
		if err := r.SetupWithManager(mgr); err != nil {
			return err
		}
	}
	return nil
}

// shareChanged looks at the stores whose status this replica writes now.
func (s *Stores) shareChanged(c shard.Change) {
	if s == nil {
		return
	}
	var own v1alpha1.SecretStoreList
	var cluster v1alpha1.ClusterSecretStoreList
	if s.Client.List(context.Background(), &own) != nil || s.Client.List(context.Background(), &cluster) != nil {
		return // the cache has not begun: all come to the queue then anyway
	}
	gained := func(kind v1alpha1.StoreKind, o client.Object) {
		if name := client.ObjectKeyFromObject(o); c.Gained[storeSlot(name.Namespace, name.Name)] {
			s.queue.add(storeKey{kind, name}, 0)
		}
	}
	for i := range own.Items {
		gained(v1alpha1.KindSecretStore, &own.Items[i])
	}
	for i := range cluster.Items {
		gained(v1alpha1.KindClusterSecretStore, &cluster.Items[i])
	}
}

func storeSlot(namespace, name string) int { return shard.SlotOf(storeOwner+namespace, name) }
