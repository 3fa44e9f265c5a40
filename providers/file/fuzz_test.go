package file_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/gitseal/gitseal/providers"
	"github.com/gitseal/gitseal/providers/file"
)

// FuzzNoKeyLeadsOut asks for keys and paths as an outsider would write them,
// beside a file that no key may reach.
func FuzzNoKeyLeadsOut(f *testing.F) {
	for _, key := range []string{"in", "d/in", "../outside", "/outside", "d/../../outside", "out", "d/out", "./in", "d//in", "d\x00/in", `..\outside`, "", ".", "loop/in", "up/outside"} {
		f.Add(key)
	}
	top := f.TempDir()
	must := func(err error) {
		if err != nil {
			f.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(top, "store/d"), 0o700))
	for name, content := range map[string]string{"outside": "outside", "store/in": "inside", "store/d/in": "inside"} {
		must(os.WriteFile(filepath.Join(top, name), []byte(content), 0o600))
	}
	for name, target := range map[string]string{"out": "../outside", "d/out": "../../outside", "up": "..", "loop": "loop", "d/abs": filepath.Join(top, "outside")} {
		must(os.Symlink(target, filepath.Join(top, "store", name)))
	}
	p, err := file.Backend(top).Open(storeOf("store"))
	must(err)
	f.Fuzz(func(t *testing.T, key string) {
		results, err := p.Get(t.Context(), []providers.Ref{{Key: key}})
		if err != nil {
			t.Fatal(err)
		}
		if r := results[0]; r.Err == nil && string(r.Value.Reveal()) != "inside" {
			t.Errorf("Get(%q) gave what is outside", key)
		}
		found, err := p.(providers.Finder).Find(t.Context(), providers.Query{Path: key})
		for _, k := range found {
			if r, err := p.Get(t.Context(), []providers.Ref{{Key: k}}); err != nil || r[0].Err != nil {
				t.Errorf("Find(%q) gave %q, which cannot be read", key, k)
			}
		}
		if err == nil && len(found) > 0 && !filepath.IsLocal(filepath.Clean(key)) && key != "" {
			t.Errorf("Find(%q) gave %q", key, found)
		}
	})
}
