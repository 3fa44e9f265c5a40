package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/health"
	"github.com/gitseal/gitseal/internal/live"
)

func TestApplySendsWavesInOrder(t *testing.T) {
	w := newWorld(t)
	items := w.build(strings.Join([]string{
		"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}",
		"apiVersion: v1\nkind: Secret\nmetadata: {name: s}",
		"apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: sa}",
		"apiVersion: v1\nkind: Namespace\nmetadata: {name: new}",
		configMap("c"),
	}, "\n---\n"))
	changed, err := w.Apply(t.Context(), items, w.ledger, w.values)
	if err != nil || changed != 5 {
		t.Fatalf("Apply() = %d, %v, want 5 changed", changed, err)
	}
	var order []Wave
	for _, c := range w.seenCalls() {
		i := slices.IndexFunc(items, func(i Item) bool { return strings.HasPrefix(c.path, i.path+"?") })
		order = append(order, items[i].Wave)
		for _, want := range []string{"fieldManager=gitseal", "force=true"} {
			if !strings.Contains(c.path, want) {
				t.Errorf("%s %s lacks %s", c.method, c.path, want)
			}
		}
	}
	if !slices.IsSorted(order) {
		t.Errorf("waves were sent in the order %v", order)
	}
	if p := w.Compare(items, w.ledger, time.Time{}); len(p.Changed) != 0 {
		t.Errorf("Compare() after Apply has %d changed items, want none", len(p.Changed))
	}
}

func TestAWaveWithAnErrorIsTheLast(t *testing.T) {
	w := newWorld(t)
	w.answer = func(rw http.ResponseWriter, r *http.Request, body string) {
		if strings.Contains(r.URL.Path, "/secrets/") {
			refuse(rw, 422, `{"reason":"Invalid","code":422}`)
			return
		}
		echo(rw, r, body)
	}
	items := w.build("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\n---\n" + configMap("c"))
	changed, err := w.Apply(t.Context(), items, w.ledger, w.values)
	if err == nil || changed != 1 || len(w.seenCalls()) != 2 {
		t.Errorf("Apply() = %d, %v after %d calls, want the Deployment not to be sent", changed, err, len(w.seenCalls()))
	}
	if p := w.Compare(items, w.ledger, time.Time{}); len(p.Changed) != 2 {
		t.Errorf("Compare() has %d changed items, want the refused Secret and the Deployment", len(p.Changed))
	}
}

// What is applied to an object that is being deleted goes with it. It is sent
// once, and again when the object has gone.
func TestWhatIsBeingDeletedDoesNotCountAsApplied(t *testing.T) {
	w := newWorld(t)
	items := w.build(configMap("a"))
	going := func(rw http.ResponseWriter, r *http.Request, body string) {
		echo(rw, r, strings.Replace(body, `"metadata":{`, `"metadata":{"deletionTimestamp":"2026-01-01T00:00:00Z",`, 1))
	}
	apply := func(when string, answer func(http.ResponseWriter, *http.Request, string), calls int) {
		t.Helper()
		if p := w.Compare(items, w.ledger, time.Time{}); len(p.Changed) != 1 {
			t.Errorf("%s: Compare() = %+v, want the object to be applied", when, p)
		}
		w.answer = answer
		_, err := w.Apply(t.Context(), items, w.ledger, w.values)
		f := failure.From(err, "none")
		if answer == nil && err != nil || answer != nil && (f.Class != failure.Wait || !strings.Contains(f.Message(), `is being deleted`)) {
			t.Errorf("%s: Apply() = %v", when, err)
		}
		if n := len(w.seenCalls()); n != calls {
			t.Errorf("%s: %d requests so far, want %d", when, n, calls)
		}
	}
	w.seen.put(items[0].Scope, "a", live.Object{ResourceVersion: 90, ApplySet: w.target.ApplySet()})
	apply("the watch does not know yet", going, 1)
	w.seen.put(items[0].Scope, "a", live.Object{ResourceVersion: 100, ApplySet: w.target.ApplySet(), Digest: items[0].digest, Deleting: true})
	apply("it waits for a finalizer", going, 1)
	delete(w.seen[items[0].Scope], items[0].key())
	apply("it is gone", nil, 2)
}

// While a new content is refused, drift from the last good one is put back.
// Where it may have been stored, the old one is not put over it.
func TestARefusedContentLeavesTheLastGoodOneInPlace(t *testing.T) {
	tests := map[string]struct {
		code    int
		status  string
		drifted bool
	}{
		"it is refused":      {422, `{"reason":"Invalid","code":422}`, true},
		"nobody knows of it": {500, `{"reason":"InternalError","code":500}`, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			good, next := w.build(configMap("a")), w.build(strings.Replace(configMap("a"), "k: v", "k: w", 1))
			if _, err := w.Apply(t.Context(), good, w.ledger, w.values); err != nil {
				t.Fatal(err)
			}
			w.answer = func(rw http.ResponseWriter, _ *http.Request, _ string) { refuse(rw, tt.code, tt.status) }
			if _, err := w.Apply(t.Context(), next, w.ledger, w.values); err == nil {
				t.Fatal("Apply() = nil, want the refusal")
			}
			w.seen.put(good[0].Scope, "a", live.Object{ResourceVersion: 105, Owned: 8})
			if p := w.Compare(good, w.ledger, time.Time{}); len(p.Drifted) == 1 != tt.drifted {
				t.Errorf("Compare() with the last good content = %d drifted, want %v", len(p.Drifted), tt.drifted)
			}
			if p := w.Compare(next, w.ledger, time.Time{}); len(p.Changed) != 1 {
				t.Errorf("Compare() with the new one = %d changed, want it to be sent again", len(p.Changed))
			}
		})
	}
}

func TestEachIsBoundedAndGivesItsSlotsBack(t *testing.T) {
	w := newWorld(t) // 4 slots
	items := slices.Repeat(w.build(configMap("a")), 50)
	var running, most atomic.Int32
	err := w.each(t.Context(), items, func(context.Context, Item) error {
		n := running.Add(1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		running.Add(-1)
		return nil
	})
	if err != nil || most.Load() > 4 || w.requests.Taken() != 0 {
		t.Errorf("each() = %v with %d at once and %d slots kept, want at most 4 and none kept", err, most.Load(), w.requests.Taken())
	}
}

func TestEachEndsWithItsContext(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	var begun sync.WaitGroup
	begun.Add(4)
	go func() { begun.Wait(); cancel(errors.New("out of time")) }()
	items := slices.Repeat(w.build(configMap("a")), 6)
	var ran atomic.Int32
	err := w.each(ctx, items, func(ctx context.Context, _ Item) error {
		if ran.Add(1) <= 4 {
			begun.Done()
		}
		<-ctx.Done()
		return context.Cause(ctx)
	})
	if err == nil || !strings.Contains(err.Error(), "out of time") || w.requests.Taken() != 0 {
		t.Errorf("each() = %v with %d slots kept, want the cause and no slot kept", err, w.requests.Taken())
	}
}

func TestPreflightAsksOncePerResourceAndNamespace(t *testing.T) {
	w := newWorld(t)
	items := w.build(configMap("a") + "\n---\n" + configMap("b") + "\n---\napiVersion: v1\nkind: Service\nmetadata: {name: s}")
	for range 2 {
		if err := w.Preflight(t.Context(), items, w.ledger, w.values); err != nil {
			t.Fatal(err)
		}
	}
	calls := w.seenCalls()
	if len(calls) != 2 {
		t.Errorf("%d requests in two preflights, want 2", len(calls))
	}
	for _, c := range calls {
		if !strings.Contains(c.path, "dryRun=All") {
			t.Errorf("%s is no dry run", c.path)
		}
	}
	if w.ledger.Len() != 0 {
		t.Error("a dry run was recorded as applied")
	}
}

func TestCompare(t *testing.T) {
	const applied = 100
	tests := map[string]struct {
		live    *live.Object // nil: absent
		unknown bool
		changed bool
		drifted bool
	}{
		"as it was applied":                      {live: &live.Object{ResourceVersion: applied, Owned: 7}},
		"status was written since":               {live: &live.Object{ResourceVersion: applied + 5, Owned: 7}},
		"a field was taken":                      {live: &live.Object{ResourceVersion: applied + 5, Owned: 8}, drifted: true},
		"it is gone":                             {drifted: true},
		"the watch has not caught up":            {live: &live.Object{ResourceVersion: applied - 1, Owned: 8}},
		"it is going: its end will be told":      {live: &live.Object{ResourceVersion: applied + 5, Owned: 8, Deleting: true}},
		"nothing is watched yet":                 {unknown: true},
		"it was never applied with this content": {live: &live.Object{ResourceVersion: applied, Owned: 7}, changed: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			i := w.build(configMap("a"))[0]
			r := record{digest: i.digest, version: applied, owned: 7}
			if tt.changed {
				r.digest = "another"
			}
			w.ledger.put(i.ID, r)
			switch {
			case tt.live != nil:
				w.seen.put(i.Scope, "a", *tt.live)
			case !tt.unknown:
				w.seen[i.Scope] = map[live.Key]live.Object{}
			}
			p := w.Compare([]Item{i}, w.ledger, time.Time{})
			if len(p.Changed) == 1 != tt.changed || len(p.Drifted) == 1 != tt.drifted || p.Empty() == (tt.changed || tt.drifted) {
				t.Errorf("Compare() = %d changed, %d drifted, want %v, %v", len(p.Changed), len(p.Drifted), tt.changed, tt.drifted)
			}
		})
	}
}

func TestPruneKeepsWhatItsGuardsGuard(t *testing.T) {
	w := newWorld(t)
	own := w.target.ApplySet()
	scopeOf := func(resource, namespace string) live.Scope {
		group := ""
		if r, g, ok := strings.Cut(resource, "."); ok {
			resource, group = r, g
		}
		s := live.Scope{Identity: w.target.Identity, Namespace: namespace}
		s.Resource.Group, s.Resource.Version, s.Resource.Resource = group, "v1", resource
		return s
	}
	tests := map[string]struct {
		scope live.Scope
		o     live.Object
		stale bool
	}{
		"a leftover of ours":                     {scopeOf("configmaps", "ns"), live.Object{Owned: 1, ApplySet: own}, true},
		"a leftover that we own nothing of":      {scopeOf("configmaps", "ns"), live.Object{Owned: 0, ApplySet: own}, false},
		"another's member":                       {scopeOf("configmaps", "ns"), live.Object{Owned: 1, ApplySet: "other"}, false},
		"what is already going":                  {scopeOf("configmaps", "ns"), live.Object{Owned: 1, ApplySet: own, Deleting: true}, false},
		"what says to keep it":                   {scopeOf("configmaps", "ns"), live.Object{Owned: 1, ApplySet: own, Prune: "Disabled"}, false},
		"a claim":                                {scopeOf("persistentvolumeclaims", "ns"), live.Object{Owned: 1, ApplySet: own}, false},
		"a claim that says so":                   {scopeOf("persistentvolumeclaims", "ns"), live.Object{Owned: 1, ApplySet: own, Prune: "Enabled"}, true},
		"a namespace":                            {scopeOf("namespaces", ""), live.Object{Owned: 1, ApplySet: own}, false},
		"a definition":                           {scopeOf("customresourcedefinitions.apiextensions.k8s.io", ""), live.Object{Owned: 1, ApplySet: own}, false},
		"what is in the operator's namespace":    {scopeOf("configmaps", "gitseal-system"), live.Object{Owned: 1, ApplySet: own, Prune: "Enabled"}, false},
		"a namespaces resource of another group": {scopeOf("namespaces.example.com", "ns"), live.Object{Owned: 1, ApplySet: own}, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			clear(w.seen)
			w.seen.put(tt.scope, "x", tt.o)
			if got := w.stale([]live.Scope{tt.scope}, nil); (len(got) == 1) != tt.stale {
				t.Errorf("Stale() = %v, want stale %v", got, tt.stale)
			}
		})
	}
	clear(w.seen)
	w.seen.put(scopeOf("namespaces", ""), "gitseal-system", live.Object{Owned: 1, ApplySet: own, Prune: "Enabled"})
	if got := w.stale([]live.Scope{scopeOf("namespaces", "")}, nil); len(got) != 0 {
		t.Errorf("Stale() = %v, want the operator's namespace kept whatever it says", got)
	}
}

func TestWantedMembersAreNotStale(t *testing.T) {
	w := newWorld(t)
	items := w.build(configMap("a"))
	for _, name := range []string{"a", "c", "b"} {
		w.seen.put(items[0].Scope, name, live.Object{Owned: 1, ApplySet: w.target.ApplySet()})
	}
	got := w.stale(Scopes(items), items)
	if fmt.Sprint(got) != `[configmaps "b" in namespace "ns" configmaps "c" in namespace "ns"]` || len(w.Leftovers(w.target, Scopes(items), items)) != 2 {
		t.Errorf("Stale() = %v, want b and c in order", got)
	}
}

func TestPruneDeletesOnlyWhatTheWatchesSaw(t *testing.T) {
	tests := map[string]struct {
		code   int
		status string
		pruned int
		reason string
	}{
		"it is deleted":                        {200, `{"kind":"Status","status":"Success"}`, 1, ""},
		"it is gone already":                   {404, `{"reason":"NotFound","code":404}`, 0, ""},
		"it was changed or replaced meanwhile": {409, `{"reason":"Conflict","code":409}`, 0, ""},
		"the API server fails":                 {500, `{"reason":"InternalError","code":500}`, 0, v1alpha1.ReasonPruneFailed},
		"the ServiceAccount may not":           {403, `{"reason":"Forbidden","code":403}`, 0, v1alpha1.ReasonForbidden},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			i := w.build(configMap("a"))[0]
			w.answer = func(rw http.ResponseWriter, r *http.Request, _ string) {
				if r.Method == http.MethodDelete {
					refuse(rw, tt.code, tt.status)
					return
				}
				_, _ = io.WriteString(rw, `{"status":{"allowed":false}}`)
			}
			m := Member{Scope: i.Scope, Key: i.key(), object: live.Object{UID: "u1", ResourceVersion: 42}}
			pruned, err := w.Prune(t.Context(), []Member{m})
			if pruned != tt.pruned || (err == nil) != (tt.reason == "") || err != nil && failure.From(err, "").Reason != tt.reason {
				t.Errorf("Prune() = %d, %v, want %d, %s", pruned, err, tt.pruned, tt.reason)
			}
			var options struct {
				Preconditions     struct{ UID, ResourceVersion string }
				PropagationPolicy string
			}
			if err := json.Unmarshal([]byte(w.seenCalls()[0].body), &options); err != nil || options.Preconditions.UID != "u1" || options.Preconditions.ResourceVersion != "42" || options.PropagationPolicy != "Background" {
				t.Errorf("delete options %s (%v), want preconditions on uid and version", w.seenCalls()[0].body, err)
			}
		})
	}
}

func TestEstablishedFailsWhereADefinitionNeverWill(t *testing.T) {
	w := newWorld(t)
	const crd = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: foos.example.com}\nspec: {group: example.com}"
	items := w.build(crd)
	conditions := `{"type":"NamesAccepted","status":"False","reason":"PluralConflict"}`
	var looks atomic.Int32
	w.answer = func(rw http.ResponseWriter, r *http.Request, body string) {
		if r.Method != http.MethodGet {
			echo(rw, r, body)
			return
		}
		looks.Add(1)
		w.mu.Lock()
		defer w.mu.Unlock()
		_, _ = fmt.Fprintf(rw, `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"x"},"status":{"conditions":[%s]}}`, conditions)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := w.Apply(ctx, items, w.ledger, w.values)
	if err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "is not established") {
		t.Errorf("Apply() = %v, want it to fail at once", err)
	}
	w.mu.Lock()
	conditions = `{"type":"NamesAccepted","status":"True"},{"type":"Established","status":"True"}`
	w.mu.Unlock()
	if _, err := w.Apply(t.Context(), items, w.ledger, w.values); err != nil {
		t.Errorf("Apply() = %v, want nil once it is established", err)
	}
}

func TestTheLedgerForgetsWhatIsNoLongerWanted(t *testing.T) {
	w := newWorld(t)
	items := w.build(configMap("b") + "\n---\n" + configMap("a"))
	for _, i := range items {
		w.ledger.put(i.ID, record{scope: i.Scope, version: 7, state: health.Failed, note: "broken"})
	}
	if sick := w.ledger.Unhealthy(); len(sick) != 2 || sick[0].ID.Name != "a" {
		t.Errorf("Unhealthy() = %v, want a and b in order", sick)
	}
	if w.Settle(Scopes(items), items[:1], w.ledger) || w.ledger.Len() != 2 {
		t.Error("Settle(b) forgot a, though its watch does not show it yet")
	}
	w.seen[items[0].Scope] = map[live.Key]live.Object{}
	if !w.Settle(Scopes(items), items[:1], w.ledger) {
		t.Error("Settle(b) = false, though everything is known")
	}
	if sick := w.ledger.Unhealthy(); len(sick) != 1 || sick[0].ID.Name != "b" || w.ledger.Len() != 1 {
		t.Errorf("Unhealthy() = %v after Settle(b), want b", sick)
	}
}

func TestHealthIsReadWhereItChanged(t *testing.T) {
	w := newWorld(t)
	items := w.build("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: b}\n---\n" + configMap("c"))
	for _, i := range items {
		w.ledger.put(i.ID, record{version: 100, judged: 100, state: health.InProgress})
		w.seen.put(i.Scope, i.ID.Name, live.Object{ResourceVersion: 101})
	}
	changed := w.Unjudged(items, w.ledger)
	if len(changed) != 2 {
		t.Fatalf("Unjudged() = %d items, want the two Deployments", len(changed))
	}
	const deployment = `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":%q,"namespace":"ns","generation":1,"resourceVersion":"105"},"spec":{"replicas":0},"status":{"observedGeneration":1}}`
	w.answer = func(rw http.ResponseWriter, r *http.Request, _ string) {
		if strings.HasSuffix(r.URL.Path, "/a") {
			_, _ = fmt.Fprintf(rw, deployment, "a")
			return
		}
		_, _ = fmt.Fprintf(rw, `{"apiVersion":"apps/v1","kind":"DeploymentList","metadata":{},"items":[`+deployment+`]}`, "b")
	}
	if err := w.Judge(t.Context(), w.target, changed, w.ledger); err != nil {
		t.Fatal(err)
	}
	if calls := w.seenCalls(); len(calls) != 1 || !strings.Contains(calls[0].path, "labelSelector=") {
		t.Errorf("calls %v, want one list for several objects", calls)
	}
	if err := w.Judge(t.Context(), w.target, changed[:1], w.ledger); err != nil || len(w.seenCalls()) != 2 {
		t.Errorf("Judge(one) = %v after %d calls, want one get", err, len(w.seenCalls()))
	}
	if got := w.Unjudged(items, w.ledger); len(got) != 0 {
		t.Errorf("Unjudged() = %v after Judge, want none", got)
	}
}

func refuse(rw http.ResponseWriter, code int, status string) {
	rw.WriteHeader(code)
	_, _ = io.WriteString(rw, strings.Replace(status, "{", `{"apiVersion":"v1","kind":"Status","status":"Failure",`, 1))
}

func TestDriftThatComesBackAgainAndAgainIsBraked(t *testing.T) {
	w := newWorld(t)
	i := w.build(configMap("a"))[0]
	w.ledger.put(i.ID, record{scope: i.Scope, digest: i.digest, version: 1, owned: 1})
	w.seen.put(i.Scope, "a", live.Object{ResourceVersion: 2, Owned: 2})
	now := time.Unix(1e9, 0)
	for n := range freeCorrections {
		if p := w.Compare([]Item{i}, w.ledger, now); len(p.Drifted) != 1 {
			t.Fatalf("correction %d was held back", n+1)
		}
		w.ledger.Correcting([]Item{i}, now)
	}
	if p := w.Compare([]Item{i}, w.ledger, now); len(p.Drifted) != 0 || p.Again != firstBrake {
		t.Errorf("Compare() = %d drifted, again in %s, want a pause of %s", len(p.Drifted), p.Again, firstBrake)
	}
	if p := w.Compare([]Item{i}, w.ledger, now.Add(firstBrake)); len(p.Drifted) != 1 {
		t.Error("Compare() after the pause holds the correction back")
	}
}

// An object of a scope that nobody watches any more, after the ServiceAccount
// was changed for example, will never be shown.
func TestWhatIsNotWatchedIsNotWaitedFor(t *testing.T) {
	w := newWorld(t)
	i := w.build(configMap("a"))[0]
	w.ledger.put(i.ID, record{scope: i.Scope, digest: i.digest, version: 5, owned: 1})
	if !w.Settle(nil, nil, w.ledger) || w.ledger.Len() != 0 {
		t.Error("Settle() waits for a watch that is not open")
	}
}
