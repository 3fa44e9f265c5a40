package stores

import (
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/gitseal/gitseal/internal/fetch"
)

func TestCallsToProvidersAreCountedWithoutNames(t *testing.T) {
	provider := "of-test-" + strings.ToLower(rand.Text()) // counters live as long as the process
	(&Keeper{}).called(fetch.Call{Identity: "an-identity", Provider: provider, Operation: "login", Outcome: "ok"})
	for _, outcome := range []string{"ok", "throttled", "throttled"} {
		(&Keeper{}).called(fetch.Call{Identity: "an-identity", Provider: provider, Operation: "get", Outcome: outcome, Took: time.Second})
	}
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			fmt.Fprintf(&text, "%s{%s} %v %d\n", f.GetName(), strings.Join(labels, ","), m.GetCounter().GetValue(), m.GetHistogram().GetSampleCount())
		}
	}
	for _, want := range []string{
		`gitseal_provider_calls_total{operation="get",outcome="throttled",provider="PROVIDER"} 2 0`,
		`gitseal_provider_calls_total{operation="get",outcome="ok",provider="PROVIDER"} 1 0`,
		`gitseal_provider_calls_total{operation="login",outcome="ok",provider="PROVIDER"} 1 0`,
		`gitseal_provider_call_seconds{operation="get",provider="PROVIDER"} 0 3`,
	} {
		if !strings.Contains(text.String(), strings.ReplaceAll(want, "PROVIDER", provider)+"\n") {
			t.Errorf("the metrics lack %s", want)
		}
	}
	for _, never := range []string{"an-identity", `gitseal_provider_call_seconds{operation="login"`} {
		if strings.Contains(text.String(), never) {
			t.Errorf("the metrics hold %s", never)
		}
	}
}
