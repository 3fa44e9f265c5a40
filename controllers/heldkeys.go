package controllers

import (
	"maps"
	"sync"

	"github.com/gitseal/gitseal/internal/live"
	"github.com/gitseal/gitseal/internal/sops"
)

// heldKey is a key as it was read last. Who may use it is asked each time.
type heldKey struct {
	version uint64
	allowed string // the namespaces that it names
	ring    *sops.Keyring
	err     error
}

// heldKeys holds the keys of all Applications, so that a key which many of
// them name is read once. The zero value is ready.
type heldKeys struct {
	mu  sync.Mutex
	all map[live.Scope]heldKey
}

func (h *heldKeys) get(s live.Scope) heldKey {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.all[s]
}

func (h *heldKeys) put(s live.Scope, k heldKey) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all == nil {
		h.all = map[live.Scope]heldKey{}
	}
	h.all[s] = k
}

func (h *heldKeys) drop(s live.Scope) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.all, s)
}

// keep drops the keys that nobody watches any more.
func (h *heldKeys) keep(watched func(live.Scope) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.DeleteFunc(h.all, func(s live.Scope, _ heldKey) bool { return !watched(s) })
}
