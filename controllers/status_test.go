package controllers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/apply"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/live"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/internal/source"
)

// noWatches answers that everything is watched and nothing is there.
type noWatches struct {
	errs   []error // of the calls of Ensure, in turn
	asked  [][]live.Scope
	gone   []string
	absent live.Presence
	// present is found everywhere, where it is not nil.
	present *live.Object
}

func (w *noWatches) Ensure(_ context.Context, _ string, scopes []live.Scope) error {
	w.asked = append(w.asked, scopes)
	if len(w.errs) == 0 {
		return nil
	}
	err := w.errs[0]
	w.errs = w.errs[1:]
	return err
}
func (w *noWatches) Release(owner string) { w.gone = append(w.gone, owner) }
func (w *noWatches) Find(live.Scope, live.Key, uint64) (live.Object, live.Presence) {
	if w.present != nil {
		return *w.present, live.Present
	}
	return live.Object{}, w.absent
}
func (w *noWatches) Members(live.Scope, string) map[live.Key]live.Object { return nil }
func (w *noWatches) Await(string, live.Scope, live.Key)                  {}

func (w *noWatches) TakeFields(live.Scope, live.Key) string { return "" }

// failingSource cannot be reached.
type failingSource struct{ err error }

func (s failingSource) Fetch(context.Context, source.Request) (*source.Snapshot, error) {
	return nil, s.err
}

type desk struct {
	*ApplicationReconciler
	app      *v1alpha1.Application
	recorder *events.FakeRecorder
	watches  *noWatches
	clock    *clocktesting.FakeClock
}

var epoch = time.Unix(1_900_000_000, 0)

func newDesk(t testing.TB) *desk {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(v1alpha1.AddToScheme(scheme), corev1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: "ns", Generation: 3, UID: "u1"}}
	app.Spec.Source.Git.URL = "https://git.example.com/app"
	app.Spec.Source.Git.Interval.Duration = time.Minute
	app.Spec.Sync.RetryInterval.Duration = 15 * time.Second
	app.Spec.Secrets.Policy = v1alpha1.PolicyNone
	app.Spec.Destination.ServiceAccountName = "deployer"
	builder := fake.NewClientBuilder().WithScheme(scheme).WithObjects(app).WithStatusSubresource(app)
	for field, keys := range indexes {
		builder = builder.WithIndex(&v1alpha1.Application{}, field, keys)
	}
	c := builder.Build()
	d := &desk{recorder: events.NewFakeRecorder(100), watches: &noWatches{}, clock: clocktesting.NewFakeClock(epoch), app: app}
	server := httptest.NewServer(http.NotFoundHandler()) // serves nothing
	t.Cleanup(server.Close)
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{{Version: "v1"}})
	mapper.Add(schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, meta.RESTScopeNamespace)
	d.ApplicationReconciler = &ApplicationReconciler{
		Client: c, Secrets: c, Source: failingSource{failure.Failf(v1alpha1.ReasonSourceUnavailable, "the repository does not answer")},
		Watches: d.watches, Resolvers: &answers{clock: d.clock}, Recorder: d.recorder, Clock: d.clock, OperatorNamespace: "gitseal-system",
		Engine:    apply.NewEngine(apply.Options{Clients: apply.NewClients(&rest.Config{Host: server.URL}), Mapper: mapper, Watches: d.watches}),
		Tokenizer: secret.NewTokenizer([]byte("0123456789abcdef0123456789abcdef")), signals: NewSignals(),
	}
	return d
}

// read returns the Application as the API server has it.
func (d *desk) read(t testing.TB) *v1alpha1.Application {
	t.Helper()
	app := &v1alpha1.Application{}
	if err := d.Client.Get(t.Context(), client.ObjectKeyFromObject(d.app), app); err != nil {
		t.Fatal(err)
	}
	return app
}

func (d *desk) applied(commit string) *wanted {
	in := inputs{commit: commit, generation: 3}
	return &wanted{inputs: in, basis: basis{inputs: in}, author: "A <a@b>"}
}

func kstatusOf(t *testing.T, app *v1alpha1.Application) status.Status {
	t.Helper()
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(app)
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{Object: object}
	u.SetAPIVersion("gitseal.dev/v1alpha1")
	u.SetKind("Application")
	result, err := status.Compute(u)
	if err != nil {
		t.Fatal(err)
	}
	return result.Status
}

func conditions(app *v1alpha1.Application) string {
	var all []string
	for _, kind := range []string{"Ready", "Reconciling", "Stalled", "Synced", "SecretsReady", "Healthy"} {
		if c := meta.FindStatusCondition(app.Status.Conditions, kind); c != nil {
			all = append(all, fmt.Sprintf("%s=%s/%s", kind, c.Status, c.Reason))
		}
	}
	return strings.Join(all, " ")
}

func TestAFailureBecomesConditions(t *testing.T) {
	tests := map[string]struct {
		err        error
		progress   string
		conditions string
		kstatus    status.Status
		event      bool
		after      time.Duration
	}{
		"success":                        {nil, "", "Ready=True/Succeeded Synced=True/Succeeded SecretsReady=True/Succeeded Healthy=True/Succeeded", status.CurrentStatus, false, time.Minute},
		"applied and waiting for health": {nil, "waiting for Deployment", "Ready=Unknown/Progressing Reconciling=True/Progressing Synced=True/Succeeded SecretsReady=True/Succeeded Healthy=Unknown/Progressing", status.InProgressStatus, false, time.Minute},
		"a failure that may pass":        {failure.Failf(v1alpha1.ReasonSourceUnavailable, "x"), "", "Ready=False/SourceUnavailable Reconciling=True/ProgressingWithRetry Synced=False/SourceUnavailable", status.InProgressStatus, true, 15 * time.Second},
		"a wait":                         {failure.Waitf(v1alpha1.ReasonDependencyNotReady, "x"), "", "Ready=False/DependencyNotReady Reconciling=True/ProgressingWithRetry Synced=False/DependencyNotReady", status.InProgressStatus, false, 15 * time.Second},
		"a stall":                        {failure.Stallf(v1alpha1.ReasonPolicyViolated, "x"), "", "Ready=False/PolicyViolated Stalled=True/PolicyViolated Synced=False/PolicyViolated SecretsReady=False/PolicyViolated", status.FailedStatus, true, time.Minute},
		"unhealthy":                      {failure.Waitf(v1alpha1.ReasonUnhealthy, "x"), "", "Ready=False/Unhealthy Reconciling=True/ProgressingWithRetry Synced=True/Succeeded Healthy=False/Unhealthy", status.InProgressStatus, false, 15 * time.Second},
		"an error of no class":           {errors.New("x"), "", "Ready=False/ApplyFailed Reconciling=True/ProgressingWithRetry Synced=False/ApplyFailed", status.InProgressStatus, true, 15 * time.Second},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			run := d.begin(d.read(t))
			run.memory.wanted, run.progress = d.applied("main@sha1:abc"), tt.progress
			result, err := d.finish(t.Context(), run, tt.err)
			if err != nil {
				t.Fatal(err)
			}
			app := d.read(t)
			if got := conditions(app); got != tt.conditions {
				t.Errorf("conditions are\n%s, want\n%s", got, tt.conditions)
			}
			if got := kstatusOf(t, app); got != tt.kstatus {
				t.Errorf("kstatus is %s, want %s", got, tt.kstatus)
			}
			if app.Status.ObservedGeneration != 3 || result.RequeueAfter != tt.after {
				t.Errorf("observed %d, again after %s, want 3, %s", app.Status.ObservedGeneration, result.RequeueAfter, tt.after)
			}
			if got := len(d.recorder.Events) > 0; got != tt.event {
				t.Errorf("event told: %v, want %v", got, tt.event)
			}
			// The same outcome once more is no news.
			version := app.ResourceVersion
			for len(d.recorder.Events) > 0 {
				<-d.recorder.Events
			}
			run = d.begin(app)
			run.progress = tt.progress
			if _, err := d.finish(t.Context(), run, tt.err); err != nil {
				t.Fatal(err)
			}
			if again := d.read(t); again.ResourceVersion != version || len(d.recorder.Events) != 0 {
				t.Errorf("the same outcome was written again (%s to %s) or told again (%d)", version, again.ResourceVersion, len(d.recorder.Events))
			}
		})
	}
}

func TestAnOverduePollIsNotAHotLoop(t *testing.T) {
	for name, polled := range map[string]time.Duration{"never polled": 1 << 62, "overdue": -time.Hour, "just due": -time.Minute} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			run := d.begin(d.read(t))
			if polled != 1<<62 {
				run.memory.polledAt = epoch.Add(polled)
			}
			result, err := d.finish(t.Context(), run, failure.Failf(v1alpha1.ReasonSourceUnavailable, "the repository does not answer"))
			if err != nil || result.RequeueAfter != 15*time.Second {
				t.Errorf("again after %s (%v), want the retry interval", result.RequeueAfter, err)
			}
		})
	}
	d := newDesk(t)
	run := d.begin(d.read(t))
	run.memory.polledAt = epoch.Add(-50 * time.Second)
	if got := run.nextPoll(); got != 10*time.Second {
		t.Errorf("nextPoll() = %s, want the 10s that are left", got)
	}
}

func TestStoppingIsNoFailure(t *testing.T) {
	d := newDesk(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	run := d.begin(d.read(t))
	run.changed = 1
	if _, err := d.finish(ctx, run, failure.Failf(v1alpha1.ReasonApplyFailed, "apply x: context canceled")); err != nil {
		t.Fatal(err)
	}
	if _, err := d.finishDeletion(ctx, run, errors.New("x")); err != nil {
		t.Fatal(err)
	}
	if got := conditions(d.read(t)); got != "" {
		t.Errorf("conditions are %s after the operator was stopped, want none", got)
	}
}

// Everything was done when the operator was told to stop.
func TestWhatWasDoneIsWrittenDownAtTheEnd(t *testing.T) {
	for name, tt := range map[string]struct {
		changed, pruned int
		taken           bool // over by another operator
		want            string
	}{
		"nothing was changed":         {},
		"an object was changed":       {changed: 1, want: "b"},
		"an object was pruned":        {pruned: 1, want: "b"},
		"another one knows it better": {changed: 1, taken: true},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			run := d.begin(d.read(t))
			if tt.taken {
				run = d.outdated(t, nil)
			}
			run.memory.wanted, run.changed, run.pruned = d.applied("b"), tt.changed, tt.pruned
			if _, err := d.finish(ctx, run, nil); err != nil {
				t.Fatal(err)
			}
			if s := d.read(t).Status.Source; (s != nil) != (tt.want != "") || s != nil && s.Revision != tt.want {
				t.Errorf("status.source = %+v, want revision %q", s, tt.want)
			}
		})
	}
}

func TestConflictsAreRetriedInSilence(t *testing.T) {
	d := newDesk(t)
	conflict := fmt.Errorf("record: %w", apierrors.NewConflict(schema.GroupResource{}, "app", nil))
	for i, want := range []time.Duration{conflictRetry, 2 * conflictRetry, 4 * conflictRetry} {
		result, err := d.finish(t.Context(), d.begin(d.read(t)), conflict)
		if err != nil || result.RequeueAfter != want || conditions(d.read(t)) != "" {
			t.Errorf("finish(conflict) number %d = %+v, %v, conditions %s, want again after %s", i, result, err, conditions(d.read(t)), want)
		}
	}
	if _, err := d.finish(t.Context(), d.begin(d.read(t)), nil); err != nil {
		t.Fatal(err)
	}
	if result, err := d.finish(t.Context(), d.begin(d.read(t)), conflict); err != nil || result.RequeueAfter != conflictRetry {
		t.Errorf("finish(conflict) after a success = %+v, %v, want again after %s", result, err, conflictRetry)
	}
}

func TestMessagesAreCleanedAndShort(t *testing.T) {
	d := newDesk(t)
	run := d.begin(d.read(t))
	run.values = d.Tokenizer.NewSet()
	const canary = "canary-51ab77de"
	run.values.Add(secret.NewValue([]byte(canary)), secret.String)
	err := failure.Stallf(v1alpha1.ReasonRenderFailed, "quotes %s %s", canary, strings.Repeat("é", 2000)).WithHint("try %s", canary)
	if _, err := d.finish(t.Context(), run, err); err != nil {
		t.Fatal(err)
	}
	app := d.read(t)
	raw, marshalErr := json.Marshal(app)
	if marshalErr != nil || strings.Contains(string(raw), canary) {
		t.Errorf("the status quotes the value: %s", raw)
	}
	if e := <-d.recorder.Events; strings.Contains(e, canary) {
		t.Errorf("the event quotes the value: %s", e)
	}
	if got := meta.FindStatusCondition(app.Status.Conditions, "Ready").Message; len(got) > 1024 || !strings.HasSuffix(got, "…") || strings.ContainsRune(got, '\uFFFD') {
		t.Errorf("message of %d bytes ends in %q", len(got), got[len(got)-8:])
	}
}

func TestHistoryIsMergedAndBounded(t *testing.T) {
	d := newDesk(t)
	app := d.read(t)
	record := func(commit, reason string, changed int) {
		run := d.begin(app)
		run.memory.wanted = d.applied(commit)
		run.reason, run.changed = reason, changed
		run.record()
		app.Status = run.app.Status
	}
	record("a", v1alpha1.SyncRevision, 4)
	record("a", v1alpha1.SyncDrift, 0) // nothing changed: no line
	record("a", v1alpha1.SyncDrift, 1)
	record("a", v1alpha1.SyncDrift, 2)
	if h := app.Status.History; len(h) != 2 || h[0].Reason != v1alpha1.SyncDrift || h[0].Changed != 3 || h[1].Changed != 4 {
		t.Errorf("history = %+v, want drift of one revision in one line", h)
	}
	record("b", v1alpha1.SyncRevision, 0) // another revision, even if nothing changed
	if h := app.Status.History; len(h) != 3 || h[0].Revision != "b" || app.Status.Source.Revision != "b" {
		t.Errorf("history = %+v, want the new revision first", h)
	}
	for i := range 20 {
		record(fmt.Sprint("c", i), v1alpha1.SyncRevision, 1)
	}
	if h := app.Status.History; len(h) != maxHistory || h[0].Revision != "c19" || h[9].Revision != "c10" {
		t.Errorf("history has %d lines from %s to %s, want the last %d", len(h), h[0].Revision, h[len(h)-1].Revision, maxHistory)
	}
}

// What is pruned once the watches have told of it belongs to the revision, too.
func TestALatePruneIsOfItsRevision(t *testing.T) {
	d := newDesk(t)
	app := d.read(t)
	w := d.applied("a")
	w.why = v1alpha1.SyncRevision
	for _, did := range []run{{changed: 2, unsettled: true}, {pruned: 1}, {changed: 1}} {
		run := d.begin(app)
		run.memory.wanted, run.reason = w, w.why
		run.changed, run.pruned, run.unsettled = did.changed, did.pruned, did.unsettled
		run.record()
		app.Status = run.app.Status
	}
	if h := app.Status.History; len(h) != 2 || h[1].Reason != v1alpha1.SyncRevision || h[1].Changed != 3 || h[0].Reason != v1alpha1.SyncDrift || h[0].Changed != 1 {
		t.Errorf("history = %+v, want a revision that changed 3 objects, and then drift of 1", h)
	}
}

func TestAfterARestartTheRevisionIsTheOneInPlace(t *testing.T) {
	for name, tt := range map[string]struct {
		applying bool
		want     string
	}{
		"nothing was under way: the commit touched nothing": {false, "a"},
		"stopped once everything of it was applied":         {true, "b"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			app := d.read(t)
			run := d.begin(app)
			run.app.Status.Source = &v1alpha1.SourceStatus{Revision: "a"}
			run.set(v1alpha1.ConditionSynced, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "applied a")
			run.conditions().Toggle(tt.applying, v1alpha1.ConditionReconciling, v1alpha1.ReasonProgressing, "applying b")
			run.base = run.app.DeepCopy()
			run.memory.wanted = d.applied("b")
			run.memory.wanted.first = true
			run.record()
			if got := run.app.Status.Source.Revision; got != tt.want {
				t.Errorf("revision is %q, want %q", got, tt.want)
			}
		})
	}
}

func TestWaitingForNamesAFew(t *testing.T) {
	sick := func(n int) []apply.Sick {
		all := make([]apply.Sick, n)
		for i := range all {
			all[i] = apply.Sick{ID: apply.ID{GroupKind: schema.GroupKind{Kind: "Pod"}, Name: fmt.Sprint(i)}, Note: "it is not ready"}
		}
		return all
	}
	for n, want := range map[int]string{
		1: `waiting for Pod "0": it is not ready`,
		5: `waiting for Pod "0": it is not ready; Pod "1": it is not ready; Pod "2": it is not ready; and 2 more`,
	} {
		if got := waitingFor("waiting for ", sick(n)); got != want {
			t.Errorf("waitingFor(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestProgressIsAnnouncedOnce(t *testing.T) {
	d := newDesk(t)
	run := d.begin(d.read(t))
	w := d.applied("main@sha1:abc")
	run.memory.wanted = w
	if err := d.announce(t.Context(), run, w, 2); err != nil || conditions(d.read(t)) != "Ready=Unknown/Progressing Reconciling=True/Progressing" {
		t.Fatalf("announce() = %v, conditions %s", err, conditions(d.read(t)))
	}
	if _, err := d.finish(t.Context(), run, failure.Failf(v1alpha1.ReasonForbidden, "no")); err != nil {
		t.Fatal(err)
	}
	run = d.begin(d.read(t))
	if err := d.announce(t.Context(), run, w, 2); err != nil || !strings.HasPrefix(conditions(d.read(t)), "Ready=False/Forbidden") {
		t.Errorf("announce(retry) = %v, conditions %s, want Ready not to flap", err, conditions(d.read(t)))
	}
}

// Two operators, or one before and after a restart, agree on what has drifted
// since the last new revision: the higher count.
func TestDriftIsCountedOverRestarts(t *testing.T) {
	tests := map[string]struct {
		revision   string
		generation int64
		own, want  int32
	}{
		"the same revision, after a restart": {"main@sha1:a", 1, 0, 3},
		"the same revision, more since":      {"main@sha1:a", 1, 4, 4},
		"another revision":                   {"main@sha1:b", 1, 0, 0},
		"another spec":                       {"main@sha1:a", 2, 1, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			app := &v1alpha1.Application{}
			app.Status = v1alpha1.ApplicationStatus{
				ObservedGeneration: 1, Source: &v1alpha1.SourceStatus{Revision: "main@sha1:a"}, Resources: &v1alpha1.ResourcesStatus{Drifted: 3},
			}
			r := &run{base: app, app: app.DeepCopy(), memory: &memory{drifted: tt.own}}
			if got := r.drifted(&wanted{inputs: inputs{commit: tt.revision, generation: tt.generation}}); got != tt.want {
				t.Errorf("drifted() = %d, want %d", got, tt.want)
			}
		})
	}
}
