package leak

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// external moves a play to policy External, with a store of files of its own.
func (p *play) external() {
	p.t.Helper()
	if err := os.MkdirAll(p.values(), 0o700); err != nil {
		p.t.Fatal(err)
	}
	store := &v1alpha1.ClusterSecretStore{ObjectMeta: metav1.ObjectMeta{Name: p.ns}}
	store.Spec.Provider.File = &v1alpha1.FileProvider{Directory: p.ns}
	store.Spec.Access = []v1alpha1.StoreAccess{{Namespaces: []string{p.ns}}}
	times, pause := int32(1), "10ms"
	store.Spec.RetrySettings = &v1alpha1.StoreRetrySettings{MaxRetries: &times, RetryInterval: &pause}
	if err := sandbox.Client.Create(p.t.Context(), store); err != nil {
		p.t.Fatal(err)
	}
	p.write(map[string]string{"good.yaml": "", "config.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: config}\ndata: {k: v}\n"})
	p.push()
	p.edit(func(s *v1alpha1.ApplicationSpec) {
		s.Secrets = v1alpha1.Secrets{Policy: v1alpha1.PolicyExternal, External: &v1alpha1.External{
			StoreRef: &v1alpha1.StoreReference{Kind: v1alpha1.KindClusterSecretStore, Name: p.ns},
		}}
	})
}

func (p *play) values() string { return filepath.Join(sandbox.Stores(), p.ns) }

// keep writes a value into the store.
func (p *play) keep(key, value string) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.values(), key), []byte(value), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// provided writes one canary of each shape into the store, as they are and as
// one JSON document, and returns an ExternalSecret that takes them all.
func (p *play) provided(name string) string {
	p.t.Helper()
	document, data := map[string]string{}, []any{}
	for shape, value := range shapes() {
		p.cast.add(&canary{name: p.ns + "/" + name + "/" + shape, value: value, secret: p.ns + "/" + name, key: shape})
		p.keep(name+"-"+shape, value)
		data = append(data, map[string]any{"secretKey": shape, "remoteRef": map[string]any{"key": name + "-" + shape}})
	}
	for shape, value := range shapes() {
		document["doc."+shape] = value
		p.cast.add(&canary{name: p.ns + "/" + name + "/doc/" + shape, value: value, secret: p.ns + "/" + name, key: "doc." + shape})
	}
	raw, err := json.Marshal(document)
	if err != nil {
		p.t.Fatal(err)
	}
	p.keep(name+"-doc", string(raw))
	return p.yaml(map[string]any{
		"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": map[string]any{"name": name},
		"spec": map[string]any{"data": data, "dataFrom": []any{map[string]any{"extract": map[string]any{"key": name + "-doc"}}}},
	})
}

// asking is an ExternalSecret of one canary that may stand nowhere but in the
// store, whatever of it is asked for.
func asking(value func(*play) string, spec string) func(*play) {
	return func(p *play) {
		p.external()
		p.keep("k", value(p))
		p.write(map[string]string{"es.yaml": "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: es}\nspec:\n" + spec})
	}
}

func plainValue(p *play) string { return p.value("provided") }

func jsonValue(p *play) string {
	return fmt.Sprintf(`{"a":%q,"b":{"c":[%q]},"n":%s}`, p.value("a"), p.value("b"), p.number())
}

const fromK = "  data: [{secretKey: k, remoteRef: {key: k}}]\n"

// templated puts a template over the value.
func templated(text string) string {
	return fmt.Sprintf("  target: {template: {data: {out: %q}}}\n", text) + fromK
}

// externals are the ways that values of a provider go.
func externals() map[string]scenario {
	const invalid = v1alpha1.ReasonSecretInvalid
	return map[string]scenario{
		"values of a provider": {run: func(p *play) {
			p.external()
			p.write(map[string]string{"good.yaml": p.provided("good")})
			p.wait(v1alpha1.ReasonSucceeded, p.push())
			p.write(map[string]string{"more.yaml": p.provided("more")})
		}},
		"a template that asks for what is not there": {invalid, asking(plainValue, templated(`{{ .k }}{{ .nowhere }}`))},
		"a template that fails with the value":       {invalid, asking(plainValue, templated(`{{ fail .k }}`))},
		"a template that parses the value":           {invalid, asking(plainValue, templated(`{{ .k | fromJson | toYaml }}{{ mustFromJson .k }}`))},
		"a template that decodes the value":          {invalid, asking(func(p *play) string { return p.value("provided") + "!" }, templated(`{{ index (fromYaml .k) "a" "b" }}`))},
		"a template that compares the value":         {invalid, asking(plainValue, templated(`{{ if gt .k 5 }}{{ end }}`))},
		"a template that indexes by the value":       {invalid, asking(plainValue, templated(`{{ index (list 1 2) .k }}`))},
		"a template that names the value":            {invalid, asking(plainValue, templated(`{{ template .k }}`))},
		"an annotation of a value": {invalid, asking(plainValue,
			`  target: {template: {metadata: {annotations: {a: "{{ .k }}"}}}}`+"\n"+fromK)},
		"a property of what is no JSON":     {invalid, asking(plainValue, "  data: [{secretKey: k, remoteRef: {key: k, property: a}}]\n")},
		"an extract of what is no JSON":     {invalid, asking(plainValue, "  dataFrom: [{extract: {key: k}}]\n")},
		"a property that is not there":      {v1alpha1.ReasonSecretMissing, asking(jsonValue, "  data: [{secretKey: k, remoteRef: {key: k, property: b.d}}]\n")},
		"a version of what has none":        {invalid, asking(plainValue, "  data: [{secretKey: k, remoteRef: {key: k, version: \"7\"}}]\n")},
		"what is no base64":                 {invalid, asking(func(p *play) string { return p.value("provided") + "!" }, "  data: [{secretKey: k, remoteRef: {key: k, decodingStrategy: Base64}}]\n")},
		"a null byte":                       {invalid, asking(func(p *play) string { return p.value("provided") + "\x00" }, "  data: [{secretKey: k, remoteRef: {key: k, nullBytePolicy: Fail}}]\n")},
		"a merge of what is no JSON":        {invalid, asking(plainValue, "  dataFrom: [{find: {name: {regexp: ^k$}}, rewrite: [{merge: {}}]}]\n")},
		"a rewrite that collides":           {invalid, asking(func(p *play) string { return fmt.Sprintf(`{"a":%q,"b":%q}`, p.value("a"), p.value("b")) }, "  dataFrom: [{extract: {key: k}, rewrite: [{regexp: {source: '.', target: x}}]}]\n")},
		"a value over 1 MiB":                {invalid, asking(func(p *play) string { return p.value("provided") + strings.Repeat("x", 1<<20) }, fromK)},
		"two values of more than 1 MiB":     {invalid, asking(func(p *play) string { return p.value("provided") + strings.Repeat("x", 600<<10) }, "  data: [{secretKey: k, remoteRef: {key: k}}, {secretKey: l, remoteRef: {key: k}}]\n")},
		"a Secret that cannot be":           {v1alpha1.ReasonApplyFailed, asking(plainValue, "  target: {template: {type: kubernetes.io/tls, data: {tls.crt: \"{{ .k }}\"}}}\n"+fromK)},
		"values that nobody gives any more": {v1alpha1.ReasonValuesStale, outage},
		"values that changed while drifted": {run: func(p *play) {
			p.external()
			p.write(map[string]string{"good.yaml": p.provided("good")})
			p.wait(v1alpha1.ReasonSucceeded, p.push())
			p.intrude()
			p.until("an event of the correction", p.corrected)
			p.write(map[string]string{"more.yaml": p.provided("more")})
		}},
		"values that change behind a refused revision": {v1alpha1.ReasonRenderFailed, func(p *play) {
			p.refused(func() string { return p.provided("good") }, func() { p.provided("good") })
			p.until("the new values of what is in place", p.says(`{.status.history[0].reason}`, v1alpha1.SyncSecret))
		}},
		"values that cannot be behind a refused revision": {v1alpha1.ReasonRenderFailed, func(p *play) {
			p.refused(func() string {
				p.keep("k", "anything")
				return "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: good}\nspec:\n" + fromK
			}, func() { p.keep("k", p.value("provided")+strings.Repeat("x", 1<<20)) })
			p.until("what is wrong with the new values of what is in place", p.says(`{.status.conditions[?(@.type=="SecretsReady")].message}`, "good.yaml"))
		}},
		"a property that a value in a store lacks":      {v1alpha1.ReasonSecretMissing, faked("", "  data: [{secretKey: k, remoteRef: {key: k, property: b}}]\n")},
		"a template that fails with a value in a store": {invalid, faked("", templated(`{{ fail .k }}`))},
		"a value that stands in a store twice":          {v1alpha1.ReasonStoreInvalid, faked(", {key: k, value: again}", fromK)},
		"a value that stands in a store as a map":       {v1alpha1.ReasonStoreInvalid, faked(", {key: l, value: {a: b}}", fromK)},
		"a token that a store is not let in with": {v1alpha1.ReasonStoreInvalid, func(p *play) {
			p.external()
			p.secretBeside("beside", "token", p.value("token"), nil)
			p.write(map[string]string{"es.yaml": "apiVersion: gitseal.dev/v1alpha1\nkind: SecretStore\nmetadata: {name: here}\nspec:\n  provider: {kubernetes: {remoteNamespace: " + p.ns +
				", auth: {token: {bearerToken: {name: beside, key: token}}}}}\n---\n" +
				"apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: es}\nspec:\n  secretStoreRef: {name: here}\n" + fromK})
		}},
	}
}

// faked is an ExternalSecret of a canary that stands in a store in Git, in plain
// text and in JSON, and may stand nowhere else: such a store is not applied.
func faked(more, spec string) func(*play) {
	return func(p *play) {
		p.external()
		c := p.canary("in-the-store")
		c.inGit = true
		p.write(map[string]string{
			"store.yaml": fmt.Sprintf("apiVersion: external-secrets.io/v1\nkind: SecretStore\nmetadata: {name: here}\nspec:\n  provider: {fake: {data: [{key: k, value: '{\"a\":%q}'}%s]}}\n", c.value, more),
			"es.yaml":    "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: es}\nspec:\n  secretStoreRef: {name: here}\n" + spec,
		})
	}
}

// refused puts a manifest in place and then pushes a revision that cannot be.
// After a change at the provider values are asked for again.
func (p *play) refused(manifest func() string, change func()) {
	p.external()
	p.write(map[string]string{"good.yaml": manifest()})
	p.wait(v1alpha1.ReasonSucceeded, p.push())
	p.write(map[string]string{"bad.yaml": "kind: ["})
	p.push()
	p.wait(v1alpha1.ReasonRenderFailed, "")
	change()
	p.refresh()
}

// outage takes the store away from values that are in use.
func outage(p *play) {
	p.external()
	p.edit(func(s *v1alpha1.ApplicationSpec) { s.Secrets.External.MaxStaleness = &metav1.Duration{} })
	p.write(map[string]string{"good.yaml": p.provided("good")})
	p.wait(v1alpha1.ReasonSucceeded, p.push())
	if err := os.Rename(p.values(), p.values()+".away"); err != nil {
		p.t.Fatal(err)
	}
	p.refresh()
	p.wait(v1alpha1.ReasonValuesStale, "")
}

// refresh asks for all values to be read again.
func (p *play) refresh() {
	p.t.Helper()
	if _, err := sandbox.Kubectl(p.t.Context(), "", "annotate", "application", "app", "-n", p.ns, v1alpha1.AnnotationRefreshRequestedAt+"=now"); err != nil {
		p.t.Fatal(err)
	}
}

// says checks that the Application has a text at a JSONPath.
func (p *play) says(path, text string) func(context.Context) error {
	return func(ctx context.Context) error {
		out, err := sandbox.Kubectl(ctx, "", "get", "application", "app", "-n", p.ns, "-o", "jsonpath="+path)
		if err == nil && !strings.Contains(out, text) {
			err = fmt.Errorf("%s is %q", path, out)
		}
		return err
	}
}
