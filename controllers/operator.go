package controllers

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	memcache "k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/controllers/stores"
	"github.com/gitseal/gitseal/internal/apply"
	"github.com/gitseal/gitseal/internal/egress"
	"github.com/gitseal/gitseal/internal/live"
	"github.com/gitseal/gitseal/internal/seam"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/internal/source"
	"github.com/gitseal/gitseal/providers"
)

// Operator is everything that runs in one process.
type Operator struct {
	// Config is how to reach the API server, as the operator.
	Config *rest.Config
	// Namespace is the operator's own; it holds keys, install key and lease.
	Namespace string
	// Scratch is a directory for clones. It holds ciphertext only and is
	// emptied at start.
	Scratch string
	// MetricsAddress and HealthAddress to listen on; "0" for none.
	MetricsAddress string
	HealthAddress  string
	// WebhookAddress to receive webhooks on; "" or "0" for none.
	WebhookAddress string
	LeaderElection bool
	// Share lets replicas divide the Applications, in place of electing one.
	Share bool
	// Concurrency is how many Applications are worked on at once.
	Concurrency int
	// Providers are the backends that stores can name.
	Providers providers.Registry
	// Egress guards what is connected to for stores.
	Egress egress.Guard
	Logger logr.Logger

	// Gate sees every effect on the outside; nil in production.
	Gate   seam.Gate
	Clock  clock.WithTicker
	Random io.Reader
}

// Run runs until the context ends.
func (o Operator) Run(ctx context.Context) error {
	ctrl.SetLogger(o.Logger)
	cfg := rest.CopyConfig(o.Config)
	cfg.QPS = -1                  // API Priority and Fairness is the limiter
	cfg.DisableCompression = true // it costs both sides more CPU and memory than a cluster's network
	cfg.WarningHandler = rest.NoWarnings{}
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return seam.Transport(o.Gate, next) })
	o.fenced(cfg)
	mgr, err := o.manager(cfg)
	if err != nil {
		return err
	}
	reconciler, keeper, err := o.reconciler(ctx, cfg, mgr)
	if err != nil {
		return err
	}
	if err := reconciler.SetupWithManager(mgr, reconciler.signals, o.Concurrency); err != nil {
		return err
	}
	me, err := o.replica(cfg, mgr)
	if err != nil {
		return err
	}
	if err := o.share(me, mgr, reconciler, keeper.ShareChanged); err != nil {
		return err
	}
	if err := mgr.Add(onEveryReplica(keeper.Run)); err != nil {
		return fmt.Errorf("set up stores: %w", err)
	}
	if err := keeper.SetupWithManager(mgr, reconciler.share); err != nil {
		return err
	}
	if err := o.serveWebhooks(ctx, me, mgr, reconciler); err != nil {
		return err
	}
	return mgr.Start(ctx)
}

func (o Operator) manager(cfg *rest.Config) (ctrl.Manager, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, corev1.AddToScheme, eventsv1.AddToScheme, authenticationv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("build the scheme: %w", err)
		}
	}
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme: scheme,
		// Names are for metrics; several operators may run in one process.
		Controller:                    config.Controller{SkipNameValidation: ptr.To(true)},
		Logger:                        o.Logger,
		Metrics:                       metricsserver.Options{BindAddress: o.MetricsAddress},
		HealthProbeBindAddress:        o.HealthAddress,
		LeaderElection:                o.LeaderElection && !o.Share,
		LeaderElectionID:              "gitseal-controller",
		LeaderElectionNamespace:       o.Namespace,
		LeaderElectionReleaseOnCancel: true,
		MapperProvider:                newMapper,
		Client:                        client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}}}},
	})
	if err != nil {
		return nil, fmt.Errorf("set up the manager: %w", err)
	}
	for _, add := range []func(string, healthz.Checker) error{mgr.AddHealthzCheck, mgr.AddReadyzCheck} {
		if err := add("ping", healthz.Ping); err != nil {
			return nil, fmt.Errorf("set up health checks: %w", err)
		}
	}
	return mgr, nil
}

func (o Operator) reconciler(ctx context.Context, cfg *rest.Config, mgr ctrl.Manager) (*ApplicationReconciler, *stores.Keeper, error) {
	key, err := o.installKey(ctx, mgr.GetAPIReader(), mgr.GetClient())
	if err != nil {
		return nil, nil, err
	}
	repositories, err := source.New(source.Options{
		Dir: o.Scratch, Clock: o.Clock, Limits: source.DefaultLimits(),
		Gate: o.Gate,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("set up the scratch directory: %w", err)
	}
	signals := NewSignals()
	tokenizer := secret.NewTokenizer(key)
	clients := apply.NewClients(cfg)
	var keeper *stores.Keeper // is there before anything is watched
	watches := live.New(ctx, clients, o.Clock, func(owner string) {
		if !keeper.Notify(owner) {
			signals.Notify(owner)
		}
	})
	keeper = stores.New(stores.Options{
		Client: mgr.GetClient(), Reader: mgr.GetAPIReader(), Applications: askers{signals, mgr.GetClient(), o.Namespace}, Watches: watches,
		Providers: o.Providers, Egress: o.Egress, Gate: o.Gate, Clock: o.Clock, Digest: tokenizer.Digest, OperatorNamespace: o.Namespace,
	})
	return &ApplicationReconciler{
		Client:    mgr.GetClient(),
		Secrets:   mgr.GetAPIReader(),
		Source:    repositories,
		Watches:   watches,
		Resolvers: keeper,
		Engine: apply.NewEngine(apply.Options{
			Clients: clients, Mapper: mgr.GetRESTMapper(), Watches: watches, Digest: tokenizer.Digest, OperatorNamespace: o.Namespace, Clock: o.Clock,
		}),
		Recorder: mgr.GetEventRecorder("gitseal"),
		Clock:    o.Clock, Tokenizer: tokenizer, OperatorNamespace: o.Namespace,
		signals: signals,
	}, keeper, nil
}

// newMapper knows the kinds that the API server serves. It reads them all in
// two requests and keeps them until it is reset.
func newMapper(cfg *rest.Config, httpClient *http.Client) (meta.RESTMapper, error) {
	client, err := discovery.NewDiscoveryClientForConfigAndClient(cfg, httpClient)
	if err != nil {
		return nil, fmt.Errorf("set up discovery: %w", err)
	}
	return restmapper.NewDeferredDiscoveryRESTMapper(memcache.NewMemCacheClient(client)), nil
}

const (
	installKeyName  = "gitseal-install-key"
	installKeyEntry = "key"
	installKeyBytes = 32
)

// installKey reads the key under which tokens are made, and makes it at the
// very first start. Two operators that start together agree on the one that
// was stored first.
func (o Operator) installKey(ctx context.Context, reader client.Reader, writer client.Writer) ([]byte, error) {
	name := client.ObjectKey{Namespace: o.Namespace, Name: installKeyName}
	stored := &corev1.Secret{}
	err := reader.Get(ctx, name, stored)
	if apierrors.IsNotFound(err) {
		if err := o.createInstallKey(ctx, writer); err != nil && !apierrors.IsAlreadyExists(err) {
			return nil, fmt.Errorf("create the install key %q: %w", name, err)
		}
		err = reader.Get(ctx, name, stored)
	}
	if err != nil {
		return nil, fmt.Errorf("read the install key %q: %w", name, err)
	}
	key := stored.Data[installKeyEntry]
	if len(key) < installKeyBytes {
		return nil, fmt.Errorf("install key %q: entry %q has %d bytes, want at least %d", name, installKeyEntry, len(key), installKeyBytes)
	}
	return key, nil
}

func (o Operator) createInstallKey(ctx context.Context, writer client.Writer) error {
	key := make([]byte, installKeyBytes)
	if _, err := io.ReadFull(seam.Reader(o.Gate, o.Random), key); err != nil {
		return fmt.Errorf("read randomness: %w", err)
	}
	return writer.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: o.Namespace, Name: installKeyName},
		Data:       map[string][]byte{installKeyEntry: key},
	})
}
