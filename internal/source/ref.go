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
	tag  string // of the tag
	hash plumbing.Hash
	// want is what to ask the server for: of an annotated tag the tag, because
	// not every server sends a commit that only a tag leads to.
	want plumbing.Hash
}

func (t target) revision(commit plumbing.Hash) string {
	if t.name == "" {
		return "sha1:" + commit.String()
	}
	return t.name + "@sha1:" + commit.String()
}

// annotated is the tag's own object, if it has one.
func (t target) annotated() plumbing.Hash {
	if t.tag == "" || t.want == t.hash {
		return plumbing.ZeroHash
	}
	return t.want
}

// resolve picks the commit. Where a spec names several, the most exact wins.
func resolve(a address, ref v1alpha1.GitRef, refs *packp.AdvRefs) (target, error) {
	switch {
	case ref.Commit != "":
		if !plumbing.IsHash(ref.Commit) || len(ref.Commit) != 40 {
			return target{}, failure.Stallf(v1alpha1.ReasonInvalidSpec, "commit %q is not a full SHA-1", ref.Commit)
		}
		h := plumbing.NewHash(ref.Commit)
		return target{hash: h, want: h}, nil
	case ref.SemVer != "":
		return highest(a, ref.SemVer, refs)
	case ref.Tag != "":
		if t, ok := lookup(refs, tags, ref.Tag); ok {
			return t, nil
		}
		return target{}, absent(a, fmt.Sprintf("tag %q", ref.Tag), "tags", tags, refs)
	}
	branch := ref.Branch
	if branch == "" {
		branch = "main"
	}
	if t, ok := lookup(refs, branches, branch); ok {
		return t, nil
	}
	return target{}, absent(a, fmt.Sprintf("branch %q", branch), "branches", branches, refs)
}

// lookup returns what a ref names, through an annotated tag.
func lookup(refs *packp.AdvRefs, prefix, name string) (target, bool) {
	h, ok := refs.References[prefix+name]
	t := target{name: name, hash: h, want: h}
	if peeled, annotated := refs.Peeled[prefix+name]; annotated {
		t.hash = peeled
	}
	if prefix == tags {
		t.tag = name
	}
	return t, ok
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
	t, _ := lookup(refs, tags, name)
	return t, nil
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

// advertised returns what to ask for so that h comes, which a server sends to
// anyone, if a branch or tag is at h.
func advertised(refs *packp.AdvRefs, h plumbing.Hash) (plumbing.Hash, bool) {
	for _, tip := range refs.References {
		if tip == h {
			return h, true
		}
	}
	for name, peeled := range refs.Peeled {
		if peeled == h {
			return refs.References[name], true
		}
	}
	return h, false
}
