package external_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/gitseal/gitseal/internal/external"
	"github.com/gitseal/gitseal/internal/render"
	"github.com/gitseal/gitseal/internal/secret"
)

// one is a Resolver with one value.
type one string

func (o one) Resolve(_ context.Context, requests []external.Request) []external.Answer {
	answers := make([]external.Answer, len(requests))
	for i := range answers {
		answers[i] = external.Answer{Value: secret.NewValue([]byte(o)), Version: "1"}
	}
	return answers
}

func (o one) Find(context.Context, external.FindRequest) (external.Found, error) {
	return external.Found{}, nil
}

// Whatever a rewrite does to keys, it does not panic, adds no value, makes no
// key that a Secret cannot have, and no error quotes a value.
func FuzzRewrites(f *testing.F) {
	const canary = "cAnArY-5d1c9e07"
	f.Add("a-(.*)", "x_$1", `{{ .value | upper }}`, "a-one", "b")
	f.Add(".*", "same", `{{ .value }}`, "a", "b")
	f.Add("", "", `{{ if eq .value "a" }}{{ end }}`, "a", "b")
	f.Add("(", "$", `{{ .value | repeat 1000000 }}`, "a/b", "c d")
	f.Add("x*", "${1}aaaaaaaaaa", `{{ range 100000000 }}{{ end }}`, "ä", "")
	f.Add("a", "b", `{{ .nothing }}`, "a", "b")
	f.Fuzz(func(t *testing.T, source, target, template, first, second string) {
		value, err := json.Marshal(map[string]string{first: canary + "-1", second: canary + "-2"})
		if err != nil || strings.Contains(strings.ToLower(source+target+template+first+second), "canary") {
			return
		}
		given := map[string]string{}
		if err := json.Unmarshal(value, &given); err != nil {
			t.Fatal(err)
		}
		manifest := map[string]any{
			"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": map[string]any{"name": "es"},
			"spec": map[string]any{
				"secretStoreRef": map[string]any{"name": "s"},
				"dataFrom": []any{map[string]any{
					"extract": map[string]any{"key": "k"},
					"rewrite": []any{
						map[string]any{"regexp": map[string]any{"source": source, "target": target}},
						map[string]any{"transform": map[string]any{"template": template}},
					},
				}},
			},
		}
		secrets, err := materialized(t, manifest, one(value))
		if err != nil {
			if strings.Contains(strings.ToLower(err.Error()), strings.ToLower(canary)) {
				t.Errorf("the error quotes a value: %v", err)
			}
			return
		}
		data, _, err := unstructured.NestedStringMap(secrets[0].Object, "data")
		if err != nil || len(data) == 0 || len(data) > len(given) {
			t.Errorf("%d keys became %v, %v", len(given), data, err)
		}
		for key := range data {
			if len(key) == 0 || len(key) > 253 || strings.Trim(key, "-._abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") != "" {
				t.Errorf("no Secret can have the key %q", key)
			}
		}
	})
}

func materialized(t *testing.T, manifest map[string]any, r external.Resolver) ([]render.Object, error) {
	t.Helper()
	collection, err := external.Collect([]render.Object{{Unstructured: &unstructured.Unstructured{Object: manifest}}})
	if err != nil {
		return nil, err
	}
	tokenizer := secret.NewTokenizer([]byte("key"))
	derivation := external.NewDerivation(tokenizer)
	m := external.Materializer{
		Resolver: r, Templates: derivation, Deriver: derivation,
		Defaults: external.Defaults{Namespace: "default"}, Values: tokenizer.NewSet(),
	}
	result, err := m.Materialize(t.Context(), collection)
	return result.Secrets, err
}
