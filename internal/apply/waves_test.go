package apply

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/health"
	"github.com/gitseal/gitseal/internal/live"
)

// waved is a ConfigMap with annotations, given as lines of YAML.
func waved(name, annotations string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: " + name + "\n  annotations: {" + annotations + "}"
}

func TestSyncWavesAreRead(t *testing.T) {
	tests := map[string]struct {
		annotations string
		want        int32
		refused     bool
	}{
		"none is the wave 0":                    {annotations: ""},
		"ours":                                  {annotations: `gitseal.dev/sync-wave: "3"`, want: 3},
		"Argo CD's":                             {annotations: `argocd.argoproj.io/sync-wave: "-2"`, want: -2},
		"ours wins":                             {annotations: `argocd.argoproj.io/sync-wave: "-2", gitseal.dev/sync-wave: "7"`, want: 7},
		"ours wins over nonsense":               {annotations: `argocd.argoproj.io/sync-wave: soon, gitseal.dev/sync-wave: "7"`, want: 7},
		"a word is no wave":                     {annotations: `gitseal.dev/sync-wave: soon`, refused: true},
		"a fraction is no wave":                 {annotations: `gitseal.dev/sync-wave: "1.5"`, refused: true},
		"nothing is no wave":                    {annotations: `gitseal.dev/sync-wave: ""`, refused: true},
		"a wave beyond 32 bits is refused":      {annotations: `gitseal.dev/sync-wave: "2147483648"`, refused: true},
		"Argo CD's nonsense is refused as well": {annotations: `argocd.argoproj.io/sync-wave: soon`, refused: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			items, err := w.Build(w.target, objects(t, waved("a", tt.annotations)))
			if tt.refused {
				wantInvalid(t, err, "app.yaml:1", "sync-wave")
				return
			}
			if err != nil || items[0].SyncWave != tt.want {
				t.Errorf("Build() = wave %d, %v, want %d", items[0].SyncWave, err, tt.want)
			}
		})
	}
}

func wantInvalid(t *testing.T, err error, parts ...string) {
	t.Helper()
	f := failure.From(err, "none")
	if err == nil || f.Class != failure.Stall || f.Reason != v1alpha1.ReasonObjectInvalid || f.Hint == "" {
		t.Fatalf("error %v, want a stall with reason ObjectInvalid and a hint", err)
	}
	for _, part := range parts {
		if !strings.Contains(f.Message(), part) {
			t.Errorf("message %q lacks %q", f.Message(), part)
		}
	}
}

func TestWhatIsNeededComesInNoLaterWave(t *testing.T) {
	crd := func(wave int) string {
		return fmt.Sprintf(`apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: tests.example.org, annotations: {gitseal.dev/sync-wave: "%d"}}
spec: {group: example.org, scope: Namespaced, names: {kind: Test, plural: tests}, versions: [{name: v1}]}`, wave)
	}
	namespace := func(wave int) string {
		return fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata: {name: new, annotations: {gitseal.dev/sync-wave: \"%d\"}}", wave)
	}
	resource := "apiVersion: example.org/v1\nkind: Test\nmetadata: {name: a}"
	inside := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: new}"
	tests := map[string]struct {
		objects []string
		refused bool
	}{
		"a resource after its definition":        {objects: []string{resource, crd(-1)}},
		"a resource in its definition's wave":    {objects: []string{resource, crd(0)}},
		"a resource before its definition":       {objects: []string{resource, crd(1)}, refused: true},
		"an object after its namespace":          {objects: []string{inside, namespace(-1)}},
		"an object before its namespace":         {objects: []string{inside, namespace(1)}, refused: true},
		"an object before another one's is fine": {objects: []string{configMap("b"), namespace(1)}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			_, err := w.Build(w.target, objects(t, strings.Join(tt.objects, "\n---\n")))
			if tt.refused {
				wantInvalid(t, err, "app.yaml:1", "wave 0", "wave 1")
			} else if err != nil {
				t.Errorf("Build() = %v, want no error", err)
			}
		})
	}
}

func TestTheNextWaveIsTheLowest(t *testing.T) {
	w := newWorld(t)
	items := w.build(strings.Join([]string{
		waved("a", `gitseal.dev/sync-wave: "1"`), waved("b", `gitseal.dev/sync-wave: "-1"`), configMap("c"), waved("d", `gitseal.dev/sync-wave: "-1"`),
	}, "\n---\n"))
	next, later := NextWave(items)
	if len(next) != 2 || next[0].ID.Name != "b" || next[1].ID.Name != "d" || len(later) != 2 {
		t.Errorf("NextWave() = %v and %v, want b and d first", next, later)
	}
	if got := Before(items, 1); len(got) != 3 {
		t.Errorf("Before(1) has %d items, want 3", len(got))
	}
}

func TestTheSickAreListedByWave(t *testing.T) {
	w := newWorld(t)
	items := w.build(waved("a", `gitseal.dev/sync-wave: "1"`) + "\n---\n" + waved("b", `gitseal.dev/sync-wave: "-1"`) + "\n---\n" + configMap("c"))
	for _, i := range items[:2] {
		w.ledger.put(i.ID, record{state: health.InProgress})
	}
	w.ledger.put(items[2].ID, record{})
	sick := w.ledger.Sick(items)
	if len(sick) != 2 || sick[0].ID.Name != "b" || sick[1].ID.Name != "a" {
		t.Errorf("Sick() = %v, want b and then a", sick)
	}
}

func TestPruneTurnsTheWavesRound(t *testing.T) {
	w := newWorld(t)
	item := w.build(configMap("a"))[0]
	for name, wave := range map[string]string{"first": "-1", "middle": "", "nonsense": "soon", "last": "5"} {
		w.seen.put(item.Scope, name, live.Object{Owned: 1, ApplySet: w.target.ApplySet(), Wave: wave})
	}
	var order []string
	for _, m := range w.stale([]live.Scope{item.Scope}, nil) {
		order = append(order, m.Key.Name)
	}
	if got := strings.Join(order, " "); got != "last middle nonsense first" {
		t.Errorf("Stale() = %s, want the highest wave first", got)
	}
}

func TestWhatAFinalizerKeepsIsLeaving(t *testing.T) {
	w := newWorld(t)
	item := w.build(configMap("a"))[0]
	for name, deleting := range map[string]bool{"going": true, "left": false} {
		w.seen.put(item.Scope, name, live.Object{Owned: 1, ApplySet: w.target.ApplySet(), Deleting: deleting})
	}
	stale, leaving := w.Stale(w.target, []live.Scope{item.Scope}, nil)
	if len(stale) != 1 || stale[0].Key.Name != "left" || len(leaving) != 1 || leaving[0].Key.Name != "going" {
		t.Errorf("Stale() = %v and %v, want left to be pruned and going to be on its way", stale, leaving)
	}
}
