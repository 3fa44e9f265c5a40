package apply

import (
	"net/http"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
)

func TestWhatWorkedForOneApplicationIsNotAskedForTheNext(t *testing.T) {
	w := newWorld(t)
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	w.proofs = newProofs(clk)
	items := w.build(configMap("a"))
	preflight := func(want int, when string) {
		t.Helper()
		before := len(w.seenCalls())
		if err := w.Preflight(t.Context(), items, NewLedger(), w.values); err != nil {
			t.Fatal(err)
		}
		if got := len(w.seenCalls()) - before; got != want {
			t.Errorf("%s: %d requests, want %d", when, got, want)
		}
	}
	preflight(1, "at first")
	preflight(0, "right after")
	clk.Step(proofAge + time.Second)
	preflight(1, "later")
	w.target.Identity.ServiceAccount = "another"
	items = w.build(configMap("a"))
	preflight(1, "as another ServiceAccount")
	if len(w.proofs.at) != 2 {
		t.Errorf("%d places are remembered, want 2", len(w.proofs.at))
	}
	w.answer = func(rw http.ResponseWriter, _ *http.Request, _ string) {
		refuse(rw, 403, `{"reason":"Forbidden","code":403}`)
	}
	if _, err := w.Apply(t.Context(), items, w.ledger, w.values); err == nil {
		t.Fatal("Apply() = nil, want the refusal")
	}
	w.answer = nil
	preflight(1, "after a refusal")
	clk.Step(2 * proofAge)
	w.target.Namespace = "elsewhere"
	items = w.build(configMap("a"))
	preflight(1, "in another namespace")
	if len(w.proofs.at) != 1 {
		t.Errorf("%d places are remembered, want the last one only", len(w.proofs.at))
	}
}
