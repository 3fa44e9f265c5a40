package source

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
)

func mustFetch(t testing.TB, s *Store, r Request) *Snapshot {
	t.Helper()
	snap, err := s.Fetch(t.Context(), r)
	if err != nil {
		t.Fatalf("Fetch(%+v): %v", r.Ref, err)
	}
	return snap
}

func readText(t testing.TB, s *Snapshot, name string) string {
	t.Helper()
	raw, err := fs.ReadFile(s.FS(), name)
	if err != nil {
		t.Fatalf("ReadFile(%q): %v", name, err)
	}
	return string(raw)
}

func TestFetchBranchThenMoves(t *testing.T) {
	r := newRepo(t)
	first := r.commit("refs/heads/main", map[string]file{"a.yaml": text("a: 1\n"), "dir/b.yaml": text("b: 1\n")})
	url, b := serve(t, r)
	s := newStore(t, nil)
	one := mustFetch(t, s, Request{URL: url})
	if one.Revision != "main@sha1:"+first || one.Commit != first || one.Author != "Ann <ann@example.org>" || one.Subject != "add manifests" {
		t.Errorf("Snapshot = %q %q %q %q", one.Revision, one.Commit, one.Author, one.Subject)
	}
	if got := readText(t, one, "dir/b.yaml"); got != "b: 1\n" {
		t.Errorf("dir/b.yaml = %q", got)
	}
	if err := fstest.TestFS(one.FS(), "a.yaml", "dir/b.yaml"); err != nil {
		t.Error(err)
	}
	second := r.amend("refs/heads/main", map[string]file{"a.yaml": text("a: 2\n")})
	two := mustFetch(t, s, Request{URL: url})
	if two.Commit != second || readText(t, two, "a.yaml") != "a: 2\n" || readText(t, two, "dir/b.yaml") != "b: 1\n" {
		t.Errorf("after a push: commit %s", two.Commit)
	}
	if n := len(s.only(t).objects.packs); n != 2 || len(s.only(t).objects.packs[1].objects) != 3 {
		t.Errorf("packs = %d, the last %+v, want the second with commit, tree and file alone", n, s.only(t).objects.packs[n-1].objects)
	}
	mustFetch(t, s, Request{URL: url})
	if got := b.packs.Load(); got != 2 {
		t.Errorf("packs asked for = %d, want 2", got)
	}
}

func (s *Store) only(t *testing.T) *repository {
	t.Helper()
	for _, r := range s.repositories {
		return r
	}
	t.Fatal("no repository")
	return nil
}

func TestForcePushAndStoreRenewal(t *testing.T) {
	r := newRepo(t)
	r.commit("refs/heads/main", map[string]file{"a": text("old")})
	url, _ := serve(t, r)
	s := newStore(t, func(o *Options) { o.Limits.Fetches = 2 })
	old := mustFetch(t, s, Request{URL: url})
	r.commit("refs/heads/main", map[string]file{"b": text("unrelated")})
	r.git("", "-C", r.dir, "reflog", "expire", "--expire=now", "--all")
	r.git("", "-C", r.dir, "gc", "-q", "--prune=now")
	if got := readText(t, mustFetch(t, s, Request{URL: url}), "b"); got != "unrelated" {
		t.Errorf("after a force push: b = %q", got)
	}
	r.amend("refs/heads/main", map[string]file{"c": text("third")})
	third := mustFetch(t, s, Request{URL: url})
	if n := len(s.only(t).objects.packs); n != 1 {
		t.Errorf("packs after the limit of fetches = %d, want 1", n)
	}
	if readText(t, third, "b") != "unrelated" || readText(t, old, "a") != "old" {
		t.Error("a snapshot is not readable after its store was replaced")
	}
	// Damage: an object that should be there is not.
	s.only(t).objects.broken.Store(true)
	if got := readText(t, mustFetch(t, s, Request{URL: url}), "c"); got != "third" {
		t.Errorf("after damage: c = %q", got)
	}
}

func TestRefs(t *testing.T) {
	r := newRepo(t)
	files := func(s string) map[string]file { return map[string]file{"v": text(s)} }
	c1 := r.commit("refs/heads/main", files("1"))
	r.git("", "-C", r.dir, "tag", "v1.0.0", c1)
	c2 := r.amend("refs/heads/main", files("2"))
	r.git("", "-C", r.dir, "-c", "user.name=a", "-c", "user.email=a@b", "tag", "-a", "-m", "x", "v1.2.0", c2)
	r.git("", "-C", r.dir, "tag", "v2.0.0-rc.1", c2)
	r.git("", "-C", r.dir, "branch", "dev", c1)
	gone := r.commit("refs/heads/tmp", files("gone"))
	r.git("", "-C", r.dir, "branch", "-D", "tmp")
	url, _ := serve(t, r)
	tests := map[string]struct {
		ref      v1alpha1.GitRef
		revision string
		texts    []string
	}{
		"no ref means main":                  {revision: "main@sha1:" + c2},
		"a branch":                           {ref: v1alpha1.GitRef{Branch: "dev"}, revision: "dev@sha1:" + c1},
		"a light tag":                        {ref: v1alpha1.GitRef{Tag: "v1.0.0"}, revision: "v1.0.0@sha1:" + c1},
		"an annotated tag":                   {ref: v1alpha1.GitRef{Tag: "v1.2.0"}, revision: "v1.2.0@sha1:" + c2},
		"a range":                            {ref: v1alpha1.GitRef{SemVer: "1.x"}, revision: "v1.2.0@sha1:" + c2},
		"a range with pre-releases":          {ref: v1alpha1.GitRef{SemVer: ">=1.0.0-0"}, revision: "v2.0.0-rc.1@sha1:" + c2},
		"a commit at a tip":                  {ref: v1alpha1.GitRef{Commit: c2}, revision: "sha1:" + c2},
		"a commit at a tag":                  {ref: v1alpha1.GitRef{Commit: c1}, revision: "sha1:" + c1},
		"a commit that no branch leads to":   {ref: v1alpha1.GitRef{Commit: gone}, texts: []string{"no commit " + gone}},
		"a branch that is not there":         {ref: v1alpha1.GitRef{Branch: "x"}, texts: []string{`no branch "x"`, "branches dev, main;"}},
		"a tag that is not there":            {ref: v1alpha1.GitRef{Tag: "x"}, texts: []string{`no tag "x"`, "v1.0.0, v1.2.0, v2.0.0-rc.1"}},
		"a range in which there is no tag":   {ref: v1alpha1.GitRef{SemVer: "^7"}, texts: []string{`no tag in range "^7"`}},
		"a branch named like a tag is apart": {ref: v1alpha1.GitRef{Branch: "v1.0.0"}, texts: []string{"no branch"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			snap, err := newStore(t, nil).Fetch(t.Context(), Request{URL: url, Ref: test.ref})
			if test.texts != nil {
				checkFailure(t, err, failure.Stall, v1alpha1.ReasonSourceInvalid, test.texts...)
				return
			}
			if err != nil || snap.Revision != test.revision {
				t.Fatalf("Fetch = %v, %v, want %s", snap, err, test.revision)
			}
		})
	}
	_, err := newStore(t, nil).Fetch(t.Context(), Request{URL: url, Ref: v1alpha1.GitRef{SemVer: "what"}})
	checkFailure(t, err, failure.Stall, v1alpha1.ReasonInvalidSpec, `"what" is not a range`)
}

func TestCommitInHistory(t *testing.T) {
	for name, allow := range map[string]string{"server sends any reachable commit": "true", "server sends tips only": "false"} {
		t.Run(name, func(t *testing.T) {
			r := newRepo(t)
			old := r.commit("refs/heads/main", map[string]file{"v": text("1")})
			r.amend("refs/heads/main", map[string]file{"v": text("2")})
			r.config("uploadpack.allowReachableSHA1InWant", allow)
			url, _ := serve(t, r)
			s := newStore(t, nil)
			mustFetch(t, s, Request{URL: url})
			snap := mustFetch(t, s, Request{URL: url, Ref: v1alpha1.GitRef{Commit: old}})
			if got := readText(t, snap, "v"); got != "1" {
				t.Errorf("v = %q, want 1", got)
			}
			if got := readText(t, mustFetch(t, s, Request{URL: url}), "v"); got != "2" {
				t.Errorf("main after it: v = %q, want 2", got)
			}
			_, err := s.Fetch(t.Context(), Request{URL: url, Ref: v1alpha1.GitRef{Commit: strings.Repeat("ab", 20)}})
			checkFailure(t, err, failure.Stall, v1alpha1.ReasonSourceInvalid, "no commit abab")
		})
	}
}

func TestSemVerMoves(t *testing.T) {
	r := newRepo(t)
	c := r.commit("refs/heads/main", map[string]file{"v": text("1")})
	r.git("", "-C", r.dir, "tag", "1.0.0", c)
	url, _ := serve(t, r)
	s := newStore(t, nil)
	req := Request{URL: url, Ref: v1alpha1.GitRef{SemVer: "1.x"}}
	mustFetch(t, s, req)
	c = r.amend("refs/heads/main", map[string]file{"v": text("2")})
	r.git("", "-C", r.dir, "tag", "1.10.0", c)
	r.git("", "-C", r.dir, "tag", "1.9.0", c)
	if snap := mustFetch(t, s, req); snap.Revision != "1.10.0@sha1:"+c || readText(t, snap, "v") != "2" {
		t.Errorf("revision = %s", snap.Revision)
	}
}

func TestOneAnswerForAll(t *testing.T) {
	r := newRepo(t)
	r.commit("refs/heads/main", map[string]file{"v": text("1")})
	url, b := serve(t, r)
	clock := clocktesting.NewFakePassiveClock(time.Unix(1, 0))
	s := newStore(t, func(o *Options) { o.Clock = clock })
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := s.Fetch(t.Context(), Request{URL: url, NotBefore: time.Unix(1, 0)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if asks, packs := b.asks.Load(), b.packs.Load(); asks != 1 || packs != 1 {
		t.Errorf("asked %d times, downloaded %d, want 1 and 1", asks, packs)
	}
	clock.SetTime(time.Unix(61, 0))
	if snap := mustFetch(t, s, Request{URL: url, NotBefore: time.Unix(1, 0)}); !snap.Asked.Equal(time.Unix(1, 0)) {
		t.Errorf("asked at %v, want the answer that is known", snap.Asked)
	}
	if snap := mustFetch(t, s, Request{URL: url, NotBefore: time.Unix(2, 0)}); !snap.Asked.Equal(time.Unix(61, 0)) {
		t.Errorf("asked at %v, want an answer of now", snap.Asked)
	}
	if asks := b.asks.Load(); asks != 2 {
		t.Errorf("asked %d times when the answer was too old, want 2", asks)
	}
	mustFetch(t, s, Request{URL: url})
	if asks, packs := b.asks.Load(), b.packs.Load(); asks != 3 || packs != 1 {
		t.Errorf("asked %d times with no NotBefore, downloaded %d, want 3 and 1", asks, packs)
	}
	other := &Credentials{Username: "somebody"}
	mustFetch(t, s, Request{URL: url, NotBefore: time.Unix(1, 0), Credentials: other})
	if packs := b.packs.Load(); packs != 2 {
		t.Errorf("downloads with other credentials = %d, want one of their own", packs)
	}
}

// A dead server is asked once per retry, however many Applications wait.
func TestAFailureToAnswerIsSharedToo(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(time.Unix(1, 0))
	var asks atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asks.Add(1)
		http.Error(w, "no", http.StatusBadGateway)
	}))
	defer srv.Close()
	s := newStore(t, func(o *Options) { o.Clock = clock })
	for _, notBefore := range []time.Time{{}, time.Unix(1, 0), time.Unix(0, 0)} {
		_, err := s.Fetch(t.Context(), Request{URL: srv.URL + "/r", NotBefore: notBefore})
		checkFailure(t, err, failure.Fail, v1alpha1.ReasonSourceUnavailable, "502")
	}
	if n := asks.Load(); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
	_, err := s.Fetch(t.Context(), Request{URL: srv.URL + "/r", NotBefore: time.Unix(1, 1)})
	checkFailure(t, err, failure.Fail, v1alpha1.ReasonSourceUnavailable, "502")
	if n := asks.Load(); n != 2 {
		t.Errorf("asked %d times after a retry, want twice", n)
	}
}

func TestIdleRepositoriesAreForgotten(t *testing.T) {
	r := newRepo(t)
	r.commit("refs/heads/main", map[string]file{"v": text("1")})
	url, _ := serve(t, r)
	clock := clocktesting.NewFakePassiveClock(time.Unix(1, 0))
	s := newStore(t, func(o *Options) { o.Clock = clock })
	mustFetch(t, s, Request{URL: url})
	clock.SetTime(time.Unix(1, 0).Add(2 * idle))
	mustFetch(t, s, Request{URL: url, Credentials: &Credentials{Username: "x"}})
	if n := len(s.repositories); n != 1 {
		t.Errorf("repositories kept = %d, want 1", n)
	}
}

func TestContextEnds(t *testing.T) {
	r := newRepo(t)
	r.commit("refs/heads/main", map[string]file{"v": text("1")})
	url, _ := serve(t, r)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := newStore(t, nil).Fetch(ctx, Request{URL: url})
	checkFailure(t, err, failure.Fail, v1alpha1.ReasonSourceUnavailable, "no answer in time")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v, want context.Canceled in its chain", err)
	}
}

// Whoever checks signatures gets the objects as they were hashed.
func TestObjectsOfACommitAndItsTag(t *testing.T) {
	r := newRepo(t)
	c := r.commit("refs/heads/main", map[string]file{"v": text("1")})
	r.git("", "-C", r.dir, "-c", "user.name=a", "-c", "user.email=a@b", "tag", "-a", "-m", "x", "v1", c)
	r.git("", "-C", r.dir, "tag", "light", c)
	url, _ := serve(t, r)
	s := newStore(t, nil)
	for _, tt := range []struct {
		ref v1alpha1.GitRef
		tag string
	}{{v1alpha1.GitRef{}, ""}, {v1alpha1.GitRef{Tag: "light"}, ""}, {v1alpha1.GitRef{Tag: "v1"}, "v1"}, {v1alpha1.GitRef{SemVer: "1"}, "v1"}, {v1alpha1.GitRef{Commit: c}, ""}} {
		commit, tag, name, err := mustFetch(t, s, Request{URL: url, Ref: tt.ref}).Objects()
		if err != nil || plumbing.ComputeHash(plumbing.CommitObject, commit).String() != c {
			t.Errorf("%+v: commit %q, %v", tt.ref, commit, err)
		}
		if (tag != nil) != (tt.tag != "") || (tag != nil && (name != tt.tag || plumbing.ComputeHash(plumbing.TagObject, tag).String() != r.git("", "-C", r.dir, "rev-parse", "v1"))) {
			t.Errorf("%+v: tag %q %q, want %q", tt.ref, name, tag, tt.tag)
		}
	}
}
