package source

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sort"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
)

var (
	errCorrupt  = errors.New("the pack is damaged")
	errTooMany  = errors.New("the pack has too many objects")
	errInflated = errors.New("the pack unpacks to too much")
	errTooLarge = errors.New("the object is too large")
	errScratch  = errors.New("write scratch file")
)

const (
	// maxInflation bounds what a download may unpack to, as a multiple of what
	// may be sent: checking hashes costs time for each unpacked byte.
	maxInflation = 16
	// maxChain is Git's own limit on deltas upon deltas.
	maxChain = 4095
	none     = -1
	outside  = -2 // the base is in another pack
)

// packed is one object of a pack. It is kept small: there are many.
type packed struct {
	hash   plumbing.Hash
	offset int64
	size   int64               // unpacked, with deltas applied
	base   int32               // position of the delta's base, none or outside
	kind   plumbing.ObjectType // AnyObject: left out for its size
}

// pack is a file of objects without a name, with its index in memory. Reading
// needs no lock and no seek. The file closes with the last reference.
type pack struct {
	file    *os.File
	objects []packed // by offset
	sorted  []int32  // positions by hash
	skipped int      // objects left out for their size
	outer   map[int32]located
	cache   *contentCache
}

// located is where an object is.
type located struct {
	pack *pack
	at   int
}

// writePack copies a pack from the network to file and indexes it on the way.
// Objects that are no deltas pass through in pieces, so their size does not
// matter; deltas are applied in memory, those that need too much are left out.
// Bases that are not in the pack are looked for in have.
func writePack(ctx context.Context, src io.Reader, file *os.File, have *objects, cache *contentCache, l Limits) (*pack, error) {
	disk := bufio.NewWriterSize(file, 256<<10)
	// The scanner must not take the source for seekable.
	sc := packfile.NewScanner(struct{ io.Reader }{io.TeeReader(contextReader{ctx, src}, disk)})
	p := &pack{file: file, cache: cache, outer: map[int32]located{}}
	x := indexer{pack: p, limits: l, byRef: map[plumbing.Hash][]int32{}, byBase: map[int32][]int32{}}
	err := x.scan(sc)
	if diskErr := disk.Flush(); diskErr != nil { // also what scan ran into
		return nil, fmt.Errorf("%w: %w", errScratch, diskErr)
	}
	if err != nil {
		return nil, err
	}
	if err := x.resolve(ctx, have); err != nil {
		return nil, err
	}
	p.sort()
	return p, nil
}

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// indexer is what is known while a pack is being indexed.
type indexer struct {
	*pack
	limits   Limits
	inflated int64
	lengths  []int64                   // of the unpacked delta or object
	byBase   map[int32][]int32         // deltas by the position of their base
	byRef    map[plumbing.Hash][]int32 // deltas by the name of their base
	live     int64                     // bytes of bases held
	large    bool                      // something was left out for its size
}

// scan reads each object once, hashes those that are no deltas and notes the
// others.
func (x *indexer) scan(sc *packfile.Scanner) error {
	_, count, err := sc.Header()
	if err != nil {
		return damaged(err)
	}
	if int64(count) > int64(x.limits.Objects) {
		return errTooMany
	}
	for range count {
		h, err := sc.NextObjectHeader()
		if err != nil {
			return damaged(err)
		}
		if x.inflated += h.Length; x.inflated > maxInflation*x.limits.FetchBytes || x.inflated < 0 {
			return errInflated
		}
		if err := x.note(sc, h); err != nil {
			return err
		}
	}
	if _, err := sc.Checksum(); err != nil {
		return damaged(err)
	}
	return nil
}

func (x *indexer) note(sc *packfile.Scanner, h *packfile.ObjectHeader) error {
	at := int32(len(x.objects))
	o := packed{offset: h.Offset, size: h.Length, base: none, kind: h.Type}
	length := h.Length
	sink := io.Discard
	hasher := plumbing.Hasher{}
	switch h.Type {
	case plumbing.OFSDeltaObject:
		i, ok := slices.BinarySearchFunc(x.objects, h.OffsetReference, func(o packed, off int64) int { return int(o.offset - off) })
		if !ok {
			return errCorrupt
		}
		o.base = int32(i)
		x.byBase[o.base] = append(x.byBase[o.base], at)
	case plumbing.REFDeltaObject:
		x.byRef[h.Reference] = append(x.byRef[h.Reference], at)
	case plumbing.CommitObject, plumbing.TreeObject, plumbing.BlobObject, plumbing.TagObject:
		hasher = plumbing.NewHasher(h.Type, h.Length)
		sink = hasher
	default:
		return errCorrupt
	}
	n, _, err := sc.NextObject(sink)
	if err != nil {
		return damaged(err)
	}
	if n != length {
		return errCorrupt
	}
	if hasher.Hash != nil {
		o.hash = hasher.Sum()
	}
	x.objects = append(x.objects, o)
	x.lengths = append(x.lengths, length)
	return nil
}

// damaged keeps errors of the context and hides the rest, whose text may quote
// the pack.
func damaged(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return errCorrupt
}

// base is unpacked content that deltas wait for.
type base struct {
	content []byte
	waiting int
}

type pending struct {
	at   int32
	from *base
	up   located
	deep int
}

// resolve applies deltas, deepest first, so that a long chain holds two
// objects at a time and not all of them.
func (x *indexer) resolve(ctx context.Context, have *objects) error {
	for i := range x.objects {
		if !x.objects[i].kind.IsDelta() {
			if err := x.root(ctx, located{x.pack, i}); err != nil {
				return err
			}
		}
	}
	var outer []plumbing.Hash
	for h := range x.byRef {
		outer = append(outer, h)
	}
	plumbing.HashesSort(outer)
	for _, h := range outer {
		p, at, err := have.find(h)
		if err != nil || len(x.byRef[h]) == 0 {
			continue // leftovers tells what it means
		}
		if err := x.root(ctx, located{p, at}); err != nil {
			return err
		}
	}
	return x.leftovers()
}

// root applies the deltas upon an object, and those upon them.
func (x *indexer) root(ctx context.Context, l located) error {
	o := &l.pack.objects[l.at]
	if len(x.byRef[o.hash]) == 0 && (l.pack != x.pack || len(x.byBase[int32(l.at)]) == 0) {
		return nil
	}
	if o.size > x.limits.ObjectBytes {
		x.large = true
		return nil
	}
	content, err := l.pack.content(l.at)
	if err != nil {
		return err
	}
	var stack []pending
	x.queue(l, content, 0, &stack)
	for len(stack) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		next := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if err := x.apply(next, &stack); err != nil {
			return err
		}
	}
	return nil
}

func (x *indexer) queue(l located, content []byte, deep int, stack *[]pending) {
	o := &l.pack.objects[l.at]
	children := x.byRef[o.hash]
	delete(x.byRef, o.hash)
	if l.pack == x.pack {
		children = append(children, x.byBase[int32(l.at)]...)
		delete(x.byBase, int32(l.at))
	}
	if len(children) == 0 {
		return
	}
	if x.live+int64(len(content)) > x.limits.DeltaBytes {
		x.large = true
		return
	}
	x.live += int64(len(content))
	b := &base{content: content, waiting: len(children)}
	for _, c := range children {
		*stack = append(*stack, pending{at: c, from: b, up: l, deep: deep + 1})
	}
}

func (x *indexer) apply(next pending, stack *[]pending) error {
	o := &x.objects[next.at]
	b := next.from
	defer func() {
		if b.waiting--; b.waiting == 0 {
			x.live -= int64(len(b.content))
		}
	}()
	if next.deep > maxChain {
		return errCorrupt
	}
	if x.lengths[next.at] > x.limits.ObjectBytes {
		x.large = true
		return nil
	}
	delta, err := x.inflate(int(next.at), x.lengths[next.at])
	if err != nil {
		return err
	}
	content, err := patch(b.content, delta, x.limits.ObjectBytes)
	if errors.Is(err, errTooLarge) {
		x.large = true
		return nil
	}
	if err != nil {
		return err
	}
	o.kind, o.base, o.size = next.up.pack.objects[next.up.at].kind, int32(next.up.at), int64(len(content))
	if next.up.pack != x.pack {
		o.base = outside
		x.outer[next.at] = next.up
	}
	o.hash = plumbing.ComputeHash(o.kind, content)
	x.queue(located{x.pack, int(next.at)}, content, next.deep, stack)
	return nil
}

// leftovers counts deltas that were not applied. Where none was left out for
// its size, their bases are not in the pack.
func (x *indexer) leftovers() error {
	for i := range x.objects {
		if o := &x.objects[i]; o.kind.IsDelta() {
			o.kind, o.hash = plumbing.AnyObject, plumbing.ZeroHash
			x.skipped++
		}
	}
	if x.skipped > 0 && !x.large {
		return errCorrupt
	}
	return nil
}

// patch applies a delta whose result is not larger than limit.
func patch(from, delta []byte, limit int64) ([]byte, error) {
	_, n := binary.Uvarint(delta)
	if n <= 0 {
		return nil, errCorrupt
	}
	target, n := binary.Uvarint(delta[n:])
	switch {
	case n <= 0:
		return nil, errCorrupt
	case target > uint64(limit):
		return nil, errTooLarge
	case len(from) == 0:
		return nil, errCorrupt
	}
	out, err := packfile.PatchDelta(from, delta)
	if err != nil || uint64(len(out)) != target {
		return nil, errCorrupt
	}
	return out, nil
}

func (p *pack) sort() {
	for i := range p.objects {
		if p.objects[i].kind != plumbing.AnyObject {
			p.sorted = append(p.sorted, int32(i))
		}
	}
	slices.SortFunc(p.sorted, func(a, b int32) int {
		return bytes.Compare(p.objects[a].hash[:], p.objects[b].hash[:])
	})
}

// find returns the position of an object, or none.
func (p *pack) find(h plumbing.Hash) int {
	i := sort.Search(len(p.sorted), func(i int) bool {
		return bytes.Compare(p.objects[p.sorted[i]].hash[:], h[:]) >= 0
	})
	if i < len(p.sorted) && p.objects[p.sorted[i]].hash == h {
		return int(p.sorted[i])
	}
	return none
}

// content returns an object. The caller has looked at its size, and must not
// change what it gets.
func (p *pack) content(at int) ([]byte, error) {
	content, chain, err := p.foundation(at)
	if err != nil {
		return nil, err
	}
	for _, i := range slices.Backward(chain) {
		delta, err := p.inflate(i, none)
		if err != nil {
			return nil, err
		}
		if content, err = patch(content, delta, p.objects[i].size); err != nil {
			return nil, err
		}
		p.cache.put(located{p, i}, content)
	}
	return content, nil
}

// foundation returns the content below an object that is at hand or no delta,
// and the deltas upon it, the object's own first.
func (p *pack) foundation(at int) (content []byte, chain []int, err error) {
	for i := at; ; i = int(p.objects[i].base) {
		if cached, ok := p.cache.get(located{p, i}); ok {
			return cached, chain, nil
		}
		switch p.objects[i].base {
		case none:
			content, err := p.inflate(i, p.objects[i].size)
			if err == nil && len(chain) > 0 {
				p.cache.put(located{p, i}, content)
			}
			return content, chain, err
		case outside:
			up := p.outer[int32(i)]
			content, err := up.pack.content(up.at)
			return content, append(chain, i), err
		}
		chain = append(chain, i)
	}
}

// inflater is what unpacking one object needs, kept for the next one.
type inflater struct {
	buffered *bufio.Reader
	zlib     io.ReadCloser
}

var inflaters = sync.Pool{New: func() any { return &inflater{buffered: bufio.NewReaderSize(nil, 4096)} }}

// inflate unpacks what is stored at a position, delta or not. Length is what
// it must unpack to, or none for what its header says.
func (p *pack) inflate(at int, length int64) ([]byte, error) {
	in := inflaters.Get().(*inflater)
	defer inflaters.Put(in)
	end := int64(1) << 62 // the file's end will do for the last one
	if at+1 < len(p.objects) {
		end = p.objects[at+1].offset
	}
	offset := p.objects[at].offset
	in.buffered.Reset(io.NewSectionReader(p.file, offset, end-offset))
	declared, err := skipHeader(in.buffered)
	if err != nil || (length != none && declared != length) {
		return nil, errCorrupt
	}
	if in.zlib == nil {
		in.zlib, err = zlib.NewReader(in.buffered)
	} else {
		err = in.zlib.(zlib.Resetter).Reset(in.buffered, nil)
	}
	if err != nil {
		in.zlib = nil
		return nil, errCorrupt
	}
	out := make([]byte, declared)
	if _, err := io.ReadFull(in.zlib, out); err != nil {
		return nil, errCorrupt
	}
	return out, nil
}

// skipHeader reads up to the packed bytes of an object that scan has read
// before, and returns their length when unpacked.
func skipHeader(r *bufio.Reader) (int64, error) {
	b, err := r.ReadByte()
	kind, length := plumbing.ObjectType(b>>4&7), int64(b&15)
	for shift := 4; b&0x80 != 0 && err == nil; shift += 7 {
		b, err = r.ReadByte()
		length |= int64(b&0x7f) << shift
	}
	switch kind {
	case plumbing.OFSDeltaObject:
		for more := true; more && err == nil; more = b&0x80 != 0 {
			b, err = r.ReadByte()
		}
	case plumbing.REFDeltaObject:
		if err == nil {
			_, err = r.Discard(len(plumbing.ZeroHash))
		}
	}
	return length, err
}
