package render

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"path"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/gitseal/gitseal/internal/secret"
)

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: web:1
        envFrom:
        - secretRef: {name: db}
        - configMapRef: {name: settings}
`

// shop is a repository that uses what Kustomize has to offer.
func shop(token string) fstest.MapFS {
	return tree(
		"base/kustomization.yaml", `# the base
resources:
- deploy.yaml
- more.yaml
secretGenerator:
- name: other
  literals: [a=b]
- name: db
  envs: [db.env]
  files: [key=blob.bin]
configMapGenerator:
- name: settings
  literals: [LOG=info]
`,
		"base/deploy.yaml", deployment,
		"base/more.yaml", configMap("first")+"---\n"+configMap("second")+"---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: plain\nstringData:\n  password: "+token+"\n",
		"base/db.env", "password="+token+"\n",
		"base/blob.bin", "begin "+token+" end",
		"component/kustomization.yaml", `apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
resources: [extra.yaml]
patches:
- target: {kind: Deployment}
  patch: |-
    - op: replace
      path: /spec/replicas
      value: 3
`,
		"component/extra.yaml", "\n\n"+configMap("extra"),
		"envs/prod/kustomization.yaml", `namePrefix: prod-
namespace: shop
resources: [../../base]
components: [../../component]
configMapGenerator:
- name: settings
  behavior: merge
  literals: [LOG=warn]
patches:
- path: patch.yaml
replacements:
- source: {kind: Secret, name: plain, fieldPath: stringData.password}
  targets:
  - select: {kind: Deployment}
    fieldPaths: [spec.template.metadata.annotations.copy]
    options: {create: true}
commonAnnotations: {docs: https://example.org/x}
`,
		"envs/prod/patch.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  template:\n    spec:\n      containers:\n      - name: web\n        image: web:2\n",
	)
}

func TestRenderKustomize(t *testing.T) {
	token := string(secret.NewTokenizer([]byte("key")).NewSet().Add(secret.NewValue([]byte("hunter2")), secret.String))
	objects, err := Render(t.Context(), shop(token), "envs/prod")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	byName := map[string]Object{}
	for _, o := range objects {
		name := o.GetName()
		if i := strings.LastIndex(name, "-"); o.Origin.File == "base/kustomization.yaml" && i > 0 {
			name = name[:i] // the hash
		}
		got = append(got, fmt.Sprintf("%s %s %s", o.Origin, o.GetKind(), name))
		byName[name] = o
	}
	want := []string{
		"base/deploy.yaml:1 Deployment prod-web",
		"base/more.yaml:1 ConfigMap prod-first",
		"base/more.yaml:8 ConfigMap prod-second",
		"base/more.yaml:15 Secret prod-plain",
		"base/kustomization.yaml:12 ConfigMap prod-settings",
		"base/kustomization.yaml:6 Secret prod-other",
		"base/kustomization.yaml:8 Secret prod-db",
		"component/extra.yaml:3 ConfigMap prod-extra",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	db := byName["prod-db"].Object["data"].(map[string]any)
	for key, want := range map[string]string{"password": token, "key": "begin " + token + " end"} {
		if raw, _ := base64.StdEncoding.DecodeString(db[key].(string)); string(raw) != want {
			t.Errorf("prod-db data[%q] = %q, want %q", key, raw, want)
		}
	}
	if got := byName["prod-plain"].Object["stringData"].(map[string]any)["password"]; got != token {
		t.Errorf("stringData = %v, want the token", got)
	}
	web, _ := byName["prod-web"].MarshalJSON()
	for _, want := range []string{`"copy":"` + token + `"`, `"name":"` + byName["prod-db"].GetName() + `"`, `"image":"web:2"`, `"replicas":3`} {
		if !strings.Contains(string(web), want) {
			t.Errorf("Deployment lacks %s: %s", want, web)
		}
	}
}

// plainKustomize renders with Kustomize's own in-memory file system.
func plainKustomize(t *testing.T, files fstest.MapFS, root string) map[string]string {
	t.Helper()
	memory := filesys.MakeFsInMemory()
	for name, f := range files {
		if err := memory.WriteFile(path.Join("/", name), f.Data); err != nil {
			t.Fatal(err)
		}
	}
	options := krusty.MakeDefaultOptions()
	options.LoadRestrictions = 1 + options.LoadRestrictions
	built, err := krusty.MakeKustomizer(options).Run(memory, path.Join("/", root))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, r := range built.Resources() {
		raw, err := r.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		out[r.GetKind()+" "+r.GetName()] = strings.TrimSpace(string(raw))
	}
	return out
}

func TestAskingForOriginsChangesNothingElse(t *testing.T) {
	withMetadata := func(options string) fstest.MapFS {
		files := maps.Clone(shop("x"))
		top := *files["envs/prod/kustomization.yaml"]
		top.Data = append([]byte("buildMetadata: "+options+"\n"), top.Data...)
		files["envs/prod/kustomization.yaml"] = &top
		return files
	}
	for name, files := range map[string]fstest.MapFS{
		"nothing asked for":      shop("x"),
		"managed-by asked for":   withMetadata("[managedByLabel]"),
		"origins asked for":      withMetadata("[originAnnotations]"),
		"transformers asked for": withMetadata("[transformerAnnotations, originAnnotations]"),
	} {
		t.Run(name, func(t *testing.T) {
			objects, err := Render(t.Context(), files, "envs/prod")
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for _, o := range objects {
				raw, err := o.MarshalJSON()
				if err != nil {
					t.Fatal(err)
				}
				got[o.GetKind()+" "+o.GetName()] = strings.TrimSpace(string(raw))
			}
			if diff := cmp.Diff(plainKustomize(t, files, "envs/prod"), got); diff != "" {
				t.Errorf("output differs from Kustomize's own (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRenderKustomizeRefuses(t *testing.T) {
	bomb := "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
	for i := 1; i < 9; i++ {
		bomb += fmt.Sprintf("a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10), ","))
	}
	const bombed = "aliases expand to more than 50000 nodes: write the values out instead of repeating aliases"
	tests := map[string]struct {
		fsys fstest.MapFS
		want string
	}{
		"a resource that does not parse": {
			tree("kustomization.yaml", kustomization, "a.yaml", "a: 1\nb: [\n"), "a.yaml:2: is not valid YAML: did not find expected node content"},
		"a kustomization that does not parse": {
			tree("kustomization.yaml", "resources: [a\n"), "kustomization.yaml:1: is not valid YAML: did not find expected ',' or ']'"},
		"a field that is not known": {
			tree("kustomization.yaml", "# x\nresource: [a]\n"), `kustomization.yaml:2: has the field "resource", which Kustomize does not know: correct or remove the field`},
		"a field of the wrong type": {
			tree("kustomization.yaml", "resources: a.yaml\n"), `kustomization.yaml: is not a valid kustomization: json: cannot unmarshal string into Go struct field Kustomization.resources of type []string`},
		"an empty kustomization": {
			tree("kustomization.yaml", "kind: Kustomization\n"), "kustomization.yaml: is an empty kustomization: list what to apply under resources"},
		"a missing resource": {
			tree("kustomization.yaml", "namePrefix: x\nresources:\n- a.yaml\n"), `kustomization.yaml:3: resources "a.yaml" is not in the repository: add it, or remove the entry; remote bases are not fetched`},
		"a base without a kustomization": {
			tree("kustomization.yaml", "resources:\n- b\n", "b/a.yaml", configMap("a")), `kustomization.yaml:2: resources "b" is a directory without a kustomization: add a kustomization.yaml to it, or list its files one by one`},
		"a base outside the repository": {
			tree("kustomization.yaml", "resources:\n- ../../b\n"), `kustomization.yaml:2: resources "../../b" is not a path inside the repository: use a path relative to the kustomization`},
		"an absolute path": {
			tree("kustomization.yaml", "resources:\n- /a.yaml\n"), `kustomization.yaml:2: resources "/a.yaml" is not a path inside the repository: use a path relative to the kustomization`},
		"a base that names its overlay": {
			tree("kustomization.yaml", "resources: [b]\n", "b/kustomization.yaml", "resources: [../]\n"), "kustomization.yaml: kustomize: accumulating resources: recursed accumulation of path 'b': accumulating resources: cycle detected: candidate root '.' contains visited root 'b'"},
		"the same object twice": {
			tree("kustomization.yaml", "resources: [a.yaml, b.yaml]\n", "a.yaml", configMap("x"), "b.yaml", "\n"+configMap("x")),
			`ConfigMap "x" is met twice while building .; it is written in a.yaml:1 and b.yaml:2: remove one of the two, or list the file once`},
		"the same key twice": {
			tree("kustomization.yaml", kustomization, "a.yaml", configMap("x")+"  k: 2\n"), `a.yaml:7: key "k" is given twice: keep one of the two`},
		"a file for a generator that is missing": {
			tree("kustomization.yaml", "secretGenerator:\n- name: x\n  files: [k=missing.bin]\n"), `kustomization.yaml:3: secretGenerator "k=missing.bin" is not in the repository: add it, or remove the entry; remote files are not fetched`},
		"a patch without a target": {
			tree("kustomization.yaml", "resources: [a.yaml]\npatches: [{patch: \"{apiVersion: v1, kind: Service, metadata: {name: no}}\"}]\n", "a.yaml", configMap("x")),
			`kustomization.yaml: kustomize: no resource matches strategic merge patch "Service.v1.[noGrp]/no.[noNs]": no matches for Id Service.v1.[noGrp]/no.[noNs]; failed to find unique target for patch Service.v1.[noGrp]/no.[noNs]`},
		"a Helm chart": {
			tree("kustomization.yaml", "\nhelmCharts: [{name: x}]\n"), "kustomization.yaml:2: inflates a Helm chart, which is not done in a kustomization: render the chart and commit the result"},
		"a Helm chart in an inline generator": {
			tree("kustomization.yaml", "generators:\n- |\n  apiVersion: builtin\n  kind: HelmChartInflationGenerator\n  metadata: {name: x}\n  name: x\n"),
			"kustomization.yaml:2: inflates a Helm chart, which is not done in a kustomization: render the chart and commit the result"},
		"a plugin that is a program": {
			tree("kustomization.yaml", "generators: [g.yaml]\n", "g.yaml", "apiVersion: x/v1\nkind: Run\nmetadata: {name: r, annotations: {config.kubernetes.io/function: \"exec: {path: /bin/true}\"}}\n"),
			"kustomization.yaml: kustomize: loading generator plugins: failed to load generator: external plugins disabled; unable to load external plugin 'Run'"},
		"a directory of configurations that computes": {
			tree("kustomization.yaml", "resources: [a.yaml]\ntransformers:\n- t\n", "a.yaml", configMap("x"), "t/kustomization.yaml", "resources: [t.yaml]\nnamePrefix: x\n", "t/t.yaml", configMap("x")),
			`kustomization.yaml:3: transformers "t" is a kustomization that does more than list resources: list the configurations themselves`},
		"a YAML bomb in a resource":  {tree("kustomization.yaml", kustomization, "a.yaml", configMap("x")+bomb), "a.yaml:7: " + bombed},
		"a YAML bomb in a patch":     {tree("kustomization.yaml", "resources: [a.yaml]\npatches:\n- patch: |\n    "+strings.ReplaceAll(bomb, "\n", "\n    "), "a.yaml", configMap("x")), "kustomization.yaml:1: " + bombed},
		"a YAML bomb in a generator": {tree("kustomization.yaml", "generators:\n- |\n    "+strings.ReplaceAll(bomb, "\n", "\n    ")), "kustomization.yaml:1: " + bombed},
		"nothing": {
			tree("kustomization.yaml", "resources: [a.yaml]\n", "a.yaml", "# none\n"),
			`path "." renders no objects; nothing is applied and nothing is pruned: add a manifest, or delete the Application to remove its objects`},
		"too many objects read": {
			tree("kustomization.yaml", "resources: [l, r]\n", "l/kustomization.yaml", "namePrefix: l\nresources: [../base]\n", "r/kustomization.yaml", "namePrefix: r\nresources: [../base]\n",
				"base/kustomization.yaml", "resources: [a.yaml]\n", "base/a.yaml", listOf(maxReadObjects/2+1)),
			".: the kustomization reads more than 2000 objects: split it over several Applications"},
		"too many objects read behind an alias": {
			tree("kustomization.yaml", kustomization, "a.yaml", strings.Replace(listOf(maxReadObjects+1), "items:", "x: &x", 1)+"items: *x\n"),
			".: the kustomization reads more than 2000 objects: split it over several Applications"},
		"too many entries read": {
			crowd("kustomization.yaml", "resources: [f0.yaml, f1.yaml, f2.yaml, f3.yaml, f4.yaml, f5.yaml, f6.yaml, f7.yaml, f8.yaml, f9.yaml, f10.yaml]\n"),
			`path "." holds more than 400000 entries of maps and lists: split it over several Applications`},
		"a document of too many entries": {
			tree("kustomization.yaml", kustomization, "a.yaml", "\n---\n"+configMap("a")+"l:\n"+strings.Repeat("- {a: 1, b: 2}\n", maxDocumentEntries/5)),
			"a.yaml:2: the document that begins here holds more than 200000 entries of maps and lists: split it into smaller objects"},
		"an object that is too large": {
			tree("kustomization.yaml", kustomization, "a.yaml", configMap("a")+"  long: "+strings.Repeat("x", maxObjectBytes)+"\n"),
			`a.yaml:1: ConfigMap "a" is larger than 1.5 MiB, which no cluster stores: split it into several objects`},
		"a label that is a number": {
			tree("kustomization.yaml", kustomization, "a.yaml", configMap("x\n  labels: {a: 1}")), `a.yaml:1: metadata.labels["a"] is a number where text is expected: quote it`},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Render(t.Context(), tc.fsys, ".")
			wantStall(t, err, "", tc.want)
		})
	}
}

func TestOverlaysThatDoubleAreBounded(t *testing.T) {
	files := tree("kustomization.yaml", "resources: [l0/x, l0/y]\n")
	for level := range 30 {
		for _, side := range []string{"x", "y"} {
			below := fmt.Sprintf("resources: [../../l%d/x, ../../l%d/y]\nnamePrefix: %s-\n", level+1, level+1, side)
			if level == 29 {
				below = "resources: [a.yaml]\nnamePrefix: " + side + "-\n"
			}
			files[fmt.Sprintf("l%d/%s/kustomization.yaml", level, side)] = &fstest.MapFile{Data: []byte(below)}
			files[fmt.Sprintf("l%d/%s/a.yaml", level, side)] = &fstest.MapFile{Data: []byte(configMap("a"))}
		}
	}
	_, err := Render(t.Context(), files, ".")
	wantStall(t, err, "", ".: the kustomization loads more than 1000 kustomizations: split it over several Applications")
}

func listOf(n int) string {
	var list strings.Builder
	list.WriteString("apiVersion: v1\nkind: List\nitems:\n")
	for i := range n {
		fmt.Fprintf(&list, "- {apiVersion: v1, kind: ConfigMap, metadata: {name: c%d}}\n", i)
	}
	return list.String()
}

func TestWaitingForABuildEndsWithTheContext(t *testing.T) {
	kustomizeTurn <- struct{}{} // another build runs
	defer func() { <-kustomizeTurn }()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := Render(ctx, tree("a.yaml", configMap("a"), "kustomization.yaml", kustomization), "."); !errors.Is(err, context.Canceled) {
		t.Errorf("Render = %v, want %v", err, context.Canceled)
	}
}

func TestAsManyObjectsAsMayBeReadAreBuilt(t *testing.T) {
	var text strings.Builder
	for i := range maxReadObjects {
		text.WriteString(configMap(fmt.Sprintf("c%d", i)) + "---\n") // the last document is empty
	}
	files := tree("kustomization.yaml", "namePrefix: p-\nresources: [a.yaml]\n", "a.yaml", text.String())
	if objects, err := Render(t.Context(), files, "."); err != nil || len(objects) != maxReadObjects {
		t.Errorf("Render = %d objects, %v", len(objects), err)
	}
}
