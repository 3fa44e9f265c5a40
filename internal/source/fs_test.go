package source

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
)

func TestFS(t *testing.T) {
	r := newRepo(t)
	deep := strings.Repeat("d/", 70) + "f"
	c := r.commit("refs/heads/main", map[string]file{
		"a/f.yaml": text("f"), "a/empty": text(""), "b/g.yaml": text("g"),
		"a/link": link("../b/g.yaml"), "a/dir": link("../b"), "dirlink": link("a"), "a/chain": link("dir/../a/link"),
		"a/out": link("../../etc/passwd"), "a/abs": link("/etc/passwd"), "a/back": link("../../x/../repo/a"),
		"a/dangling": link("nowhere"), "a/loop": link("loop"), "a/self": link("."), "hop": link("dirlink/../../etc"),
		"a/none": link("x\x00y"), "sub": {"160000", strings.Repeat("12", 20)}, deep: text("deep"),
		"lfs.yaml": text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"),
		"big.yaml": text(strings.Repeat("x", 4<<20+1)), "fits.yaml": text(strings.Repeat("x", 4<<20)),
	})
	_ = c
	url, _ := serve(t, r)
	snap := mustFetch(t, newStore(t, nil), Request{URL: url})
	tests := map[string]struct {
		name string
		want string
		text string // of a failure
		is   error
	}{
		"a file":                            {name: "a/f.yaml", want: "f"},
		"an empty file":                     {name: "a/empty"},
		"a link to a file":                  {name: "a/link", want: "g"},
		"through a link to a directory":     {name: "a/dir/g.yaml", want: "g"},
		"through a link at the root":        {name: "dirlink/f.yaml", want: "f"},
		"through several links":             {name: "a/chain", want: "g"},
		"through a link to its directory":   {name: "a/self/self/f.yaml", want: "f"},
		"a link that leaves":                {name: "a/out", text: `"a/out" in repository http://127.0.0.1`},
		"a link that leaves and comes back": {name: "a/back", text: "leaves the repository"},
		"an absolute link":                  {name: "a/abs", text: "leaves the repository"},
		"a link that leaves behind another": {name: "hop", text: "leaves the repository"},
		"a link with a NUL":                 {name: "a/none", text: "leaves the repository"},
		"a link to nothing":                 {name: "a/dangling", is: fs.ErrNotExist},
		"a link to itself":                  {name: "a/loop", text: "more than 16 symbolic links"},
		"a file that is not there":          {name: "a/x", is: fs.ErrNotExist},
		"a file below a file":               {name: "a/f.yaml/x", is: fs.ErrNotExist},
		"another case":                      {name: "A/f.yaml", is: fs.ErrNotExist},
		"a path upwards":                    {name: "../x", is: fs.ErrInvalid},
		"a path with a dot":                 {name: "a/./f.yaml", is: fs.ErrInvalid},
		"an absolute path":                  {name: "/a/f.yaml", is: fs.ErrInvalid},
		"no path":                           {name: "", is: fs.ErrInvalid},
		"git's own directory":               {name: ".git/config", is: fs.ErrNotExist},
		"a directory":                       {name: "a", is: errIsDirectory},
		"a submodule":                       {name: "sub", text: "vendor the files"},
		"a file in a submodule":             {name: "sub/x", text: "submodules are not supported"},
		"a pointer to LFS":                  {name: "lfs.yaml", text: "Git LFS"},
		"a file over the limit":             {name: "big.yaml", text: `"big.yaml" in repository`},
		"a file at the limit":               {name: "fits.yaml", want: strings.Repeat("x", 4<<20)},
		"too deep":                          {name: deep, text: "deeper than the limit of 64"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := fs.ReadFile(snap.FS(), test.name)
			switch {
			case test.text != "":
				checkFailure(t, err, failure.Stall, v1alpha1.ReasonSourceInvalid, test.text)
			case test.is != nil:
				if !errors.Is(err, test.is) {
					t.Errorf("ReadFile(%q) = %v, want %v", test.name, err, test.is)
				}
			case err != nil || string(got) != test.want:
				t.Errorf("ReadFile(%q) = %.40q, %v, want %.40q", test.name, got, err, test.want)
			}
		})
	}
	entries, err := fs.ReadDir(snap.FS(), "a")
	if err != nil {
		t.Fatal(err)
	}
	types := map[string]fs.FileMode{}
	for _, e := range entries {
		types[e.Name()] = e.Type()
	}
	if types["link"] != 0 || types["dir"] != fs.ModeSymlink || types["out"] != 0 || types["f.yaml"] != 0 || types["dangling"] != 0 {
		t.Errorf("types = %v", types)
	}
}

func TestReadFileIsTheCallersOwn(t *testing.T) {
	r := newRepo(t)
	r.commit("refs/heads/main", map[string]file{"v": text("value")})
	url, _ := serve(t, r)
	snap := mustFetch(t, newStore(t, nil), Request{URL: url})
	raw, _ := fs.ReadFile(snap.FS(), "v")
	raw[0] = 'X'
	if got := readText(t, snap, "v"); got != "value" {
		t.Errorf("v = %q", got)
	}
}

func TestSnapshotLimits(t *testing.T) {
	r := newRepo(t)
	files := map[string]file{}
	for i := range 30 {
		files[fmt.Sprintf("many/%d/f", i)] = text("0123456789")
		files[fmt.Sprintf("wide/%d", i)] = text(fmt.Sprint(i))
	}
	r.commit("refs/heads/main", files)
	url, _ := serve(t, r)
	snapshot := func(change func(*Limits)) *Snapshot {
		return mustFetch(t, newStore(t, func(o *Options) { change(&o.Limits) }), Request{URL: url})
	}
	walk := func(s *Snapshot, root string, read bool) error {
		return fs.WalkDir(s.FS(), root, func(name string, d fs.DirEntry, err error) error {
			if err == nil && read && !d.IsDir() {
				_, err = fs.ReadFile(s.FS(), name)
			}
			return err
		})
	}
	checkFailure(t, walk(snapshot(func(l *Limits) { l.Files = 20 }), "many", false), failure.Stall, v1alpha1.ReasonSourceInvalid, "limit of 20 files", "spec.path")
	checkFailure(t, walk(snapshot(func(l *Limits) { l.Entries = 20 }), "wide", false), failure.Stall, v1alpha1.ReasonSourceInvalid, `"wide"`, "limit of 20 entries")
	checkFailure(t, walk(snapshot(func(l *Limits) { l.TotalBytes = 100 }), "many", true), failure.Stall, v1alpha1.ReasonSourceInvalid, "limit of 100 bytes")
	s := snapshot(func(l *Limits) { l.TotalBytes = 300; l.Files = 60 })
	for range 3 {
		if err := walk(s, "many", true); err != nil {
			t.Fatalf("reading again counts again: %v", err)
		}
	}
}

// generated makes a large repository quickly.
func generated(t testing.TB, body func(io.Writer)) (string, repo) {
	t.Helper()
	r := newRepo(t)
	r.stream("refs/heads/main", true, body)
	url, _ := serve(t, r)
	return url, r
}

func TestHundredThousandFiles(t *testing.T) {
	url, _ := generated(t, func(w io.Writer) {
		fmt.Fprintf(w, "M 100644 inline ok/v\ndata 1\n1\n")
		for i := range 100_000 {
			fmt.Fprintf(w, "M 100644 inline all/%d/f%d\ndata 1\n%d\n", i%50, i, i%10)
		}
	})
	snap := mustFetch(t, newStore(t, nil), Request{URL: url})
	seen := 0
	err := fs.WalkDir(snap.FS(), "all", func(_ string, _ fs.DirEntry, err error) error {
		seen++
		return err
	})
	checkFailure(t, err, failure.Stall, v1alpha1.ReasonSourceInvalid, "limit of 20000 files")
	if seen > 21_000 {
		t.Errorf("refused after %d entries", seen)
	}
	if got := readText(t, snap, "ok/v"); got != "1" {
		t.Errorf("ok/v = %q", got)
	}
}

func TestLargeFileOutsideThePath(t *testing.T) {
	const size = 200 << 20
	url, r := generated(t, func(w io.Writer) {
		fmt.Fprintf(w, "M 100644 inline app/v\ndata 1\n1\nM 100644 inline big\ndata %d\n", size)
		line := []byte(strings.Repeat("0123456789abcde\n", 1<<16))
		for n := 0; n < size; n += len(line) {
			_, _ = w.Write(line)
		}
		fmt.Fprintln(w)
	})
	for name, filter := range map[string]string{"server sends all": "false", "server leaves out large files": "true"} {
		t.Run(name, func(t *testing.T) {
			r.config("uploadpack.allowFilter", filter)
			debug.FreeOSMemory()
			_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // begins VmHWM anew
			before := resident(t)
			snap := mustFetch(t, newStore(t, nil), Request{URL: url})
			grown := (resident(t) - before) >> 20
			t.Logf("resident memory grew by at most %d MiB from %d MiB", grown, before>>20)
			if grown > 64 {
				t.Errorf("resident memory grew by %d MiB, want no more than 64", grown)
			}
			if got := readText(t, snap, "app/v"); got != "1" {
				t.Errorf("app/v = %q", got)
			}
			_, err := fs.ReadFile(snap.FS(), "big")
			checkFailure(t, err, failure.Stall, v1alpha1.ReasonSourceInvalid, `"big"`, "limit of 4 MiB")
		})
	}
}

// resident is the most memory the process has had.
func resident(t testing.TB) int64 {
	raw, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("no /proc")
	}
	for line := range strings.Lines(string(raw)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	return 0
}

func TestQuota(t *testing.T) {
	url, _ := generated(t, func(w io.Writer) {
		for i := range 64 {
			noise := make([]byte, 64<<10)
			x := uint32(i + 1)
			for j := range noise {
				x ^= x << 13
				x ^= x >> 17
				x ^= x << 5
				noise[j] = byte(x)
			}
			fmt.Fprintf(w, "M 100644 inline f%d\ndata %d\n%s\n", i, len(noise), noise)
		}
	})
	tests := map[string]struct {
		change func(*Limits)
		text   string
	}{
		"pack too large":   {func(l *Limits) { l.FetchBytes = 1 << 20 }, "sends more than the limit of 1 MiB"},
		"too many objects": {func(l *Limits) { l.Objects = 10 }, "limit of 10 objects"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := newStore(t, func(o *Options) { o.Dir = dir; test.change(&o.Limits) })
			_, err := s.Fetch(t.Context(), Request{URL: url})
			checkFailure(t, err, failure.Stall, v1alpha1.ReasonSourceInvalid, test.text)
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				t.Errorf("left on disk: %v", left)
			}
		})
	}
	zeros, _ := generated(t, func(w io.Writer) {
		fmt.Fprintf(w, "M 100644 inline z\ndata %d\n%s\n", 40<<20, make([]byte, 40<<20))
	})
	_, err := newStore(t, func(o *Options) { o.Limits.FetchBytes = 1 << 20 }).Fetch(t.Context(), Request{URL: zeros})
	checkFailure(t, err, failure.Stall, v1alpha1.ReasonSourceInvalid, "unpacks to more than the limit of 16 MiB")
}

func TestEveryObjectAsGitSeesIt(t *testing.T) {
	r := newRepo(t)
	base := strings.Repeat("some line of text that deltas are made of\n", 300)
	files := map[string]file{}
	for i := range 200 {
		files[fmt.Sprintf("d%d/f%d.txt", i%7, i)] = text(fmt.Sprintf("%s%d\n%s", base[:i*40], i, base))
	}
	r.commit("refs/heads/main", files)
	for i := range 10 {
		r.amend("refs/heads/main", map[string]file{"d1/f1.txt": text(fmt.Sprintf("%s%d", base, i))})
	}
	r.git("", "-C", r.dir, "repack", "-adfq", "--depth=250", "--window=50")
	url, _ := serve(t, r)
	s := newStore(t, nil)
	compare := func(snap *Snapshot) {
		t.Helper()
		var deltas int
		for _, p := range snap.objects.packs {
			for i, o := range p.objects {
				if o.base != none {
					deltas++
				}
				raw, err := p.content(i)
				if err != nil || plumbing.ComputeHash(o.kind, raw) != o.hash || int64(len(raw)) != o.size {
					t.Fatalf("object %d: %d bytes, %v", i, len(raw), err)
				}
			}
		}
		for line := range strings.Lines(r.git("", "-C", r.dir, "ls-tree", "-r", snap.Commit)) {
			meta, name, _ := strings.Cut(strings.TrimSpace(line), "\t")
			if e, err := snap.walk("stat", name); err != nil || e.hash.String() != strings.Fields(meta)[2] {
				t.Fatalf("walk(%q) = %s, %v, want %s", name, e.hash, err, meta)
			}
			if _, err := fs.ReadFile(snap.FS(), name); err != nil {
				t.Fatal(err)
			}
		}
		if deltas == 0 {
			t.Error("no deltas to test with")
		}
	}
	compare(mustFetch(t, s, Request{URL: url}))
	var outer int
	for i := range 5 {
		r.amend("refs/heads/main", map[string]file{fmt.Sprintf("d2/f%d.txt", 2+7*i): text(base + "changed" + fmt.Sprint(i))})
		snap := mustFetch(t, s, Request{URL: url})
		compare(snap)
		outer += len(snap.objects.packs[len(snap.objects.packs)-1].outer)
	}
	if outer == 0 {
		t.Error("no delta upon an earlier pack to test with")
	}
	r.config("uploadpack.allowReachableSHA1InWant", "false")
	old := r.git("", "-C", r.dir, "rev-parse", "main~8")
	compare(mustFetch(t, s, Request{URL: url, Ref: v1alpha1.GitRef{Commit: old}}))
	// With little memory for deltas some objects are left out, none is wrong.
	tight := newStore(t, func(o *Options) { o.Limits.DeltaBytes = 20 << 10; o.Limits.ObjectBytes = 14 << 10 })
	snap := mustFetch(t, tight, Request{URL: url})
	if p := snap.objects.packs[0]; p.skipped == 0 || p.skipped+len(p.sorted) != len(p.objects) {
		t.Errorf("left out %d of %d", p.skipped, len(p.objects))
	}
}

func TestConcurrentReads(t *testing.T) {
	snap := thousand(t)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 200 {
				name := fmt.Sprintf("app/f%d.yaml", (i*7+w)%1000)
				if raw, err := fs.ReadFile(snap.FS(), name); err != nil || !strings.Contains(string(raw), "name: n") {
					t.Errorf("%s = %q, %v", name, raw, err)
				}
				_, _ = fs.ReadDir(snap.FS(), "app")
			}
		})
	}
	wg.Wait()
}

func thousand(t testing.TB) *Snapshot {
	t.Helper()
	url, r := generated(t, func(w io.Writer) {
		for i := range 1000 {
			y := fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: n%d\ndata:\n  key: %s\n", i, strings.Repeat(fmt.Sprint(i), 100))
			fmt.Fprintf(w, "M 100644 inline app/f%d.yaml\ndata %d\n%s\n", i, len(y), y)
		}
	})
	r.git("", "-C", r.dir, "repack", "-adfq")
	return mustFetch(t, newStore(t, nil), Request{URL: url})
}

func BenchmarkReadThousandFiles(b *testing.B) {
	first := thousand(b)
	for b.Loop() {
		s := newSnapshot(first.repository, first.objects, time.Time{}, target{}, commit{tree: first.root}, first.limits)
		for _, p := range first.objects.packs {
			p.cache.forget(func(l located) bool { return l.pack == p })
		}
		for i := range 1000 {
			if _, err := fs.ReadFile(s.FS(), fmt.Sprintf("app/f%d.yaml", i)); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkIndexPack(b *testing.B) {
	first := thousand(b)
	file := first.objects.packs[0].file
	info, _ := file.Stat()
	s := newStore(b, nil)
	b.SetBytes(info.Size())
	for b.Loop() {
		out, err := s.scratch()
		if err != nil {
			b.Fatal(err)
		}
		if _, err := writePack(b.Context(), io.NewSectionReader(file, 0, info.Size()), out, &objects{}, s.cache, s.limits); err != nil {
			b.Fatal(err)
		}
		_ = out.Close()
	}
}
