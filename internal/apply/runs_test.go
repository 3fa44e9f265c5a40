package apply

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/live"
)

// onceJob is a Job with annotations, given as lines of YAML.
func onceJob(annotations string) string {
	return "apiVersion: batch/v1\nkind: Job\nmetadata: {name: migrate, annotations: {" + annotations + "}}\nspec: {ttlSecondsAfterFinished: 5, template: {spec: {restartPolicy: Never}}}"
}

const once = "gitseal.dev/run: Once"

func TestRunPhasesAreRead(t *testing.T) {
	tests := map[string]struct {
		object, want, refused string
	}{
		"a Job like others":         {object: onceJob("")},
		"before the rest":           {object: onceJob(once), want: v1alpha1.RunPhaseBefore},
		"before, as it says":        {object: onceJob(once + ", gitseal.dev/run-phase: Before"), want: v1alpha1.RunPhaseBefore},
		"after":                     {object: onceJob(once + ", gitseal.dev/run-phase: After"), want: v1alpha1.RunPhaseAfter},
		"a phase that is none":      {object: onceJob(once + ", gitseal.dev/run-phase: During"), refused: "is none of: Before, After"},
		"a phase without a run":     {object: onceJob("gitseal.dev/run-phase: After"), refused: "has no meaning without gitseal.dev/run"},
		"a run that is not Once":    {object: onceJob("gitseal.dev/run: Always"), refused: "is none of: Once"},
		"a run that is created":     {object: onceJob(once + ", gitseal.dev/apply: Once"), refused: "contradicts gitseal.dev/apply"},
		"what has no end":           {object: waved("a", once), refused: "is for what runs to an end"},
		"what goes on for ever":     {object: "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a, annotations: {" + once + "}}", refused: "only a Job"},
		"an annotation that is not": {object: onceJob(`gitseal.dev/run: ""`), refused: "is none of: Once"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			items, err := w.Build(w.target, objects(t, tt.object))
			if tt.refused != "" {
				f := failure.From(err, "none")
				if err == nil || f.Class != failure.Stall || f.Reason != v1alpha1.ReasonObjectInvalid || !strings.Contains(f.Message(), tt.refused) || !strings.HasPrefix(f.Message(), "app.yaml:1: ") {
					t.Errorf("Build() = %v, want ObjectInvalid with file, line and %q", err, tt.refused)
				}
				return
			}
			if err != nil || items[0].Run != tt.want {
				t.Errorf("Build() = phase %q, %v, want %q", items[0].Run, err, tt.want)
			}
		})
	}
}

func TestTooManyRunsAreRefused(t *testing.T) {
	w := newWorld(t)
	var all []string
	for i := range maxRuns + 1 {
		all = append(all, strings.Replace(onceJob(once), "name: migrate", fmt.Sprintf("name: m%d", i), 1))
	}
	if _, err := w.Build(w.target, objects(t, strings.Join(all[1:], "\n---\n"))); err != nil {
		t.Errorf("Build() of %d runs = %v, want no error", maxRuns, err)
	}
	_, err := w.Build(w.target, objects(t, strings.Join(all, "\n---\n")))
	wantInvalid(t, err, "app.yaml:65", "64 are allowed")
}

// A Job that vanishes when it has ended might never be seen to have ended.
func TestARunKeepsItsEnd(t *testing.T) {
	w := newWorld(t)
	if i := w.build(onceJob(once))[0]; strings.Contains(string(i.body), "ttlSecondsAfterFinished") {
		t.Errorf("body %s, want no ttlSecondsAfterFinished", i.body)
	}
	if i := w.build(onceJob(""))[0]; !strings.Contains(string(i.body), "ttlSecondsAfterFinished") {
		t.Errorf("body %s, want a Job like others as it is", i.body)
	}
}

// What Git says has run is remembered by its digest. If that came out in
// another way after an upgrade, every migration would run again.
func TestTheDigestOfARunStaysTheSame(t *testing.T) {
	const want = "w45mI9bfYZ6tWPxb3AMABIqTiF8"
	if got := newWorld(t).build(onceJob(once))[0].Digest(); got != want {
		t.Errorf("Digest() = %s, want %s: do not change it, change what you did", got, want)
	}
}

// Nor does it run again for a rule about fields that others own.
func TestARuleDoesNotChangeTheDigestOfARun(t *testing.T) {
	w := newWorld(t)
	run, job := w.build(onceJob(once))[0].Digest(), w.build(onceJob(""))[0].Digest()
	w.target.Ignore = []v1alpha1.IgnoreDifference{{Group: "batch", Kind: "Job", JSONPointers: []string{"/spec/suspend"}}}
	if got := w.build(onceJob(once))[0].Digest(); got != run {
		t.Errorf("Digest() of a run = %s with a rule, want %s as without", got, run)
	}
	if got := w.build(onceJob(""))[0].Digest(); got == job {
		t.Error("Digest() of a Job like others is the same with a rule, want it applied again")
	}
}

func TestRunsAreNoPartOfDrift(t *testing.T) {
	w := newWorld(t)
	items := w.build(onceJob(once))
	w.seen.put(items[0].Scope, "migrate", live.Object{ResourceVersion: 9, Digest: "another", ApplySet: w.target.ApplySet()})
	w.Seed(items, w.ledger, true)
	if p := w.Compare(items, w.ledger, time.Time{}); !p.Empty() {
		t.Errorf("Compare() = %+v, want nothing", p)
	}
	if got := w.Unjudged(items, w.ledger); len(got) != 0 {
		t.Errorf("Unjudged() = %v, want nothing", got)
	}
}

func TestLookRunTellsHowFarItHasCome(t *testing.T) {
	tests := map[string]struct {
		live    string // "" for none
		tokens  bool
		want    RunState
		note    string
		refused bool
	}{
		"it is not there":              {want: RunAbsent},
		"it has just been made":        {live: "status: {}", want: RunRunning, note: "it has not completed yet"},
		"it is suspended by a queue":   {live: "spec: {suspend: true}", want: RunRunning, note: "it is suspended"},
		"it has completed":             {live: "status: {conditions: [{type: Complete, status: 'True'}]}", want: RunSucceeded, note: "it has completed"},
		"it has failed":                {live: "status: {conditions: [{type: Failed, status: 'True', reason: DeadlineExceeded, message: secret}]}", want: RunFailed, note: "it has failed (DeadlineExceeded)"},
		"it has failed with a value":   {live: "status: {conditions: [{type: Failed, status: 'True', reason: hunter2}]}", tokens: true, want: RunFailed, note: "its status says so"},
		"it is of another revision":    {live: "metadata: {annotations: {gitseal.dev/digest: another}}", want: RunOutdated, note: "it is that of another revision"},
		"it is going":                  {live: "metadata: {deletionTimestamp: '2026-01-01T00:00:00Z'}", want: RunLeaving, note: "it is being deleted"},
		"it is somebody else's":        {live: "metadata: {labels: {applyset.kubernetes.io/part-of: other}}", refused: true},
		"it is there without our mark": {live: "metadata: {labels: {}}", refused: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			item := w.build(onceJob(once))[0]
			item.HasTokens = tt.tokens
			w.answer = func(rw http.ResponseWriter, _ *http.Request, _ string) {
				if tt.live == "" {
					refuse(rw, 404, `{"reason":"NotFound","code":404}`)
					return
				}
				_, _ = io.WriteString(rw, w.job(item, tt.live))
			}
			got, err := w.LookRun(t.Context(), w.target, item, Run{})
			if tt.refused {
				if f := failure.From(err, "none"); err == nil || f.Reason != v1alpha1.ReasonOwnedByOther || f.Class != failure.Stall {
					t.Errorf("LookRun() = %v, want OwnedByOther", err)
				}
				return
			}
			if err != nil || got.State != tt.want || got.Note != tt.note {
				t.Errorf("LookRun() = %d %q, %v, want %d %q", got.State, got.Note, err, tt.want, tt.note)
			}
		})
	}
}

// job is the live Job of an item, with lines of YAML of its own.
func (w *world) job(item Item, more string) string {
	o := &unstructured.Unstructured{}
	text := `apiVersion: batch/v1
kind: Job
metadata: {name: migrate, namespace: ns, resourceVersion: "7", uid: u, labels: {applyset.kubernetes.io/part-of: ` + w.target.ApplySet() + `}, annotations: {gitseal.dev/digest: "` + item.digest + `"}}`
	own := map[string]any{}
	if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
		w.t.Fatal(err)
	}
	if err := yaml.Unmarshal([]byte(more), &own); err != nil {
		w.t.Fatal(err)
	}
	for part, fields := range own {
		for name, field := range fields.(map[string]any) {
			if err := unstructured.SetNestedField(o.Object, field, part, name); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	raw, err := o.MarshalJSON()
	if err != nil {
		w.t.Fatal(err)
	}
	return string(raw)
}

func TestLookRunAsksOnlyForNews(t *testing.T) {
	w := newWorld(t)
	item := w.build(onceJob(once))[0]
	w.answer = func(rw http.ResponseWriter, _ *http.Request, _ string) {
		_, _ = io.WriteString(rw, w.job(item, "status: {}"))
	}
	held, err := w.LookRun(t.Context(), w.target, item, Run{})
	if err != nil {
		t.Fatal(err)
	}
	look := func(want int) {
		t.Helper()
		if held, err = w.LookRun(t.Context(), w.target, item, held); err != nil || len(w.seenCalls()) != want {
			t.Errorf("LookRun() = %v after %d calls, want %d", err, len(w.seenCalls()), want)
		}
	}
	look(1) // its watch shows nothing yet
	w.seen.put(item.Scope, "migrate", live.Object{ResourceVersion: 7})
	look(1)
	w.seen.put(item.Scope, "migrate", live.Object{ResourceVersion: 8})
	look(2)
	delete(w.seen[item.Scope], item.key())
	look(3)
}

// Between the look and the write somebody may create a Job of that name. It is
// not written over: whose it is decides.
func TestARunThatSomebodyCreatesMeanwhileIsLeft(t *testing.T) {
	tests := map[string]struct {
		live   string // what is there by the time of the write; "" for nothing
		gone   bool   // by the next look
		reason string
		note   string
	}{
		"nobody does":         {note: "it has not completed yet"},
		"one of ours":         {live: "status: {}", note: "somebody created it meanwhile"},
		"a stranger's":        {live: "metadata: {labels: {}}", reason: v1alpha1.ReasonOwnedByOther},
		"one that goes again": {live: "metadata: {labels: {}}", gone: true, reason: v1alpha1.ReasonApplyFailed},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			item := w.build(onceJob(once))[0]
			w.answer = func(rw http.ResponseWriter, r *http.Request, body string) {
				switch {
				case r.Method == http.MethodGet && tt.gone:
					refuse(rw, 404, `{"reason":"NotFound","code":404}`)
				case r.Method == http.MethodGet:
					_, _ = io.WriteString(rw, w.job(item, tt.live))
				case tt.live != "" && metaOf(parsed(t, body))["resourceVersion"] == neverVersion:
					refuse(rw, 409, `{"reason":"Conflict","code":409}`)
				default:
					echo(rw, r, body)
				}
			}
			got, err := w.StartRun(t.Context(), w.target, item, w.ledger, w.values)
			if tt.reason != "" {
				if f := failure.From(err, "none"); err == nil || f.Reason != tt.reason {
					t.Errorf("StartRun() = %v, want %s", err, tt.reason)
				}
				return
			}
			if err != nil || got.State != RunRunning || got.Note != tt.note {
				t.Errorf("StartRun() = %d %q, %v, want it to run: %q", got.State, got.Note, err, tt.note)
			}
			if created := tt.live == ""; created != (got.version > 0) || created != (w.ledger.Len() == 1) {
				t.Errorf("version %d, %d in the ledger, want only what was created to be remembered", got.version, w.ledger.Len())
			}
		})
	}
}

func TestAnOutdatedRunGoesWithAllItRuns(t *testing.T) {
	w := newWorld(t)
	item := w.build(onceJob(once))[0]
	if err := w.StopRun(t.Context(), item, Run{object: live.Object{UID: "u"}}); err != nil {
		t.Fatal(err)
	}
	c := w.seenCalls()[0]
	if c.method != http.MethodDelete || !strings.Contains(c.body, `"propagationPolicy":"Foreground"`) || !strings.Contains(c.body, `"uid":"u"`) {
		t.Errorf("%s %s %s, want that very Job deleted in the foreground", c.method, c.path, c.body)
	}
}
