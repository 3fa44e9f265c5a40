package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// waitSaid waits until Ready is False for a reason, and says some things.
func (s *story) waitSaid(reason string, parts ...string) (message string) {
	s.t.Helper()
	return s.waitRefusal(reason, func(message string) error {
		for _, part := range parts {
			if !strings.Contains(message, part) {
				return fmt.Errorf("message %q lacks %q", message, part)
			}
		}
		return nil
	})
}

// Whatever is wrong with an ExternalSecret, its store or its values: nothing of
// the revision is applied, what runs stays as it is, and it is said where it is
// wrong, without a value.
func TestBadInputOfPolicyExternal(t *testing.T) {
	t.Parallel()
	s := newStory(t, "external-bad")
	v := s.external()
	const value = "never-to-be-said"
	v.put("text", value)
	v.put("json", `{"a":"`+value+`","b":"`+value+`","n":1}`)
	v.put("big", value+strings.Repeat("x", 700<<10))
	s.write(map[string]string{"good.yaml": externalManifest("good", "data:\n  - {secretKey: k, remoteRef: {key: text}}"), "c.yaml": configMap("c", "1")})
	s.create()
	s.waitReady(s.push("a good one"))
	before := s.versions()
	const invalid, missing = v1alpha1.ReasonSecretInvalid, v1alpha1.ReasonSecretMissing
	data := func(remote string) string { return "data:\n  - {secretKey: k, remoteRef: {" + remote + "}}" }
	template := func(text string) string {
		return fmt.Sprintf("target: {template: {data: {out: %q}}}\n", text) + data("key: text")
	}
	for i, tt := range []struct {
		name, spec string
		reason     string
		parts      []string
	}{
		{"a store that is not there", "secretStoreRef: {name: nowhere}\n" + data("key: text"), v1alpha1.ReasonStoreMissing, []string{`SecretStore "nowhere"`}},
		{"a cluster's store of other namespaces", "secretStoreRef: {name: of-others, kind: ClusterSecretStore}\n" + data("key: text"), v1alpha1.ReasonStoreDenied, []string{`ClusterSecretStore "of-others"`}},
		{"a key that is not there", data("key: nowhere"), missing, []string{`"nowhere"`}},
		{"a version of what has none", data("key: text, version: '7'"), invalid, []string{`"text"`, "version"}},
		{"a property that is not there", data("key: json, property: nope"), missing, []string{`"json"`, `"nope"`}},
		{"JSON that is none", data("key: text, property: a"), invalid, []string{`"text"`}},
		{"an extract of what is no JSON", "dataFrom:\n  - extract: {key: text}", invalid, []string{`"text"`}},
		{"a rewrite that collides", "dataFrom:\n  - extract: {key: json}\n    rewrite: [{regexp: {source: '^[ab]$', target: same}}]", invalid, []string{"rewrite", "same"}},
		{"the same key twice", "data:\n  - {secretKey: k, remoteRef: {key: text}}\n  - {secretKey: k, remoteRef: {key: json}}", invalid, []string{"secretKey"}},
		{"a template that fails", template("{{ .nowhere }}"), invalid, []string{"out"}},
		{"a template with an unknown function", template(`{{ env "HOME" }}`), invalid, []string{"env"}},
		{"a template that loops", template(`{{ define "x" }}{{ template "x" . }}{{ end }}{{ template "x" . }}`), invalid, []string{"out"}},
		{"more than a Secret holds", "data:\n  - {secretKey: a, remoteRef: {key: big}}\n  - {secretKey: b, remoteRef: {key: big}}", invalid, []string{"1 MiB"}},
		{"a field that there is not", "data:\n  - {secretKey: k, remoteRef: {key: text, prop: a}}", invalid, []string{"prop"}},
		{"a target of another kind", "target: {manifest: {apiVersion: v1, kind: ConfigMap}}\n" + data("key: text"), invalid, []string{"manifest"}},
		{"a generator that is not there", "dataFrom:\n  - sourceRef: {generatorRef: {apiVersion: generators.external-secrets.io/v1alpha1, kind: Password, name: nowhere}}", invalid, []string{"nowhere"}},
	} {
		name := fmt.Sprintf("bad-%d", i) // tells what is said of this one from what was said before
		s.write(map[string]string{"bad.yaml": externalManifest(name, tt.spec), "c.yaml": configMap("c", tt.name)})
		s.push(tt.name)
		if tt.name == "a cluster's store of other namespaces" {
			s.storeOfOthers("of-others")
		}
		if m := s.waitSaid(tt.reason, append(tt.parts, fmt.Sprintf("%q", name))...); strings.Contains(m, value) {
			t.Errorf("%s: the message quotes the value", tt.name)
		}
		if diff := cmp.Diff(before, s.versions()); diff != "" {
			t.Errorf("%s: objects (-before +after):\n%s", tt.name, diff)
		}
	}
	s.write(map[string]string{"bad.yaml": passwordGenerator + externalManifest("bad", data("key: text"))})
	s.tamper("bad.yaml", func(text string) string { return strings.Replace(text, "length: 20", "length: -1", 1) })
	s.push("a generator with bad parameters")
	s.waitSaid(invalid, "length")
	s.write(map[string]string{"bad.yaml": "", "c.yaml": configMap("c", "1")})
	s.waitReady(s.push("good again"))
}

// storeOfOthers makes a store that serves no namespace of the test.
func (s *story) storeOfOthers(name string) {
	s.t.Helper()
	store := &v1alpha1.ClusterSecretStore{ObjectMeta: metav1.ObjectMeta{Name: name}}
	store.Spec.Provider.File = &v1alpha1.FileProvider{Directory: "."}
	store.Spec.Access = []v1alpha1.StoreAccess{{Namespaces: []string{"others"}}}
	if err := sandbox.Client.Create(s.t.Context(), store); err != nil {
		s.t.Fatal(err)
	}
}
