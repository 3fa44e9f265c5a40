package source

import (
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
)

// cache keeps what was worked out of objects, in two generations: when the
// young one is full it becomes the old one, and what was old goes. What is in
// it is shared and must not be changed.
type cache[K comparable, V any] struct {
	mu         sync.Mutex
	limit      int // in bytes, of one generation
	size       int
	weigh      func(V) int
	young, old map[K]V
}

func newCache[K comparable, V any](limit int, weigh func(V) int) *cache[K, V] {
	return &cache[K, V]{limit: limit / 2, weigh: weigh, young: map[K]V{}}
}

// contentCache keeps unpacked delta bases.
type contentCache = cache[located, []byte]

func newContentCache(limit int) *contentCache {
	return newCache[located](limit, func(content []byte) int { return len(content) + 64 })
}

// treeID is a directory of one object database. What another database holds
// under the same hash is not looked at: it may not be for the same eyes.
type treeID struct {
	database uint64
	hash     plumbing.Hash
}

// treeCache keeps directories that were read.
type treeCache = cache[treeID, tree]

func newTreeCache(limit int) *treeCache {
	return newCache[treeID](limit, func(t tree) int {
		size := 64
		for _, e := range t {
			size += 48 + len(e.name)
		}
		return size
	})
}

func (c *cache[K, V]) get(k K) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v, ok := c.young[k]; ok {
		return v, true
	}
	v, ok := c.old[k]
	if ok {
		c.add(k, v, c.weigh(v))
	}
	return v, ok
}

func (c *cache[K, V]) put(k K, v V) {
	weight := c.weigh(v)
	if weight > c.limit/4 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(k, v, weight)
}

func (c *cache[K, V]) add(k K, v V, weight int) {
	if _, ok := c.young[k]; ok {
		return
	}
	if c.size += weight; c.size > c.limit {
		c.old, c.young, c.size = c.young, map[K]V{}, weight
	}
	c.young[k] = v
}

// forget drops what is no longer in use.
func (c *cache[K, V]) forget(unused func(K) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, generation := range []map[K]V{c.young, c.old} {
		for k := range generation {
			if unused(k) {
				delete(generation, k)
			}
		}
	}
}
