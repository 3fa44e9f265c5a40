package controllers

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
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
	metrics.Registry.MustRegister(syncs, objects, resolves, webhooks, shardMembers, shardSlots, applicationsOwned)
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
