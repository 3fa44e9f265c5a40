package external

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/providers"
)

const canary = `c4n4ry "of <the> vault`

// cages holds the canary wherever a value can stand.
func cages() *vaults {
	quoted, _ := json.Marshal(canary)
	return &vaults{
		text: map[string]string{
			"raw": canary, "json": fmt.Sprintf(`{"a": %s, "b/c": %s, "b c": "x", "o": {"a": 1}}`, quoted, quoted),
			"one": fmt.Sprintf(`{"a": %s}`, quoted), "two": fmt.Sprintf(`{"a": %s}`, quoted), "bad": "{" + canary,
			"many": fmt.Sprintf(`{"h": %[1]s, "g": %[1]s, "f": %[1]s, "e": %[1]s, "d": %[1]s, "c": %[1]s, "b": %[1]s, "a": %[1]s}`, quoted),
			"list": fmt.Sprintf(`[%s]`, quoted), "nul": canary + "\x00", "big": strings.Repeat(canary, 50_000),
			"odd": fmt.Sprintf(`{"ü": %s, "": "dropped"}`, quoted), "long": fmt.Sprintf(`{"%s": %s}`, strings.Repeat("k", 254), quoted),
		},
		document: map[string]string{"bad": canary, "d": fmt.Sprintf(`{"a": %s}`, quoted)},
		entries: map[string]string{
			"bad": fmt.Sprintf(`{"a": %s}`, quoted), "list": string(quoted), "bin": `{"a": "` + b64(canary+"\xff") + `"}`, "e": `{"a": "` + b64(canary) + `"}`,
		},
		metadata: map[string]string{"raw": string(quoted)},
		denied:   map[string]bool{"denied": true}, gone: map[string]bool{},
	}
}

type refusal struct {
	objects []string
	want    []string // messages without file, line, kind and name
	class   failure.Class
	reason  string
}

func refusals() map[string]refusal {
	const invalid, absent = v1alpha1.ReasonSecretInvalid, v1alpha1.ReasonSecretMissing
	const atProvider = ": correct the value at the provider, or what the ExternalSecret takes it for"
	one := func(rest, want string) refusal {
		return refusal{[]string{header + "spec:\n" + rest}, []string{want}, failure.Stall, invalid}
	}
	data := func(store, remote, want string) refusal {
		return one(fmt.Sprintf("  secretStoreRef: {name: %s}\n  data: [{secretKey: k, remoteRef: {%s}}]", store, remote), want)
	}
	extract := func(store, remote, want string) refusal {
		return one(fmt.Sprintf("  secretStoreRef: {name: %s}\n  dataFrom: [{extract: {%s}}]", store, remote), want)
	}
	because := func(r refusal, class failure.Class, reason string) refusal {
		r.class, r.reason = class, reason
		return r
	}
	template := func(template, want string) refusal {
		return one("  target: {template: "+template+"}\n  data: [{secretKey: k, remoteRef: {key: raw}}]", want)
	}
	es := func(name, spec string) string {
		return strings.Replace(header, "name: db", "name: "+name, 1) + "spec:\n" + spec
	}
	return map[string]refusal{
		"a missing key":               because(data("text", "key: none", `spec.data[0]: SecretStore "text" has no key "none": add it`), failure.Stall, absent),
		"a missing key, not proven":   because(one("  target: {deletionPolicy: Delete}\n  data: [{secretKey: k, remoteRef: {key: none}}]", `spec.data[0]: key "none" is not there, for the first time`), failure.Wait, absent),
		"a denied key":                because(data("text", "key: denied", `spec.data[0]: key "denied" of SecretStore "text" may not be read: grant it`), failure.Fail, v1alpha1.ReasonStoreDenied),
		"a store that does not find":  because(one("  secretStoreRef: {name: down}\n  dataFrom: [{find: {name: {regexp: x}}}]", `spec.dataFrom[0].find: SecretStore "down" does not answer`), failure.Wait, v1alpha1.ReasonStoreUnavailable),
		"a missing property":          because(data("text", "key: json, property: none", `spec.data[0]: key "json" of SecretStore "text" has no property "none": correct the property, or add it at the provider`), failure.Stall, absent),
		"a missing path":              because(data("document", "key: d, property: a.b", `spec.data[0]: key "d" of SecretStore "document" has no property "a.b": correct the property, or add it at the provider`), failure.Stall, absent),
		"a missing entry":             because(extract("entries", "key: e, property: b", `spec.dataFrom[0].extract: key "e" of SecretStore "entries" has no property "b": correct the property, or add it at the provider`), failure.Stall, absent),
		"nothing found":               because(one("  dataFrom: [{find: {name: {regexp: none}}}]", `spec: comes to no values at all: correct it, or set deletionPolicy Delete or Merge if that may be`), failure.Stall, absent),
		"no JSON for a property":      data("text", "key: bad, property: a", `spec.data[0]: property "a" of key "bad" of SecretStore "text" is no JSON, so that it has no properties`+atProvider),
		"no JSON in an entry":         data("entries", "key: e, property: a.b", `spec.data[0]: property "a.b" of key "e" of SecretStore "entries" is no JSON, so that it has no properties`+atProvider),
		"no JSON to extract":          extract("text", "key: raw", `spec.dataFrom[0].extract: key "raw" of SecretStore "text" is no JSON object`+atProvider),
		"a list to extract":           extract("text", "key: list", `spec.dataFrom[0].extract: key "list" of SecretStore "text" is no JSON object`+atProvider),
		"a text to extract":           extract("text", "key: json, property: a", `spec.dataFrom[0].extract: property "a" of key "json" of SecretStore "text" is no JSON object`+atProvider),
		"a document that is none":     data("document", "key: bad", `spec.data[0]: key "bad" of SecretStore "document" is no JSON object`+atProvider),
		"entries that are none":       data("entries", "key: list", `spec.data[0]: key "list" of SecretStore "entries" is no JSON object`+atProvider),
		"entries without base64":      data("entries", "key: bad, property: a", `spec.data[0]: property "a" of key "bad" of SecretStore "entries" is no base64`+atProvider),
		"binary entries as JSON":      data("entries", "key: bin", `spec.data[0]: key "bin" of SecretStore "entries" holds bytes that are no text, so that it cannot be written as JSON`+atProvider),
		"metadata that is none":       data("text", "key: raw, metadataPolicy: Fetch, property: a", `spec.data[0]: property "a" of key "raw" of SecretStore "text" is no JSON object`+atProvider),
		"no base64":                   data("text", "key: raw, decodingStrategy: Base64", `spec.data[0]: key "raw" of SecretStore "text" is no base64`+atProvider),
		"no base64 among many":        extract("text", "key: many, decodingStrategy: Base64URL", `spec.dataFrom[0]: the value of "a" is no base64: correct the value at the provider, or decodingStrategy`),
		"a null byte":                 data("text", "key: nul, nullBytePolicy: Fail", `spec.data[0]: key "nul" of SecretStore "text" holds a null byte, which nullBytePolicy Fail refuses`+atProvider),
		"two keys of one converted":   extract("text", "key: json", `spec.dataFrom[0]: conversion makes "b_c" of both "b c" and "b/c": have a rewrite tell them apart`),
		"a key no Secret takes":       extract("text", "key: odd", `spec.dataFrom[0]: a key is "ü", which no Secret takes as a key: rewrite it to letters, digits, '-', '_' and '.'`),
		"a key that is too long":      extract("text", "key: long", `spec.dataFrom[0]: a key is longer than 253 characters: rewrite it to letters, digits, '-', '_' and '.'`),
		"two keys of one rewritten":   one("  dataFrom: [{extract: {key: json}, rewrite: [{regexp: {source: '[/ ]', target: _}}]}]", `spec.dataFrom[0].rewrite[0]: regexp makes "b_c" of both "b c" and "b/c": have a rewrite tell them apart`),
		"two keys of one transformed": one("  dataFrom: [{extract: {key: one}}, {extract: {key: json}, rewrite: [{transform: {template: 'x{{ if eq .value \"o\" }}y{{ end }}'}}]}]", `spec.dataFrom[1].rewrite[0]: transform makes "x" of both "a" and "b c": have a rewrite tell them apart`),
		"a merge of what is no JSON":  one("  dataFrom: [{extract: {key: json}, rewrite: [{merge: {}}]}]", `spec.dataFrom[0].rewrite[0]: the value of "a" is no JSON object: merge only what holds JSON objects`),
		"a merge that conflicts":      one("  dataFrom: [{find: {name: {regexp: one|two}}, rewrite: [{merge: {}}]}]", `spec.dataFrom[0].rewrite[0]: "a" is in both "one" and "two": rename one of them, or set conflictPolicy Ignore, which lets the later one win`),
		"a merge of a key that is not": one("  dataFrom: [{find: {name: {regexp: one}}, rewrite: [{merge: {priority: [three]}}]}]",
			`spec.dataFrom[0].rewrite[0]: priority names "three", which is not among the keys: remove it from priority, or set priorityPolicy IgnoreNotFound`),
		"a rewrite that grows":          one("  dataFrom: [{extract: {key: one}, rewrite: [{regexp: {source: ^, target: "+strings.Repeat("k", 1000)+"}}, {regexp: {source: k, target: kkkkkk}}]}]", `spec.dataFrom[0].rewrite[1]: makes a key of more than 4096 characters: rewrite it to at most 253`),
		"a transform that fails":        one("  dataFrom: [{extract: {key: one}, rewrite: [{transform: {template: '{{ .key }}'}}]}]", `spec.dataFrom[0].rewrite[0]: cannot be run: correct the template`),
		"a template that fails":         template("{data: {a: '{{ .none }}'}}", `spec.target.template.data["a"]: cannot be run: correct the template`),
		"a template that is none":       template("{data: {a: '{{ .k'}}", `spec.target.template.data["a"]: cannot be parsed: correct the template`),
		"a value in a label":            template("{metadata: {labels: {a: '{{ .k }}'}}}", `spec.target.template.metadata.labels["a"]: cannot be run: labels and annotations are readable by all who may list Secrets: use no value in them`),
		"a value in an annotation":      template("{templateFrom: [{literal: 'a: {{ .k }}', target: Annotations}]}", `spec.target.template.templateFrom[0].literal: cannot be run: labels and annotations are readable by all who may list Secrets: use no value in them`),
		"a template that gives no map":  template("{templateFrom: [{literal: '- {{ .k }}'}]}", `spec.target.template.templateFrom[0].literal: its output is no map of keys and texts: have the template write a YAML map, and put values in quotes with toJson or quote`),
		"a key of a template":           template("{templateFrom: [{literal: 'a b: x'}]}", `spec.target.template.templateFrom[0].literal: its output has a key that no Secret takes: use letters, digits, '-', '_' and '.' in keys`),
		"a template of nowhere":         template("{templateFrom: [{configMap: {name: c, items: [{key: a}]}}]}", `spec.target.template.templateFrom[0]: there is no ConfigMap "c" in this revision: commit it beside the ExternalSecret: what is only in the cluster is not read`),
		"a generator of nowhere":        one("  dataFrom: [{sourceRef: {generatorRef: {kind: UUID, name: u}}}]", `spec.dataFrom[0].sourceRef.generatorRef: there is no UUID "u" in this revision: add it to the revision, in the ExternalSecret's namespace`),
		"a generator of bad parameters": {[]string{header + "spec:\n  dataFrom: [{sourceRef: {generatorRef: {kind: Password, name: p}}}]", "apiVersion: generators.external-secrets.io/v1alpha1\nkind: Password\nmetadata: {name: p}\nspec: {length: 4}"}, []string{`spec.dataFrom[0]: apps/db.yaml:3: Password "p": a password of less than 8 characters: correct its spec`}, failure.Stall, invalid},
		"more than a mebibyte":          one("  data: [{secretKey: a, remoteRef: {key: big}}, {secretKey: b, remoteRef: {key: big}}]", `spec: makes a Secret of more than 1 MiB: split it over several ExternalSecrets`),
		"two ExternalSecrets of a name": {[]string{es("a", "  target: {name: x}\n"+oneValue), es("b", "  target: {name: x}\n"+oneValue)}, []string{`spec.target.name: Secret "x" is already made by ExternalSecret "a" in apps/db.yaml:3: rename one of the two, or set creationPolicy Merge for one of them`}, failure.Stall, invalid},
		"two that merge one key":        {[]string{es("a", "  target: {name: x}\n  data: [{secretKey: k, remoteRef: {key: raw}}]"), es("b", "  target: {name: x, creationPolicy: Merge}\n  data: [{secretKey: k, remoteRef: {key: raw}}]")}, []string{`spec.target.name: key "k" of Secret "x" is already made by ExternalSecret "a" in apps/db.yaml:3: rename one of the two keys`}, failure.Stall, invalid},
		"a Secret of the same name":     {[]string{es("a", oneValue), "apiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: shop}"}, []string{`spec.target.name: Secret "a" is already in apps/db.yaml:3: rename one of the two`}, failure.Stall, invalid},
		"what needs somebody comes first": {[]string{header + "spec:\n  target: {deletionPolicy: Merge}\n  data: [{secretKey: a, remoteRef: {key: none}}, {secretKey: b, remoteRef: {key: denied}}, {secretKey: c, remoteRef: {key: raw, property: x}}]"},
			[]string{`spec.data[2]: property "x" of key "raw" of SecretStore "text" is no JSON, so that it has no properties` + atProvider, `spec.data[1]: key "denied" of SecretStore "text" may not be read: grant it`, `spec.data[0]: key "none" is not there, for the first time`}, failure.Stall, invalid},
	}
}

func TestMaterializeRefuses(t *testing.T) {
	for name, tt := range refusals() {
		t.Run(name, func(t *testing.T) {
			result, err := materializer(cages()).Materialize(t.Context(), collection(t, tt.objects...))
			var got []string
			for _, text := range messages(t, err) {
				_, text, _ = strings.Cut(text, `ExternalSecret "`)
				_, text, _ = strings.Cut(text, `": `)
				got = append(got, text)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Materialize (-want +got):\n%s", diff)
			}
			if f := failure.From(err, ""); f.Class != tt.class || f.Reason != tt.reason {
				t.Errorf("it is %v of reason %s, want %v of %s", f.Class, f.Reason, tt.class, tt.reason)
			}
			if leaks(fmt.Sprintf("%v %+v", err, result)) {
				t.Errorf("it shows a value: %v", err)
			}
		})
	}
}

// leaks reports whether a text holds the canary in a form that tools write.
func leaks(text string) bool {
	quoted, _ := json.Marshal(canary)
	for _, form := range []string{canary, "c4n4ry", string(quoted), b64(canary), base64.URLEncoding.EncodeToString([]byte(canary)), b64("c4n4ry")[:8]} {
		if strings.Contains(text, form) {
			return true
		}
	}
	return false
}

func TestLeaksFindsTheCanary(t *testing.T) {
	quoted, _ := json.Marshal(map[string]string{"a": canary})
	for _, text := range []string{"x" + canary, string(quoted), "is " + b64(canary)} {
		if !leaks(text) {
			t.Errorf("leaks(%q) = false", text)
		}
	}
}

func TestAValueIsNoKey(t *testing.T) {
	v := &vaults{text: map[string]string{"db": "hunter22-c4n4ry"}}
	_, err := materializer(v).Materialize(t.Context(), collection(t, header+"spec:\n  target: {template: {templateFrom: [{literal: '{{ .password }}: x'}]}}\n"+oneValue))
	want := []string{`apps/db.yaml:3: ExternalSecret "db": spec.target.template.templateFrom[0].literal: its output has a key that holds a value: use values as values only: keys are readable by all who may list Secrets`}
	if diff := cmp.Diff(want, messages(t, err)); diff != "" {
		t.Errorf("Materialize (-want +got):\n%s", diff)
	}
}

func TestNoStoreIsNamed(t *testing.T) {
	m := materializer(cages())
	m.Defaults.StoreRef = nil
	_, err := m.Materialize(t.Context(), collection(t, header+"spec:\n"+oneValue))
	want := []string{`apps/db.yaml:3: ExternalSecret "db": spec.data[0]: names no store: set spec.secretStoreRef.name, or spec.secrets.external.storeRef of the Application`}
	if diff := cmp.Diff(want, messages(t, err)); diff != "" {
		t.Errorf("Materialize (-want +got):\n%s", diff)
	}
}

func TestAnEndedContextIsNoFailure(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := materializer(cages()).Materialize(ctx, collection(t, header+"spec:\n  data: [{secretKey: a, remoteRef: {key: none}}]"))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Materialize = %v", err)
	}
}

func TestEveryValueIsKnownToTheRedactor(t *testing.T) {
	v := &vaults{text: map[string]string{"db": `{"inner": "` + b64("in-the-middle") + `", "unused": "never-asked-for"}`}}
	m := materializer(v)
	spec := "spec:\n  target: {template: {data: {out: '{{ .k | upper }}'}}}\n  data: [{secretKey: k, remoteRef: {key: db, property: inner, decodingStrategy: Base64}}]"
	if _, err := m.Materialize(t.Context(), collection(t, header+spec)); err != nil {
		t.Fatal(messages(t, err))
	}
	for _, value := range []string{v.text["db"], b64("in-the-middle"), "in-the-middle", "IN-THE-MIDDLE"} {
		if got := m.Values.Redact("it is " + value); strings.Contains(got, value) {
			t.Errorf("Redact leaves %q", value)
		}
	}
}

func TestFindsAreBounded(t *testing.T) {
	v := &vaults{text: map[string]string{}}
	for i := range maxHits + 1 {
		v.text[fmt.Sprint("k", i)] = "x"
	}
	_, err := materializer(v).Materialize(t.Context(), collection(t, header+"spec:\n  dataFrom: [{find: {name: {regexp: k}}}]"))
	want := []string{`apps/db.yaml:3: ExternalSecret "db": spec.dataFrom[0].find: finds more than 4096 keys: narrow path, name.regexp or tags`}
	if diff := cmp.Diff(want, messages(t, err)); diff != "" || len(v.calls) != 0 {
		t.Errorf("Materialize, after %d calls (-want +got):\n%s", len(v.calls), diff)
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range slices.Sorted(maps.Keys(refusals())) {
		f.Add(strings.Join(refusals()[name].objects[:1], ""))
	}
	f.Fuzz(func(t *testing.T, text string) {
		o, ok := fuzzed(text)
		if !ok {
			return
		}
		m, err := Parse(o)
		if (m == nil) == (err == nil) {
			t.Fatalf("Parse = %v, %v", m, err)
		}
		if err == nil {
			References(m, Defaults{})
		}
	})
}

func FuzzMaterialize(f *testing.F) {
	for _, name := range slices.Sorted(maps.Keys(refusals())) {
		f.Add(strings.Join(refusals()[name].objects[:1], ""), "a.b", `{"a": {"b": "c4n4ry"}}`, byte(0))
	}
	f.Fuzz(func(t *testing.T, text, property, value string, dialect byte) {
		o, ok := fuzzed(text)
		if !ok || tooComplicated(property) != "" {
			return
		}
		m, err := Parse(o)
		if err != nil {
			return
		}
		v := cages()
		v.text["raw"], v.document["d"], v.entries["e"] = value, value, value
		_, err = materializer(v).Materialize(t.Context(), Collection{Manifests: []*Manifest{m}})
		if err != nil && leaks(err.Error()) && !leaks(text) {
			t.Errorf("it shows a value: %v", err)
		}
		p := payload{raw: cageOf(value), dialect: providers.Dialect(dialect % 3), metadata: dialect >= 128}
		for _, err := range []error{second(p.property(property)), second(p.all(property))} {
			if err != nil && leaks(err.Error()) {
				t.Errorf("it shows a value: %v", err)
			}
		}
	})
}

func FuzzRewrite(f *testing.F) {
	f.Add("a(.)", "$1$1", `{"ab": "c4n4ry", "ac": "x"}`)
	f.Add("", "${x}", `{"": ""}`)
	f.Fuzz(func(t *testing.T, source, target, value string) {
		quote := func(text string) string {
			out, _ := json.Marshal(text)
			return string(out)
		}
		text := header + "spec:\n  dataFrom: [{extract: {key: raw}, rewrite: [{regexp: {source: " + quote(source) + ", target: " + quote(target) + "}}, {merge: {}}]}]"
		o, ok := fuzzed(text)
		if !ok {
			return
		}
		m, err := Parse(o)
		if err != nil {
			return
		}
		v := &vaults{text: map[string]string{"raw": value}}
		result, err := materializer(v).Materialize(t.Context(), Collection{Manifests: []*Manifest{m}})
		if (err == nil) != (len(result.Secrets) == 1) {
			t.Errorf("Materialize = %d Secrets, %v", len(result.Secrets), err)
		}
	})
}
