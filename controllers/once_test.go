package controllers

import (
	"encoding/base64"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/yaml"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/apply"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/render"
	"github.com/gitseal/gitseal/internal/source"
)

// bootstrap is a theatre of an Application whose one Secret is made once.
type bootstrap struct {
	*desk
	*answers
	t     *testing.T
	world *cluster
	queue workqueue.TypedRateLimitingInterface[reconcile.Request]
}

func newBootstrap(t *testing.T) *bootstrap {
	t.Helper()
	d, a, w := externalDesk(t)
	b := &bootstrap{desk: d, answers: a, t: t, world: &cluster{objects: map[string]map[string]any{}}, queue: newQueue(t)}
	d.operate(t, b.world)
	if err := d.signals.Start(t.Context(), b.queue); err != nil {
		t.Fatal(err)
	}
	b.begin(w)
	return b
}

// begin makes the revision the newest, as one whose values are not known.
func (b *bootstrap) begin(w *wanted, others ...string) {
	b.t.Helper()
	var objects []render.Object
	for _, text := range append(others, `{apiVersion: external-secrets.io/v1, kind: ExternalSecret, metadata: {name: db, annotations: {gitseal.dev/sync-wave: "1"}}, spec: {
		refreshPolicy: CreatedOnce, secretStoreRef: {name: vault}, data: [{secretKey: k, remoteRef: {key: db}}]}}`) {
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
			b.t.Fatal(err)
		}
		objects = append(objects, render.Object{Unstructured: o, Origin: render.Origin{File: "db.yaml", Line: 1}})
	}
	mat, err := collect(objects)
	if err != nil {
		b.t.Fatal(err)
	}
	w.material, w.basis.reads, w.runs = mat, &source.ReadSet{}, map[apply.ID]apply.Run{}
	b.desk.run(b.t).memory.draft = w
}

const bootstrapPath = "/api/v1/namespaces/ns/secrets/db"

// lose deletes the Secret by hand, of which the watch tells.
func (b *bootstrap) lose() {
	b.world.remove(bootstrapPath)
	b.signals.mu.Lock()
	defer b.signals.mu.Unlock()
	b.signals.news[client.ObjectKeyFromObject(b.app)]++
}

// round is a reconcile, after which the Application is queued or not, and the
// Secret has a value, or is absent where that is "".
func (b *bootstrap) round(when string, after time.Duration, reason string, queued bool, value string) {
	b.t.Helper()
	b.desk.clock.Step(after)
	run := b.desk.run(b.t)
	b.fetched(run, "main@sha1:one")
	err := b.ApplicationReconciler.sync(b.t.Context(), run)
	got := ""
	if err != nil {
		got = failure.From(err, "").Reason
	}
	if got != reason {
		b.t.Errorf("%s: sync() = %v, want reason %q", when, err, reason)
	}
	if _, err := b.finish(b.t.Context(), run, err); err != nil {
		b.t.Fatal(err)
	}
	if n := b.queue.Len(); (n > 0) != queued {
		b.t.Errorf("%s: %d in the queue, want queued %v", when, n, queued)
	}
	for b.queue.Len() > 0 {
		r, _ := b.queue.Get()
		b.queue.Done(r)
	}
	held := ""
	b.world.mu.Lock()
	defer b.world.mu.Unlock()
	if o := b.world.objects[bootstrapPath]; o != nil {
		raw, _ := base64.StdEncoding.DecodeString(o["data"].(map[string]any)["k"].(string))
		held = string(raw)
	}
	if held != value {
		b.t.Errorf("%s: the Secret holds %q, want %q", when, held, value)
	}
}

func (b *bootstrap) questions(when string, want int) {
	b.t.Helper()
	if len(b.asked) != want {
		b.t.Errorf("%s: %d questions, want %d", when, len(b.asked), want)
	}
}

var noKey = failure.Stallf(v1alpha1.ReasonSecretMissing, `SecretStore "vault" has no key "db"`)

// A Secret that is made once and deleted by hand is made anew of what its store
// says then.
func TestWhatIsMadeOnceComesBackFromItsStore(t *testing.T) {
	b := newBootstrap(t)
	b.round("at first", 0, "", false, "hunter2")
	b.value = "hunter3"
	b.round("once it is made", time.Hour, "", false, "hunter2")
	b.questions("once it is made", 1)
	b.lose()
	b.round("when it is gone", time.Second, "", true, "")
	b.round("with the run that this brings", time.Second, "", false, "hunter3")
	b.questions("with the run that this brings", 2)
	if b.asked[0].MaxAge == 0 || b.asked[1].MaxAge != 0 {
		t.Errorf("asked for values of up to %s and %s, want those of now", b.asked[0].MaxAge, b.asked[1].MaxAge)
	}
	if h := b.read(t).Status.History; len(h) != 2 || h[0].Reason != v1alpha1.SyncDrift || h[0].Changed != 1 {
		t.Errorf("history %+v, want what was put back", h)
	}
	b.lose()
	b.round("when the same is gone again", time.Second, "", true, "")
	b.round("with the run that this brings", time.Second, "", false, "hunter3")
	b.questions("when the same was gone again", 3)
}

// An operator that starts asks for nothing, whatever has become of the key. What
// is deleted then can be made once the key is back, and is told of until then.
func TestWhatIsMadeOnceNeedsNoKeyAnyMore(t *testing.T) {
	b := newBootstrap(t)
	b.round("at first", 0, "", false, "hunter2")
	before := b.read(t).Status
	b.err = noKey
	b.operate(t, b.world)
	b.begin(b.applied("main@sha1:one"))
	b.round("after a restart", time.Hour, "", false, "hunter2")
	b.annotate(t, v1alpha1.AnnotationRefreshRequestedAt, "one")
	b.round("when all values are asked for", time.Second, "", false, "hunter2")
	b.questions("all the time", 1)
	after := b.read(t).Status
	if len(after.History) != 1 || after.LastHandledRefreshAt != "one" || before.Secrets.Resolved != after.Secrets.Resolved || len(after.Secrets.References) > 0 {
		t.Errorf("history %+v, secrets %+v, want nothing changed", after.History, after.Secrets)
	}

	b.lose()
	b.round("when it is gone", time.Second, "", true, "")
	b.round("with the run that this brings", time.Second, v1alpha1.ReasonSecretMissing, false, "")
	for range 5 {
		b.round("while it is gone", time.Second, v1alpha1.ReasonSecretMissing, false, "")
	}
	b.questions("while it is gone", 2)
	if s := b.read(t).Status; len(s.Drift) > 0 {
		t.Errorf("drift %+v, want nobody blamed", s.Drift)
	}
	b.err = nil
	b.round("once the key is back", 15*time.Second, "", false, "hunter2")
	b.questions("once the key is back", 3)
}

// What is deleted by hand is not put back where drift is left as it is, before
// somebody asks for it.
func TestWhatIsMadeOnceIsDrift(t *testing.T) {
	b := newBootstrap(t)
	b.begin(b.applied("main@sha1:one"), `{apiVersion: external-secrets.io/v1, kind: ExternalSecret, metadata: {name: other}, spec: {
		refreshInterval: 10m, secretStoreRef: {name: vault}, data: [{secretKey: k, remoteRef: {key: other}}]}}`)
	b.round("at first", 0, "", false, "hunter2")
	app := b.read(t)
	app.Spec.Sync.Drift = v1alpha1.DriftReport
	if err := b.Client.Update(t.Context(), app); err != nil {
		t.Fatal(err)
	}
	b.lose()
	b.round("when it is gone", time.Second, "", false, "")
	b.questions("when it is gone", 2)
	b.round("when other values are due", time.Hour, "", false, "")
	b.questions("when other values are due", 3)
	if drift := b.read(t).Status.Drift; len(drift) != 1 || !drift[0].Deleted {
		t.Errorf("drift %+v, want it told", drift)
	}
	b.annotate(t, v1alpha1.AnnotationSyncRequestedAt, "now")
	b.round("when a sync is asked for", time.Second, "", true, "")
	b.round("with the run that this brings", time.Second, "", false, "hunter2")
	b.questions("with the run that this brings", 5)
}

// What is deleted between the look whether it is there and the apply is made by
// the next run.
func TestWhatIsMadeOnceIsDeletedMeanwhile(t *testing.T) {
	b := newBootstrap(t)
	b.round("at first", 0, "", false, "hunter2")
	b.operate(t, b.world)
	w := b.applied("main@sha1:one")
	b.begin(w)
	run := b.desk.run(t)
	if err := b.fill(t.Context(), run, w); err != nil {
		t.Fatal(err)
	}
	run.memory.draft, run.memory.wanted = nil, w
	b.lose()
	b.round("when it is gone", time.Second, v1alpha1.ReasonApplyFailed, true, "")
	b.round("with the run that this brings", time.Second, "", false, "hunter2")
	b.questions("in all", 2)
}

// It is put back like any drift, at once: what anything new waits for does not
// hold it up, nor make what is in place not Ready.
func TestWhatIsMadeOnceWaitsForNothingNew(t *testing.T) {
	b := newBootstrap(t)
	b.begin(b.applied("main@sha1:one"), deploymentIn("web", "0"))
	b.desk.clock.Step(time.Second)
	run := b.desk.run(t)
	b.fetched(run, "main@sha1:one")
	if err := b.ApplicationReconciler.sync(t.Context(), run); err != nil || !run.gated {
		t.Fatalf("sync() = %v, gated %v, want it to wait for the first wave", err, run.gated)
	}
	b.world.report(deploymentsPath+"web", available)
	b.round("at first", 15*time.Second, "", false, "hunter2")
	app := b.read(t)
	app.Spec.DependsOn = []v1alpha1.ApplicationReference{{Name: "absent"}}
	if err := b.Client.Update(t.Context(), app); err != nil {
		t.Fatal(err)
	}
	b.world.report(deploymentsPath+"web", "{observedGeneration: 1, replicas: 1, updatedReplicas: 1}")
	b.value = "hunter3"
	b.lose()
	b.round("when it is gone", time.Second, "", true, "")
	b.round("with the run that this brings", time.Second, "", false, "hunter3")
	b.questions("with the run that this brings", 2)
	if h := b.read(t).Status.History; h[0].Reason != v1alpha1.SyncDrift || b.read(t).Status.Resources.Drifted != 1 {
		t.Errorf("history %+v, %+v, want drift", h[0], b.read(t).Status.Resources)
	}
}
