package source

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
)

func link(to string) file { return file{"120000", to} }

func monorepo() map[string]file {
	return map[string]file{
		"apps/a/kustomization.yaml": text("resources: [x.yaml, ../../base]\n"),
		"apps/a/x.yaml":             text("x: 1\n"),
		"apps/a/shared.yaml":        link("../../shared/s.yaml"),
		"apps/a/dir":                link("../../shared"),
		"apps/b/y.yaml":             text("y: 1\n"),
		"base/kustomization.yaml":   text("resources: [z.yaml]\n"),
		"base/z.yaml":               text("z: 1\n"),
		"shared/s.yaml":             text("s: 1\n"),
		"README.md":                 text("hello\n"),
	}
}

// readApp reads as a renderer of apps/a would, and returns what it got.
func readApp(s *Snapshot) (string, *ReadSet) {
	files := s.FS()
	var out strings.Builder
	show := func(what string, v any, err error) {
		if errors.Is(err, fs.ErrNotExist) {
			v, err = "absent", nil
		}
		fmt.Fprintf(&out, "%s = %v, %v\n", what, v, err)
	}
	entries, err := fs.ReadDir(files, "apps/a")
	show("apps/a", entries, err)
	for _, name := range []string{"apps/a/kustomization.yaml", "apps/a/x.yaml", "apps/a/shared.yaml", "base/kustomization.yaml", "base/z.yaml", "base/kustomization.yml"} {
		raw, err := fs.ReadFile(files, name)
		show(name, string(raw), err)
	}
	info, err := fs.Stat(files, "base")
	show("base", info, err)
	return out.String(), files.ReadSet()
}

func TestOnlyWhatWasReadCounts(t *testing.T) {
	tests := map[string]struct {
		change func(map[string]file)
		same   bool
	}{
		"another application":                 {func(m map[string]file) { m["apps/b/y.yaml"] = text("y: 2\n") }, true},
		"a new application":                   {func(m map[string]file) { m["apps/c/new.yaml"] = text("n: 1\n") }, true},
		"a file at the top":                   {func(m map[string]file) { delete(m, "README.md") }, true},
		"a file of the base that is not read": {func(m map[string]file) { m["base/notes.yaml"] = text("n") }, true},
		"a file that is read":                 {func(m map[string]file) { m["apps/a/x.yaml"] = text("x: 2\n") }, false},
		"its mode":                            {func(m map[string]file) { m["apps/a/x.yaml"] = file{"100755", "x: 1\n"} }, false},
		"a file of the base":                  {func(m map[string]file) { m["base/z.yaml"] = text("z: 2\n") }, false},
		"a file behind a link":                {func(m map[string]file) { m["shared/s.yaml"] = text("s: 2\n") }, false},
		"a link that leads elsewhere":         {func(m map[string]file) { m["apps/a/shared.yaml"] = link("../../base/z.yaml") }, false},
		"a link to the same content": {func(m map[string]file) {
			m["apps/a/shared.yaml"], m["shared/t.yaml"] = link("../../shared/t.yaml"), text("s: 1\n")
		}, true},
		"a link that breaks":                {func(m map[string]file) { delete(m, "shared/s.yaml") }, false},
		"a file more in a listed directory": {func(m map[string]file) { m["apps/a/new.yaml"] = text("n") }, false},
		"a file less in a listed directory": {func(m map[string]file) { delete(m, "apps/a/dir") }, false},
		"a directory in place of a link":    {func(m map[string]file) { delete(m, "apps/a/dir"); m["apps/a/dir/x"] = text("") }, false},
		"a link that led to a directory":    {func(m map[string]file) { m["apps/a/dir"] = link("../../shared/s.yaml") }, false},
		"a file that was asked for in vain": {func(m map[string]file) { m["base/kustomization.yml"] = text("") }, false},
		"the whole directory": {func(m map[string]file) {
			maps.DeleteFunc(m, func(n string, _ file) bool { return strings.HasPrefix(n, "apps/a/") })
		}, false},
	}
	r := newRepo(t)
	r.commit("refs/heads/main", monorepo())
	url, _ := serve(t, r)
	store := newStore(t, nil)
	_, read := readApp(mustFetch(t, store, Request{URL: url}))
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			files := monorepo()
			tt.change(files)
			r.commit("refs/heads/main", files)
			after := mustFetch(t, store, Request{URL: url})
			if got := after.Unchanged(read); got != tt.same {
				t.Errorf("Unchanged() = %v, want %v", got, tt.same)
			}
		})
	}
}

func TestWhatCouldNotBeReadIsReadAgain(t *testing.T) {
	r := newRepo(t)
	r.commit("refs/heads/main", monorepo())
	url, _ := serve(t, r)
	s := mustFetch(t, newStore(t, nil), Request{URL: url})
	files := s.FS()
	if _, err := fs.ReadFile(files, "apps/a/x.yaml"); err != nil {
		t.Fatal(err)
	}
	if !s.Unchanged(files.ReadSet()) || s.Unchanged(nil) {
		t.Error("a commit is not what was read of it, or is what was never read")
	}
	damaged := *files.s.objects.packs[0]
	damaged.objects = nil
	damaged.sorted = nil
	s.objects.packs[0] = &damaged
	if _, err := fs.ReadFile(files, "apps/b/y.yaml"); err == nil {
		t.Fatal("a file of a lost pack can be read")
	}
	if s.Unchanged(files.ReadSet()) {
		t.Error("what could not be read counts as read")
	}
}

// Whatever happens to a repository, a reader that is told that nothing changed
// would have read the same.
func TestAnUnchangedReadSetReadsTheSame(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	names := []string{"apps/a/kustomization.yaml", "apps/a/x.yaml", "apps/a/shared.yaml", "apps/a/dir", "apps/b/y.yaml", "base/kustomization.yaml", "base/z.yaml", "base/kustomization.yml", "shared/s.yaml", "shared/t.yaml", "README.md", "apps/a/dir/deep", "base"}
	contents := []file{text("1"), text("2"), {"100755", "1"}, link("../../shared/s.yaml"), link("../base"), link("nowhere"), link("../../.."), link("dir"), {"160000", strings.Repeat("ab", 20)}}
	r := newRepo(t)
	url, _ := serve(t, r)
	store := newStore(t, nil)
	var before string
	var read *ReadSet
	files, same := monorepo(), 0
	for range 40 {
		name := names[random.IntN(len(names))]
		if random.IntN(4) == 0 {
			delete(files, name)
		} else {
			maps.DeleteFunc(files, func(n string, _ file) bool { return strings.HasPrefix(n, name+"/") || strings.HasPrefix(name, n+"/") })
			files[name] = contents[random.IntN(len(contents))]
		}
		files["README.md"] = text(fmt.Sprint(random.Uint64()))
		r.commit("refs/heads/main", files)
		s := mustFetch(t, store, Request{URL: url})
		unchanged := s.Unchanged(read)
		after, now := readApp(s)
		if unchanged && before != after {
			t.Fatalf("Unchanged() = true, but what is read went from\n%s\nto\n%s", before, after)
		}
		if unchanged {
			same++
		}
		before, read = after, now
	}
	if same == 0 || same == 39 {
		t.Errorf("%d of 39 commits changed nothing that is read: this test shows nothing", same)
	}
}

func BenchmarkUnchangedAmongAThousand(b *testing.B) {
	r := newRepo(b)
	files := map[string]file{}
	for i := range 1000 {
		for j := range 12 {
			files[fmt.Sprintf("apps/app%03d/f%d.yaml", i, j)] = text(fmt.Sprintf("a: %d.%d\n", i, j))
		}
	}
	r.commit("refs/heads/main", files)
	url, _ := serve(b, r)
	store := newStore(b, nil)
	s := mustFetch(b, store, Request{URL: url})
	sets := make([]*ReadSet, 1000)
	for i := range sets {
		all := s.FS()
		entries, err := fs.ReadDir(all, fmt.Sprintf("apps/app%03d", i))
		for _, e := range entries {
			_, err = fs.ReadFile(all, fmt.Sprintf("apps/app%03d/%s", i, e.Name()))
		}
		if err != nil {
			b.Fatal(err)
		}
		sets[i] = all.ReadSet()
	}
	r.amend("refs/heads/main", map[string]file{"apps/app500/f0.yaml": text("new")})
	s = mustFetch(b, store, Request{URL: url})
	for b.Loop() {
		changed := 0
		for _, set := range sets {
			if !s.Unchanged(set) {
				changed++
			}
		}
		if changed != 1 {
			b.Fatalf("%d applications changed, want 1", changed)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/app")
}
