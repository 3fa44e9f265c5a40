// Package differential_test holds gitseal to what External Secrets Operator makes of
// the same manifests and values. bin/oracle is that operator's own code; see
// test/oracle. Where the two are to disagree, the case names the row in the list of
// differences in docs/spec/v1alpha1/externalsecret.md.
package differential_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rogpeppe/go-internal/txtar"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/external"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/render"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
	"github.com/gitseal/gitseal/providers/fake"
)

const oracle = "../../bin/oracle"

// question is what both are asked; the fields are those of test/oracle.
type question struct {
	Manifest string                       `json:"manifest"`
	Objects  []string                     `json:"objects,omitempty"`
	Values   map[string]map[string]string `json:"values,omitempty"`
}

// answer is the Secret that one of them makes.
type answer struct {
	Data        map[string][]byte `json:"data,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Type        string            `json:"type,omitempty"`
	Error       string            `json:"error,omitempty"`
}

// scene is one case.
type scene struct {
	name string
	question
	// differs is the row of the list of differences that says why the two
	// disagree; "" where they must not.
	differs string
	// fails: both refuse it.
	fails bool
}

func TestManifestsAndTemplatesGiveWhatExternalSecretsGives(t *testing.T) {
	scenes := append(manifests(t), functions(t)...)
	theirs := ask(t, scenes)
	for i, s := range scenes {
		t.Run(s.name, func(t *testing.T) {
			ours := materialize(t, s.question)
			difference := compare(theirs[i], ours)
			switch {
			case s.fails != (theirs[i].Error != "" && ours.Error != ""):
				t.Errorf("both fail: %t, want %t: %q and %q", !s.fails, s.fails, theirs[i].Error, ours.Error)
			case s.differs == "" && difference != "":
				t.Errorf("of %s\n%s\nExternal Secrets (-) and gitseal (+): %s\nerrors: %q and %q", s.Manifest, s.name, difference, theirs[i].Error, ours.Error)
			case s.differs != "" && difference == "":
				t.Errorf("they agree, though they should differ: %s", s.differs)
			}
		})
	}
}

func TestDifferencesAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/spec/v1alpha1/externalsecret.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range append(manifests(t), functions(t)...) {
		if s.differs != "" && !strings.Contains(string(text), "\n| "+s.differs+" | ") {
			t.Errorf("%s: there is no row %q in the list of differences", s.name, s.differs)
		}
	}
}

// compare says how two answers differ. Texts of errors are not compared.
func compare(theirs, ours answer) string {
	if theirs.Error != "" || ours.Error != "" {
		if theirs.Error != "" && ours.Error != "" {
			return ""
		}
		return fmt.Sprintf("one of them fails: %q and %q", theirs.Error, ours.Error)
	}
	return cmp.Diff(texts(theirs), texts(ours), cmpopts.EquateEmpty())
}

// texts makes answers readable.
func texts(a answer) map[string]map[string]string {
	data := map[string]string{}
	for key, value := range a.Data {
		data[key] = string(value)
	}
	return map[string]map[string]string{"data": data, "labels": a.Labels, "annotations": a.Annotations, "type": {"": a.Type}}
}

// ask runs External Secrets' code on all cases.
func ask(t *testing.T, scenes []scene) []answer {
	t.Helper()
	questions := make([]question, len(scenes))
	for i, s := range scenes {
		questions[i] = s.question
	}
	in, err := json.Marshal(questions)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	var out, problems bytes.Buffer
	command := exec.CommandContext(ctx, oracle)
	command.Env = append(os.Environ(), "TZ=UTC") // theirs is that of the machine, ours never is
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(in), &out, &problems
	if err := command.Run(); err != nil {
		t.Fatalf("%s: %v: %s\n(make bin/oracle builds it)", oracle, err, problems.String())
	}
	var answers []answer
	if err := json.Unmarshal(out.Bytes(), &answers); err != nil || len(answers) != len(questions) {
		t.Fatalf("%s gave %d answers to %d questions, %v", oracle, len(answers), len(questions), err)
	}
	return answers
}

// manifests reads testdata/manifests/*.txtar: the comment says what it is about,
// and in its last line "fails" if both refuse it, or behind "differs:" the row
// that says why they disagree; externalsecret.yaml is the manifest, values/STORE/KEY what a store
// holds, in the store fake KEY@VERSION too, all else an object.
func manifests(t *testing.T) (scenes []scene) {
	t.Helper()
	paths, err := filepath.Glob("testdata/manifests/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no manifests: %v", err)
	}
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		s := scene{name: strings.TrimSuffix(filepath.Base(path), ".txtar"), question: question{Values: map[string]map[string]string{}}}
		_, s.differs, _ = strings.Cut(strings.TrimSpace(string(archive.Comment)), "differs: ")
		s.fails = strings.HasSuffix(string(archive.Comment), "\nfails\n")
		for _, file := range archive.Files {
			text := string(file.Data)
			parts := strings.SplitN(file.Name, "/", 3)
			switch {
			case file.Name == "externalsecret.yaml":
				s.Manifest = text
			case parts[0] == "values" && len(parts) == 3:
				if s.Values[parts[1]] == nil {
					s.Values[parts[1]] = map[string]string{}
				}
				s.Values[parts[1]][parts[2]] = strings.TrimSuffix(text, "\n")
			default:
				s.Objects = append(s.Objects, text)
			}
		}
		scenes = append(scenes, s)
	}
	return scenes
}

// functions makes a manifest of each template in testdata/functions.yaml.
func functions(t *testing.T) (scenes []scene) {
	t.Helper()
	raw, err := os.ReadFile("testdata/functions.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var entries []any
	if err := yaml.Unmarshal(raw, &entries); err != nil {
		t.Fatal(err)
	}
	values := values(t)
	for key, value := range values {
		values[key] = base64.StdEncoding.EncodeToString([]byte(value)) // some are no text
	}
	for _, entry := range entries {
		s := scene{question: question{Values: map[string]map[string]string{"aws": values}}}
		switch e := entry.(type) {
		case string:
			s.name = e
		case map[string]any:
			s.name, _ = e["text"].(string)
			s.differs, _ = e["differs"].(string)
			s.fails, _ = e["fails"].(bool)
		}
		s.Manifest = templated(t, s.name, slices.Sorted(maps.Keys(values)))
		scenes = append(scenes, s)
	}
	return scenes
}

// templated is an ExternalSecret with one template over the values of aws.
func templated(t *testing.T, text string, keys []string) string {
	t.Helper()
	var data []any
	for _, key := range keys {
		data = append(data, map[string]any{"secretKey": key, "remoteRef": map[string]any{"key": key, "decodingStrategy": "Base64"}})
	}
	raw, err := yaml.Marshal(map[string]any{
		"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": map[string]any{"name": "es"},
		"spec": map[string]any{
			"refreshPolicy": "CreatedOnce", "secretStoreRef": map[string]any{"name": "aws"}, "data": data,
			"target": map[string]any{"template": map[string]any{"data": map[string]any{"out": text}}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// store is a Resolver over the values of a question.
type store map[string]map[string]string

func (s store) Resolve(ctx context.Context, requests []external.Request) []external.Answer {
	dialects := map[string]providers.Dialect{"vault": providers.Document, "kubernetes": providers.Entries}
	answers := make([]external.Answer, len(requests))
	for i, r := range requests {
		if r.Store.Name == "fake" {
			answers[i] = s.faked(ctx, r)
			continue
		}
		name := r.Store.Name
		if r.Ref.Metadata {
			name += "-tags"
		}
		text, ok := s[name][r.Ref.Key]
		a := external.Answer{Value: secret.NewValue([]byte(text)), Version: "1", Dialect: dialects[r.Store.Name], Read: time.Now()}
		switch {
		case !ok && r.Optional:
			a = external.Answer{Missing: true}
		case !ok:
			a = external.Answer{Err: failure.Stallf(v1alpha1.ReasonSecretMissing, "there is no key %q", r.Ref.Key).WithHint("add it")}
		case r.Store.Name == "kubernetes":
			a.Value = entries(text)
		}
		answers[i] = a
	}
	return answers
}

// fake is our own backend over the values of that store.
func (s store) fake() (providers.Provider, error) {
	spec := &v1alpha1.FakeProvider{}
	for name, value := range s["fake"] {
		key, version, _ := strings.Cut(name, "@")
		spec.Data = append(spec.Data, v1alpha1.FakeProviderData{Key: key, Version: version, Value: value})
	}
	return fake.Backend().Open(providers.Store{Spec: v1alpha1.StoreProvider{Fake: spec}})
}

func (s store) faked(ctx context.Context, r external.Request) external.Answer {
	p, err := s.fake()
	if err != nil {
		return external.Answer{Err: err}
	}
	results, err := p.Get(ctx, []providers.Ref{r.Ref})
	if err != nil {
		return external.Answer{Err: err}
	}
	got := results[0]
	if r.Optional && errors.Is(got.Err, providers.ErrNotFound) {
		return external.Answer{Missing: true}
	}
	return external.Answer{Value: got.Value, Version: got.Version, Dialect: fake.Backend().Dialect, Read: time.Now(), Err: got.Err}
}

// entries are those of a Secret, as our backend gives them.
func entries(text string) secret.Value {
	var plain map[string]string
	if json.Unmarshal([]byte(text), &plain) != nil {
		return secret.Value{}
	}
	for key, value := range plain {
		plain[key] = base64.StdEncoding.EncodeToString([]byte(value))
	}
	raw, _ := json.Marshal(plain)
	return secret.NewValue(raw)
}

func (s store) Find(ctx context.Context, r external.FindRequest) (external.Found, error) {
	if r.Store.Name == "fake" {
		p, err := s.fake()
		if err != nil {
			return external.Found{}, err
		}
		keys, err := p.(providers.Finder).Find(ctx, r.Query)
		return external.Found{Keys: keys}, err
	}
	name, err := regexp.Compile(r.Query.Name)
	if err != nil {
		return external.Found{}, failure.Stallf(v1alpha1.ReasonSecretInvalid, "name is no regular expression").WithHint("correct it")
	}
	keys := slices.Sorted(maps.Keys(s[r.Store.Name]))
	return external.Found{Keys: slices.DeleteFunc(keys, func(key string) bool { return !name.MatchString(key) })}, nil
}

// materialize is what gitseal makes of a question.
func materialize(t *testing.T, q question) answer {
	t.Helper()
	var objects []render.Object
	for _, text := range append([]string{q.Manifest}, q.Objects...) {
		var fields map[string]any
		if err := yaml.Unmarshal([]byte(text), &fields); err != nil {
			t.Fatal(err)
		}
		objects = append(objects, render.Object{Unstructured: &unstructured.Unstructured{Object: fields}})
	}
	collection, err := external.Collect(objects)
	if err != nil {
		return answer{Error: err.Error()}
	}
	tokenizer := secret.NewTokenizer([]byte("key of the test"))
	derivation := external.NewDerivation(tokenizer)
	m := external.Materializer{
		Resolver: store(q.Values), Templates: derivation, Deriver: derivation,
		Defaults: external.Defaults{Namespace: "default"}, Values: tokenizer.NewSet(), Now: time.Now(),
	}
	result, err := m.Materialize(t.Context(), collection)
	if err != nil {
		return answer{Error: err.Error()}
	}
	if len(result.Secrets) != 1 {
		return answer{Error: fmt.Sprintf("%d Secrets", len(result.Secrets))}
	}
	return revealed(t, result.Secrets[0], m.Values)
}

// revealed puts the values back for the tokens, as apply does.
func revealed(t *testing.T, o render.Object, values *secret.Set) answer {
	t.Helper()
	a := answer{Data: map[string][]byte{}, Labels: o.GetLabels(), Annotations: o.GetAnnotations()}
	maps.DeleteFunc(a.Annotations, func(key, _ string) bool { return strings.HasPrefix(key, "gitseal.dev/") })
	a.Type, _, _ = unstructured.NestedString(o.Object, "type")
	data, _, err := unstructured.NestedStringMap(o.Object, "data")
	if err != nil {
		t.Fatal(err)
	}
	for key, encoded := range data {
		token, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			t.Fatal(err)
		}
		value, _, ok := values.Lookup(secret.Token(token))
		if !ok {
			t.Fatalf("%q holds no token", key)
		}
		a.Data[key] = value.Reveal()
	}
	return a
}
