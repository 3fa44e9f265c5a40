package controllers

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/apply"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/live"
	"github.com/gitseal/gitseal/internal/render"
)

// cluster is as much of an API server as a sync needs, with the watches over
// it. Its controllers are the test.
type cluster struct {
	mu      sync.Mutex
	objects map[string]map[string]any // by path
	version int
	calls   []string // that change something
	refuse  string   // what a call that is not carried out ends with
}

func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	dry := r.URL.Query().Has("dryRun")
	name := path.Base(r.URL.Path)
	if r.Method != http.MethodGet && !dry {
		if c.refuse != "" && strings.HasSuffix(r.URL.Path, c.refuse) {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"ServiceUnavailable","code":503}`)
			return
		}
		c.calls = append(c.calls, strings.ToLower(r.Method)+" "+name)
	}
	switch held := c.objects[r.URL.Path]; {
	case r.Method == http.MethodPatch:
		var o map[string]any
		_ = json.NewDecoder(r.Body).Decode(&o)
		m := o["metadata"].(map[string]any)
		m["uid"], m["generation"] = "uid of "+name, 1
		m["managedFields"] = []any{map[string]any{"manager": "gitseal", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": map[string]any{}}}
		if held != nil {
			o["status"] = held["status"]
		}
		if dry {
			m["resourceVersion"] = "0"
		} else {
			c.put(r.URL.Path, o)
		}
		_ = json.NewEncoder(w).Encode(o)
	case held != nil && r.Method == http.MethodDelete:
		var o metav1.DeleteOptions
		_ = json.NewDecoder(r.Body).Decode(&o)
		if p := o.Preconditions; p != nil && p.ResourceVersion != nil && *p.ResourceVersion != held["metadata"].(map[string]any)["resourceVersion"] {
			w.WriteHeader(http.StatusConflict)
			_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Conflict","code":409}`)
			return
		}
		delete(c.objects, r.URL.Path)
		c.version++
		_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Success"}`)
	case held != nil:
		_ = json.NewEncoder(w).Encode(held)
	default:
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`)
	}
}

func (c *cluster) put(at string, o map[string]any) {
	c.version++
	o["metadata"].(map[string]any)["resourceVersion"] = fmt.Sprint(c.version)
	c.objects[at] = o
}

// report writes the status of an object, as its controller would.
func (c *cluster) report(at, status string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var s map[string]any
	if err := yaml.Unmarshal([]byte(status), &s); err != nil {
		panic(err)
	}
	o := c.objects[at]
	o["status"] = s
	c.put(at, o)
}

func (c *cluster) remove(at string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.objects, at)
	c.version++
}

// took returns what was changed since it was asked last.
func (c *cluster) took() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	calls := strings.Join(c.calls, ", ")
	c.calls = nil
	return calls
}

// mirror is the watches over a cluster, which are late for few objects: one that
// they have not seen, and one whose last change they have not seen.
type mirror struct {
	noWatches
	*cluster
	unseen, outdated string
}

func (m *mirror) Find(s live.Scope, key live.Key, _ uint64) (live.Object, live.Presence) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if key.Name == m.unseen {
		return live.Object{}, live.Unknown
	}
	for at, o := range m.objects {
		if path.Base(at) == key.Name && path.Base(path.Dir(at)) == s.Resource.Resource {
			raw, _ := json.Marshal(o)
			var p metav1.PartialObjectMetadata
			_ = json.Unmarshal(raw, &p)
			seen := live.Describe(&p)
			if key.Name == m.outdated {
				seen.ResourceVersion--
			}
			return seen, live.Present
		}
	}
	return live.Object{}, live.Absent
}

func (m *mirror) Members(s live.Scope, applySet string) map[live.Key]live.Object {
	found := map[live.Key]live.Object{}
	for _, name := range m.named(s.Resource.Resource) {
		key := live.Key{Namespace: s.Namespace, Name: name}
		if o, presence := m.Find(s, key, 0); presence == live.Present && o.ApplySet == applySet {
			found[key] = o
		}
	}
	return found
}

// named lists the objects of a resource.
func (c *cluster) named(resource string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for at := range c.objects {
		if path.Base(path.Dir(at)) == resource {
			names = append(names, path.Base(at))
		}
	}
	return names
}

// newTheatre is a desk in front of a cluster.
func newTheatre(t *testing.T) (*desk, *cluster) {
	t.Helper()
	d, c := newDesk(t), &cluster{objects: map[string]map[string]any{}, version: 100}
	d.operate(t, c)
	return d, c
}

// operate starts an operator that knows nothing yet.
func (d *desk) operate(t *testing.T, c *cluster) {
	t.Helper()
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{{Version: "v1"}})
	for _, kind := range []string{"ConfigMap", "Secret"} {
		mapper.Add(schema.GroupVersionKind{Version: "v1", Kind: kind}, meta.RESTScopeNamespace)
	}
	mapper.Add(schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}, meta.RESTScopeNamespace)
	mapper.Add(schema.GroupVersionKind{Group: "batch", Version: "v1", Kind: "Job"}, meta.RESTScopeNamespace)
	watches := &mirror{cluster: c}
	d.Watches, d.memories = watches, memories{}
	d.Engine = apply.NewEngine(apply.Options{
		Clients: apply.NewClients(&rest.Config{Host: server.URL}), Mapper: mapper, Watches: watches, Digest: d.Tokenizer.Digest,
	})
}

// wants makes a desired state of YAML documents.
func (d *desk) wants(t *testing.T, commit string, documents ...string) *wanted {
	t.Helper()
	var objects []render.Object
	for i, doc := range documents {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(doc), &u.Object); err != nil {
			t.Fatal(err)
		}
		objects = append(objects, render.Object{Unstructured: u, Origin: render.Origin{File: "app.yaml", Line: i + 1}})
	}
	run := d.begin(d.read(t))
	items, err := d.Engine.Build(run.target, objects)
	if err != nil {
		t.Fatal(err)
	}
	w := d.applied(commit)
	w.items, w.values, w.runs, w.announced = items, d.Tokenizer.NewSet(), map[apply.ID]apply.Run{}, true
	run.memory.wanted = w
	return w
}

// sync is one reconcile from the desired state on, with its status written. A
// second passes before it.
func (d *desk) sync(t *testing.T, w *wanted) (*run, error) {
	t.Helper()
	d.clock.Step(time.Second)
	run := d.begin(d.read(t))
	run.memory.wanted = w
	err := d.bring(t.Context(), run, w)
	if err == nil && !run.gated {
		err = d.judge(t.Context(), run, w)
	}
	if _, finished := d.finish(t.Context(), run, err); finished != nil {
		t.Fatal(finished)
	}
	return run, err
}

func (d *desk) wantProgress(t *testing.T, w *wanted, want string) {
	t.Helper()
	run, err := d.sync(t, w)
	if err != nil || run.progress != want {
		t.Errorf("progress %q, %v, want %q", run.progress, err, want)
	}
}

func deploymentIn(name, wave string) string {
	return "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: " + name + ", annotations: {gitseal.dev/sync-wave: \"" + wave + "\"}}\nspec: {replicas: 1}"
}

func configIn(name, wave string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + ", annotations: {gitseal.dev/sync-wave: \"" + wave + "\"}}"
}

func jobIn(phase, image string) string { return jobNamed("migrate", phase, image) }

func jobNamed(name, phase, image string) string {
	return "apiVersion: batch/v1\nkind: Job\nmetadata: {name: " + name + ", annotations: {gitseal.dev/run: Once, gitseal.dev/run-phase: " + phase + "}}\nspec: {template: {spec: {image: " + image + "}}}"
}

const (
	deploymentsPath = "/apis/apps/v1/namespaces/ns/deployments/"
	jobsPath        = "/apis/batch/v1/namespaces/ns/jobs/"
	jobPath         = jobsPath + "migrate"
	available       = "{observedGeneration: 1, replicas: 1, updatedReplicas: 1, readyReplicas: 1, availableReplicas: 1, conditions: [{type: Available, status: 'True'}]}"
	completed       = "{conditions: [{type: Complete, status: 'True'}]}"
	hasFailed       = "{conditions: [{type: Failed, status: 'True', reason: BackoffLimitExceeded}]}"
)

func TestStagesGoOnWhenLowerWavesAreHealthy(t *testing.T) {
	d, c := newTheatre(t)
	w := d.wants(t, "one", configIn("last", "7"), deploymentIn("web", "2"), deploymentIn("db", "-1"), configIn("first", "-1"))
	waiting := `waiting for sync wave -1: Deployment "db" in namespace "ns": it has not been seen by its controller yet`
	d.wantProgress(t, w, waiting)
	if got := c.took(); got != "patch first, patch db" {
		t.Errorf("the first run did: %s", got)
	}
	d.wantProgress(t, w, waiting)
	if got := c.took(); got != "" {
		t.Errorf("a run that waits did: %s", got)
	}
	c.report(deploymentsPath+"db", available)
	d.wantProgress(t, w, `waiting for sync wave 2: Deployment "web" in namespace "ns": it has not been seen by its controller yet`)
	c.report(deploymentsPath+"web", available)
	if run, err := d.sync(t, w); err != nil || run.gated || run.progress != "" {
		t.Errorf("the last run is gated: %v, progress %q, %v", run.gated, run.progress, err)
	}
	if got := c.took(); got != "patch web, patch last" {
		t.Errorf("the other runs did: %s", got)
	}
	app := d.read(t)
	if h := app.Status.History; len(h) != 1 || h[0].Changed != 4 || !strings.HasPrefix(conditions(app), "Ready=True") {
		t.Errorf("history %+v, %s, want one sync of 4 objects", h, conditions(app))
	}
}

// The next operator finds all of it in place.
func TestARevisionIsNamedThoughTheOperatorWasKilled(t *testing.T) {
	a, b := configIn("a", "0"), configIn("b", "0")
	for name, tt := range map[string]struct {
		objects []string
		did     string
		named   string
	}{
		"after it changed one object": {[]string{a, b + "\ndata: {a: b}"}, "patch b", "two"},
		"after it pruned one object":  {[]string{a}, "delete b", "two"},
		"where it changed nothing":    {[]string{a, b}, "", "one"},
	} {
		t.Run(name, func(t *testing.T) {
			d, c := newTheatre(t)
			if _, err := d.sync(t, d.wants(t, "one", a, b)); err != nil {
				t.Fatal(err)
			}
			c.took()
			w := d.wants(t, "two", tt.objects...)
			w.announced = false
			run := d.begin(d.read(t))
			run.reason = v1alpha1.SyncRevision
			if err := errors.Join(d.bring(t.Context(), run, w), d.prune(t.Context(), run, w)); err != nil || c.took() != tt.did {
				t.Fatalf("before it was killed it did not %s: %v", tt.did, err)
			}
			d.operate(t, c)
			w = d.wants(t, "two", tt.objects...)
			w.first = true
			if _, err := d.sync(t, w); err != nil || c.took() != "" {
				t.Fatalf("the next one changed something, or %v", err)
			}
			if got := d.read(t).Status.Source.Revision; got != tt.named {
				t.Errorf("status.source.revision is %s, want %s", got, tt.named)
			}
		})
	}
}

func TestAWaveThatIsLateOrFailsIsUnhealthy(t *testing.T) {
	d, c := newTheatre(t)
	w := d.wants(t, "one", deploymentIn("db", "0"), configIn("later", "1"))
	if _, err := d.sync(t, w); err != nil {
		t.Fatal(err)
	}
	c.took()
	d.clock.Step(defaultTimeout)
	for range 2 {
		run, err := d.sync(t, w)
		f := failure.From(err, "none")
		want := `Deployment "db" in namespace "ns" of sync wave 0 is not healthy: it has not been seen by its controller yet: wave 1 comes once it is`
		if err == nil || f.Reason != v1alpha1.ReasonUnhealthy || f.Message() != want || !run.gated {
			t.Errorf("after the timeout: %v, want %s", err, want)
		}
	}
	if s := meta.FindStatusCondition(d.read(t).Status.Conditions, v1alpha1.ConditionSynced); s.Status != metav1.ConditionFalse {
		t.Errorf("Synced = %+v, want False while a wave is missing", s)
	}
	c.report(deploymentsPath+"db", available)
	if run, err := d.sync(t, w); err != nil || run.gated || c.took() != "patch later" {
		t.Errorf("once it is healthy: gated %v, %v, want the next wave", run.gated, err)
	}
}

// A new revision goes by a wave that is stuck, and what is in place stays so.
func TestWhatIsInPlaceIsCorrectedWhileAWaveWaits(t *testing.T) {
	d, c := newTheatre(t)
	first := d.wants(t, "one", configIn("later", "1"))
	if _, err := d.sync(t, first); err != nil {
		t.Fatal(err)
	}
	second := d.wants(t, "two", deploymentIn("db", "0"), configIn("later", "1")+"\ndata: {a: b}")
	if run, err := d.sync(t, second); err != nil || !run.gated {
		t.Fatalf("gated %v, %v, want it to wait", run.gated, err)
	}
	c.took()
	c.remove("/api/v1/namespaces/ns/configmaps/later")
	if _, err := d.sync(t, second); err != nil {
		t.Fatal(err)
	}
	if got := c.took(); got != "patch later" || c.objects["/api/v1/namespaces/ns/configmaps/later"]["data"] != nil {
		t.Errorf("a run after it was deleted did: %s, object %v, want it as the first revision has it", got, c.objects)
	}
	third := d.wants(t, "three", configIn("later", "1")+"\ndata: {a: c}")
	if run, err := d.sync(t, third); err != nil || run.gated || c.took() != "patch later" {
		t.Errorf("the third revision: gated %v, %v, want it applied", run.gated, err)
	}
}

func TestWhatCannotBePutBackIsToldOfAfterTheWaves(t *testing.T) {
	d, c := newTheatre(t)
	if _, err := d.sync(t, d.wants(t, "one", configIn("base", "0"), configIn("later", "1"))); err != nil {
		t.Fatal(err)
	}
	c.took()
	c.remove("/api/v1/namespaces/ns/configmaps/base")
	c.refuse = "/configmaps/base"
	w := d.wants(t, "two", configIn("base", "0"), configIn("later", "1")+"\ndata: {a: b}", jobIn("After", "a"))
	_, err := d.sync(t, w)
	if got := c.took(); got != "patch later" || !strings.HasPrefix(conditions(d.read(t)), "Ready=False/") {
		t.Errorf("it did %s and ended with %v, %s, want the later wave changed and a failure", got, err, conditions(d.read(t)))
	}
}

func TestARunComesBeforeOrAfterTheRest(t *testing.T) {
	for phase, want := range map[string]string{
		v1alpha1.RunPhaseBefore: "patch settings, patch migrate | patch web",
		v1alpha1.RunPhaseAfter:  "patch settings, patch web | patch migrate",
	} {
		t.Run(phase, func(t *testing.T) {
			d, c := newTheatre(t)
			w := d.wants(t, "one", deploymentIn("web", "0"), jobIn(phase, "a"), configIn("settings", "0"))
			if _, err := d.sync(t, w); err != nil {
				t.Fatal(err)
			}
			did := c.took()
			for at, status := range map[string]string{jobPath: completed, deploymentsPath + "web": available} {
				if c.objects[at] != nil {
					c.report(at, status)
				}
			}
			if _, err := d.sync(t, w); err != nil {
				t.Fatal(err)
			}
			if got := did + " | " + c.took(); got != want {
				t.Errorf("two runs did %s, want %s", got, want)
			}
		})
	}
}

// Whatever a run finds remembered and in the cluster, it starts nothing twice.
func TestWhatARunDoesNext(t *testing.T) {
	const remembered, other = "remembered content", "other content"
	tests := map[string]struct {
		state   v1alpha1.RunState // remembered, "" for nothing
		content string            // that it is remembered for
		job     string            // status in the cluster, "" for no Job
		did     string
		now     v1alpha1.RunState
		reason  string
	}{
		"nothing is known":                      {did: "patch migrate", now: v1alpha1.RunStarted},
		"it was recorded and not created":       {state: v1alpha1.RunStarted, content: remembered, did: "patch migrate", now: v1alpha1.RunStarted},
		"it runs":                               {state: v1alpha1.RunStarted, content: remembered, job: "{}", now: v1alpha1.RunStarted},
		"it runs, and the status was lost":      {job: "{}", now: v1alpha1.RunStarted},
		"it has ended":                          {state: v1alpha1.RunStarted, content: remembered, job: completed, now: v1alpha1.RunSucceeded},
		"it has ended, and the status was lost": {job: completed, now: v1alpha1.RunSucceeded},
		"it has failed":                         {state: v1alpha1.RunStarted, content: remembered, job: hasFailed, now: v1alpha1.RunFailed, reason: v1alpha1.ReasonRunFailed},
		"it had failed":                         {state: v1alpha1.RunFailed, content: remembered, job: hasFailed, now: v1alpha1.RunFailed, reason: v1alpha1.ReasonRunFailed},
		"it had failed and was deleted":         {state: v1alpha1.RunFailed, content: remembered, did: "patch migrate", now: v1alpha1.RunStarted},
		"it had succeeded and was deleted":      {state: v1alpha1.RunSucceeded, content: remembered, now: v1alpha1.RunSucceeded},
		"another content had succeeded":         {state: v1alpha1.RunSucceeded, content: other, did: "patch migrate", now: v1alpha1.RunStarted},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d, c := newTheatre(t)
			w := d.wants(t, "one", jobIn("Before", "a"))
			if tt.job != "" {
				if _, err := d.sync(t, w); err != nil {
					t.Fatal(err)
				}
				c.report(jobPath, tt.job)
				c.took()
			}
			d.remembers(t, w, tt.state, tt.content == remembered)
			d.operate(t, c)
			w = d.wants(t, "one", jobIn("Before", "a"))
			_, err := d.sync(t, w)
			if got := c.took(); got != tt.did {
				t.Errorf("it did %q, want %q", got, tt.did)
			}
			if f := failure.From(err, ""); (err != nil) != (tt.reason != "") || err != nil && f.Reason != tt.reason {
				t.Errorf("it ended with %v, want reason %q", err, tt.reason)
			}
			if runs := d.read(t).Status.Runs; len(runs) != 1 || runs[0].State != tt.now || runs[0].Digest != w.items[0].Digest() {
				t.Errorf("status.runs = %+v, want %s", runs, tt.now)
			}
		})
	}
}

// remembers puts into the status what was remembered of a Job.
func (d *desk) remembers(t *testing.T, w *wanted, state v1alpha1.RunState, same bool) {
	t.Helper()
	app := d.read(t)
	app.Status.Runs = nil
	if state != "" {
		entry := v1alpha1.RunStatus{ObjectReference: referenceTo(w.items[0].ID), Digest: "other", State: state}
		if same {
			entry.Digest = w.items[0].Digest()
		}
		app.Status.Runs = []v1alpha1.RunStatus{entry}
	}
	if err := d.Client.Status().Update(t.Context(), app); err != nil {
		t.Fatal(err)
	}
}

func TestANewContentTakesThePlaceOfARun(t *testing.T) {
	d, c := newTheatre(t)
	first := d.wants(t, "one", jobIn("Before", "a"))
	if _, err := d.sync(t, first); err != nil {
		t.Fatal(err)
	}
	d.clock.Step(defaultTimeout)
	if _, err := d.sync(t, first); failure.From(err, "").Reason != v1alpha1.ReasonUnhealthy {
		t.Errorf("a run that takes too long ends with %v, want Unhealthy", err)
	}
	w := d.wants(t, "two", jobIn("Before", "b"))
	d.wantProgress(t, w, `waiting for the end of Job "migrate" in namespace "ns": it is that of another revision`)
	if _, err := d.sync(t, w); err != nil {
		t.Fatal(err)
	}
	if got := c.took(); got != "patch migrate, delete migrate, patch migrate" {
		t.Errorf("it did %s, want the first to go before the second comes", got)
	}
	if runs := d.read(t).Status.Runs; len(runs) != 1 || runs[0].Digest != w.items[0].Digest() || runs[0].Revision != "two" {
		t.Errorf("status.runs = %+v, want the second", runs)
	}
}

// It is written down before it is created; and who does not know what was
// written down last creates nothing.
func TestARunIsRecordedBeforeItIsCreated(t *testing.T) {
	d, c := newTheatre(t)
	c.refuse = "/jobs/migrate"
	w := d.wants(t, "one", jobIn("Before", "a"))
	if _, err := d.sync(t, w); err == nil {
		t.Fatal("it could be created")
	}
	if runs := d.read(t).Status.Runs; len(runs) != 1 || runs[0].State != v1alpha1.RunStarted {
		t.Errorf("status.runs = %+v, want it started", runs)
	}

	d, c = newTheatre(t)
	w = d.wants(t, "one", jobIn("Before", "a"))
	run := d.outdated(t, w)
	if _, err := d.step(t.Context(), run, w, w.items[0]); err == nil || c.took() != "" {
		t.Errorf("with an outdated Application: %v, want a conflict and no Job", err)
	}
}

func TestRunsThatLeftGitAreForgotten(t *testing.T) {
	d, c := newTheatre(t)
	w := d.wants(t, "one", jobIn("Before", "a"), configIn("settings", "0"))
	if _, err := d.sync(t, w); err != nil {
		t.Fatal(err)
	}
	c.report(jobPath, completed)
	if _, err := d.sync(t, w); err != nil || len(d.read(t).Status.Runs) != 1 {
		t.Fatalf("status.runs = %+v, %v", d.read(t).Status.Runs, err)
	}
	if _, err := d.sync(t, d.wants(t, "two", configIn("settings", "0"))); err != nil || len(d.read(t).Status.Runs) != 0 {
		t.Errorf("status.runs = %+v, %v, want none", d.read(t).Status.Runs, err)
	}
}

func TestACircleOfDependenciesIsStalled(t *testing.T) {
	tests := map[string]struct {
		others map[string]string // what each depends on
		want   string
	}{
		"itself":        {want: "spec.dependsOn leads back to this Application: ns/app -> ns/app"},
		"one another":   {others: map[string]string{"a": "app"}, want: "spec.dependsOn leads back to this Application: ns/app -> ns/a -> ns/app"},
		"a longer way":  {others: map[string]string{"a": "b", "b": "c", "c": "app"}, want: "spec.dependsOn leads back to this Application: ns/app -> ns/a -> ns/b -> ns/c -> ns/app"},
		"a circle away": {others: map[string]string{"a": "b", "b": "c", "c": "b"}, want: `Application "a" in namespace "ns", which this one depends on, is not ready`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			for other, next := range tt.others {
				app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Name: other, Namespace: "ns", Generation: 1}}
				app.Spec.DependsOn = []v1alpha1.ApplicationReference{{Name: next}}
				if err := d.Client.Create(t.Context(), app); err != nil {
					t.Fatal(err)
				}
			}
			run := d.begin(d.read(t))
			run.app.Spec.DependsOn = []v1alpha1.ApplicationReference{{Name: "a"}}
			if len(tt.others) == 0 {
				run.app.Spec.DependsOn[0].Name = "app"
			}
			f := failure.From(d.dependencies(t.Context(), run), "")
			if f.Error() != tt.want || (f.Class == failure.Stall) != slices.Contains([]string{"itself", "one another", "a longer way"}, name) {
				t.Errorf("dependencies() = %s (%s), want %s", f.Error(), f.Class, tt.want)
			}
		})
	}
}

// B depends on A, and a commit moves an object from B to A: A cannot have it
// before B has given it up.
func TestADependencyThatWaitsForUsIsNotWaitedFor(t *testing.T) {
	tests := map[string]struct {
		reason, owner string
		waits         bool
	}{
		"for our object":              {reason: v1alpha1.ReasonObjectConflict, owner: "app"},
		"for another one's object":    {reason: v1alpha1.ReasonObjectConflict, owner: "third", waits: true},
		"for something else of its":   {reason: v1alpha1.ReasonUnhealthy, owner: "app", waits: true},
		"and nobody owns what it has": {reason: v1alpha1.ReasonObjectConflict, waits: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			a := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "ns"}}
			meta.SetStatusCondition(&a.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: tt.reason})
			if tt.owner != "" {
				a.Status.Conflicts = []v1alpha1.ConflictStatus{{Application: v1alpha1.ApplicationReference{Name: tt.owner}}}
			}
			if err := d.Client.Create(t.Context(), a); err != nil {
				t.Fatal(err)
			}
			run := d.begin(d.read(t))
			run.app.Spec.DependsOn = []v1alpha1.ApplicationReference{{Name: "a"}}
			if err := d.dependencies(t.Context(), run); (err != nil) != tt.waits {
				t.Errorf("dependencies() = %v, want to wait: %v", err, tt.waits)
			}
			run.app.Spec.DependsOn = []v1alpha1.ApplicationReference{{Name: "a"}, {Name: "absent"}}
			if err := d.dependencies(t.Context(), run); err == nil {
				t.Error("the next dependency is not waited for")
			}
		})
	}
}

func TestOnlyDeletionPolicyWaitWaitsForFinalizers(t *testing.T) {
	held := []apply.Member{{Scope: live.Scope{Resource: schema.GroupVersionResource{Resource: "configmaps"}}, Key: live.Key{Namespace: "ns", Name: "held"}}}
	for policy, waits := range map[v1alpha1.DeletionPolicy]bool{v1alpha1.DeletionDelete: false, v1alpha1.DeletionWait: true, v1alpha1.DeletionOrphan: false} {
		run := &run{app: &v1alpha1.Application{}}
		run.app.Spec.Sync.DeletionPolicy = policy
		err := run.waitForLast(held)
		if waits != (err != nil) || waits && (!errors.Is(err, errLeaving) || !strings.Contains(err.Error(), `configmaps "held" in namespace "ns"`)) {
			t.Errorf("%s: waitForLast() = %v, want to wait: %v", policy, err, waits)
		}
		if err := run.waitForLast(nil); err != nil {
			t.Errorf("%s: waitForLast() of nothing = %v", policy, err)
		}
	}
}
