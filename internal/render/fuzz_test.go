package render

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"sigs.k8s.io/kustomize/api/pkg/loader"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// trap is a transport that counts and never connects.
type trap struct{ requests atomic.Int64 }

func (r *trap) RoundTrip(*http.Request) (*http.Response, error) {
	r.requests.Add(1)
	return nil, fmt.Errorf("trapped")
}

// FuzzGuardLetsNothingRemoteThrough gives Kustomize's own loader every path
// that the guard takes for local.
func FuzzGuardLetsNothingRemoteThrough(f *testing.F) {
	for _, seed := range []string{
		"a.yaml", "../base", "http://h/x", "HTTPS://h/o/r", "git@h:o/r", "git::https://h/o/r", "github.com/o/r", "GitHub.com:o/r",
		"gh:o/r", "file:///x", "ssh://h/o/r", "h/o/r?ref=x", " http://h", "//h/x", "a@b:c", "http:x", "k=http://h/x", "\thttp://h/x", "./http://h/x", "x@2.yaml",
	} {
		f.Add(seed)
	}
	caught := &trap{}
	before := http.DefaultTransport
	http.DefaultTransport = caught
	f.Cleanup(func() { http.DefaultTransport = before })
	f.Setenv("PATH", f.TempDir())
	memory := filesys.MakeFsInMemory()
	_ = memory.WriteFile("/a.yaml", []byte("a: 1"))
	local := loader.NewFileLoaderAtRoot(memory)
	ranGit := func(p string) bool {
		_, err := local.New(p)
		return err != nil && strings.Contains(err.Error(), "no 'git' program on path")
	}
	if _, _ = local.Load("http://h/x"); caught.requests.Swap(0) == 0 || !ranGit("https://h/o/r") {
		f.Fatal("Kustomize's loader does not reach out: the test proves nothing")
	}
	f.Fuzz(func(t *testing.T, p string) {
		if !looksRemoteFile(p) || !looksRemote(p) {
			if _, _ = local.Load(p); caught.requests.Load() != 0 {
				t.Fatalf("Load(%q) made a request", p)
			}
		}
		if !looksRemote(p) && ranGit(p) {
			t.Fatalf("New(%q) ran git", p)
		}
	})
}

// FuzzKustomization renders arbitrary kustomizations: no panic, no request.
func FuzzKustomization(f *testing.F) {
	for _, files := range remotes("127.0.0.1:1") {
		f.Add(string(files["kustomization.yaml"].Data), configMap("x"))
	}
	f.Add("resources: [a.yaml]\nconfigMapGenerator: [{name: x, behavior: merge, literals: [a=b]}]\n", configMap("x"))
	f.Add("resources: [a.yaml]\nconfigMapGenerator: [{name: x, behavior: merge, literals: [a=b]}]\n", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: []\n")
	caught := &trap{}
	before := http.DefaultTransport
	http.DefaultTransport = caught
	f.Cleanup(func() { http.DefaultTransport = before })
	f.Setenv("PATH", f.TempDir())
	f.Fuzz(func(t *testing.T, top, resource string) {
		objects, err := Render(t.Context(), tree("kustomization.yaml", top, "a.yaml", resource), ".")
		if caught.requests.Load() != 0 {
			t.Fatal("a request was made")
		}
		if err != nil && strings.Contains(err.Error(), "no 'git' program") {
			t.Fatalf("git was run: %v", err)
		}
		for _, o := range objects {
			o.DeepCopy()
		}
	})
}

// FuzzPlain parses arbitrary files: no panic, and only objects that hold.
func FuzzPlain(f *testing.F) {
	for _, seed := range []string{configMap("a"), "---\n---\n", "a: &a [*a]", "? [a]\n: b\n", "<<: [1]", "!!binary x", "{", "\xff\xfe", "a: 0x", "- !!int a", "apiVersion: v1\nkind: List\nitems: [{}]"} {
		f.Add([]byte(seed), false)
	}
	f.Add([]byte(`{"apiVersion":"v1","kind":"List","items":[{"a":1e999}]}`), true)
	f.Fuzz(func(t *testing.T, raw []byte, asJSON bool) {
		file := "a.yaml"
		if asJSON {
			file = "a.json"
		}
		_, err := weigh(file, raw)
		var objects []Object
		if err == nil {
			objects, err = parseObjects(file, raw)
		}
		if err != nil && !strings.HasPrefix(err.Error(), file) {
			t.Errorf("error %q does not begin with the file", err)
		}
		for _, o := range objects {
			o.DeepCopy()
			if o.GetName() == "" || o.GetKind() == "" || o.GetAPIVersion() == "" || o.Origin.Line == 0 {
				t.Errorf("object without type, name or line: %v %v", o.Origin, o.Object)
			}
		}
	})
}
