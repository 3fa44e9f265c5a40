package controllers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/yaml"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/external"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/render"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
)

// answers is a Resolver that says what a test lets it say.
type answers struct {
	clock clock.PassiveClock
	value string
	err   error
	asked []external.Request
	let   chan struct{} // nil: it answers at once
}

func (a *answers) For(_ *v1alpha1.Application, _, _ []render.Object) (external.Resolver, error) {
	return a, nil
}

func (a *answers) Forget(types.NamespacedName) {}

func (a *answers) Resolve(_ context.Context, requests []external.Request) []external.Answer {
	if a.let != nil {
		<-a.let
	}
	a.asked = append(a.asked, requests...)
	all := make([]external.Answer, len(requests))
	for i := range all {
		all[i] = external.Answer{Value: secret.NewValue([]byte(a.value)), Version: "1", Read: a.clock.Now(), Err: a.err}
	}
	return all
}

func (a *answers) Find(context.Context, external.FindRequest) (external.Found, error) {
	return external.Found{Read: a.clock.Now()}, nil
}

// externalDesk is a desk whose Application has policy External, and a revision
// with one ExternalSecret whose values are not asked for yet.
func externalDesk(t *testing.T) (*desk, *answers, *wanted) {
	t.Helper()
	d := newDesk(t)
	d.app = d.read(t)
	d.app.Spec.Secrets.Policy = v1alpha1.PolicyExternal
	if err := d.Client.Update(t.Context(), d.app); err != nil {
		t.Fatal(err)
	}
	a := &answers{clock: d.clock, value: "hunter2"}
	d.Resolvers, d.waiting = a, make(chan struct{}, 1)
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(`{apiVersion: external-secrets.io/v1, kind: ExternalSecret, metadata: {name: db}, spec: {
		refreshInterval: 10m, secretStoreRef: {name: vault}, target: {creationPolicy: None}, data: [{secretKey: k, remoteRef: {key: db}}]}}`), &o.Object); err != nil {
		t.Fatal(err)
	}
	mat, err := collect([]render.Object{{Unstructured: o, Origin: render.Origin{File: "db.yaml", Line: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	in := inputs{commit: "main@sha1:one", generation: d.app.Generation}
	return d, a, &wanted{inputs: in, basis: basis{inputs: in}, material: mat}
}

// filledDesk is an externalDesk where the revision has its values, is wanted,
// and they are due again.
func filledDesk(t *testing.T) (*desk, *answers, *wanted) {
	t.Helper()
	d, a, w := externalDesk(t)
	run := d.run(t)
	if err := d.fill(t.Context(), run, w); err != nil {
		t.Fatal(err)
	}
	run.memory.wanted = w
	d.clock.Step(15 * time.Minute)
	return d, a, w
}

func (d *desk) run(t *testing.T) *run {
	run := d.begin(d.read(t))
	run.noteRefresh()
	return run
}

func TestValuesAreAskedForWhenTheyAreDue(t *testing.T) {
	d, a, w := externalDesk(t)
	run := d.run(t)
	if err := d.fill(t.Context(), run, w); err != nil {
		t.Fatal(err)
	}
	run.memory.wanted = w
	renewed := func(when string, after time.Duration, want int) {
		t.Helper()
		d.clock.Step(after)
		run = d.run(t)
		got, err := d.renew(t.Context(), run)
		if got != w || err != nil || len(a.asked) != want {
			t.Errorf("%s: renew() = %v after %d questions, want %d and nothing new", when, err, len(a.asked), want)
		}
	}
	renewed("at once", 0, 1)
	renewed("before it is due", 9*time.Minute, 1)
	if rest := d.comeBack(run, time.Hour); rest != time.Minute {
		t.Errorf("comes back after %s, want the next poll", rest)
	}
	run.app.Spec.Source.Git.Interval.Duration = time.Hour
	if rest := d.comeBack(run, time.Hour); rest < time.Minute || rest > 2*time.Minute {
		t.Errorf("comes back after %s, want the value", rest)
	}
	renewed("when it is due", 2*time.Minute+time.Second, 2)
	d.signals.Reread(run.target.Application, d.clock.Now().Add(time.Second))
	renewed("when a store changed", 2*time.Second, 3)
	renewed("and not again", time.Second, 3)
	d.annotate(t, v1alpha1.AnnotationRefreshRequestedAt, "one")
	renewed("when somebody asks", time.Second, 4)
	if a.asked[3].MaxAge != 0 || a.asked[2].MaxAge != 10*time.Minute {
		t.Errorf("asked for values of up to %s and %s, want those of now where somebody asks", a.asked[2].MaxAge, a.asked[3].MaxAge)
	}
	if value, news := run.refreshed(); value != "one" || !news {
		t.Errorf("refreshed() = %q, %v, want the request", value, news)
	}
}

// A revision may go back to what is in place while the values of another one are
// being asked for. What that one lacks is nobody's concern then, and the values
// in place are read again when they are due.
func TestValuesThatNobodyWaitsForHoldUpNoOthers(t *testing.T) {
	d, _, w := externalDesk(t)
	run := d.run(t)
	if err := d.fill(t.Context(), run, w); err != nil {
		t.Fatal(err)
	}
	run.memory.wanted, run.memory.draft = w, &wanted{material: &material{}}
	run.memory.draft.material.resolving = &resolving{}
	w.settled = true
	run.app.Spec.Source.Git.Interval.Duration = time.Hour
	if rest := d.comeBack(run, time.Hour); rest > 12*time.Minute {
		t.Errorf("comes back after %s, want when the value is due", rest)
	}
	w.material.resolving = &resolving{}
	if rest := d.comeBack(run, time.Hour); rest != time.Hour {
		t.Errorf("comes back after %s, want nothing but the poll while the value is being asked for", rest)
	}
}

// What is in place follows its values while nothing newer can be had, under the
// spec that it was applied under.
func TestValuesInPlaceAreFollowedWhileThereIsNothingNewer(t *testing.T) {
	tests := map[string]struct {
		change    func(d *desk, a *answers, m *memory)
		want      string // of the condition SecretsReady
		questions int
		changedAt time.Duration
	}{
		"another value": {func(_ *desk, a *answers, _ *memory) { a.value = "hunter3" }, "Succeeded", 2, 15 * time.Minute},
		"the same":      {func(*desk, *answers, *memory) {}, "Succeeded", 2, 0},
		"an outage": {func(_ *desk, a *answers, _ *memory) {
			a.err = failure.Waitf(v1alpha1.ReasonStoreUnavailable, "hunter2 does not answer")
		}, "StoreUnavailable", 2, 0},
		"another spec":         {func(_ *desk, _ *answers, m *memory) { m.wanted.basis.inputs.generation = 99 }, "", 1, 0},
		"what never was there": {func(_ *desk, _ *answers, m *memory) { m.wanted.settled = false }, "", 1, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d, a, w := filledDesk(t)
			w.settled, w.why = true, v1alpha1.SyncDrift
			run := d.run(t)
			tt.change(d, a, run.memory)
			err := d.ApplicationReconciler.sync(t.Context(), run)
			if f := failure.From(err, ""); f.Reason != v1alpha1.ReasonSourceUnavailable {
				t.Fatalf("sync() = %v, want what the repository lacks", err)
			}
			if _, err := d.finish(t.Context(), run, err); err != nil {
				t.Fatal(err)
			}
			if len(a.asked) != tt.questions {
				t.Errorf("%d questions, want %d", len(a.asked), tt.questions)
			}
			app, got := d.read(t), ""
			if c := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionSecretsReady); c != nil {
				got = c.Reason
			}
			if got != tt.want {
				t.Errorf("SecretsReady is %q, want %q", got, tt.want)
			}
			if at := app.Status.Secrets.References[0].ChangedAt; !at.Time.Equal(epoch.Add(tt.changedAt)) {
				t.Errorf("changed at %s, want %s after the beginning", at, tt.changedAt)
			}
		})
	}
}

// A revision that lacks a value, and what is in place, are asked for side by
// side: neither takes the answers of the other.
func TestTwoRevisionsAskSideBySide(t *testing.T) {
	d, a, w := externalDesk(t)
	run := d.run(t)
	if err := d.fill(t.Context(), run, w); err != nil {
		t.Fatal(err)
	}
	run.memory.wanted, w.settled = w, true
	_, _, draft := externalDesk(t)
	run.memory.draft = draft
	a.err = failure.Stallf(v1alpha1.ReasonSecretMissing, "no such key")
	why := d.fill(t.Context(), run, draft)
	a.err, a.value = nil, "hunter3"
	d.clock.Step(12 * time.Minute)
	run = d.run(t)
	if err := d.uphold(t.Context(), run, why); failure.From(err, "").Reason != v1alpha1.ReasonSecretMissing {
		t.Errorf("uphold() = %v, want what the draft lacks", err)
	}
	if m := run.memory; m.draft != draft || draft.material.unanswered == nil || m.wanted == w || m.wanted.material.unanswered != nil {
		t.Errorf("draft %+v, wanted %+v, want the one to lack its value still, and the other a new one", m.draft.material, m.wanted.material)
	}
}

// annotate annotates the Application.
func (d *desk) annotate(t *testing.T, name, value string) {
	t.Helper()
	app := d.read(t)
	metav1.SetMetaDataAnnotation(&app.ObjectMeta, name, value)
	if err := d.Client.Update(t.Context(), app); err != nil {
		t.Fatal(err)
	}
}

// What has failed is not asked for again by every run that a watch brings.
func TestWhoDoesNotAnswerIsLeftInPeace(t *testing.T) {
	tests := map[string]struct {
		err    error
		pauses []time.Duration
	}{
		"an outage": {failure.Waitf(v1alpha1.ReasonStoreUnavailable, `SecretStore "vault": hunter2 does not answer`),
			[]time.Duration{15 * time.Second, 15 * time.Second, 15 * time.Second}},
		"what is missing, ever more rarely": {failure.Stallf(v1alpha1.ReasonSecretMissing, "no hunter2"),
			[]time.Duration{15 * time.Second, 30 * time.Second, time.Minute}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d, a, w := externalDesk(t)
			a.err = tt.err
			for i, pause := range tt.pauses {
				for range 3 {
					if err := d.fill(t.Context(), d.run(t), w); err == nil || failure.From(err, "").Reason != failure.From(tt.err, "").Reason {
						t.Errorf("fill() = %v", err)
					}
				}
				if len(a.asked) != i+1 {
					t.Errorf("%d questions, want %d", len(a.asked), i+1)
				}
				d.clock.Step(pause - time.Second)
				_ = d.fill(t.Context(), d.run(t), w)
				if len(a.asked) != i+1 {
					t.Errorf("asked again before %s were over", pause)
				}
				d.clock.Step(time.Second)
			}
			d.annotate(t, v1alpha1.AnnotationSyncRequestedAt, "now")
			_ = d.fill(t.Context(), d.run(t), w)
			_ = d.fill(t.Context(), d.run(t), w)
			if want := len(tt.pauses) + 2; len(a.asked) != want {
				t.Errorf("%d questions, want %d once somebody asks for a sync", len(a.asked), want)
			}
			a.err = nil
			if err := d.fill(t.Context(), d.run(t), w); err != nil || w.material.unanswered != nil {
				t.Errorf("fill() = %v once there is an answer", err)
			}
		})
	}
}

// While a store takes long no worker waits for it, and what is wanted stays.
func TestASlowStoreHoldsNoWorker(t *testing.T) {
	d, a, w := externalDesk(t)
	q := newQueue(t)
	if err := d.signals.Start(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	d.Clock, a.let = clock.RealClock{}, make(chan struct{})
	for range 2 {
		if err := d.fill(t.Context(), d.run(t), w); !errors.Is(err, errResolving) {
			t.Fatalf("fill() = %v, want it to be waited for", err)
		}
	}
	close(a.let)
	if got, _ := q.Get(); got != (reconcile.Request{NamespacedName: client.ObjectKeyFromObject(d.app)}) {
		t.Errorf("queued %v, want the Application", got)
	}
	if err := d.fill(t.Context(), d.run(t), w); err != nil || len(a.asked) != 1 {
		t.Errorf("fill() = %v after %d questions, want the answer to one", err, len(a.asked))
	}
}

func TestReferencesSayWhatChangedWhen(t *testing.T) {
	d, _, _ := externalDesk(t)
	vault := v1alpha1.StoreReference{Kind: v1alpha1.KindSecretStore, Name: "vault"}
	use := func(key, version, token string) external.Use {
		return external.Use{Store: vault, Ref: providers.Ref{Key: key}, Version: version, Token: secret.Token(token)}
	}
	run := d.run(t)
	first := run.changesTo(external.Uses{Values: []external.Use{use("a", "1", "ta"), use("b", "", "tb"), use("b", "", "tb"), use("gone", "", "")}})
	run.memory.wanted = &wanted{material: &material{changes: first, uses: external.Uses{Values: []external.Use{use("a", "1", "ta"), use("b", "", "tb")}}}}
	d.clock.Step(time.Hour)
	run = d.run(t)
	second := run.changesTo(external.Uses{Values: []external.Use{use("a", "2", "tc"), use("b", "", "tb")}})
	refs, more := second.references()
	at := func(t time.Time) *metav1.Time { return &metav1.Time{Time: t} }
	want := []v1alpha1.SecretReferenceStatus{
		{Store: vault, Key: "a", Version: "2", ChangedAt: at(epoch.Add(time.Hour))},
		{Store: vault, Key: "b", ChangedAt: at(epoch)},
	}
	if diff := cmp.Diff(want, refs); diff != "" || more != 0 {
		t.Errorf("references() (-want +got), %d more:\n%s", more, diff)
	}
	if text := second.text(); text != `1 key of SecretStore "vault"` {
		t.Errorf("text() = %q", text)
	}
	// After a restart the status tells.
	run.memory.wanted = nil
	run.app.Status.Secrets = &v1alpha1.SecretsStatus{References: refs}
	d.clock.Step(time.Hour)
	third := d.begin(run.app).changesTo(external.Uses{Values: []external.Use{use("a", "2", "tc"), use("b", "", "tb")}})
	again, _ := third.references()
	if diff := cmp.Diff(want, again); diff != "" || len(third.news) != 0 {
		t.Errorf("references() after a restart (-want +got):\n%s", diff)
	}
	many := changes{at: map[place]time.Time{}}
	for i := range maxReferences + 3 {
		many.at[place{vault, fmt.Sprint(i), ""}] = epoch
	}
	if refs, more := many.references(); len(refs) != maxReferences || more != 3 {
		t.Errorf("references() of %d = %d and %d more", len(many.at), len(refs), more)
	}
	long := changes{at: map[place]time.Time{}}
	for i := range 100 {
		long.at[place{vault, fmt.Sprintf("%03d", i) + strings.Repeat("k", 2045), ""}] = epoch
	}
	if refs, more := long.references(); len(refs) != 31 || more != 69 {
		t.Errorf("references() of long keys = %d and %d more, want as many as fit into 64 KiB", len(refs), more)
	}
}

func TestStaleValuesAreSaid(t *testing.T) {
	d, _, w := externalDesk(t)
	run := d.run(t)
	if err := d.fill(t.Context(), run, w); err != nil {
		t.Fatal(err)
	}
	if got, want := run.secretsMessage(w), "resolved 1 key of 1 ExternalSecret under policy External"; got != want {
		t.Errorf("secretsMessage() = %q, want %q", got, want)
	}
	w.material.uses.Values[0].Kept = "Vault is sealed"
	if got := run.secretsMessage(w); !strings.HasSuffix(got, `; the values read last are kept: SecretStore "vault": Vault is sealed`) {
		t.Errorf("secretsMessage() = %q, want the store", got)
	}
}

// A search that a store did not answer is as stale as a value.
func TestStaleSearchesAreSaid(t *testing.T) {
	d, _, w := externalDesk(t)
	run := d.run(t)
	vault := v1alpha1.StoreReference{Kind: v1alpha1.KindSecretStore, Name: "vault"}
	find := external.FindUse{Store: vault, Read: d.clock.Now().Add(-11 * time.Minute), MaxAge: 10 * time.Minute, Kept: "Vault is sealed"}
	w.material.take(run, &resolving{begun: d.clock.Now(), result: external.Result{Uses: external.Uses{Finds: []external.FindUse{find}}}})
	if got := run.secretsMessage(w); !w.material.stale || !strings.HasSuffix(got, `; the values read last are kept: SecretStore "vault": Vault is sealed`) {
		t.Errorf("secretsMessage() = %q, want the store", got)
	}
}

func TestJitterIsSteadyAndBounded(t *testing.T) {
	d, _, _ := externalDesk(t)
	name := client.ObjectKeyFromObject(d.app)
	if a, b := jitter(name, time.Hour), jitter(name, time.Hour); a != b || a < 0 || a > 6*time.Minute {
		t.Errorf("jitter() = %s and %s", a, b)
	}
	if j := jitter(name, 8760*time.Hour); j > maxJitter {
		t.Errorf("jitter() of a year = %s", j)
	}
}
