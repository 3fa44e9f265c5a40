package shard

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// Slots is into how many parts the Applications are divided. It must be the
// same in all replicas.
const Slots = 256

// Set is a set of slots.
type Set [Slots]bool

// Len is how many slots are in the set.
func (s *Set) Len() (n int) {
	for _, in := range s {
		if in {
			n++
		}
	}
	return n
}

func (s *Set) remove(t *Set) {
	for i := range s {
		s[i] = s[i] && !t[i]
	}
}

// minus is what is in s and not in t.
func minus(s, t Set) Set {
	s.remove(&t)
	return s
}

// SlotOf is the slot of an Application, the same in every replica.
func SlotOf(namespace, name string) int {
	return int(hash(namespace, "/", name) % Slots)
}

// owned are the slots that belong to a member when those of a view divide them:
// each slot to whom it scores highest with. When a member comes or goes, only
// its own slots move.
func owned(view []string, member string) (s Set) {
	if !slices.Contains(view, member) {
		return s
	}
	for slot := range s {
		s[slot] = owner(view, slot) == member
	}
	return s
}

func owner(view []string, slot int) (best string) {
	var highest uint64
	for _, m := range view {
		if score := hash(m, "#", string(rune(slot))); best == "" || score > highest || score == highest && m > best {
			best, highest = m, score
		}
	}
	return best
}

func hash(parts ...string) uint64 {
	h := sha256.New()
	for _, p := range parts {
		_, _ = h.Write([]byte(p))
	}
	return binary.BigEndian.Uint64(h.Sum(nil))
}
