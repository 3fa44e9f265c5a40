package apply

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gitseal/gitseal/internal/live"
)

// liveConfigMap is ConfigMap a with a value, as a manager left it at a version.
func liveConfigMap(value, ours, version string) string {
	return `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"ns","resourceVersion":"` + version + `",
		"labels":{"applyset.kubernetes.io/part-of":"set"},"managedFields":[
		{"manager":"gitseal","operation":"Apply","time":"2026-01-01T00:00:00Z","fieldsType":"FieldsV1","fieldsV1":` + ours + `},
		{"manager":"mallory","operation":"Update","time":"2026-01-02T00:00:00Z","fieldsType":"FieldsV1","fieldsV1":{"f:data":{"f:k":{}}}}]},
		"data":{"k":"` + value + `"}}`
}

// One dry run decides. What it decides holds until the object changes again.
func TestExamine(t *testing.T) {
	const whole, part = `{"f:data":{"f:k":{}}}`, `{"f:data":{}}`
	tests := map[string]struct {
		have, want string // have "": gone
		drift      *Drift
		lost       bool
		calls      int
	}{
		"it is as applied":      {have: liveConfigMap("v", whole, "9"), want: liveConfigMap("v", whole, "9"), calls: 2},
		"a value differs":       {have: liveConfigMap("x", part, "9"), want: liveConfigMap("v", whole, "9"), calls: 2, drift: &Drift{Fields: []string{"data.k"}, Manager: "mallory"}},
		"a field is not ours":   {have: liveConfigMap("v", part, "9"), want: liveConfigMap("v", whole, "9"), calls: 2, lost: true},
		"it is gone":            {calls: 1, drift: &Drift{Deleted: true}},
		"it changes on and on":  {have: liveConfigMap("x", part, "9"), want: liveConfigMap("v", whole, "10"), calls: 2 * (maxRaces + 1), drift: &Drift{Fields: []string{"data.k"}, Manager: "mallory"}},
		"it has lost its label": {have: strings.Replace(liveConfigMap("v", whole, "9"), `"labels":{"applyset.kubernetes.io/part-of":"set"},`, "", 1), want: liveConfigMap("v", whole, "9"), calls: 2, drift: &Drift{Fields: []string{"metadata.labels[applyset.kubernetes.io/part-of]"}, Deleted: true}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			item := w.build(configMap("a"))[0]
			w.ledger.put(item.ID, record{scope: item.Scope, digest: item.digest, version: 5, owned: 7})
			w.answer = func(rw http.ResponseWriter, r *http.Request, _ string) {
				switch {
				case r.Method == http.MethodPatch && !strings.Contains(r.URL.RawQuery, "dryRun=All"):
					t.Errorf("%s %s is no dry run", r.Method, r.URL)
				case r.Method == http.MethodPatch:
					_, _ = rw.Write([]byte(tt.want))
				case tt.have == "":
					refuse(rw, 404, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`)
				default:
					_, _ = rw.Write([]byte(tt.have))
				}
			}
			found, err := w.Examine(t.Context(), []Item{item}, w.ledger, w.values, time.Time{})
			if err != nil {
				t.Fatal(err)
			}
			var want []Drift
			if tt.drift != nil {
				tt.drift.ID = item.ID
				want = []Drift{*tt.drift}
			}
			if diff := cmp.Diff(want, found.Drifts); diff != "" {
				t.Errorf("Drifts (-want +got):\n%s", diff)
			}
			if len(found.Lost) == 1 != tt.lost || len(found.Drifted) != len(want) || len(w.seenCalls()) != tt.calls {
				t.Errorf("%d lost, %d drifted after %d calls, want lost %v after %d", len(found.Lost), len(found.Drifted), len(w.seenCalls()), tt.lost, tt.calls)
			}
			w.stillSo(item, tt.have, tt.drift != nil)
		})
	}
}

// stillSo checks that nothing more is to be asked of an object that the watch
// shows as it was found.
func (w *world) stillSo(item Item, have string, reported bool) {
	w.t.Helper()
	w.seen[item.Scope] = map[live.Key]live.Object{}
	if have != "" && strings.Contains(have, "labels") {
		o, err := readAnswer([]byte(have), item, false)
		if err != nil {
			w.t.Fatal(err)
		}
		w.seen.put(item.Scope, "a", o.object)
	}
	p := w.Compare([]Item{item}, w.ledger, time.Time{})
	if lost := len(p.Drifted) == 1 && !reported; len(p.Reported) == 1 != reported || len(p.Drifted) > 0 && !lost {
		w.t.Errorf("Compare() = %d drifted, %d reported, want reported %v", len(p.Drifted), len(p.Reported), reported)
	}
}

// A look that fails counts as an attempt, so that it is not made again and
// again.
func TestALookThatFailsIsBraked(t *testing.T) {
	w := newWorld(t)
	item := w.build(configMap("a"))[0]
	w.ledger.put(item.ID, record{scope: item.Scope, digest: item.digest, version: 5, owned: 7})
	w.seen.put(item.Scope, "a", live.Object{ResourceVersion: 6, Owned: 8})
	w.answer = func(rw http.ResponseWriter, _ *http.Request, _ string) {
		raw, _ := json.Marshal(map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403})
		refuse(rw, 403, string(raw))
	}
	now := time.Unix(1e9, 0)
	for i := range freeCorrections {
		p := w.Compare([]Item{item}, w.ledger, now)
		if len(p.Drifted) != 1 {
			t.Fatalf("Compare() = %+v at look %d, want it looked at", p, i)
		}
		if _, err := w.Examine(t.Context(), p.Drifted, w.ledger, w.values, now); err == nil {
			t.Fatal("Examine() = nil, want the refusal")
		}
	}
	p := w.Compare([]Item{item}, w.ledger, now)
	if len(p.Drifted) != 0 || len(p.Contested) != 1 || !p.Failing || p.Again != firstBrake {
		t.Errorf("Compare() = %+v, want it to wait for %s and to say that it fails", p, firstBrake)
	}
	if p := w.Compare([]Item{item}, w.ledger, now.Add(firstBrake)); len(p.Drifted) != 1 {
		t.Errorf("Compare() = %+v after the pause, want it looked at", p)
	}
}
