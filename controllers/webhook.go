package controllers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/gitseal/gitseal/internal/live"
	"github.com/gitseal/gitseal/internal/webhook"
)

const (
	// webhookSecretName is the Secret in the operator's namespace with the
	// secrets that Git servers sign with.
	webhookSecretName = "gitseal-webhook"
	webhookOwner      = "webhook"
	// webhookRetry is how often the Secret is asked for while it does not come,
	// however many deliveries there are.
	webhookRetry    = time.Second
	webhookShutdown = 5 * time.Second
)

func (o Operator) receivesWebhooks() bool { return o.WebhookAddress != "" && o.WebhookAddress != "0" }

// serveWebhooks adds the receiver to the manager, where it has an address. It
// serves on every replica.
func (o Operator) serveWebhooks(ctx context.Context, me replica, mgr ctrl.Manager, r *ApplicationReconciler) error {
	if !o.receivesWebhooks() {
		return nil
	}
	secrets := &webhookSecrets{
		watches: r.Watches, reader: r.Secrets, clock: o.Clock, log: o.Logger,
		scope: secretScope(o.Namespace, webhookSecretName),
	}
	if err := mgr.Add(onEveryReplica(secrets.watch)); err != nil {
		return fmt.Errorf("watch the webhook's secret: %w", err)
	}
	polls := newPolls(r.followers, r.signals, o.Clock)
	if err := o.passOn(me, mgr, r, polls); err != nil {
		return err
	}
	receiver := webhook.New(webhook.Options{
		Secrets: secrets.get, Poll: polls.Poll, Clock: o.Clock,
		Observe: func(p webhook.Provider, outcome webhook.Outcome) {
			webhooks.WithLabelValues(string(p), string(outcome)).Inc()
		},
	})
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", o.WebhookAddress)
	if err != nil {
		return fmt.Errorf("listen for webhooks: %w", err)
	}
	shutdown := webhookShutdown
	server := &manager.Server{Name: "webhook", Server: receiver.Server(), Listener: listener, ShutdownTimeout: &shutdown}
	if err := mgr.Add(server); err != nil {
		return errors.Join(fmt.Errorf("serve webhooks: %w", err), listener.Close())
	}
	return nil
}

// onEveryReplica runs on standbys, too.
type onEveryReplica func(context.Context) error

// Start implements manager.Runnable.
func (f onEveryReplica) Start(ctx context.Context) error { return f(ctx) }

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (onEveryReplica) NeedLeaderElection() bool { return false }

// webhookSecrets keeps the shared secrets, and reads them again when their
// watch says that they changed.
type webhookSecrets struct {
	watches Watcher
	reader  client.Reader
	clock   clock.PassiveClock
	log     logr.Logger
	scope   live.Scope

	mu      sync.Mutex
	version uint64
	held    webhook.Secrets
	triedAt time.Time
}

var errNoAnswer = errors.New("the webhook's secret is not known yet")

// watch opens the watch. One that does not answer at once is not waited for.
func (s *webhookSecrets) watch(ctx context.Context) error {
	if err := s.watches.Ensure(ctx, webhookOwner, []live.Scope{s.scope}); err != nil && ctx.Err() == nil {
		s.log.Info("Webhooks are refused until their secret can be watched", "why", err.Error())
	}
	return nil
}

func (s *webhookSecrets) get(ctx context.Context) (webhook.Secrets, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, presence := s.watches.Find(s.scope, s.scope.Key(), 0)
	switch {
	case presence == live.Unknown:
		return nil, errNoAnswer
	case presence == live.Absent:
		s.version, s.held = 0, nil
		return nil, nil
	case s.held != nil && s.version == o.ResourceVersion:
		return s.held, nil
	}
	if s.clock.Since(s.triedAt) < webhookRetry {
		return nil, errNoAnswer
	}
	s.triedAt = s.clock.Now()
	return s.read(ctx)
}

// read takes the newest. It may be newer than what the watch has seen; then it
// is read once more when the watch gets there.
func (s *webhookSecrets) read(ctx context.Context) (webhook.Secrets, error) {
	ctx, cancel := context.WithTimeout(ctx, webhookRetry)
	defer cancel()
	stored := &corev1.Secret{}
	if err := s.reader.Get(ctx, types.NamespacedName{Namespace: s.scope.Namespace, Name: s.scope.Name}, stored); err != nil {
		return nil, fmt.Errorf("read Secret %q: %w", s.scope.Name, err)
	}
	secrets, unusable := webhook.ParseSecrets(stored.Data)
	if len(unusable) > 0 {
		s.log.Info("The webhook's Secret holds secrets that are not used: each needs at least 16 characters, at most 8 per entry", "entries", unusable)
	}
	s.version, s.held = live.Version(stored.ResourceVersion), secrets
	s.triedAt = time.Time{}
	return secrets, nil
}
