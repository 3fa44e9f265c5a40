package stores

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/gitseal/gitseal/internal/fetch"
)

// Labels are bounded: kinds of providers and of outcomes, never a name. They are
// variables because the Prometheus registry is one per process.
var (
	providerCalls = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "gitseal_provider_calls_total",
		Help: "Calls to providers of values, and logins there, by provider, operation (get, find, check, login) and outcome.",
	}, []string{"provider", "operation", "outcome"})
	providerSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "gitseal_provider_call_seconds",
		Help:    "How long calls to providers of values took.",
		Buckets: []float64{.005, .02, .05, .1, .25, .5, 1, 2.5, 5, 15, 60},
	}, []string{"provider", "operation"})
)

func init() { metrics.Registry.MustRegister(providerCalls, providerSeconds) }

// observeProvider counts a call to a provider.
func observeProvider(c fetch.Call) {
	providerCalls.WithLabelValues(c.Provider, c.Operation, c.Outcome).Inc()
	if c.Operation != "login" {
		providerSeconds.WithLabelValues(c.Provider, c.Operation).Observe(c.Took.Seconds())
	}
}
