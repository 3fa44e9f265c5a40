package apply

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/live"
)

// merging is a Secret that adds a key to one of somebody else.
func merging(annotations string) string {
	return "apiVersion: v1\nkind: Secret\nmetadata: {name: a, annotations: {gitseal.dev/prune: Release" + annotations + "}}\ndata: {ours: dg==}"
}

func (w *world) patches() (all []call) {
	for _, c := range w.seenCalls() {
		if c.method == http.MethodPatch {
			all = append(all, c)
		}
	}
	return all
}

const awaiting = ", gitseal.dev/apply: Merge"

func TestASecretIsMergedIntoSomebodyElses(t *testing.T) {
	tests := map[string]struct {
		annotations string
		object      map[string]any
		reason      string // of the refusal
	}{
		"one that is there":                {annotations: awaiting, object: existing(nil, nil)},
		"Argo CD's":                        {annotations: awaiting, object: existing(nil, map[string]any{"argocd.argoproj.io/tracking-id": "shop:/Secret:ns/a"})},
		"one that is made where it is not": {},
		"one that is waited for":           {annotations: awaiting, reason: v1alpha1.ReasonTargetMissing},
		"another Application's": {
			annotations: awaiting, object: existing(map[string]any{v1alpha1.ApplySetPartOfLabel: "alive"}, nil), reason: v1alpha1.ReasonObjectConflict},
		"another ApplySet's": {
			annotations: awaiting, object: existing(map[string]any{v1alpha1.ApplySetPartOfLabel: "applyset-kubectl"}, nil), reason: v1alpha1.ReasonOwnedByOther},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for _, adopt := range []bool{false, true} {
				w := newWorld(t)
				s := &store{w: w, object: tt.object}
				w.answer = s.serve
				items := w.build(merging(tt.annotations))
				w.seen[items[0].Scope] = map[live.Key]live.Object{}
				if tt.reason == v1alpha1.ReasonObjectConflict {
					w.seen.put(items[0].Scope, "a", live.Object{ResourceVersion: 7, ApplySet: "alive"})
				}
				claimed, err := w.Claim(t.Context(), w.target, items, w.ledger, Rules{Adopt: adopt, Parent: onlyAlive})
				if tt.reason != "" && (!adopt || tt.reason != v1alpha1.ReasonOwnedByOther) {
					if f := failure.From(err, ""); f.Reason != tt.reason || f.Hint == "" {
						t.Errorf("Claim() = %s %q, want %s", f.Reason, f.Message(), tt.reason)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if changed, err := w.Apply(t.Context(), claimed, w.ledger, w.values); err != nil || changed != 1 {
					t.Errorf("Apply() = %d, %v, want it applied", changed, err)
				}
				if patches := w.patches(); len(patches) != 1 || !strings.Contains(patches[0].path, "force=true") {
					t.Errorf("patches %v, want it applied and nothing taken away from whom it belongs to", patches)
				}
			}
		})
	}
}

// What is waited for fails before anything is applied, unless what comes in a
// lower sync wave may make it; then it fails when its turn has come.
func TestAMissingTargetIsFoundInTime(t *testing.T) {
	w := newWorld(t)
	s := &store{w: w}
	w.answer = s.serve
	items := w.build(merging(awaiting+`, gitseal.dev/sync-wave: "1"`) + "\n---\n" + configMap("maker"))
	w.seen[items[0].Scope] = map[live.Key]live.Object{}
	w.seen[items[1].Scope] = map[live.Key]live.Object{}
	claimed, err := w.Claim(t.Context(), w.target, items, w.ledger, Rules{Parent: onlyAlive})
	if err != nil {
		t.Fatalf("Claim() = %v, want the lower wave to come first", err)
	}
	target := claimed[:1]
	if _, err := w.Apply(t.Context(), target, w.ledger, w.values); failure.From(err, "").Reason != v1alpha1.ReasonTargetMissing || s.object != nil {
		t.Fatalf("Apply() = %v, want it to wait and to create nothing", err)
	}
	if _, err := w.Claim(t.Context(), w.target, items[:1], w.ledger, Rules{Parent: onlyAlive}); failure.From(err, "").Reason != v1alpha1.ReasonTargetMissing {
		t.Errorf("Claim() = %v, want it found before anything is applied", err)
	}
	s.object = existing(nil, nil)
	if _, err := w.Apply(t.Context(), target, w.ledger, w.values); err != nil {
		t.Errorf("Apply() = %v once it is there", err)
	}
}

// A member that is gone meanwhile is not created by what merges into it.
func TestATargetThatGoesIsNotCreatedAgain(t *testing.T) {
	w := newWorld(t)
	s := &store{w: w, object: existing(map[string]any{v1alpha1.ApplySetPartOfLabel: w.target.ApplySet()}, nil)}
	w.answer = s.serve
	items := w.build(merging(awaiting))
	w.seen.put(items[0].Scope, "a", live.Object{UID: "u", ResourceVersion: 7, ApplySet: w.target.ApplySet()})
	claimed, err := w.Claim(t.Context(), w.target, items, w.ledger, Rules{Parent: onlyAlive})
	if err != nil || len(w.seenCalls()) != 0 {
		t.Fatalf("Claim() = %v after %d calls, want what the watch shows to do", err, len(w.seenCalls()))
	}
	s.object = nil
	if _, err := w.Apply(t.Context(), claimed, w.ledger, w.values); failure.From(err, "").Reason != v1alpha1.ReasonTargetMissing || s.object != nil {
		t.Errorf("Apply() = %v, object %v, want it to be waited for", err, s.object)
	}
	found, err := w.Examine(t.Context(), items, w.ledger, w.values, time.Time{})
	if failure.From(err, "").Reason != v1alpha1.ReasonTargetMissing || len(found.Drifted) != 0 {
		t.Errorf("Examine() = %+v, %v, want it to be waited for", found, err)
	}
}

func TestWhatWasMergedIsLetGo(t *testing.T) {
	w := newWorld(t)
	items := w.build(merging(""))
	w.seen.put(items[0].Scope, "a", live.Object{UID: "u", ResourceVersion: 7, ApplySet: w.target.ApplySet(), Owned: 1, Prune: v1alpha1.PruneRelease})
	stale := w.stale([]live.Scope{items[0].Scope}, nil)
	if pruned, err := w.Prune(t.Context(), stale); pruned != 1 || err != nil {
		t.Fatalf("Prune() = %d, %v, want one", pruned, err)
	}
	calls := w.seenCalls()
	if len(calls) != 1 || calls[0].method != http.MethodPatch || !strings.Contains(calls[0].path, "fieldManager=gitseal") {
		t.Fatalf("calls %v, want one apply", calls)
	}
	var sent map[string]any
	if err := json.Unmarshal([]byte(calls[0].body), &sent); err != nil {
		t.Fatal(err)
	}
	meta := metaOf(sent)
	if len(sent) != 3 || len(meta) != 4 || meta["uid"] != "u" || meta["resourceVersion"] != "7" {
		t.Errorf("applied %v, want nothing but what names the object", sent)
	}
}

func TestWhatCannotBeMerged(t *testing.T) {
	tests := map[string]string{
		"another kind":                 strings.Replace(configMap("a"), "{name: a}", "{name: a, annotations: {gitseal.dev/prune: Release}}", 1),
		"what would be pruned":         "apiVersion: v1\nkind: Secret\nmetadata: {name: a, annotations: {gitseal.dev/apply: Merge}}",
		"another way of being applied": "apiVersion: v1\nkind: Secret\nmetadata: {name: a, annotations: {gitseal.dev/apply: Often}}",
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			_, err := w.Build(w.target, objects(t, text))
			if f := failure.From(err, ""); f.Reason != v1alpha1.ReasonObjectInvalid || f.Class != failure.Stall || f.Hint == "" {
				t.Errorf("Build() = %s %q", f.Reason, f.Message())
			}
		})
	}
}

// To have merged into a Secret makes it nobody's own: what then wants all of it
// is refused where another tool owns it, as it would have been at first, and
// otherwise takes it as it takes what is there.
func TestWhatWasMergedIntoIsNotOursToOwn(t *testing.T) {
	release := func(annotations map[string]any) map[string]any {
		o := existing(nil, map[string]any{v1alpha1.AnnotationPrune: v1alpha1.PruneRelease})
		for k, v := range annotations {
			metaOf(o)["annotations"].(map[string]any)[k] = v
		}
		return o
	}
	tests := map[string]struct {
		object map[string]any
		reason string
	}{
		"a user's":  {object: release(nil)},
		"Argo CD's": {object: release(map[string]any{"argocd.argoproj.io/tracking-id": "shop:/Secret:ns/a"}), reason: v1alpha1.ReasonOwnedByOther},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			metaOf(tt.object)["labels"] = map[string]any{v1alpha1.ApplySetPartOfLabel: w.target.ApplySet()}
			w.answer = (&store{w: w, object: tt.object}).serve
			items := w.build("apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {ours: dg==}")
			w.seen.put(items[0].Scope, "a", live.Object{ResourceVersion: 7, ApplySet: w.target.ApplySet(), Prune: v1alpha1.PruneRelease})
			own := func(context.Context, string) (types.NamespacedName, bool, error) {
				return w.target.Application, true, nil
			}
			claimed, err := w.Claim(t.Context(), w.target, items, w.ledger, Rules{Parent: own})
			if tt.reason != "" {
				if f := failure.From(err, ""); err == nil || f.Reason != tt.reason {
					t.Errorf("Claim() = %v, want %s", err, tt.reason)
				}
				return
			}
			if err != nil || claimed[0].claim == nil || claimed[0].claim.uid != "u" {
				t.Fatalf("Claim() = %+v, %v, want it bound to what is there", claimed[0].claim, err)
			}
			if changed, err := w.Apply(t.Context(), claimed, w.ledger, w.values); err != nil || changed != 1 {
				t.Errorf("Apply() = %d, %v, want it applied", changed, err)
			}
		})
	}
}
