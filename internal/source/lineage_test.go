package source

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

func TestWhetherHistoryWasRewritten(t *testing.T) {
	type history struct {
		repo
		first string
	}
	add := func(r repo, n int) (last string) {
		for i := range n {
			last = r.amend("refs/heads/main", map[string]file{"v": text(fmt.Sprintf("%d %s", i, last))})
		}
		return last
	}
	tests := map[string]struct {
		move func(h history)
		want Lineage
	}{
		"nothing happened":     {func(history) {}, LineageDescends},
		"one commit more":      {func(h history) { add(h.repo, 1) }, LineageDescends},
		"many commits more":    {func(h history) { add(h.repo, 5) }, LineageDescends},
		"the branch went back": {func(h history) { h.git("", "-C", h.dir, "update-ref", "refs/heads/main", h.first+"^") }, LineageRewritten},
		"the last commit was amended": {func(h history) {
			h.git("", "-C", h.dir, "update-ref", "refs/heads/main", h.first+"^")
			h.amend("refs/heads/main", map[string]file{"v": text("amended")})
		}, LineageRewritten},
		"another history": {func(h history) { h.commit("refs/heads/main", map[string]file{"v": text("other")}); add(h.repo, 3) }, LineageRewritten},
		"another history, and the commit is not even kept": {func(h history) {
			h.commit("refs/heads/main", map[string]file{"v": text("other")})
			add(h.repo, 3)
			h.git("", "-C", h.dir, "reflog", "expire", "--expire=now", "--all")
			h.git("", "-C", h.dir, "gc", "-q", "--prune=now")
		}, LineageRewritten},
		"a merge of both": {func(h history) {
			side := h.commit("refs/heads/side", map[string]file{"w": text("side")})
			tree := h.git("", "-C", h.dir, "rev-parse", "main^{tree}")
			merge := h.git("m", "-C", h.dir, "-c", "user.name=a", "-c", "user.email=b", "commit-tree", tree, "-p", side, "-p", h.first)
			top := h.git("m", "-C", h.dir, "-c", "user.name=a", "-c", "user.email=b", "commit-tree", tree, "-p", merge)
			h.git("", "-C", h.dir, "update-ref", "refs/heads/main", top)
		}, LineageDescends},
		"a message that names a parent": {func(h history) {
			tree := h.git("", "-C", h.dir, "rev-parse", "main^{tree}")
			c := h.git("parent "+h.first+"\n", "-C", h.dir, "-c", "user.name=a", "-c", "user.email=b", "commit-tree", tree)
			h.git("", "-C", h.dir, "update-ref", "refs/heads/main", c)
		}, LineageRewritten},
		"more than is looked at": {func(h history) { add(h.repo, 30) }, LineageUnknown},
	}
	for name, tt := range tests {
		for _, filter := range []string{"true", "false"} {
			t.Run(name+", filter "+filter, func(t *testing.T) {
				r := newRepo(t)
				r.commit("refs/heads/main", map[string]file{"v": text("0")})
				r.config("uploadpack.allowFilter", filter)
				h := history{r, add(r, 2)}
				url, b := serve(t, r)
				s := newStore(t, func(o *Options) {
					if tt.want == LineageUnknown {
						o.Limits.Objects = 20
					}
				})
				mustFetch(t, s, Request{URL: url})
				tt.move(h)
				after := mustFetch(t, s, Request{URL: url})
				for range 2 {
					got, err := after.Lineage(t.Context(), h.first)
					if err != nil || got != tt.want {
						t.Errorf("Lineage() = %v, %v, want %v", got, err, tt.want)
					}
				}
				if asks := b.asks.Load(); asks > 3 {
					t.Errorf("asked %d times, want the answer kept", asks)
				}
			})
		}
	}
}

func TestLineageOfATag(t *testing.T) {
	r := newRepo(t)
	first := r.commit("refs/heads/main", map[string]file{"v": text("0")})
	for i := range 3 {
		r.amend("refs/heads/main", map[string]file{"v": text(fmt.Sprint(i))})
	}
	r.git("", "-C", r.dir, "-c", "user.name=a", "-c", "user.email=a@b", "tag", "-a", "-m", "x", "v1", "main")
	url, _ := serve(t, r)
	s := mustFetch(t, newStore(t, nil), Request{URL: url, Ref: v1alpha1.GitRef{Tag: "v1"}})
	if got, err := s.Lineage(t.Context(), first); err != nil || got != LineageDescends || s.Ref != "v1" {
		t.Errorf("Lineage() = %v, %v of %q, want it to descend", got, err, s.Ref)
	}
	if got, err := s.Lineage(t.Context(), strings.Repeat("z", 40)); err != nil || got != LineageUnknown {
		t.Errorf("Lineage(nonsense) = %v, %v, want unknown", got, err)
	}
}
