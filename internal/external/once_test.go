package external

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/render"
)

const madeOnce = header + "spec:\n  refreshPolicy: CreatedOnce\n  dataFrom: [{find: {name: {regexp: k}}}]\n  data: [{secretKey: k, remoteRef: {key: k}}]\n"

// made answers for every Secret alike, and keeps which it was asked for.
type madeBy struct {
	there bool
	err   error
	asked []string
}

func (m *madeBy) tell(_ context.Context, o render.Object) (bool, error) {
	m.asked = append(m.asked, o.GetName())
	return m.there, m.err
}

// What is made once and is there asks its store for nothing, whatever becomes of
// its manifest, its key and its store.
func TestWhatIsMadeOnceAndIsThereAsksForNothing(t *testing.T) {
	marked := "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: db, labels: {a: b}, annotations: {gitseal.dev/sync-wave: '2', force-sync: '1'}}\n"
	tests := map[string]struct {
		manifests []string
		annotated map[string]string
		names     []string
	}{
		"as it was": {manifests: []string{madeOnce}},
		"of what its templates would make": {
			manifests: []string{header + "spec:\n  refreshPolicy: CreatedOnce\n  target: {name: tls, template: {type: kubernetes.io/tls, metadata: {annotations: {gitseal.dev/sync-wave: '1', x: '{{ .k }}'}}, data: {a: '{{ .k }}'}}}\n  data: [{secretKey: k, remoteRef: {key: k}}]\n"},
			annotated: map[string]string{"gitseal.dev/sync-wave": "1"}, names: []string{"tls"},
		},
		"marked otherwise": {
			manifests: []string{marked + "spec:\n  refreshPolicy: CreatedOnce\n  target: {creationPolicy: Orphan}\n  data: [{secretKey: other, remoteRef: {key: other}}]\n"},
			annotated: map[string]string{"gitseal.dev/sync-wave": "2", v1alpha1.AnnotationPrune: v1alpha1.PruneDisabled},
		},
		"of a key that would be left out": {manifests: []string{header + "spec:\n  refreshPolicy: CreatedOnce\n  target: {deletionPolicy: Delete}\n  data: [{secretKey: k, remoteRef: {key: k}}]\n"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v, there := &vaults{}, &madeBy{there: true} // no store has any key
			m := materializer(v)
			m.Made = there.tell
			for range 2 {
				result, err := m.Materialize(t.Context(), collection(t, tt.manifests...))
				if err != nil {
					t.Fatal(messages(t, err))
				}
				m.Held = result.Held
				if len(v.calls)+len(v.finds) > 0 || result.Uses.Resolved > 0 || len(result.Uses.Values)+len(result.Uses.Finds) > 0 {
					t.Errorf("asked for %v and %v, in use %+v, want nothing", v.calls, v.finds, result.Uses)
				}
				if len(result.Secrets) != 1 || !result.Secrets[0].Hollow || len(opened(t, result.Secrets[0], m.Values)) > 0 {
					t.Fatalf("Secrets %v, want a hollow one", result.Secrets)
				}
				want := map[string]string{v1alpha1.AnnotationApply: v1alpha1.ApplyOnce}
				for k, v := range tt.annotated {
					want[k] = v
				}
				if diff := cmp.Diff(want, result.Secrets[0].GetAnnotations()); diff != "" {
					t.Errorf("annotations (-want +got):\n%s", diff)
				}
			}
			if want := append(tt.names, "db")[0]; there.asked[0] != want {
				t.Errorf("looked for Secret %q, want %q", there.asked[0], want)
			}
		})
	}
}

// Where it is not there it is made of what its store says at that moment: what
// was read for the one before does not count. In use it is nowhere.
func TestWhatIsMadeOnceIsMadeAnewOfItsStore(t *testing.T) {
	v, there := &vaults{text: map[string]string{"k": "first"}}, &madeBy{}
	m := materializer(v)
	m.Made = there.tell
	round := func(when string, want map[string]string, age time.Duration) {
		t.Helper()
		v.calls, v.finds = nil, nil
		result, err := m.Materialize(t.Context(), collection(t, madeOnce))
		if err != nil {
			t.Fatal(when, messages(t, err))
		}
		m.Held = result.Held
		if diff := cmp.Diff(want, opened(t, result.Secrets[0], m.Values)); diff != "" || result.Secrets[0].Hollow != (len(want) == 0) {
			t.Errorf("%s: hollow %v, data (-want +got):\n%s", when, result.Secrets[0].Hollow, diff)
		}
		if len(want) > 0 && (v.calls[0][0].MaxAge != age || v.finds[0].MaxAge != age || v.calls[0][0].Held != nil || v.finds[0].Held != nil) {
			t.Errorf("%s: asked for %+v and %+v, want those of up to %s", when, v.calls[0][0], v.finds[0], age)
		}
		if diff := cmp.Diff(Uses{}, result.Uses); diff != "" {
			t.Errorf("%s: in use (-want +got):\n%s", when, diff)
		}
	}
	round("when it is new", map[string]string{"k": "first"}, time.Hour)
	v.text["k"] = "second"
	round("while it is not made", map[string]string{"k": "second"}, 0)
	there.there = true
	round("once it is made", map[string]string{}, 0)
	there.there = false
	round("when it is gone", map[string]string{"k": "second"}, 0)
}

func TestWhatIsMadeOnceIsCheckedAllTheSame(t *testing.T) {
	tests := map[string]struct {
		spec  string
		there madeBy
		want  []string
	}{
		"it names no store": {
			spec: "refreshPolicy: CreatedOnce\n  secretStoreRef: {}\n  data: [{secretKey: k, remoteRef: {key: k}}]", there: madeBy{there: true},
			want: []string{`apps/db.yaml:3: ExternalSecret "db": spec.data[0]: names no store: set spec.secretStoreRef.name, or spec.secrets.external.storeRef of the Application`},
		},
		"nobody tells whether it is there": {
			spec:  "refreshPolicy: CreatedOnce\n  secretStoreRef: {name: text}\n  data: [{secretKey: k, remoteRef: {key: k}}]",
			there: madeBy{err: failure.Stallf(v1alpha1.ReasonForbidden, "it may not get secrets")},
			want:  []string{"it may not get secrets"},
		},
		"its store does not answer": {
			spec: "refreshPolicy: CreatedOnce\n  secretStoreRef: {name: text}\n  data: [{secretKey: k, remoteRef: {key: old}}]\n  dataFrom: [{find: {name: {regexp: old}}}]",
			want: []string{
				`apps/db.yaml:3: ExternalSecret "db": spec.dataFrom[0].find: SecretStore "text": what it said last is not made into a Secret that stays as it is: it is away: it goes on by itself once the provider answers`,
				`apps/db.yaml:3: ExternalSecret "db": spec.data[0]: SecretStore "text": what it said last is not made into a Secret that stays as it is: it is away: it goes on by itself once the provider answers`,
			},
		},
		"nothing is made of it": {
			spec: "refreshPolicy: CreatedOnce\n  secretStoreRef: {name: text}\n  target: {creationPolicy: None}\n  data: [{secretKey: k, remoteRef: {key: k}}]", there: madeBy{there: true},
			want: []string{`apps/db.yaml:3: ExternalSecret "db": spec.data[0]: SecretStore "text" has no key "k": add it`},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := materializer(&vaults{text: map[string]string{"old": "v"}, kept: "it is away"})
			m.Made, m.Defaults.StoreRef = tt.there.tell, nil
			_, err := m.Materialize(t.Context(), collection(t, header+"spec:\n  "+tt.spec+"\n"))
			if diff := cmp.Diff(tt.want, messages(t, err)); diff != "" {
				t.Errorf("Materialize() (-want +got):\n%s", diff)
			}
		})
	}
}

// What another ExternalSecret adds to a Secret that is made once is added where
// that is made, as ever.
func TestWhatIsAddedToASecretThatIsMadeOnce(t *testing.T) {
	adding := "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: more}\nspec: {target: {name: db, creationPolicy: Merge}, data: [{secretKey: b, remoteRef: {key: b}}]}\n"
	m := materializer(&vaults{text: map[string]string{"b": "added"}})
	m.Made = (&madeBy{there: true}).tell
	result, err := m.Materialize(t.Context(), collection(t, madeOnce, adding))
	if err != nil {
		t.Fatal(messages(t, err))
	}
	if len(result.Secrets) != 1 || !result.Secrets[0].Hollow || result.Uses.Resolved != 1 {
		t.Errorf("Secrets %v, %d keys resolved, want one that is hollow and one key", result.Secrets, result.Uses.Resolved)
	}
}
