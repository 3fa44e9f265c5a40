package external

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/render"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
)

var now = time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)

// vaults is a Resolver that holds values in maps, by store and key.
type vaults struct {
	text, document, entries map[string]string
	metadata                map[string]string
	denied, gone            map[string]bool
	kept                    string // of all answers
	calls                   [][]Request
	finds                   []FindRequest
}

func (v *vaults) Resolve(_ context.Context, requests []Request) []Answer {
	v.calls = append(v.calls, requests)
	answers := make([]Answer, len(requests))
	for i, r := range requests {
		answers[i] = v.answer(r)
	}
	return answers
}

func (v *vaults) answer(r Request) Answer {
	if r.Held != nil {
		return *r.Held
	}
	a := Answer{Version: "v1", Read: now.Add(-time.Minute), Kept: v.kept}
	key := r.Ref.Key
	values := map[string]map[string]string{"text": v.text, "document": v.document, "entries": v.entries}[r.Store.Name]
	a.Dialect = map[string]providers.Dialect{"document": providers.Document, "entries": providers.Entries}[r.Store.Name]
	if r.Ref.Metadata {
		values = v.metadata
	}
	value, ok := values[key]
	switch {
	case v.denied[key]:
		a.Err = failure.Failf(v1alpha1.ReasonStoreDenied, "key %q of %s %q may not be read", key, r.Store.Kind, r.Store.Name).WithHint("grant it")
	case !ok && r.Optional && v.gone[key]:
		a.Missing = true
	case !ok && r.Optional:
		a.Err = failure.Waitf(v1alpha1.ReasonSecretMissing, "key %q is not there, for the first time", key)
	case !ok:
		a.Err = failure.Stallf(v1alpha1.ReasonSecretMissing, "%s %q has no key %q", r.Store.Kind, r.Store.Name, key).WithHint("add it")
	default:
		a.Value = secret.NewValue([]byte(value))
	}
	return a
}

func (v *vaults) Find(_ context.Context, r FindRequest) (Found, error) {
	v.finds = append(v.finds, r)
	if r.Held != nil {
		return *r.Held, nil
	}
	values := map[string]map[string]string{"text": v.text, "document": v.document, "entries": v.entries}[r.Store.Name]
	if values == nil {
		return Found{}, failure.Waitf(v1alpha1.ReasonStoreUnavailable, "%s %q does not answer", r.Store.Kind, r.Store.Name)
	}
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if regexp.MustCompile(r.Query.Name).MatchString(key) {
			keys = append(keys, key)
		}
	}
	return Found{Keys: keys, Read: now.Add(-2 * time.Minute), Kept: v.kept}, nil
}

// plainTemplates is text/template and a few functions.
type plainTemplates struct{}

func (plainTemplates) Execute(_ context.Context, t Template) (secret.Value, error) {
	functions := template.FuncMap{"upper": strings.ToUpper, "draw": func() int64 { return t.Seed.Epoch }}
	parsed, err := template.New("t").Option("missingkey=error").Funcs(functions).Parse(t.Text)
	if err != nil {
		return secret.Value{}, errors.New("cannot be parsed")
	}
	texts := map[string]string{}
	for key, v := range t.Data {
		texts[key] = string(v.Reveal())
	}
	var out bytes.Buffer
	if parsed.Execute(&out, texts) != nil {
		return secret.Value{}, errors.New("cannot be run")
	}
	return secret.NewValue(out.Bytes()), nil
}

// echo derives values that say what they are of.
type echo struct{}

func (echo) Derive(g Generator, s Seed) (map[string]secret.Value, error) {
	if g.Kind == "Password" && g.Password.Length < 8 {
		return nil, errors.New("a password of less than 8 characters")
	}
	text := fmt.Sprintf("%s/%s/%s/%s/%d/%d", g.Kind, g.Name, s.Namespace, s.Name, s.Use, s.Epoch)
	return map[string]secret.Value{strings.ToLower(g.Kind): secret.NewValue([]byte(text))}, nil
}

func materializer(v *vaults) *Materializer {
	return &Materializer{
		Resolver: v, Templates: plainTemplates{}, Deriver: echo{}, Now: now,
		Defaults: Defaults{Namespace: "shop", StoreRef: &v1alpha1.StoreReference{Name: "text"}},
		Values:   secret.NewTokenizer([]byte("key")).NewSet(),
	}
}

func collection(t testing.TB, texts ...string) Collection {
	t.Helper()
	var objects []render.Object
	for _, text := range texts {
		objects = append(objects, object(t, text))
	}
	c, err := Collect(objects)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// opened is the data of a Secret with values in place of their tokens.
func opened(t testing.TB, o render.Object, values *secret.Set) map[string]string {
	t.Helper()
	out := map[string]string{}
	for key, encoded := range o.Object["data"].(map[string]any) {
		token, err := base64.StdEncoding.DecodeString(encoded.(string))
		if err != nil {
			t.Fatal(err)
		}
		v, _, ok := values.Lookup(secret.Token(token))
		if !ok {
			t.Fatalf("%s holds no token", key)
		}
		out[key] = string(v.Reveal())
	}
	return out
}

func b64(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

var kept = &vaults{
	text: map[string]string{
		"db":       `{"user": "bob", "a.b": "dotted", "a": {"b": "nested"}, "n": 9007199254740993, "f": 1.50, "list": [1, 2], "none": null, "yes": true}`,
		"plain":    "hunter22",
		"encoded":  "aHVudGVyMjI=",
		"url":      "-_-_",
		"nul":      "a\x00b",
		"more":     `{"user": "alice", "other/key": "x"}`,
		"odd":      `{"a/b": "1", "b c": "2"}`,
		"clash":    `{"a/b": "1", "a b": "2"}`,
		"app/one":  `{"k": "1"}`,
		"app/two":  `{"k": "2", "l": "3"}`,
		"app/bad!": "4",
		"empty":    `{}`,
	},
	document: map[string]string{
		"db":  `{"z": "<&>", "a.b": "dotted", "a": {"b": "n<"}, "n": 9007199254740993, "e": 1e5, "f": 1.50, "none": null, "o": {"x": 1.0, "y": [true]}}`,
		"odd": `{"o": "{\"k\":\"v\",\"n\":1.50}"}`,
	},
	entries: map[string]string{
		"tls": `{"tls.crt": "` + b64("CERT<>") + `", "config": "` + b64(`{"user": {"name": "bob"}, "n": 5, "t": "x<"}`) + `"}`,
		"bin": `{"raw": "` + b64("\xff\xfe") + `"}`,
	},
	metadata: map[string]string{
		"tagged": `{"labels": {"app.io/name": "web", "t": "x"}, "annotations": {}, "team": "core"}`,
	},
	denied: map[string]bool{"denied": true}, gone: map[string]bool{"gone": true},
}

func TestMaterialize(t *testing.T) {
	data := func(store, key, rest string) string {
		return fmt.Sprintf("spec:\n  secretStoreRef: {name: %s}\n  data: [{secretKey: k, remoteRef: {key: %s%s}}]\n", store, key, rest)
	}
	extract := func(store, key, rest string) string {
		return fmt.Sprintf("spec:\n  secretStoreRef: {name: %s}\n  dataFrom: [{extract: {key: %s}%s}]\n", store, key, rest)
	}
	tests := map[string]struct {
		spec string
		want map[string]string
	}{
		"a value of the default store":          {"spec:\n  data: [{secretKey: k, remoteRef: {key: plain}}]", map[string]string{"k": "hunter22"}},
		"a whole text":                          {data("text", "plain", ""), map[string]string{"k": "hunter22"}},
		"a property of a text":                  {data("text", "db", ", property: user"), map[string]string{"k": "bob"}},
		"a property with dots in its name":      {data("text", "db", ", property: a.b"), map[string]string{"k": "dotted"}},
		"an element of a list":                  {data("text", "db", ", property: list.1"), map[string]string{"k": "2"}},
		"a large integer":                       {data("text", "db", ", property: 'n'"), map[string]string{"k": "9007199254740993"}},
		"null":                                  {data("text", "db", ", property: none"), map[string]string{"k": ""}},
		"all of a text":                         {extract("text", "db", ""), map[string]string{"user": "bob", "a.b": "dotted", "a": `{"b": "nested"}`, "n": "9007199254740993", "f": "1.50", "list": "[1, 2]", "none": "", "yes": "true"}},
		"all of a property":                     {extract("text", "{key: db, property: a}}, {extract: {key: db, property: a", ""), nil},
		"a whole document":                      {data("document", "db", ""), map[string]string{"k": `{"a":{"b":"n\u003c"},"a.b":"dotted","e":1e5,"f":1.50,"n":9007199254740993,"none":null,"o":{"x":1.0,"y":[true]},"z":"\u003c\u0026\u003e"}`}},
		"a property of a document":              {data("document", "db", ", property: a.b"), map[string]string{"k": "dotted"}},
		"a path in a document":                  {data("document", "db", ", property: o.y.0"), map[string]string{"k": "true"}},
		"all of a document":                     {extract("document", "db", ""), map[string]string{"z": "<&>", "a.b": "dotted", "a": `{"b":"n\u003c"}`, "n": "9007199254740993", "e": "100000", "f": "1.5", "none": "", "o": `{"x":1,"y":[true]}`}},
		"all of a document's property":          {strings.Replace(extract("document", "odd", ""), "key: odd", "key: odd, property: o", 1), map[string]string{"k": "v", "n": "1.5"}},
		"whole entries":                         {data("entries", "tls", ""), map[string]string{"k": `{"config":"{\"user\": {\"name\": \"bob\"}, \"n\": 5, \"t\": \"x<\"}","tls.crt":"CERT<>"}`}},
		"an entry with a dot in its name":       {data("entries", "tls", ", property: tls.crt"), map[string]string{"k": "CERT<>"}},
		"a path in an entry":                    {data("entries", "tls", ", property: config.user.name"), map[string]string{"k": "bob"}},
		"all entries":                           {extract("entries", "tls", ""), map[string]string{"tls.crt": "CERT<>", "config": `{"user": {"name": "bob"}, "n": 5, "t": "x<"}`}},
		"all of an entry, texts in quotes":      {strings.Replace(extract("entries", "tls", ""), "key: tls", "key: tls, property: config", 1), map[string]string{"user": `{"name":"bob"}`, "n": "5", "t": `"x<"`}},
		"binary":                                {data("entries", "bin", ", property: raw"), map[string]string{"k": "\xff\xfe"}},
		"metadata":                              {data("text", "tagged", ", metadataPolicy: Fetch, property: team"), map[string]string{"k": "core"}},
		"a label":                               {data("entries", "tagged", ", metadataPolicy: Fetch, property: labels.app.io/name"), map[string]string{"k": "web"}},
		"all metadata":                          {strings.Replace(extract("document", "tagged", ""), "key: tagged", "key: tagged, metadataPolicy: Fetch", 1), map[string]string{"labels": `{"app.io/name":"web","t":"x"}`, "annotations": "{}", "team": "core"}},
		"decoded":                               {data("text", "encoded", ", decodingStrategy: Base64"), map[string]string{"k": "hunter22"}},
		"decoded from the other alphabet":       {data("text", "url", ", decodingStrategy: Base64URL"), map[string]string{"k": "\xfb\xff\xbf"}},
		"decoded if it can be":                  {data("text", "url", ", decodingStrategy: Auto"), map[string]string{"k": "\xfb\xff\xbf"}},
		"left as it is if it cannot be decoded": {data("text", "nul", ", decodingStrategy: Auto"), map[string]string{"k": "a\x00b"}},
		"converted keys":                        {extract("text", "odd", ""), map[string]string{"a_b": "1", "b_c": "2"}},
		"converted keys with codes":             {strings.Replace(extract("text", "more", ""), "key: more", "key: more, conversionStrategy: Unicode", 1), map[string]string{"user": "alice", "other_U002f_key": "x"}},
		"later entries win":                     {"spec:\n  dataFrom: [{extract: {key: more}, rewrite: [{regexp: {source: /, target: _}}]}, {extract: {key: db}, rewrite: [{regexp: {source: '^[^u].*', target: ''}}]}]\n  data: [{secretKey: other_key, remoteRef: {key: plain}}]", nil},
		"a find":                                {"spec:\n  dataFrom: [{find: {name: {regexp: '^app/[ot]'}}}]", map[string]string{"app_one": `{"k": "1"}`, "app_two": `{"k": "2", "l": "3"}`}},
		"a find of documents":                   {"spec:\n  secretStoreRef: {name: document}\n  dataFrom: [{find: {name: {regexp: odd}}}]", map[string]string{"odd": `{"o":"{\"k\":\"v\",\"n\":1.50}"}`}},
		"rewritten, with groups":                {"spec:\n  dataFrom: [{find: {name: {regexp: '^app/[ot]'}}, rewrite: [{regexp: {source: 'app/(.*)', target: '$1.json'}}]}]", map[string]string{"one.json": `{"k": "1"}`, "two.json": `{"k": "2", "l": "3"}`}},
		"transformed":                           {extract("text", "more", ", rewrite: [{regexp: {source: /, target: _}}, {transform: {template: 'PRE_{{ .value | upper }}'}}]"), map[string]string{"PRE_USER": "alice", "PRE_OTHER_KEY": "x"}},
		"merged into keys, the last one wins":   {"spec:\n  dataFrom: [{find: {name: {regexp: '^app/[ot]'}}, rewrite: [{merge: {conflictPolicy: Ignore}}]}]", map[string]string{"k": "2", "l": "3"}},
		"merged with a priority":                {"spec:\n  dataFrom: [{find: {name: {regexp: '^app/[ot]'}}, rewrite: [{merge: {conflictPolicy: Ignore, priority: [app/one, app/none], priorityPolicy: IgnoreNotFound}}]}]", map[string]string{"k": "1", "l": "3"}},
		"merged into one JSON":                  {"spec:\n  dataFrom: [{find: {name: {regexp: '^app/[ot]'}}, rewrite: [{regexp: {source: app/, target: ''}}, {merge: {strategy: JSON, into: all, conflictPolicy: Ignore}}]}]", map[string]string{"one": `{"k": "1"}`, "two": `{"k": "2", "l": "3"}`, "all": `{"k":"2","l":"3"}`}},
		"a missing key that is let go":          {"spec:\n  target: {deletionPolicy: Delete}\n  data: [{secretKey: a, remoteRef: {key: gone}}, {secretKey: k, remoteRef: {key: plain}}]", map[string]string{"k": "hunter22"}},
		"all keys missing with Merge":           {"spec:\n  target: {deletionPolicy: Merge}\n  data: [{secretKey: a, remoteRef: {key: gone}}]", map[string]string{}},
		"the last of two keys of one name":      {"spec:\n  target: {deletionPolicy: Merge}\n  data: [{secretKey: k, remoteRef: {key: encoded}}, {secretKey: k, remoteRef: {key: plain}}]", map[string]string{"k": "hunter22"}},
		"a template":                            {"spec:\n  target: {template: {data: {url: 'x://{{ .k }}', fixed: f}}}\n  data: [{secretKey: k, remoteRef: {key: plain}}]", map[string]string{"url": "x://hunter22", "fixed": "f"}},
		"a template beside the values":          {"spec:\n  target: {template: {mergePolicy: Merge, data: {url: 'x://{{ .k }}'}}}\n  data: [{secretKey: k, remoteRef: {key: plain}}]", map[string]string{"url": "x://hunter22", "k": "hunter22"}},
		"a template that only sets the type":    {"spec:\n  target: {template: {type: kubernetes.io/tls}}\n  data: [{secretKey: k, remoteRef: {key: plain}}]", map[string]string{"k": "hunter22"}},
		"keys and values of a literal":          {"spec:\n  target: {template: {templateFrom: [{literal: \"{{ range $k, $v := . }}{{ $k }}-x: '{{ $v }}'\\n{{ end }}\"}]}}\n  data: [{secretKey: k, remoteRef: {key: plain}}]", map[string]string{"k-x": "hunter22"}},
		"data before templateFrom":              {"spec:\n  target: {template: {data: {a: '1'}, templateFrom: [{literal: \"a: '2'\\nb: '3'\"}]}}\n  data: [{secretKey: k, remoteRef: {key: plain}}]", map[string]string{"a": "1", "b": "3"}},
		"a template in a ConfigMap":             {"spec:\n  target: {template: {templateFrom: [{configMap: {name: c, items: [{key: app.conf}, {key: more, templateAs: KeysAndValues}]}}]}}\n  data: [{secretKey: k, remoteRef: {key: plain}}]", map[string]string{"app.conf": "pw=hunter22", "m": "1"}},
		"a template in a Secret":                {"spec:\n  target: {template: {templateFrom: [{secret: {name: s, items: [{key: t}]}}]}}\n  data: [{secretKey: k, remoteRef: {key: plain}}]", map[string]string{"t": "<hunter22>"}},
		"generators": {"spec:\n  dataFrom: [{sourceRef: {generatorRef: {kind: UUID, name: u}}}, {sourceRef: {generatorRef: {kind: UUID, name: u}}, rewrite: [{regexp: {source: ^, target: second-}}]}]", map[string]string{
			"uuid": "UUID/u/shop/db/0/" + fmt.Sprint(now.Unix()/3600), "second-uuid": "UUID/u/shop/db/1/" + fmt.Sprint(now.Unix()/3600)}},
		"a generator that does not change": {"spec:\n  refreshPolicy: CreatedOnce\n  dataFrom: [{sourceRef: {generatorRef: {kind: UUID, name: u}}}]", map[string]string{"uuid": "UUID/u/shop/db/0/0"}},
	}
	delete(tests, "all of a property")
	tests["later entries win"] = struct {
		spec string
		want map[string]string
	}{"spec:\n  dataFrom: [{extract: {key: more}}, {extract: {key: app/two}}, {extract: {key: app/one}}]\n  data: [{secretKey: user, remoteRef: {key: plain}}]",
		map[string]string{"user": "hunter22", "other_key": "x", "k": "1", "l": "3"}}
	beside := []string{
		"apiVersion: generators.external-secrets.io/v1alpha1\nkind: UUID\nmetadata: {name: u}",
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: shop}\ndata: {app.conf: 'pw={{ .k }}', more: \"m: '1'\"}",
		"apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {t: " + b64("<{{ .k }}>") + "}",
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := materializer(kept)
			result, err := m.Materialize(t.Context(), collection(t, append(beside, header+tt.spec)...))
			if err != nil || len(result.Secrets) != 1 {
				t.Fatalf("Materialize = %d Secrets, %v", len(result.Secrets), messages(t, err))
			}
			if diff := cmp.Diff(tt.want, opened(t, result.Secrets[0], m.Values)); diff != "" {
				t.Errorf("data (-want +got):\n%s", diff)
			}
		})
	}
}

func BenchmarkMaterialize(b *testing.B) {
	v := &vaults{document: map[string]string{}}
	var texts []string
	for i := range 1000 {
		v.document[fmt.Sprint("k", i%250)] = fmt.Sprintf(`{"a": "value-%d-a", "b": "value-%d-b", "c": "value-%d-c", "d": "value-%d-d"}`, i, i, i, i)
		texts = append(texts, strings.Replace(header, "name: db", fmt.Sprintf("name: db%d", i), 1)+fmt.Sprintf(`spec:
  secretStoreRef: {name: document}
  target: {template: {data: {all: '{{ .a }}{{ .b }}{{ .c }}{{ .d }}'}}}
  data:
  - {secretKey: a, remoteRef: {key: k%d, property: a}}
  - {secretKey: b, remoteRef: {key: k%d, property: b}}
  - {secretKey: c, remoteRef: {key: k%d, property: c}}
  - {secretKey: d, remoteRef: {key: k%d, property: d}}
`, i%250, i%250, i%250, i%250))
	}
	c := collection(b, texts...)
	for b.Loop() {
		m := materializer(v)
		m.Templates = NewDerivation(secret.NewTokenizer([]byte("key")))
		if _, err := m.Materialize(b.Context(), c); err != nil {
			b.Fatal(err)
		}
	}
}
