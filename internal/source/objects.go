package source

import (
	"bytes"
	"errors"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
)

var (
	errMissing   = errors.New("the object is not there")
	errLeftOut   = errors.New("the object was left out for its size")
	errTreeSize  = errors.New("the directory has too many entries")
	errTreeNames = errors.New("the directory has an entry whose name is not allowed")
)

// objects is the object database of one repository: the packs fetched since it
// was begun. Snapshots keep the one they came from.
type objects struct {
	number uint64
	trees  *treeCache

	mu      sync.RWMutex
	packs   []*pack
	fetched []plumbing.Hash          // commits, without their parents
	commits map[plumbing.Hash]commit // that were read, by what was asked for
	bytes   int64
	partial bool // the server left out large files
	broken  atomic.Bool
}

func (o *objects) add(p *pack, size int64, partial bool, commit plumbing.Hash) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.packs = append(o.packs, p)
	o.bytes += size
	o.partial = o.partial || partial
	o.fetched = append(o.fetched, commit)
}

// find returns where an object is. An object that is not there may be one that
// was left out.
func (o *objects) find(h plumbing.Hash) (*pack, int, error) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	leftOut := o.partial
	for i := len(o.packs) - 1; i >= 0; i-- {
		p := o.packs[i]
		if at := p.find(h); at != none {
			return p, at, nil
		}
		leftOut = leftOut || p.skipped > 0
	}
	if leftOut {
		return nil, none, errLeftOut
	}
	return nil, none, errMissing
}

// size returns the size of an object without reading it.
func (o *objects) size(h plumbing.Hash) (int64, error) {
	p, at, err := o.find(h)
	if err != nil {
		return 0, err
	}
	return p.objects[at].size, nil
}

// read returns an object of a kind that is not larger than limit.
func (o *objects) read(h plumbing.Hash, kind plumbing.ObjectType, limit int64) ([]byte, error) {
	p, at, err := o.find(h)
	switch {
	case err != nil:
		return nil, err
	case p.objects[at].kind != kind:
		return nil, errCorrupt
	case p.objects[at].size > limit:
		return nil, errTooLarge
	}
	return p.content(at)
}

// commit is what of a commit is needed.
type commit struct {
	hash, tree      plumbing.Hash
	author, subject string
}

// tree reads a directory, from the cache where it has been read before.
func (o *objects) tree(h plumbing.Hash, l Limits) (tree, error) {
	id := treeID{o.number, h}
	if t, ok := o.trees.get(id); ok {
		return t, nil
	}
	raw, err := o.read(h, plumbing.TreeObject, l.ObjectBytes)
	if err != nil {
		return nil, err
	}
	t, err := parseTree(raw, l.Entries)
	if err != nil {
		return nil, err
	}
	o.trees.put(id, t)
	return t, nil
}

// commit reads a commit, through tags where h is one, once.
func (o *objects) commit(h plumbing.Hash, limit int64) (commit, error) {
	o.mu.RLock()
	c, ok := o.commits[h]
	o.mu.RUnlock()
	if ok {
		return c, nil
	}
	c, err := o.readCommit(h, limit)
	if err != nil {
		return commit{}, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.commits) >= maxCommits {
		clear(o.commits)
	}
	o.commits[h] = c
	return c, nil
}

func (o *objects) readCommit(h plumbing.Hash, limit int64) (commit, error) {
	for range 5 {
		raw, err := o.read(h, plumbing.TagObject, limit)
		if errors.Is(err, errCorrupt) {
			break // of another kind
		}
		if err != nil {
			return commit{}, err
		}
		target, _, _ := header(raw, "object")
		h = plumbing.NewHash(target)
	}
	raw, err := o.read(h, plumbing.CommitObject, limit)
	if err != nil {
		return commit{}, err
	}
	return parseCommit(h, raw)
}

// header returns the first value of a header of a commit or tag.
func header(raw []byte, name string) (value string, message []byte, ok bool) {
	head, message, _ := bytes.Cut(raw, []byte("\n\n"))
	for line := range bytes.Lines(head) {
		if key, v, _ := bytes.Cut(line, []byte(" ")); string(key) == name {
			return strings.TrimSuffix(string(v), "\n"), message, true
		}
	}
	return "", message, false
}

func parseCommit(h plumbing.Hash, raw []byte) (commit, error) {
	tree, message, ok := header(raw, "tree")
	if !ok || !plumbing.IsHash(tree) {
		return commit{}, errCorrupt
	}
	author, _, _ := header(raw, "author")
	if i := strings.LastIndexByte(author, '>'); i >= 0 {
		author = author[:i+1]
	}
	subject, _, _ := strings.Cut(strings.TrimLeft(string(message[:min(len(message), 4096)]), "\n"), "\n")
	return commit{hash: h, tree: plumbing.NewHash(tree), author: clean(author, 200), subject: clean(subject, 200)}, nil
}

// entry is one name in a directory.
type entry struct {
	name string
	mode filemode.FileMode
	hash plumbing.Hash
}

// tree is a directory, sorted by name.
type tree []entry

func (t tree) find(name string) (entry, bool) {
	i := sort.Search(len(t), func(i int) bool { return t[i].name >= name })
	if i < len(t) && t[i].name == name {
		return t[i], true
	}
	return entry{}, false
}

// parseTree reads at most limit entries. A name that Git would not have
// written, or that means something to a file system, spoils the directory.
func parseTree(raw []byte, limit int) (tree, error) {
	var t tree
	for len(raw) > 0 {
		if len(t) == limit {
			return nil, errTreeSize
		}
		mode, rest, ok := bytes.Cut(raw, []byte(" "))
		name, rest, named := bytes.Cut(rest, []byte{0})
		if !ok || !named || len(rest) < len(plumbing.ZeroHash) {
			return nil, errCorrupt
		}
		m, err := filemode.New(string(mode))
		if err != nil {
			return nil, errCorrupt
		}
		if !allowedName(string(name)) {
			return nil, errTreeNames
		}
		t = append(t, entry{name: string(name), mode: m, hash: plumbing.Hash(rest[:20])})
		raw = rest[20:]
	}
	sort.Slice(t, func(i, j int) bool { return t[i].name < t[j].name })
	for i := 1; i < len(t); i++ {
		if t[i].name == t[i-1].name {
			return nil, errTreeNames
		}
	}
	return t, nil
}

func allowedName(s string) bool {
	return s != "" && s != "." && s != ".." && !strings.EqualFold(s, ".git") &&
		!strings.ContainsAny(s, "/\x00") && utf8.ValidString(s)
}
