package file_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/providers"
	"github.com/gitseal/gitseal/providers/file"
	"github.com/gitseal/gitseal/providers/providertest"
)

func TestConformance(t *testing.T) {
	top := t.TempDir()
	providertest.Run(t, providertest.Subject{
		Backend: file.Backend(top),
		New:     func(t *testing.T) *providertest.Server { return newServer(t, top) },
		Without: map[providertest.Feature]string{
			providertest.Versions:    "a file has no versions",
			providertest.Pinning:     "a file has no versions",
			providertest.Metadata:    "a file has no tags",
			providertest.Denial:      "tests may run as root, who may read every file",
			providertest.Credentials: "the operator reads its own disk",
			providertest.Sessions:    "the operator reads its own disk",
			providertest.Throttling:  "a disk does not throttle",
			providertest.RetryAfter:  "a disk does not throttle",
			providertest.Network:     "a disk is no network",
			providertest.FindByTags:  "a file has no tags",
		},
		OddKeys: []string{"a b", "a/b/c.d-e_f", "Käse", "%2e%2e", "quote'\"", "a:b@c#d?e&f=g", "-x", "..x", "new\nline"},
		BadKeys: []string{"..", "../x", "a/../../x", "/etc/passwd", "a//b", "./a", "a/", ".", "a\x00b", `a\b`, strings.Repeat("x", 2000)},
	})
}

func newServer(t *testing.T, top string) *providertest.Server {
	t.Helper()
	dir := filepath.Join(top, filepath.Base(t.Name()))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	return &providertest.Server{
		Store: storeOf(filepath.Base(dir)),
		Put: func(key string, content []byte) string {
			p := filepath.Join(dir, key)
			must(os.MkdirAll(filepath.Dir(p), 0o700))
			must(os.WriteFile(p, content, 0o600))
			return ""
		},
		Outage:       func() { must(os.Rename(dir, dir+".away")) },
		Recover:      func() { must(os.Rename(dir+".away", dir)) },
		Confidential: []string{top},
	}
}

func storeOf(directory string) providers.Store {
	return providers.Store{Ambient: true, Spec: v1alpha1.StoreProvider{File: &v1alpha1.FileProvider{Directory: directory}}}
}

func TestOnlyWhatTheOperatorAllowsIsOpened(t *testing.T) {
	tests := map[string]struct {
		top   string
		store providers.Store
	}{
		"without the flag":                  {"", storeOf(".")},
		"a namespaced store":                {"/srv", providers.Store{Spec: storeOf(".").Spec}},
		"a directory outside":               {"/srv", storeOf("../etc")},
		"an absolute directory":             {"/srv", storeOf("/etc")},
		"a directory outside, by a detour":  {"/srv", storeOf("a/../../etc")},
		"a store that is no store of files": {"/srv", providers.Store{Ambient: true}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := file.Backend(tt.top).Open(tt.store); !errors.Is(err, providers.ErrInvalid) {
				t.Errorf("Open = %v, want %v", err, providers.ErrInvalid)
			}
		})
	}
}

func TestNothingLeadsOutOfTheDirectory(t *testing.T) {
	top := t.TempDir()
	write := func(name string, size int) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(top, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(top, name), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := func(target, name string) {
		t.Helper()
		if err := os.Symlink(target, filepath.Join(top, name)); err != nil {
			t.Fatal(err)
		}
	}
	write("outside", 3)
	write("store/..data/inner", 3)
	write("store/large", 1<<20)
	write("store/too-large", 1<<20+1)
	link("..data/inner", "store/linked") // as the kubelet mounts a Secret
	link("../outside", "store/out")
	link(filepath.Join(top, "outside"), "store/absolute")
	link("loop", "store/loop")
	if err := syscall.Mkfifo(filepath.Join(top, "store/pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := file.Backend(top).Open(storeOf("store"))
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]error{
		"linked": nil, "large": nil,
		"too-large": providers.ErrInvalid, "out": providers.ErrInvalid, "absolute": providers.ErrInvalid,
		"loop": providers.ErrInvalid, "pipe": providers.ErrInvalid, "..data": providers.ErrInvalid,
		"large/inner": providers.ErrNotFound, "none": providers.ErrNotFound,
	} {
		results, err := p.Get(t.Context(), []providers.Ref{{Key: key}})
		if err != nil {
			t.Fatal(err)
		}
		if got := results[0].Err; !errors.Is(got, want) {
			t.Errorf("Get(%q) = %v, want %v", key, got, want)
		}
	}
	keys, err := p.(providers.Finder).Find(t.Context(), providers.Query{})
	if diff := cmp.Diff([]string{"large", "linked", "too-large"}, keys); err != nil || diff != "" {
		t.Errorf("Find (-want +got): %v\n%s", err, diff)
	}
}
