package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/go-git/go-git/v5/plumbing"
)

// Lineage says whether a commit has another one in its history.
type Lineage int

const (
	// LineageUnknown: more lies between the two than is looked at.
	LineageUnknown Lineage = iota
	// LineageDescends: it does.
	LineageDescends
	// LineageRewritten: it does not.
	LineageRewritten
)

const (
	// maxLineage bounds the commits that are looked at, and lineageBytes what a
	// server may send of them.
	maxLineage   = 50_000
	lineageBytes = 32 << 20
	// keptLineages is how many answers a repository keeps.
	keptLineages = 64
)

type kinship struct{ from, to plumbing.Hash }

// Lineage says whether the commit descends from an earlier one. A direct child
// is known as such; otherwise the server is asked, once for everybody, for the
// commits that the earlier one does not lead to. If it descends, one of them
// is its child.
func (s *Snapshot) Lineage(ctx context.Context, earlier string) (Lineage, error) {
	if s.origin == nil || !plumbing.IsHash(earlier) {
		return LineageUnknown, nil
	}
	k := kinship{plumbing.NewHash(earlier), s.commit}
	raw, err := s.objects.read(s.commit, plumbing.CommitObject, s.limits.ObjectBytes)
	if err != nil {
		return LineageUnknown, s.unreadable(s.Revision, err)
	}
	if k.from == k.to || isParent(raw, k.from) {
		return LineageDescends, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.limits.Time)
	defer cancel()
	l, err := s.origin.lineage(ctx, k, s.want)
	if err != nil {
		return LineageUnknown, s.origin.failed(ctx, err)
	}
	return l, nil
}

// lineage answers from what is known, and asks the server otherwise.
func (r *repository) lineage(ctx context.Context, k kinship, tip plumbing.Hash) (Lineage, error) {
	if l, ok := r.knownLineage(k); ok {
		return l, nil
	}
	release, err := take(ctx, r.turn)
	if err != nil {
		return LineageUnknown, err
	}
	defer release()
	if l, ok := r.knownLineage(k); ok {
		return l, nil
	}
	l, err := r.askLineage(ctx, k, tip)
	if err != nil {
		return LineageUnknown, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lineages == nil || len(r.lineages) >= keptLineages {
		r.lineages = map[kinship]Lineage{}
	}
	r.lineages[k] = l
	return l, nil
}

func (r *repository) knownLineage(k kinship) (Lineage, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l, ok := r.lineages[k]
	return l, ok
}

func (r *repository) askLineage(ctx context.Context, k kinship, tip plumbing.Hash) (Lineage, error) {
	for _, places := range []chan struct{}{r.store.sessions, r.store.downloads} {
		end, err := take(ctx, places)
		if err != nil {
			return LineageUnknown, err
		}
		defer end()
	}
	s, ans, err := r.ask(ctx)
	if err != nil {
		return LineageUnknown, err
	}
	defer func() { _ = s.Close() }()
	file, err := r.store.scratch()
	if err != nil {
		return LineageUnknown, fmt.Errorf("%w: %w", errScratch, err)
	}
	defer func() { _ = file.Close() }()
	limits := r.store.limits
	limits.Objects, limits.FetchBytes = min(limits.Objects, maxLineage), min(limits.FetchBytes, lineageBytes)
	var p *pack
	w := want{hashes: []plumbing.Hash{tip}, have: []plumbing.Hash{k.from}, history: true}
	err = download(ctx, s, ans.refs.Capabilities, w, limits.FetchBytes, func(src io.Reader) (err error) {
		p, err = writePack(ctx, src, file, r.store.newObjects(), newContentCache(1<<20), limits)
		return err
	})
	if overBound(err) {
		return LineageUnknown, nil
	}
	if err != nil {
		return LineageUnknown, err
	}
	return p.lineage(k)
}

// lineage looks through the commits that the earlier one does not lead to.
func (p *pack) lineage(k kinship) (Lineage, error) {
	seen := map[plumbing.Hash]bool{k.to: true}
	for todo := []plumbing.Hash{k.to}; len(todo) > 0; {
		h := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		at := p.find(h)
		if at == none {
			continue // the earlier one leads to it, and not the other way round
		}
		if p.objects[at].kind != plumbing.CommitObject || p.objects[at].size > lineageBytes {
			return LineageUnknown, nil
		}
		raw, err := p.content(at)
		if err != nil {
			return LineageUnknown, err
		}
		for _, parent := range parents(raw) {
			if parent == k.from {
				return LineageDescends, nil
			}
			if !seen[parent] {
				seen[parent] = true
				todo = append(todo, parent)
			}
		}
	}
	return LineageRewritten, nil
}

func isParent(raw []byte, h plumbing.Hash) bool {
	for _, parent := range parents(raw) {
		if parent == h {
			return true
		}
	}
	return false
}

// parents reads them where Git does: after the tree and nowhere else.
func parents(raw []byte) []plumbing.Hash {
	var list []plumbing.Hash
	_, rest, _ := bytes.Cut(raw, []byte("\n"))
	for {
		line, after, ok := bytes.Cut(rest, []byte("\n"))
		hex, isParent := bytes.CutPrefix(line, []byte("parent "))
		if !ok || !isParent || !plumbing.IsHash(string(hex)) {
			return list
		}
		list, rest = append(list, plumbing.NewHash(string(hex))), after
	}
}

// overBound reports whether there was more than is looked at.
func overBound(err error) bool {
	return errors.Is(err, errQuota) || errors.Is(err, errTooMany) || errors.Is(err, errInflated)
}
