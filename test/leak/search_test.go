package leak

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// searcher finds all forms of all canaries in one pass, by their first eight
// bytes.
type searcher struct {
	byStart map[uint64][]needle
	maybe   [1 << 16]bool
}

type needle struct {
	canary *canary
	form   string
	text   string
}

func newSearcher(canaries []*canary) *searcher {
	s := &searcher{byStart: map[uint64][]needle{}}
	for _, c := range canaries {
		seen := map[string]bool{}
		all := forms(c.value)
		for _, form := range append([]string{"raw"}, sortedKeys(all)...) {
			text, ok := all[form]
			if !ok || seen[text] {
				continue
			}
			seen[text] = true
			start := binary.LittleEndian.Uint64([]byte(text))
			s.byStart[start] = append(s.byStart[start], needle{c, form, text})
			s.maybe[mix(start)] = true
		}
	}
	return s
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func mix(v uint64) uint16 { return uint16((v * 0x9e3779b97f4a7c15) >> 48) }

// find calls found for every form in text.
func (s *searcher) find(text []byte, found func(needle)) {
	for i := 0; i+shortest <= len(text); i++ {
		start := binary.LittleEndian.Uint64(text[i:])
		if !s.maybe[mix(start)] {
			continue
		}
		for _, n := range s.byStart[start] {
			if len(text)-i >= len(n.text) && string(text[i:i+len(n.text)]) == n.text && n.alone(text, i) {
				found(n)
			}
		}
	}
}

// alone reports whether eight digits are a word of their own; within a longer
// number or hash they are there by chance.
func (n needle) alone(text []byte, at int) bool {
	if strings.Trim(n.text, "0123456789") != "" {
		return true
	}
	end := at + len(n.text)
	escape := at > 1 && text[at-2] == '\\' // as of \n in JSON
	return (at == 0 || escape || !wordByte(text[at-1])) && (end == len(text) || !wordByte(text[end]))
}

func wordByte(b byte) bool {
	return b == '.' || b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
}

// findings collects where canaries were found, each once.
type findings struct {
	mu   sync.Mutex
	seen map[string]bool
}

func (f *findings) add(sink, place string, n needle) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seen == nil {
		f.seen = map[string]bool{}
	}
	f.seen[fmt.Sprintf("%s: %s holds %s as %s", sink, place, n.canary.name, n.form)] = true
}

func (f *findings) list() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]string, 0, len(f.seen))
	for text := range f.seen {
		list = append(list, text)
	}
	slices.Sort(list)
	return list
}
