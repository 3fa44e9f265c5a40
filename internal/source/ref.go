package source

import (
	"fmt"
	"sort"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
)

const (
	branches = "refs/heads/"
	tags     = "refs/tags/"
)

// target is the commit that a GitRef stands for at the moment.
type target struct {
	name string // of the branch or tag; empty for a commit
	hash plumbing.Hash
}

func (t target) revision(commit plumbing.Hash) string {
	if t.name == "" {
		return "sha1:" + commit.String()
	}
	return t.name + "@sha1:" + commit.String()
}

// resolve picks the commit. Where a spec names several, the most exact wins.
func resolve(a address, ref v1alpha1.GitRef, refs *packp.AdvRefs) (target, error) {
	switch {
	case ref.Commit != "":
		if !plumbing.IsHash(ref.Commit) || len(ref.Commit) != 40 {
			return target{}, failure.Stallf(v1alpha1.ReasonInvalidSpec, "commit %q is not a full SHA-1", ref.Commit)
		}
		return target{hash: plumbing.NewHash(ref.Commit)}, nil
	case ref.SemVer != "":
		return highest(a, ref.SemVer, refs)
	case ref.Tag != "":
		if h, ok := lookup(refs, tags+ref.Tag); ok {
			return target{name: ref.Tag, hash: h}, nil
		}
		return target{}, absent(a, fmt.Sprintf("tag %q", ref.Tag), "tags", tags, refs)
	}
	branch := ref.Branch
	if branch == "" {
		branch = "main"
	}
	if h, ok := lookup(refs, branches+branch); ok {
		return target{name: branch, hash: h}, nil
	}
	return target{}, absent(a, fmt.Sprintf("branch %q", branch), "branches", branches, refs)
}

// lookup returns what a ref names, through an annotated tag.
func lookup(refs *packp.AdvRefs, name string) (plumbing.Hash, bool) {
	if h, ok := refs.Peeled[name]; ok {
		return h, true
	}
	h, ok := refs.References[name]
	return h, ok
}

func highest(a address, constraint string, refs *packp.AdvRefs) (target, error) {
	c, err := semver.NewConstraint(constraint)
	if err != nil {
		return target{}, failure.Stallf(v1alpha1.ReasonInvalidSpec, "semver %q is not a range of versions", constraint).
			WithHint(`write it like "1.x", ">=1.2.0 <2.0.0" or "~1.4"`)
	}
	var best *semver.Version
	var name string
	for _, tag := range names(refs, tags) {
		v, err := semver.NewVersion(tag)
		if err != nil || !c.Check(v) {
			continue
		}
		if best == nil || v.GreaterThan(best) { // names are sorted: a tie is no accident
			best, name = v, tag
		}
	}
	if best == nil {
		return target{}, absent(a, fmt.Sprintf("tag in range %q", constraint), "tags", tags, refs)
	}
	h, _ := lookup(refs, tags+name)
	return target{name: name, hash: h}, nil
}

func names(refs *packp.AdvRefs, prefix string) []string {
	var list []string
	for name := range refs.References {
		if short, ok := strings.CutPrefix(name, prefix); ok {
			list = append(list, short)
		}
	}
	sort.Strings(list)
	return list
}

func absent(a address, what, plural, prefix string, refs *packp.AdvRefs) error {
	list := names(refs, prefix)
	f := failure.Stallf(v1alpha1.ReasonSourceInvalid, "repository %s has no %s", a, what)
	if len(list) == 0 {
		return f.WithHint("it has no %s at all; correct spec.source.git.ref", plural)
	}
	more := ""
	if n := len(list) - 5; n > 0 {
		list, more = list[:5], fmt.Sprintf(" and %d more", n)
	}
	for i := range list {
		list[i] = clean(list[i], 64)
	}
	return f.WithHint("it has the %s %s%s; correct spec.source.git.ref", plural, strings.Join(list, ", "), more)
}

// tips are all branches and tags, for a server that sends nothing else.
func tips(refs *packp.AdvRefs) []plumbing.Hash {
	var list []plumbing.Hash
	for name, h := range refs.References {
		if strings.HasPrefix(name, branches) || strings.HasPrefix(name, tags) {
			list = append(list, h)
		}
	}
	plumbing.HashesSort(list)
	return list
}

// advertised reports whether a server sends h to anyone who asks.
func advertised(refs *packp.AdvRefs, h plumbing.Hash) bool {
	for _, m := range []map[string]plumbing.Hash{refs.References, refs.Peeled} {
		for _, known := range m {
			if known == h {
				return true
			}
		}
	}
	return false
}
