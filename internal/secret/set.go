package secret

import "sync"

// Kind is the type that a value had in the file it was opened from, so that
// injection can give it back.
type Kind byte

// Kinds of values, after the types that SOPS stores.
const (
	String Kind = iota
	Int
	Float
	Bool
	Bytes
)

// Set maps tokens to the values of one revision of one Application. It is
// safe for concurrent use.
type Set struct {
	tokenizer *Tokenizer

	mu      sync.RWMutex
	entries map[Token]entry
	index   *needles // what Redact searches for; nil until needed
	long    []Value  // values that index leaves out
}

type entry struct {
	value Value
	kind  Kind
}

// NewSet returns an empty set whose tokens are made by t.
func (t *Tokenizer) NewSet() *Set {
	return &Set{tokenizer: t, entries: map[Token]entry{}}
}

// Add keeps v and returns the token that stands for it.
func (s *Set) Add(v Value, k Kind) Token {
	token := s.tokenizer.token(v, k)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.entries[token]; !known {
		s.index = nil
	}
	s.entries[token] = entry{v, k}
	return token
}

// Lookup returns the value behind a token.
func (s *Set) Lookup(t Token) (v Value, k Kind, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	e, ok := s.entries[t]
	return e.value, e.kind, ok
}

// Len is the number of distinct values.
func (s *Set) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.entries)
}
