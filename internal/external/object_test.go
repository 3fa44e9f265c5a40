package external

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/render"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
)

const marked = `apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata:
  name: db
  namespace: other
  labels: {team: core, reconcile.external-secrets.io/managed: "true"}
  annotations:
    note: hello
    gitseal.dev/sync-wave: "3"
    argocd.argoproj.io/sync-wave: "4"
    kubectl.kubernetes.io/last-applied-configuration: '{}'
    reconcile.external-secrets.io/data-hash: abc
`

func TestSecretsCarryWhatTheyShould(t *testing.T) {
	type m = map[string]any
	tests := map[string]struct {
		spec string
		want m // without kind, apiVersion and data
	}{
		"the ExternalSecret's own marks": {"spec:\n" + oneValue, m{"metadata": m{"name": "db", "namespace": "other",
			"labels":      m{"team": "core"},
			"annotations": m{"note": "hello", "gitseal.dev/sync-wave": "3", "argocd.argoproj.io/sync-wave": "4"}}}},
		"those of the template": {"spec:\n  target: {name: other, immutable: true, template: {type: kubernetes.io/basic-auth, metadata: {labels: {a: '{{ \"x\" | upper }}'}, annotations: {b: c}, finalizers: [x.io/y]}}}\n" + oneValue,
			m{"type": "kubernetes.io/basic-auth", "immutable": true, "metadata": m{"name": "other", "namespace": "other", "finalizers": []any{"x.io/y"},
				"labels":      m{"a": "X"},
				"annotations": m{"b": "c", "gitseal.dev/sync-wave": "3", "argocd.argoproj.io/sync-wave": "4"}}}},
		"labels by templateFrom": {"spec:\n  target: {template: {templateFrom: [{literal: 'tier: db', target: Labels}, {literal: 'w: x', target: Annotations}]}}\n" + oneValue,
			m{"metadata": m{"name": "db", "namespace": "other", "labels": m{"tier": "db"},
				"annotations": m{"w": "x", "gitseal.dev/sync-wave": "3", "argocd.argoproj.io/sync-wave": "4"}}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v := &vaults{text: map[string]string{"db": "hunter22"}}
			result, err := materializer(v).Materialize(t.Context(), collection(t, marked+tt.spec))
			if err != nil {
				t.Fatal(messages(t, err))
			}
			got := result.Secrets[0].Object
			if got["kind"] != "Secret" || got["apiVersion"] != "v1" || result.Secrets[0].Origin.Line != 3 {
				t.Errorf("it is %v %v of %v", got["apiVersion"], got["kind"], result.Secrets[0].Origin)
			}
			for _, field := range []string{"kind", "apiVersion", "data"} {
				delete(got, field)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("the Secret (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPoliciesAreAnnotations(t *testing.T) {
	tests := map[string]struct {
		spec string
		want map[string]string
		none bool
	}{
		"Owner":                  {spec: "  target: {creationPolicy: Owner}\n"},
		"Orphan":                 {spec: "  target: {creationPolicy: Orphan}\n", want: map[string]string{v1alpha1.AnnotationPrune: v1alpha1.PruneDisabled}},
		"Merge":                  {spec: "  target: {creationPolicy: Merge}\n", want: map[string]string{v1alpha1.AnnotationPrune: v1alpha1.PruneRelease, v1alpha1.AnnotationApply: v1alpha1.ApplyMerge}},
		"CreateOrMerge":          {spec: "  target: {creationPolicy: CreateOrMerge}\n", want: map[string]string{v1alpha1.AnnotationPrune: v1alpha1.PruneRelease}},
		"None":                   {spec: "  target: {creationPolicy: None}\n", none: true},
		"CreatedOnce":            {spec: "  refreshPolicy: CreatedOnce\n", want: map[string]string{v1alpha1.AnnotationApply: v1alpha1.ApplyOnce}},
		"CreatedOnce and Orphan": {spec: "  refreshPolicy: CreatedOnce\n  target: {creationPolicy: Orphan}\n", want: map[string]string{v1alpha1.AnnotationPrune: v1alpha1.PruneDisabled, v1alpha1.AnnotationApply: v1alpha1.ApplyOnce}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v := &vaults{text: map[string]string{"db": "hunter22"}}
			result, err := materializer(v).Materialize(t.Context(), collection(t, header+"spec:\n"+tt.spec+oneValue))
			if err != nil {
				t.Fatal(messages(t, err))
			}
			if len(v.calls) != 1 {
				t.Errorf("the store was asked %d times", len(v.calls))
			}
			if tt.none {
				if len(result.Secrets) != 0 || len(result.Uses.Values) != 1 {
					t.Errorf("it made %d Secrets of %d values", len(result.Secrets), len(result.Uses.Values))
				}
				return
			}
			if diff := cmp.Diff(tt.want, result.Secrets[0].GetAnnotations()); diff != "" {
				t.Errorf("annotations (-want +got):\n%s", diff)
			}
		})
	}
}

func TestASecretGoesWhenAllItsValuesDo(t *testing.T) {
	v := &vaults{gone: map[string]bool{"db": true}}
	result, err := materializer(v).Materialize(t.Context(), collection(t, header+"spec:\n  target: {deletionPolicy: Delete}\n"+oneValue))
	if err != nil || len(result.Secrets) != 0 {
		t.Errorf("Materialize = %d Secrets, %v", len(result.Secrets), err)
	}
	if u := result.Uses.Values; len(u) != 1 || u[0].Token != "" {
		t.Errorf("uses are %+v", u)
	}
}

func TestAllIsAskedForAtOnce(t *testing.T) {
	v := &vaults{text: map[string]string{"a": `{"x": "1", "y": "2"}`, "b": "3", "app/1": "4", "app/2": "5"}}
	var texts []string
	for i := range 3 {
		texts = append(texts, strings.Replace(header, "name: db", fmt.Sprintf("name: db%d", i), 1)+`spec:
  refreshInterval: 15m
  data:
  - {secretKey: x, remoteRef: {key: a, property: x}}
  - {secretKey: 'y', remoteRef: {key: a, property: 'y'}}
  - {secretKey: z, remoteRef: {key: b}}
  dataFrom:
  - find: {name: {regexp: ^app/}}
`)
	}
	result, err := materializer(v).Materialize(t.Context(), collection(t, texts...))
	if err != nil {
		t.Fatal(messages(t, err))
	}
	if len(v.calls) != 2 || len(v.calls[0]) != 6 || len(v.calls[1]) != 6 || len(v.finds) != 3 {
		t.Fatalf("it took %d calls and %d searches, want 2 of 6 values each, and 3", len(v.calls), len(v.finds))
	}
	want := Request{Namespace: "shop", Store: v1alpha1.StoreReference{Name: "text", Kind: "SecretStore"},
		Ref: providers.Ref{Key: "a"}, Properties: []string{"x", "y"}, MaxAge: 15 * time.Minute}
	if diff := cmp.Diff(want, v.calls[0][0]); diff != "" {
		t.Errorf("the first request (-want +got):\n%s", diff)
	}
	if result.Uses.Resolved != 15 || len(result.Uses.Values) != 4 || len(result.Uses.Finds) != 3 {
		t.Errorf("%d keys of %d values and %d finds, want 15 of 4 and 3", result.Uses.Resolved, len(result.Uses.Values), len(result.Uses.Finds))
	}
	if got := result.Uses.Values; !slices.Equal(got[0].Properties, []string{"x", "y"}) || got[1].Properties != nil {
		t.Errorf("properties %q and %q, want those of a, and all of b", got[0].Properties, got[1].Properties)
	}
}

func TestUsesAreDue(t *testing.T) {
	read := now.Add(-time.Minute)
	tests := map[string]struct {
		spec  string
		want  time.Time
		never bool
	}{
		"after the default interval":      {spec: oneValue, want: read.Add(time.Hour)},
		"after its own":                   {spec: "  refreshInterval: 5m\n" + oneValue, want: read.Add(5 * time.Minute)},
		"not too soon":                    {spec: "  refreshInterval: 1ms\n" + oneValue, want: read.Add(10 * time.Second)},
		"never at 0":                      {spec: "  refreshInterval: 0s\n" + oneValue, never: true},
		"never where made once":           {spec: "  refreshPolicy: CreatedOnce\n" + oneValue, never: true},
		"never but on a change":           {spec: "  refreshPolicy: OnChange\n" + oneValue, never: true},
		"for a find, since it was listed": {spec: "  refreshInterval: 5m\n  dataFrom: [{find: {name: {regexp: none}}}]\n" + oneValue, want: now.Add(3 * time.Minute)},
		"at the end of an epoch":          {spec: "  refreshInterval: 7m\n  dataFrom: [{sourceRef: {generatorRef: {kind: UUID, name: u}}}]\n", want: time.Unix((now.Unix()/420+1)*420, 0)},
		"for a template that draws":       {spec: "  refreshInterval: 2h\n  target: {template: {data: {a: '{{ draw }}'}}}\n" + oneValue, want: read.Add(2 * time.Hour)},
		"never, generated values and 0s":  {spec: "  refreshInterval: 0s\n  dataFrom: [{sourceRef: {generatorRef: {kind: UUID, name: u}}}]\n", never: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v := &vaults{text: map[string]string{"db": "hunter22"}}
			generator := "apiVersion: generators.external-secrets.io/v1alpha1\nkind: UUID\nmetadata: {name: u}"
			result, err := materializer(v).Materialize(t.Context(), collection(t, generator, header+"spec:\n"+tt.spec))
			if err != nil {
				t.Fatal(messages(t, err))
			}
			due, ever := result.Uses.Due()
			if ever == tt.never || !due.Equal(tt.want) {
				t.Errorf("Due = %v, %t, want %v", due, ever, tt.want)
			}
			if draws := strings.Contains(tt.spec, "draw"); draws != (len(result.Uses.Epochs) > 0) && draws {
				t.Error("the template that draws has no epoch")
			}
		})
	}
}

func TestFingerprintsTellChanges(t *testing.T) {
	spec := header + "spec:\n  dataFrom: [{find: {name: {regexp: ^app/}}}]\n" + oneValue
	fingerprint := func(text map[string]string, at time.Time) string {
		m := materializer(&vaults{text: text})
		m.Now = at
		result, err := m.Materialize(t.Context(), collection(t, spec))
		if err != nil {
			t.Fatal(messages(t, err))
		}
		return result.Uses.Fingerprint()
	}
	before := fingerprint(map[string]string{"db": "a", "app/1": "b"}, now)
	if got := fingerprint(map[string]string{"db": "a", "app/1": "b"}, now.Add(24*time.Hour)); got != before {
		t.Error("it changes with time alone")
	}
	for name, text := range map[string]map[string]string{
		"a value": {"db": "b", "app/1": "b"}, "a found value": {"db": "a", "app/1": "c"}, "a found key": {"db": "a", "app/1": "b", "app/2": "b"},
	} {
		if fingerprint(text, now) == before {
			t.Errorf("it does not change with %s", name)
		}
	}
}

func TestReferences(t *testing.T) {
	c := collection(t, header+`spec:
  secretStoreRef: {name: v, kind: ClusterSecretStore}
  target: {name: app}
  data:
  - {secretKey: a, remoteRef: {key: k, property: p, version: "3"}}
  - {secretKey: b, remoteRef: {key: k, metadataPolicy: Fetch}, sourceRef: {storeRef: {name: w}}}
  dataFrom:
  - extract: {key: all}
  - find: {path: x/, name: {regexp: yes.*}}
  - sourceRef: {generatorRef: {kind: UUID, name: u}}
`)
	cluster := v1alpha1.StoreReference{Name: "v", Kind: v1alpha1.KindClusterSecretStore}
	origin := render.Origin{File: "apps/db.yaml", Line: 3}
	want := []Reference{
		{Namespace: "shop", Store: cluster, Ref: providers.Ref{Key: "k", Version: "3"}, Property: "p", Field: "spec.data[0]", Target: "app", SecretKey: "a", Origin: origin},
		{Namespace: "shop", Store: v1alpha1.StoreReference{Name: "w", Kind: v1alpha1.KindSecretStore}, Ref: providers.Ref{Key: "k", Metadata: true}, Field: "spec.data[1]", Target: "app", SecretKey: "b", Origin: origin},
		{Namespace: "shop", Store: cluster, Ref: providers.Ref{Key: "all"}, Field: "spec.dataFrom[0]", Target: "app", Origin: origin},
		{Namespace: "shop", Store: cluster, Find: &providers.Query{Path: "x/", Name: "yes.*"}, Field: "spec.dataFrom[1]", Target: "app", Origin: origin},
	}
	if diff := cmp.Diff(want, References(c.Manifests[0], Defaults{Namespace: "shop"})); diff != "" {
		t.Errorf("References (-want +got):\n%s", diff)
	}
}

func TestWhatIsDerivedIsTheSameUntilItsEpochEnds(t *testing.T) {
	derivation := NewDerivation(secret.NewTokenizer([]byte("install key")))
	generator := "apiVersion: generators.external-secrets.io/v1alpha1\nkind: Password\nmetadata: {name: p}"
	const from = "  dataFrom: [{sourceRef: {generatorRef: {kind: Password, name: p}}}]\n"
	run := func(t *testing.T, spec string, at time.Time) (map[string]string, Uses) {
		t.Helper()
		m := materializer(&vaults{text: map[string]string{"db": "hunter22"}})
		m.Templates, m.Deriver, m.Now = derivation, derivation, at
		result, err := m.Materialize(t.Context(), collection(t, generator, header+"spec:\n"+spec))
		if err != nil {
			t.Fatal(messages(t, err))
		}
		return opened(t, result.Secrets[0], m.Values), result.Uses
	}
	tests := map[string]struct {
		spec    string
		changes bool // with the epoch
	}{
		"a generator":                   {"  refreshInterval: 10m\n" + from, true},
		"a generator used once":         {"  refreshPolicy: CreatedOnce\n" + from, false},
		"a template that draws":         {"  refreshInterval: 10m\n  target: {template: {data: {a: '{{ randAlphaNum 20 }}'}}}\n" + oneValue, true},
		"a template that asks the time": {"  refreshInterval: 10m\n  target: {template: {data: {a: '{{ now | date \"15:04\" }}'}}}\n" + oneValue, true},
		"a template that computes":      {"  refreshInterval: 10m\n  target: {template: {data: {a: '{{ .password | upper }}'}}}\n" + oneValue, false},
		"a template that is never due":  {"  refreshInterval: 0s\n  target: {template: {data: {a: '{{ randAlphaNum 20 }}'}}}\n" + oneValue, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			first, uses := run(t, tt.spec, now)
			same, _ := run(t, tt.spec, now.Add(9*time.Minute))
			next, later := run(t, tt.spec, now.Add(10*time.Minute))
			if diff := cmp.Diff(first, same); diff != "" {
				t.Errorf("it changes within an epoch:\n%s", diff)
			}
			if changed := !cmp.Equal(first, next); changed != tt.changes {
				t.Errorf("it changes with the epoch: %t, want %t", changed, tt.changes)
			}
			if told := uses.Fingerprint() != later.Fingerprint(); told != tt.changes {
				t.Errorf("the fingerprint changes: %t, want %t", told, tt.changes)
			}
			if due := slices.ContainsFunc(uses.Epochs, now.Add(10*time.Minute).Equal); due != tt.changes {
				t.Errorf("epochs end at %v", uses.Epochs)
			}
		})
	}
}

// Labels and annotations are readable by many: what a template draws for one of
// them must say nothing of what another draws for an entry of the same name.
func TestWhatIsDrawnForMetadataIsNotWhatIsDrawnForData(t *testing.T) {
	derivation := NewDerivation(secret.NewTokenizer([]byte("install key")))
	for _, from := range []string{
		"labels: {token: '{{ randAlphaNum 16 }}'}", "annotations: {token: '{{ randAlphaNum 16 }}'}",
	} {
		m := materializer(&vaults{text: map[string]string{"db": "hunter22"}})
		m.Templates, m.Deriver = derivation, derivation
		result, err := m.Materialize(t.Context(), collection(t, header+"spec:\n  target: {template: {data: {token: '{{ randAlphaNum 32 }}'}, metadata: {"+from+"}}}\n"+oneValue))
		if err != nil {
			t.Fatal(messages(t, err))
		}
		drawn := opened(t, result.Secrets[0], m.Values)["token"]
		for _, marks := range []map[string]string{result.Secrets[0].GetLabels(), result.Secrets[0].GetAnnotations()} {
			if mark, ok := marks["token"]; ok && strings.HasPrefix(drawn, mark) {
				t.Errorf("%s is how the entry token begins", from)
			}
		}
	}
}

func TestNoTemplateMakesAKeyOfWhatItDraws(t *testing.T) {
	derivation := NewDerivation(secret.NewTokenizer([]byte("install key")))
	m := materializer(&vaults{text: map[string]string{"db": "hunter22"}})
	m.Templates, m.Deriver = derivation, derivation
	_, err := m.Materialize(t.Context(), collection(t, header+"spec:\n  target: {template: {templateFrom: [{literal: '{{ randAlphaNum 32 }}: x'}]}}\n"+oneValue))
	if err == nil || !strings.Contains(strings.Join(messages(t, err), "\n"), "a key that holds a value") {
		t.Errorf("a key that was drawn: %v", err)
	}
}

// Whoever may write an Application may have it render an ExternalSecret for any
// namespace, although not apply it there. What is derived must be of no use then.
func TestOneTenantCannotDeriveWhatAnotherDoes(t *testing.T) {
	derivation := NewDerivation(secret.NewTokenizer([]byte("install key")))
	seen := map[string]string{}
	for _, tenant := range []string{"shop", "mallory"} {
		m := materializer(&vaults{text: map[string]string{"db": "hunter22"}})
		m.Templates, m.Deriver, m.Defaults.Home = derivation, derivation, tenant
		result, err := m.Materialize(t.Context(), collection(t,
			"apiVersion: generators.external-secrets.io/v1alpha1\nkind: Password\nmetadata: {name: p}",
			header+"spec:\n  target: {template: {mergePolicy: Merge, data: {a: '{{ randAlphaNum 20 }}'}}}\n  dataFrom: [{sourceRef: {generatorRef: {kind: Password, name: p}}}]\n"))
		if err != nil {
			t.Fatal(messages(t, err))
		}
		for key, value := range opened(t, result.Secrets[0], m.Values) {
			if seen[key] == value {
				t.Errorf("two tenants derive the same %s", key)
			}
			seen[key] = value
		}
	}
}

func TestWhatIsMergedIntoASecretOfTheRevisionIsPartOfIt(t *testing.T) {
	named := func(name, meta, creation, key string) string {
		return strings.Replace(header, "name: db", "name: "+name+meta, 1) +
			"spec:\n  target: {name: app, creationPolicy: " + creation + "}\n  data: [{secretKey: " + key + ", remoteRef: {key: db}}]\n"
	}
	release := map[string]any{"gitseal.dev/prune": "Release"}
	tests := map[string]struct {
		objects []string
		want    map[string]any // metadata
		keys    []string
	}{
		"into one that is owned": {[]string{named("b", ", labels: {x: '1', z: '2'}, annotations: {m: o, gitseal.dev/sync-wave: '9'}", "Merge", "b"), named("a", ", labels: {x: '0'}", "Owner", "a"), named("c", "", "CreateOrMerge", "c")},
			map[string]any{"name": "app", "labels": map[string]any{"x": "0", "z": "2"}, "annotations": map[string]any{"m": "o"}}, []string{"a", "b", "c"}},
		"into one of somebody else": {[]string{named("a", "", "Merge", "a"), named("b", "", "CreateOrMerge", "b")},
			map[string]any{"name": "app", "annotations": release}, []string{"a", "b"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := materializer(&vaults{text: map[string]string{"db": "hunter22"}})
			result, err := m.Materialize(t.Context(), collection(t, tt.objects...))
			if err != nil || len(result.Secrets) != 1 {
				t.Fatalf("Materialize = %d Secrets, %v", len(result.Secrets), messages(t, err))
			}
			if diff := cmp.Diff(tt.want, result.Secrets[0].Object["metadata"]); diff != "" {
				t.Errorf("metadata (-want +got):\n%s", diff)
			}
			if got := slices.Sorted(maps.Keys(opened(t, result.Secrets[0], m.Values))); !slices.Equal(got, tt.keys) {
				t.Errorf("keys are %q, want %q", got, tt.keys)
			}
		})
	}
}
