package controllers

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/gitseal/gitseal/internal/fetch"
)

// The operator's own metrics. Labels are bounded: a reason constant, never a
// name. They are variables because the Prometheus registry is one per process.
var (
	syncs = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "gitseal_syncs_total",
		Help: "Reconciles of Applications by outcome: Succeeded or the reason of the failure.",
	}, []string{"outcome"})
	objects = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "gitseal_objects_total",
		Help: "Objects created or configured (applied) and deleted (pruned).",
	}, []string{"action"})
	resolves = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "gitseal_resolves_total",
		Help: "Times that the values of an Application with policy External were asked for, by outcome: Changed, Unchanged, Stale or the reason of the failure.",
	}, []string{"outcome"})
	webhooks = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "gitseal_webhooks_total",
		Help: "Deliveries to the webhook receiver by provider and outcome.",
	}, []string{"provider", "outcome"})
	providerCalls = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "gitseal_provider_calls_total",
		Help: "Calls to providers of values, and logins there, by provider, operation (get, find, check, login) and outcome.",
	}, []string{"provider", "operation", "outcome"})
	providerSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "gitseal_provider_call_seconds",
		Help:    "How long calls to providers of values took.",
		Buckets: []float64{.005, .02, .05, .1, .25, .5, 1, 2.5, 5, 15, 60},
	}, []string{"provider", "operation"})
	shardMembers = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "gitseal_shard_members",
		Help: "Replicas that share the Applications, as this one sees it.",
	})
	shardSlots = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "gitseal_shard_slots",
		Help: "Slots of 256 that this replica holds, and those that it waits for because another one claims them, too.",
	}, []string{"state"})
	applicationsOwned = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "gitseal_applications_owned",
		Help: "Applications that this replica works on.",
	})
)

func init() {
	metrics.Registry.MustRegister(syncs, objects, resolves, webhooks, providerCalls, providerSeconds, shardMembers, shardSlots, applicationsOwned)
}

// observeProvider counts a call to a provider.
func observeProvider(c fetch.Call) {
	providerCalls.WithLabelValues(c.Provider, c.Operation, c.Outcome).Inc()
	if c.Operation != "login" {
		providerSeconds.WithLabelValues(c.Provider, c.Operation).Observe(c.Took.Seconds())
	}
}

// observe counts how a run ended; an empty reason is success.
func observe(run *run, reason string) {
	if reason == "" {
		reason = "Succeeded"
	}
	syncs.WithLabelValues(reason).Inc()
	objects.WithLabelValues("applied").Add(float64(run.changed))
	objects.WithLabelValues("pruned").Add(float64(run.pruned))
}
