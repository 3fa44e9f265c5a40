package render

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
)

// tree makes a file system of name, content, name, content...
func tree(files ...string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for i := 0; i < len(files); i += 2 {
		fsys[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
	}
	return fsys
}

func configMap(name string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: " + name + "\ndata:\n  k: v\n"
}

// summary is one line per object: origin, kind, name.
func summary(objects []Object) []string {
	var lines []string
	for _, o := range objects {
		lines = append(lines, fmt.Sprintf("%s %s %s", o.Origin, o.GetKind(), qualified(o.Unstructured)))
	}
	return lines
}

func TestRenderPlain(t *testing.T) {
	tests := map[string]struct {
		fsys fstest.MapFS
		root string
		want []string
	}{
		"files come in the order of their names and documents in theirs": {
			tree("b.yaml", configMap("b1")+"---\n"+configMap("b2"), "a.yml", "# note\n\n"+configMap("a"), "c/d.yaml", configMap("d")), ".",
			[]string{"a.yml:3 ConfigMap a", "b.yaml:1 ConfigMap b1", "b.yaml:8 ConfigMap b2", "c/d.yaml:1 ConfigMap d"},
		},
		"a root below the top is rendered alone": {
			tree("x.yaml", configMap("x"), "envs/prod/a.yaml", configMap("a")), "envs/prod/",
			[]string{"envs/prod/a.yaml:1 ConfigMap a"},
		},
		"dot files, dot directories and other files are left alone": {
			tree(".sops.yaml", "creation_rules: []", ".github/w.yaml", "on: push", "README.md", "# hi", "run.sh", "ls", "a.yaml", configMap("a")), ".",
			[]string{"a.yaml:1 ConfigMap a"},
		},
		"empty documents and comments are skipped": {
			tree("a.yaml", "---\n# nothing\n---\n"+configMap("a")+"---\n", "b.yaml", "", "c.yaml", "# only\n", "d.json", " \n"), ".",
			[]string{"a.yaml:4 ConfigMap a"},
		},
		"a list gives its items with their own lines": {
			tree("a.yaml", "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: s}\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: c, namespace: n}\n"), ".",
			[]string{"a.yaml:4 Service s", "a.yaml:7 ConfigMap n/c"},
		},
		"the items of a typed list take its type": {
			tree("a.yaml", "apiVersion: v1\nkind: ConfigMapList\nitems:\n- metadata: {name: c}\n"), ".",
			[]string{"a.yaml:4 ConfigMap c"},
		},
		"JSON files hold an object or a list": {
			tree("a.json", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}`,
				"b.json", `{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"b"}}]}`), ".",
			[]string{"a.json:1 ConfigMap a", "b.json:1 ConfigMap b"},
		},
		"the same name in two namespaces, kinds and groups is no duplicate": {
			tree("a.yaml", configMap("a")+"---\n"+configMap("a\n  namespace: other")+"---\napiVersion: x.io/v1\nkind: ConfigMap\nmetadata: {name: a}\n"), ".",
			[]string{"a.yaml:1 ConfigMap a", "a.yaml:8 ConfigMap other/a", "a.yaml:16 ConfigMap a"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Render(t.Context(), tc.fsys, tc.root)
			if err != nil {
				t.Fatalf("Render: %v", err)
			}
			if diff := cmp.Diff(tc.want, summary(got)); diff != "" {
				t.Errorf("Render (-want +got):\n%s", diff)
			}
		})
	}
}

func TestYAMLScalarsBecomeWhatUnstructuredHolds(t *testing.T) {
	objects, err := Render(t.Context(), tree("a.yaml", `apiVersion: v1
kind: X
metadata: {name: x}
base: &base {a: 1, b: 2}
merged: {<<: *base, b: 3}
mergedMany: {<<: [*base, {c: 4}]}
again: *base
spec:
  int: 8080
  octal: 0644
  hex: 0x10
  float: 1.5
  big: 18446744073709551615
  bool: true
  yes: yes
  date: 2020-01-01
  none: null
  quoted: "1"
  tagged: !!str 1
  1: one
  true: t
`), ".")
	if err != nil {
		t.Fatal(err)
	}
	base := map[string]any{"a": int64(1), "b": int64(2)}
	want := map[string]any{
		"apiVersion": "v1", "kind": "X", "metadata": map[string]any{"name": "x"},
		"base": base, "again": base,
		"merged":     map[string]any{"a": int64(1), "b": int64(3)},
		"mergedMany": map[string]any{"a": int64(1), "b": int64(2), "c": int64(4)},
		"spec": map[string]any{
			"int": int64(8080), "octal": int64(420), "hex": int64(16), "float": 1.5, "big": float64(18446744073709551615),
			"bool": true, "yes": "yes", "date": "2020-01-01", "none": nil, "quoted": "1", "tagged": "1", "1": "one", "true": "t",
		},
	}
	if diff := cmp.Diff(want, objects[0].Object); diff != "" {
		t.Errorf("object (-want +got):\n%s", diff)
	}
	objects[0].DeepCopy() // panics on a type that unstructured does not allow
}

const kustomization = "resources: [a.yaml]\n"

func TestRenderRefuses(t *testing.T) {
	many := strings.Repeat("{apiVersion: v1, kind: List, items: []}\n---\n", maxDocuments+1)
	bomb := "apiVersion: v1\nkind: X\nmetadata: {name: x}\na0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
	for i := 1; i < 9; i++ {
		bomb += fmt.Sprintf("a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10), ","))
	}
	var tooMany strings.Builder
	for i := range maxObjects + 1 {
		fmt.Fprintf(&tooMany, "- {apiVersion: v1, kind: X, metadata: {name: n%d}}\n", i)
	}
	tests := map[string]struct {
		fsys   fs.FS
		root   string
		reason string
		want   string // exact
	}{
		"YAML that does not parse, with its line in the whole file": {
			tree("a.yaml", configMap("a")+"---\nkind: X\n\tb: c\n"), ".", "", "a.yaml:8: is not valid YAML: found a tab character that violates indentation"},
		"JSON that does not parse": {
			tree("a.json", "{\n\"a\": 1,\n}"), ".", "", "a.json:3: is not valid JSON: invalid character '}' looking for beginning of object key string"},
		"a duplicate object, naming both places": {
			tree("a.yaml", configMap("x"), "b.yaml", "\n"+configMap("x")), ".", "", `b.yaml:2: ConfigMap "x" is already in a.yaml:1: remove one of the two`},
		"a duplicate key": {
			tree("a.yaml", configMap("a")+"  k: w\n"), ".", "", `a.yaml:7: key "k" is given twice: keep one of the two`},
		"a duplicate key in JSON": {
			tree("a.json", `{"apiVersion":"v1","kind":"X","kind":"Y"}`), ".", "", `a.json: duplicate field "kind": keep one of the two`},
		"no name": {
			tree("a.yaml", "kind: X\napiVersion: v1\n"), ".", "", "a.yaml:1: X has no metadata.name: set metadata.name"},
		"a generated name": {
			tree("a.yaml", "kind: X\napiVersion: v1\nmetadata: {generateName: x-}\n"), ".", "",
			"a.yaml:1: X has metadata.generateName: set metadata.name: an object without a fixed name cannot be kept in sync"},
		"a name that is a number": {
			tree("a.yaml", "kind: X\napiVersion: v1\nmetadata: {name: 12}\n"), ".", "", "a.yaml:1: metadata.name is a number where text is expected: quote it"},
		"a file that is no manifest": {
			tree("a.yaml", "# values\nreplicas: 1\n"), ".", "", "a.yaml:2: has no apiVersion: " + notAManifest},
		"a document that is a list": {
			tree("a.yaml", "- a\n"), ".", "", "a.yaml:1: holds a list where an object with apiVersion and kind is expected: " + notAManifest},
		"no kind": {
			tree("a.yaml", "apiVersion: v1\n"), ".", "", "a.yaml:1: has no kind: " + notAManifest},
		"an apiVersion that is a number": {
			tree("a.yaml", "apiVersion: 1\nkind: X\n"), ".", "", "a.yaml:1: apiVersion is a number where text is expected: quote it"},
		"an annotation that is a boolean": {
			tree("a.yaml", "apiVersion: v1\nkind: X\nmetadata: {name: x, annotations: {a/b: true}}\n"), ".", "",
			`a.yaml:1: metadata.annotations["a/b"] is a boolean where text is expected: quote it`},
		"a label that is a number": {
			tree("a.yaml", "apiVersion: v1\nkind: X\nmetadata: {name: x, labels: {v: 1.5}}\n"), ".", "",
			`a.yaml:1: metadata.labels["v"] is a number where text is expected: quote it`},
		"a list inside a list": {
			tree("a.yaml", "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: List\n  items: []\n"), ".", "",
			"a.yaml:4: is a list inside a list: list the objects themselves"},
		"a list of text": {
			tree("a.yaml", "apiVersion: v1\nkind: List\nitems: [x]\n"), ".", "", "a.yaml:3: is text where an object is expected"},
		"a document of too many entries": {
			tree("a.yaml", configMap("a")+"---\n"+configMap("b")+"l:\n"+strings.Repeat("- {a: 1, b: 2}\n", maxDocumentEntries/5)), ".", "",
			"a.yaml:7: the document that begins here holds more than 200000 entries of maps and lists: split it into smaller objects"},
		"a document of too many entries in JSON": {
			tree("a.json", `{"a": [`+strings.Repeat("1,", maxDocumentEntries)+"1]}"), ".", "",
			"a.json:1: the document that begins here holds more than 200000 entries of maps and lists: split it into smaller objects"},
		"too many entries in many files": {
			crowd(), ".", "", `path "." holds more than 1000000 entries of maps and lists: split it over several Applications`},
		"an object that is too large": {
			tree("a.yaml", "\n"+configMap("a")+"  long: "+strings.Repeat("x", maxObjectBytes)+"\n"), ".", "",
			`a.yaml:2: ConfigMap "a" is larger than 1.5 MiB, which no cluster stores: split it into several objects`},
		"an object that aliases make too large": {
			tree("a.yaml", configMap("a")+"  x0: &x "+strings.Repeat("x", 100_000)+"\nl: ["+strings.Repeat("*x,", 20)+"]\n"), ".", "",
			`a.yaml:1: ConfigMap "a" is larger than 1.5 MiB, which no cluster stores: split it into several objects`},
		"a YAML bomb": {
			tree("a.yaml", bomb), ".", "", "a.yaml:4: aliases expand to more than 50000 nodes: write the values out instead of repeating aliases"},
		"deep nesting": {
			tree("a.yaml", "apiVersion: v1\nkind: X\nmetadata: {name: x}\na: "+strings.Repeat("[", 300)+strings.Repeat("]", 300)), ".", "", "a.yaml:4: is nested more than 200 levels deep"},
		"deep nesting in JSON": {
			tree("a.json", strings.Repeat("[", 300)+strings.Repeat("]", 300)), ".", "", "a.json: is nested more than 200 levels deep"},
		"an alias that holds itself": {
			tree("a.yaml", "apiVersion: v1\nkind: X\nmetadata: {name: x}\na: &a [*a]\n"), ".", "", "a.yaml:4: is nested more than 200 levels deep"},
		"a tag of some other tool": {
			tree("a.yaml", "apiVersion: v1\nkind: X\nmetadata: {name: x}\na: !vault b\n"), ".", "", `a.yaml:4: has the YAML tag "!vault", which is not supported: remove the tag`},
		"infinity": {
			tree("a.yaml", "apiVersion: v1\nkind: X\nmetadata: {name: x}\na: .inf\n"), ".", "", "a.yaml:4: has a number that JSON cannot hold: quote it, or use a finite number"},
		"too many documents": {
			tree("a.yaml", many), ".", "", "a.yaml:20000: holds more than 10000 documents: split the file"},
		"too many objects": {
			tree("a.yaml", "apiVersion: v1\nkind: List\nitems:\n"+tooMany.String()), ".", "", `path "." renders more than 10000 objects: split it over several Applications`},
		"nothing": {
			tree("env/README.md", "hi"), "env", "", `path "env" renders no objects; nothing is applied and nothing is pruned: add a manifest, or delete the Application to remove its objects`},
		"a missing path": {
			tree("a.yaml", configMap("a")), "env", v1alpha1.ReasonSourceInvalid, `path "env" is not in the repository: set spec.source.path to a directory that the revision holds`},
		"a path that is a file": {
			tree("env/a.yaml", configMap("a")), "env/a.yaml", v1alpha1.ReasonSourceInvalid, `path "env/a.yaml" is a file: set spec.source.path to the directory that holds it`},
		"a path that leaves the repository": {
			tree("a.yaml", configMap("a")), "a/../../x", v1alpha1.ReasonSourceInvalid, `path "a/../../x" is not inside the repository: set spec.source.path to a directory relative to the root of the repository`},
		"two kustomizations": {
			tree("env/kustomization.yaml", kustomization, "env/Kustomization", kustomization), "env", "", "env: holds Kustomization and kustomization.yaml: keep one kustomization file in a directory"},
		"a kustomization below a plain directory": {
			tree("a.yaml", configMap("a"), "b/kustomization.yml", kustomization), ".", "",
			"b/kustomization.yml: is a kustomization below a directory that has none: add a kustomization at the top that lists what to apply, or point spec.source.path at b"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Render(t.Context(), tc.fsys, tc.root)
			wantStall(t, err, tc.reason, tc.want)
		})
	}
}

// crowd is more files than may be rendered together, each of which may be.
func crowd(more ...string) fstest.MapFS {
	fsys := tree(more...)
	for i := range 11 {
		fsys[fmt.Sprintf("f%d.yaml", i)] = &fstest.MapFile{Data: []byte(configMap(fmt.Sprintf("c%d", i)) + "l:\n" + strings.Repeat("- {a: 1}\n", 33_000))}
	}
	return fsys
}

func wantStall(t *testing.T, err error, reason, want string) {
	t.Helper()
	if reason == "" {
		reason = v1alpha1.ReasonRenderFailed
	}
	var f *failure.Error
	if !errors.As(err, &f) {
		t.Fatalf("error = %v, want a failure", err)
	}
	if f.Class != failure.Stall || f.Reason != reason {
		t.Errorf("failure = %v %s, want stall %s", f.Class, f.Reason, reason)
	}
	if diff := cmp.Diff(want, f.Message()); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
}

// failingFS fails to read one file.
type failingFS struct {
	fstest.MapFS
	name string
	err  error
}

func (f failingFS) ReadFile(name string) ([]byte, error) {
	if name == f.name {
		return nil, f.err
	}
	return f.MapFS.ReadFile(name)
}

func TestFailureOfFileSystemIsPassedOn(t *testing.T) {
	refused := failure.Stallf(v1alpha1.ReasonDecryptionFailed, "b.yaml: no key fits")
	files := tree("a.yaml", configMap("a"), "b.yaml", configMap("b"), "c.yaml", "a: [")
	kustomized := tree("a.yaml", configMap("a"), "b.yaml", configMap("b"), "kustomization.yaml", "resources: [a.yaml, b.yaml]\n")
	generated := tree("b.yaml", "x", "kustomization.yaml", "secretGenerator: [{name: x, files: [b.yaml]}]\n")
	for name, fsys := range map[string]fstest.MapFS{"plain": files, "kustomize": kustomized, "generator": generated} {
		t.Run(name, func(t *testing.T) {
			_, err := Render(t.Context(), failingFS{fsys, "b.yaml", fmt.Errorf("read: %w", refused)}, ".")
			if !errors.Is(err, refused) || err.Error() != refused.Error() {
				t.Errorf("Render = %v, want the failure itself", err)
			}
			_, err = Render(t.Context(), failingFS{fsys, "b.yaml", errors.New("disk on fire")}, ".")
			var f *failure.Error
			if !errors.As(err, &f) || f.Class != failure.Fail || f.Error() != "read b.yaml: disk on fire" {
				t.Errorf("Render = %v, want a failure that may pass", err)
			}
		})
	}
}

func TestEndedContextEndsRendering(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, fsys := range map[string]fstest.MapFS{
		"plain":     tree("a.yaml", configMap("a")),
		"kustomize": tree("a.yaml", configMap("a"), "kustomization.yaml", kustomization),
	} {
		if _, err := Render(ctx, fsys, "."); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: Render = %v, want %v", name, err, context.Canceled)
		}
	}
}

func TestTextThatLooksLikeStructureIsNoReasonToRefuse(t *testing.T) {
	dashboard := strings.Repeat("    \"key\": [ \"value\", 1 ],\n", 35_000) // 1 MiB
	if _, err := Render(t.Context(), tree("a.yaml", configMap("a")+"  d.json: |\n"+dashboard), "."); err != nil {
		t.Error(err)
	}
}

// Parsed nodes are what takes memory: whatever the text, there are not many
// more of them than entries.
func TestParsersFindNotManyMoreNodesThanEntries(t *testing.T) {
	const repeated = 1000
	for _, text := range []string{
		"- {a: 1, b: 2}\n", "-\n", "?\n", "- - -\n", "k: v\n", "- k: v\n", "-\u0085", "- ? a\n", "-\r", "- !!str &a x\n", "- a\n- *a\n",
	} {
		checkNodes(t, strings.Repeat(text, repeated))
	}
	for _, text := range []string{"a,", "[],", "a:,", `"a":b,`, `"a" :b,`, "?,", "a,\n", "{a,b},", "[a: b],", `{"":"","":""},`} {
		checkNodes(t, "["+strings.Repeat(text, repeated)+"]")
		checkNodes(t, "{"+strings.Repeat(text, repeated)+"}")
	}
	checkNodes(t, strings.Repeat("[", repeated)+strings.Repeat("]", repeated))
}

func checkNodes(t *testing.T, text string) {
	t.Helper()
	var node yaml.Node
	if yaml.Unmarshal([]byte(text), &node) != nil {
		return
	}
	entries, err := entriesOf("a.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if n := countNodes(&node); n > 3*entries+3 {
		t.Errorf("%.30q: %d nodes, counted as %d entries", text, n, entries)
	}
}

func countNodes(n *yaml.Node) int {
	total := 1
	for _, child := range n.Content {
		total += countNodes(child)
	}
	return total
}

func TestLinksToDirectoriesAreRefused(t *testing.T) {
	fsys := tree("d/a.yaml", configMap("a"), "real.yaml", configMap("r"))
	fsys["e/link.yaml"] = &fstest.MapFile{Data: []byte("../real.yaml"), Mode: fs.ModeSymlink}
	got, err := Render(t.Context(), fsys, "e")
	if err != nil || len(got) != 1 {
		t.Errorf("Render of a link to a file = %v, %v", summary(got), err)
	}
	fsys["e/dir"] = &fstest.MapFile{Data: []byte("../d"), Mode: fs.ModeSymlink}
	_, err = Render(t.Context(), fsys, "e")
	wantStall(t, err, "", "e/dir: is a symbolic link to a directory: copy the directory, or use a kustomization that names it")
}

func BenchmarkRenderPlain(b *testing.B) {
	fsys := fstest.MapFS{}
	for i := range 1000 {
		fsys[fmt.Sprintf("f%04d.yaml", i)] = &fstest.MapFile{Data: []byte(configMap(fmt.Sprintf("cm-%d", i)))}
	}
	b.ReportAllocs()
	for b.Loop() {
		if objects, err := Render(b.Context(), fsys, "."); err != nil || len(objects) != 1000 {
			b.Fatal(len(objects), err)
		}
	}
}

func BenchmarkRenderKustomize(b *testing.B) {
	fsys := fstest.MapFS{}
	var list strings.Builder
	list.WriteString("namePrefix: p-\nresources:\n")
	for i := range 1000 {
		name := fmt.Sprintf("f%04d.yaml", i)
		fsys[name] = &fstest.MapFile{Data: []byte(configMap(fmt.Sprintf("cm-%d", i)))}
		list.WriteString("- " + name + "\n")
	}
	fsys["kustomization.yaml"] = &fstest.MapFile{Data: []byte(list.String())}
	b.ReportAllocs()
	for b.Loop() {
		if objects, err := Render(b.Context(), fsys, "."); err != nil || len(objects) != 1000 {
			b.Fatal(len(objects), err)
		}
	}
}
