package source

import "sync"

// contentCache keeps unpacked delta bases, in two generations: when the young
// one is full it becomes the old one, and what was old goes. Content in it is
// shared and must not be changed.
type contentCache struct {
	mu         sync.Mutex
	limit      int
	size       int
	young, old map[located][]byte
}

func newContentCache(limit int) *contentCache {
	return &contentCache{limit: limit / 2, young: map[located][]byte{}}
}

func (c *contentCache) get(k located) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v, ok := c.young[k]; ok {
		return v, true
	}
	v, ok := c.old[k]
	if ok {
		c.add(k, v)
	}
	return v, ok
}

func (c *contentCache) put(k located, v []byte) {
	if len(v) > c.limit/4 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(k, v)
}

func (c *contentCache) add(k located, v []byte) {
	if _, ok := c.young[k]; ok {
		return
	}
	if c.size += len(v) + 64; c.size > c.limit {
		c.old, c.young, c.size = c.young, map[located][]byte{}, len(v)+64
	}
	c.young[k] = v
}

// forget drops what belongs to packs that are no longer in use.
func (c *contentCache) forget(packs []*pack) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range packs {
		for _, generation := range []map[located][]byte{c.young, c.old} {
			for k := range generation {
				if k.pack == p {
					delete(generation, k)
				}
			}
		}
	}
}
