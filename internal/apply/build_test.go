package apply

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/live"
	"github.com/gitseal/gitseal/internal/secret"
)

func TestTheApplySetIsDerivedAsTheKEPSays(t *testing.T) {
	// printf app.ns.Application.gitseal.dev | sha256sum | xxd -r -p | base64, in
	// the URL alphabet and without padding.
	const want = "applyset-LQnUGUcUuFtUM2Ef2WDTz7-yOjntBU4iAcf6NJKE7nU-v1"
	got := Target{Application: types.NamespacedName{Namespace: "ns", Name: "app"}}.ApplySet()
	if got != want {
		t.Errorf("ApplySet() = %q, want %q", got, want)
	}
}

func TestBuildAddressesObjects(t *testing.T) {
	const crd = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: foos.example.com}\nspec: {group: example.com, scope: Namespaced, names: {kind: Foo, plural: foos}, versions: [{name: v1}]}"
	tests := map[string]struct {
		yaml      string
		path      string
		namespace string
		wave      Wave
		brought   bool
		housed    bool
	}{
		"a namespace is added where none is given": {configMap("a"), "/api/v1/namespaces/ns/configmaps/a", "ns", WaveConfig, false, false},
		"a namespace that is given is kept": {
			"apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: other}", "/api/v1/namespaces/other/services/a", "other", WaveRest, false, false},
		"a cluster-scoped kind has none": {
			"apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: 'a:b', namespace: ns}",
			"/apis/rbac.authorization.k8s.io/v1/clusterroles/a:b", "", WaveIdentity, false, false},
		"a definition comes first": {crd, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/foos.example.com", "", WaveDefinitions, false, false},
		"a kind that a definition brings is known": {
			"apiVersion: example.com/v1\nkind: Foo\nmetadata: {name: a}\n---\n" + crd, "/apis/example.com/v1/namespaces/ns/foos/a", "ns", WaveRest, true, false},
		"a namespace among the objects houses others": {
			"apiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: new}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: new}",
			"/api/v1/namespaces/new/secrets/a", "new", WaveConfig, false, true},
		"a workload comes last": {"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}", "/apis/apps/v1/namespaces/ns/deployments/a", "ns", WaveRest, false, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			i := w.build(tt.yaml)[0]
			if i.path != tt.path || i.ID.Namespace != tt.namespace || i.Wave != tt.wave || i.Brought != tt.brought || i.Housed != tt.housed {
				t.Errorf("item = %s in %q, wave %d, brought %v, housed %v", i.path, i.ID.Namespace, i.Wave, i.Brought, i.Housed)
			}
			if !strings.Contains(string(i.body), w.target.ApplySet()) {
				t.Errorf("body %s lacks the ApplySet's label", i.body)
			}
			if want := (live.Scope{Identity: w.target.Identity, Resource: i.Scope.Resource, Namespace: tt.namespace}); i.Scope != want {
				t.Errorf("scope = %+v, want %+v", i.Scope, want)
			}
		})
	}
}

func TestBuildRefuses(t *testing.T) {
	tests := map[string]struct {
		yaml  string
		class failure.Class
		text  string
	}{
		"an object that is there twice": {configMap("a") + "\n---\n" + configMap("a"), failure.Stall,
			`app.yaml:2: ConfigMap "a" in namespace "ns" is already defined at app.yaml:1: remove one of the two`},
		"the same object with and without its namespace": {configMap("a") + "\n---\n" + strings.Replace(configMap("a"), "{name: a", "{namespace: ns, name: a", 1), failure.Stall, "already defined"},
		"a kind that nobody knows": {"apiVersion: example.com/v1\nkind: Foo\nmetadata: {name: a}", failure.Wait,
			"app.yaml:1: the cluster does not know kind Foo of example.com/v1: install its CustomResourceDefinition"},
		"a name that leads to another path":     {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ../secrets/a}", failure.Stall, "may not contain '/'"},
		"a name of dots":                        {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ..}", failure.Stall, "may not be '..'"},
		"a namespace that leads to another one": {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: ../kube-system}", failure.Stall, "may not contain '/'"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			_, err := w.Build(w.target, objects(t, tt.yaml))
			var f *failure.Error
			if !errors.As(err, &f) || f.Class != tt.class || !strings.Contains(f.Message(), tt.text) {
				t.Errorf("Build() = %v, want a %s with %q", err, tt.class, tt.text)
			}
		})
	}
}

func TestStringDataIsFolded(t *testing.T) {
	w := newWorld(t)
	i := w.build("apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {a: b2xk, b: Yg==}\nstringData: {a: new, c: ''}")[0]
	var got map[string]any
	if err := json.Unmarshal(i.body, &got); err != nil {
		t.Fatal(err)
	}
	data := got["data"].(map[string]any)
	if got["stringData"] != nil || data["a"] != b64("new") || data["b"] != "Yg==" || data["c"] != "" {
		t.Errorf("folded to %v, want stringData in data and over it", got)
	}
}

func TestDigestsAreDeterministicAndTellContentApart(t *testing.T) {
	one, two := newWorld(t), newWorld(t)
	const text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {b: '1', a: '2'}"
	a, b := one.build(text)[0], two.build("kind: ConfigMap\napiVersion: v1\ndata: {a: '2', b: '1'}\nmetadata: {name: a}")[0]
	if a.digest != b.digest || !bytes.Equal(a.body, b.body) {
		t.Error("the order of keys changes the digest")
	}
	if c := one.build(configMap("a"))[0]; c.digest == a.digest {
		t.Error("another content has the same digest")
	}
	input := objects(t, text)
	if _, err := one.Build(one.target, input); err != nil || input[0].GetNamespace() != "" || input[0].GetLabels() != nil {
		t.Errorf("Build() changed its input to %v (%v)", input[0].Object, err)
	}
}

func TestTokensAreFound(t *testing.T) {
	w := newWorld(t)
	token := w.token("value", secret.String)
	long := b64(strings.Repeat("line of text\n", 10) + token + "\n")
	broken := long[:70] + "\n" + long[70:] + "\n" // as Kustomize's generators write it
	for name, tt := range map[string]struct {
		object map[string]any
		want   bool
	}{
		"none":                     {map[string]any{"data": map[string]any{"a": "plain", "b": b64("plain"), "n": int64(1)}}, false},
		"raw":                      {map[string]any{"data": map[string]any{"a": token}}, true},
		"within text":              {map[string]any{"data": map[string]any{"a": "user:" + token + "@host"}}, true},
		"within base64":            {map[string]any{"data": map[string]any{"a": b64("user:" + token)}}, true},
		"within base64 of lines":   {map[string]any{"data": map[string]any{"a": broken}}, true},
		"within lists of maps":     {map[string]any{"l": []any{map[string]any{"a": []any{token}}}}, true},
		"a prefix alone is a text": {map[string]any{"a": secret.TokenPrefix + "short"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := holdsTokens(tt.object); got != tt.want {
				t.Errorf("holdsTokens(%v) = %v, want %v", tt.object, got, tt.want)
			}
		})
	}
}

func TestScopesListEachWatchOnce(t *testing.T) {
	w := newWorld(t)
	items := w.build(configMap("a") + "\n---\n" + configMap("b") + "\n---\napiVersion: v1\nkind: Service\nmetadata: {name: s}")
	if got := Scopes(items); len(got) != 2 {
		t.Errorf("Scopes() = %v, want 2", got)
	}
	items[2].Brought = true
	if got := Scopes(items); len(got) != 1 {
		t.Errorf("Scopes() = %v, want that of the ConfigMaps only, while Services are not served", got)
	}
	if got := Places(items); len(got) != 2 || got[0].String() != "ConfigMap/ns" || got[1].String() != "Service/ns" {
		t.Errorf("Places() = %v", got)
	}
}

func TestMemberScopesLeaveOutWhatIsNotServed(t *testing.T) {
	w := newWorld(t)
	got, unserved, err := w.MemberScopes(w.target, []Place{ParsePlace("ConfigMap/a"), ParsePlace("ConfigMap/b"), ParsePlace("Namespace/"), ParsePlace("Foo.gone.example.com/a"), {}})
	if err != nil || len(unserved) != 2 || len(got) != 3 || got[0].Namespace != "a" || got[1].Namespace != "b" || got[2].Namespace != "" {
		t.Errorf("MemberScopes() = %v, %v, want ConfigMaps in a and b, and Namespaces", got, err)
	}
}
