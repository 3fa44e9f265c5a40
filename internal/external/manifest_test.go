package external

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/render"
	"github.com/gitseal/gitseal/internal/secret"
)

// object is a rendered object of apps/db.yaml, line 3.
func object(t testing.TB, text string) render.Object {
	t.Helper()
	var m map[string]any
	if err := yaml.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	return render.Object{Unstructured: &unstructured.Unstructured{Object: m}, Origin: render.Origin{File: "apps/db.yaml", Line: 3}}
}

const header = "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: db}\n"

const oneValue = "  data: [{secretKey: password, remoteRef: {key: db}}]\n"

// messages are those of the failures that are joined in err.
func messages(t testing.TB, err error) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	all := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		all = joined.Unwrap()
	}
	var out []string
	for _, e := range all {
		var f *failure.Error
		if !errors.As(e, &f) {
			t.Fatalf("%T is no failure", e)
		}
		out = append(out, f.Message())
	}
	return out
}

func TestParseRefuses(t *testing.T) {
	const place = `apps/db.yaml:3: ExternalSecret "db": `
	const oneOf = "see docs/spec/v1alpha1/externalsecret.md"
	tests := map[string]struct {
		spec string
		want []string
	}{
		"nothing to do": {"spec: {secretStoreRef: {name: s}}",
			[]string{"spec has neither data nor dataFrom: set one of them"}},
		"no spec": {"", []string{"spec is missing: set it"}},
		"a spec that is a list": {"spec: []",
			[]string{"spec is a list where a map is expected: " + oneOf, "spec is missing: set it"}},
		"misspelt fields, all of them at once": {"spec:\n  refreshIntervall: 1h\n  data: [{secretkey: a, remoteRef: {key: db, propertty: x}}]",
			[]string{
				"spec.data[0].secretKey is missing: set it",
				"spec.data[0].remoteRef.propertty is no field of ExternalSecret: correct its spelling or its place, or remove it",
				"spec.data[0].secretkey is no field of ExternalSecret: correct its spelling or its place, or remove it",
				"spec.refreshIntervall is no field of ExternalSecret: correct its spelling or its place, or remove it",
			}},
		"a store of another namespace": {"spec:\n  secretStoreRef: {name: s, namespace: other}\n" + oneValue,
			[]string{"spec.secretStoreRef.namespace refers to another namespace: remove it; what several namespaces share is read through a ClusterSecretStore"}},
		"a template of another namespace": {"spec:\n  target: {template: {templateFrom: [{configMap: {name: c, namespace: other, items: [{key: k}]}}]}}\n" + oneValue,
			[]string{"spec.target.template.templateFrom[0].configMap.namespace refers to another namespace: remove it; what several namespaces share is read through a ClusterSecretStore"}},
		"duplicate secretKey": {"spec:\n  data: [{secretKey: a, remoteRef: {key: x}}, {secretKey: a, remoteRef: {key: z}}]",
			[]string{`spec.data[1].secretKey is "a", as that of spec.data[0]: rename or remove one of them`}},
		"a key that no Secret takes": {"spec:\n  data: [{secretKey: a/b, remoteRef: {key: x}}]",
			[]string{`spec.data[0].secretKey is "a/b", which no Secret takes as a key: use letters, digits, '-', '_' and '.' only`}},
		"a key that is absent": {"spec:\n  data: [{secretKey: a, remoteRef: {property: x}}]",
			[]string{"spec.data[0].remoteRef.key is missing: set it"}},
		"a key that is a number": {"spec:\n  data: [{secretKey: a, remoteRef: {key: 5}}]",
			[]string{"spec.data[0].remoteRef.key is a number where text is expected: quote it"}},
		"extract and find": {"spec:\n  dataFrom: [{extract: {key: a}, find: {name: {regexp: a}}}]",
			[]string{"spec.dataFrom[0] has 2 of extract, find and sourceRef.generatorRef: set exactly one of them"}},
		"extract of a generator": {"spec:\n  dataFrom: [{extract: {key: a}, sourceRef: {generatorRef: {kind: UUID, name: u}}}]",
			[]string{"spec.dataFrom[0] has 2 of extract, find and sourceRef.generatorRef: set exactly one of them"}},
		"a store and nothing to read of it": {"spec:\n  dataFrom: [{sourceRef: {storeRef: {name: s}}}]",
			[]string{"spec.dataFrom[0] has 0 of extract, find and sourceRef.generatorRef: set exactly one of them"}},
		"a find without criteria": {"spec:\n  dataFrom: [{find: {}}]",
			[]string{"spec.dataFrom[0].find says nothing to find by: set name or tags"}},
		"a find by no tags": {"spec:\n  dataFrom: [{find: {tags: {}}}]",
			[]string{"spec.dataFrom[0].find says nothing to find by: set name or tags"}},
		"a find with a bad expression": {"spec:\n  dataFrom: [{find: {name: {regexp: '('}}}]",
			[]string{"spec.dataFrom[0].find.name.regexp is no regular expression: see https://github.com/google/re2/wiki/Syntax"}},
		"a generator that is not supported": {"spec:\n  dataFrom: [{sourceRef: {generatorRef: {kind: ECRAuthorizationToken, name: e}}}]",
			[]string{`spec.dataFrom[0].sourceRef.generatorRef.kind is "ECRAuthorizationToken", which is not supported: use Password, UUID or Fake, or let the provider own the value`}},
		"a generator in data": {"spec:\n  data: [{secretKey: a, remoteRef: {key: k}, sourceRef: {generatorRef: {kind: UUID, name: u}}}]",
			[]string{
				"spec.data[0].sourceRef.generatorRef is not supported: use it in spec.dataFrom[].sourceRef",
				"spec.data[0].sourceRef.storeRef is missing: set its name",
			}},
		"sync windows": {"spec:\n  syncWindows: {kind: allow}\n" + oneValue,
			[]string{"spec.syncWindows is not supported: remove it; policy External reads values in the sync, and spec.sync of the Application says when that is"}},
		"a target that is no Secret": {"spec:\n  target: {manifest: {apiVersion: v1, kind: ConfigMap}}\n" + oneValue,
			[]string{"spec.target.manifest is not supported: remove it; an ExternalSecret makes a Secret and nothing else"}},
		"an old template engine": {"spec:\n  target: {template: {engineVersion: v1}}\n" + oneValue,
			[]string{`spec.target.template.engineVersion is "v1", which it cannot be: use one of v2`}},
		"a template of no source": {"spec:\n  target: {template: {templateFrom: [{target: Data}]}}\n" + oneValue,
			[]string{"spec.target.template.templateFrom[0] has none of configMap, secret and literal: set one of them"}},
		"a template for another part of the Secret": {"spec:\n  target: {template: {templateFrom: [{literal: x, target: spec.foo}]}}\n" + oneValue,
			[]string{`spec.target.template.templateFrom[0].target is "spec.foo", which it cannot be: use one of Data, Annotations, Labels`}},
		"deletion of what is merged": {"spec:\n  target: {creationPolicy: Merge, deletionPolicy: Delete}\n" + oneValue,
			[]string{"spec.target.deletionPolicy is Delete, which does not go with creationPolicy Merge: the Secret is not this ExternalSecret's to delete: use creationPolicy Owner, or deletionPolicy Retain or Merge"}},
		"merging once": {"spec:\n  refreshPolicy: CreatedOnce\n  target: {creationPolicy: Merge}\n" + oneValue,
			[]string{"spec.refreshPolicy is CreatedOnce, which does not go with creationPolicy Merge: a Secret that is there is left alone, so that nothing is merged into it: use OnChange, or creationPolicy Owner or Orphan"}},
		"creating or merging once": {"spec:\n  refreshPolicy: CreatedOnce\n  target: {creationPolicy: CreateOrMerge}\n" + oneValue,
			[]string{"spec.refreshPolicy is CreatedOnce, which does not go with creationPolicy CreateOrMerge: a Secret that is there is left alone, so that nothing is merged into it: use OnChange, or creationPolicy Owner or Orphan"}},
		"merging into nothing": {"spec:\n  target: {creationPolicy: None, deletionPolicy: Merge}\n" + oneValue,
			[]string{"spec.target.deletionPolicy is Merge, which does not go with creationPolicy None: there is no Secret: use deletionPolicy Retain"}},
		"a token of a ServiceAccount": {"spec:\n  target: {template: {type: kubernetes.io/service-account-token}}\n" + oneValue,
			[]string{"spec.target.template.type is kubernetes.io/service-account-token, which the API server takes for a credential of the cluster: use another type"}},
		"a token to join the cluster": {"spec:\n  target: {template: {type: bootstrap.kubernetes.io/token}}\n" + oneValue,
			[]string{"spec.target.template.type is bootstrap.kubernetes.io/token, which the API server takes for a credential of the cluster: use another type"}},
		"an interval without a unit": {"spec:\n  refreshInterval: 60\n" + oneValue,
			[]string{`spec.refreshInterval is no duration: write it as "1h", "90s" or "0s"`}},
		"a rewrite of two kinds": {"spec:\n  dataFrom: [{extract: {key: a}, rewrite: [{regexp: {source: a, target: b}, transform: {template: x}}]}]",
			[]string{"spec.dataFrom[0].rewrite[0] has 2 of regexp, transform and merge: set exactly one of them, and add another item for each further step"}},
		"a rewrite with a bad expression": {"spec:\n  dataFrom: [{extract: {key: a}, rewrite: [{regexp: {source: '[', target: b}}]}]",
			[]string{"spec.dataFrom[0].rewrite[0].regexp.source is no regular expression: see https://github.com/google/re2/wiki/Syntax"}},
		"a merge into no key": {"spec:\n  dataFrom: [{extract: {key: a}, rewrite: [{merge: {strategy: JSON}}]}]",
			[]string{"spec.dataFrom[0].rewrite[0].merge.into is missing, which strategy JSON needs: set it to the key that is to hold the result"}},
		"a property that multiplies the value": {"spec:\n  data: [{secretKey: a, remoteRef: {key: k, property: '[a,a]|[0,0]|[0,0]|[0,0]'}}]",
			[]string{"spec.data[0].remoteRef.property has more than 8 selectors (@ [ { | ,): take a larger property, and what is wanted out of it in a template"}},
		"an empty item": {"spec:\n  data: [null]",
			[]string{"spec.data[0] is empty: fill it in or remove it", "spec has neither data nor dataFrom: set one of them"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m, err := Parse(object(t, header+tt.spec))
			if m != nil {
				t.Error("Parse returned a manifest")
			}
			for i := range tt.want {
				tt.want[i] = place + tt.want[i]
			}
			if diff := cmp.Diff(tt.want, messages(t, err)); diff != "" {
				t.Errorf("Parse (-want +got):\n%s", diff)
			}
			if f := failure.From(err, ""); f.Class != failure.Stall || f.Reason != v1alpha1.ReasonSecretInvalid {
				t.Errorf("Parse fails with %v of reason %s", f.Class, f.Reason)
			}
		})
	}
}

func TestParseReadsBothVersions(t *testing.T) {
	spec := "spec:\n  secretStoreRef: {name: s}\n" + oneValue + "status: {refreshTime: x}\n"
	for _, version := range []string{"v1", "v1beta1"} {
		if _, err := Parse(object(t, strings.Replace(header, "/v1", "/"+version, 1)+spec)); err != nil {
			t.Errorf("Parse of %s: %v", version, err)
		}
	}
	_, err := Parse(object(t, strings.Replace(header, "/v1", "/v1alpha1", 1)+spec))
	want := []string{`apps/db.yaml:3: ExternalSecret "db": apiVersion is "external-secrets.io/v1alpha1", which is not supported: use external-secrets.io/v1`}
	if diff := cmp.Diff(want, messages(t, err)); diff != "" {
		t.Errorf("Parse of v1alpha1 (-want +got):\n%s", diff)
	}
}

func TestCollect(t *testing.T) {
	es := header + "spec:\n" + oneValue
	generators := "apiVersion: generators.external-secrets.io/v1alpha1\nmetadata: {name: g}\n"
	tests := map[string]struct {
		object string
		want   []string // messages without the place
	}{
		"an ExternalSecret":       {es, nil},
		"a store":                 {"apiVersion: external-secrets.io/v1beta1\nkind: ClusterSecretStore\nmetadata: {name: s}\nspec: {}", nil},
		"a Deployment":            {"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: s}", nil},
		"a UUID":                  {generators + "kind: UUID\nspec: {}", nil},
		"a UUID without a spec":   {generators + "kind: UUID", nil},
		"a Password":              {generators + "kind: Password\nspec: {length: 32, digits: 5, symbols: 5, symbolCharacters: '-_', noUpper: false, allowRepeat: true, encoding: hex}", nil},
		"a Fake":                  {generators + "kind: Fake\nspec: {data: {a: b}}", nil},
		"a ClusterExternalSecret": {"apiVersion: external-secrets.io/v1\nkind: ClusterExternalSecret\nmetadata: {name: x}", []string{`ClusterExternalSecret "x": kind is not supported: commit an ExternalSecret for each namespace, for instance with Kustomize`}},
		"a PushSecret":            {"apiVersion: external-secrets.io/v1alpha1\nkind: PushSecret\nmetadata: {name: x}", []string{`PushSecret "x": kind is not supported: remove it: with policy External the provider owns the values, and nothing is written to it`}},
		"another generator":       {generators + "kind: SSHKey\nspec: {}", []string{`SSHKey "g": kind is not supported: use Password, UUID or Fake, or let the provider own the value`}},
		"a Password of bad parameters": {generators + "kind: Password\nspec: {length: -1, digits: many, encoding: rot13, size: 5}", []string{
			`Password "g": spec.length is out of range: use a whole number from 0 to 4096`,
			`Password "g": spec.digits is text where a number is expected: write it without quotes`,
			`Password "g": spec.encoding is "rot13", which it cannot be: use one of raw, base64, base64url, base32, hex`,
			`Password "g": spec.size is no field of Password: correct its spelling or its place, or remove it`,
		}},
		"an empty Fake": {generators + "kind: Fake", []string{`Fake "g": spec.data is empty: give it keys and values`}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Collect([]render.Object{object(t, tt.object)})
			var want []string
			for _, w := range tt.want {
				want = append(want, "apps/db.yaml:3: "+w)
			}
			var got []string
			if err != nil {
				got = messages(t, err.(interface{ Unwrap() []error }).Unwrap()[0])
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("Collect (-want +got):\n%s", diff)
			}
		})
	}
	c, err := Collect([]render.Object{object(t, es), object(t, tests["a store"].object), object(t, tests["a Deployment"].object), object(t, tests["a Fake"].object)})
	if err != nil || len(c.Manifests) != 1 || len(c.Stores) != 1 || len(c.Rest) != 1 || len(c.Generators) != 1 {
		t.Errorf("Collect = %+v, %v", c, err)
	}
}

// fuzzed makes an object of a text, if it is one that rendering lets pass.
func fuzzed(text string) (render.Object, bool) {
	var m map[string]any
	if len(text) > 64<<10 || yaml.Unmarshal([]byte(text), &m) != nil || m == nil {
		return render.Object{}, false
	}
	u := &unstructured.Unstructured{Object: m}
	return render.Object{Unstructured: u, Origin: render.Origin{File: "a.yaml", Line: 1}}, u.GetKind() == "ExternalSecret"
}

func cageOf(text string) secret.Value { return secret.NewValue([]byte(text)) }

func second[T any](_ T, err error) error { return err }
