package secret

import (
	"crypto/sha1" //nolint:gosec // searched for, not relied on
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

const (
	// shortValue is the length under which a value is redacted only as a whole
	// word. "1", "true" and "admin" are values, too: replacing them inside
	// words would destroy messages, and a reader learns nothing from a word
	// that the message holds anyway. What protects them is the first layer:
	// errors of servers and libraries that may quote their input are rebuilt
	// from their kind and place, never passed on as text.
	shortValue = 6
	// shortEncoding is the length under which an encoding of a short value would
	// match by chance.
	shortEncoding = 4
	// shortLine is the length under which a line of a multi-line value is not
	// searched for by itself.
	shortLine = 8
	// cachedValue bounds the values whose encodings are kept. Those of longer
	// ones are made only for texts that are long enough to hold them.
	cachedValue = 16 << 10
)

// Redact replaces the values of the set, as they are and in the encodings that
// tools print them in, by a mask. It is the second layer of protection; see
// shortValue for the first.
//
// The encodings are base64 (both alphabets, padded or not, also in the middle
// of other data), hex, URL, JSON, YAML and Go escapes, the lines of a
// multi-line value, and SHA-1 and SHA-256 in hex.
func (s *Set) Redact(text string) string {
	if text == "" || s.Len() == 0 {
		return text
	}
	needles, long := s.needles()
	hits := needles.hits(text)
	for _, v := range long {
		if v.Len() <= len(text) {
			own := newNeedles()
			own.addValue(string(v.Reveal()))
			hits = append(hits, own.hits(text)...)
		}
	}
	return mask(text, hits)
}

// needles returns the cached index of what to search for, and the values that
// are too long for it.
func (s *Set) needles() (*needles, []Value) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.index == nil {
		s.index, s.long = newNeedles(), nil
		for _, e := range s.entries {
			plain := string(e.value.Reveal())
			s.index.addDerived(plain)
			if len(plain) > cachedValue {
				s.long = append(s.long, e.value)
			} else {
				s.index.addValue(plain)
			}
		}
	}
	return s.index, s.long
}

// needles finds strings by their first bytes.
type needles struct {
	long  map[[shortValue]byte][]string
	words map[string]bool // whole words only
	known map[string]bool
}

func newNeedles() *needles {
	return &needles{
		long:  map[[shortValue]byte][]string{},
		words: map[string]bool{},
		known: map[string]bool{},
	}
}

// addDerived adds what does not have the length of the value: its hashes and
// its lines.
func (n *needles) addDerived(plain string) {
	if plain == "" {
		return
	}
	one, two := sha1.Sum([]byte(plain)), sha256.Sum256([]byte(plain)) //nolint:gosec // as above
	for _, sum := range [][]byte{one[:], two[:]} {
		text := hex.EncodeToString(sum)
		n.addLong(text)
		n.addLong(strings.ToUpper(text))
	}
	if !strings.Contains(plain, "\n") {
		return
	}
	for line := range strings.Lines(plain) {
		if line = strings.TrimSpace(line); len(line) >= shortLine {
			n.addLong(line)
			for _, e := range escapes(line) {
				n.addLong(e)
			}
		}
	}
}

// addValue adds the value and its encodings.
func (n *needles) addValue(plain string) {
	if plain == "" {
		return
	}
	encodings := append(escapes(plain), plain)
	encodings = append(encodings, encoded(plain)...)
	for _, e := range encodings {
		if len(plain) >= shortValue {
			n.addLong(e)
		} else if e == plain || len(e) >= shortEncoding {
			n.words[e] = true
		}
	}
}

func (n *needles) addLong(needle string) {
	if len(needle) < shortValue || n.known[needle] {
		return
	}
	n.known[needle] = true
	key := [shortValue]byte([]byte(needle[:shortValue]))
	n.long[key] = append(n.long[key], needle)
}

type span struct{ from, to int }

// hits returns where needles stand, in no order, perhaps overlapping.
func (n *needles) hits(text string) (found []span) {
	for i := 0; i+shortValue <= len(text); i++ {
		for _, needle := range n.long[[shortValue]byte([]byte(text[i:i+shortValue]))] {
			if strings.HasPrefix(text[i:], needle) {
				found = append(found, span{i, i + len(needle)})
			}
		}
	}
	for word := range n.words {
		found = append(found, wholeWords(text, word)...)
	}
	return found
}

func wholeWords(text, word string) (found []span) {
	for from := 0; ; {
		i := strings.Index(text[from:], word)
		if i < 0 {
			return found
		}
		i += from
		end := i + len(word)
		if (i == 0 || !isWordByte(text[i-1])) && (end == len(text) || !isWordByte(text[end])) {
			found = append(found, span{i, end})
		}
		from = i + 1
	}
}

func isWordByte(b byte) bool {
	return b == '_' || b >= 0x80 || '0' <= b && b <= '9' || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z'
}

// mask replaces each run of overlapping or touching hits, so that no tail of one
// survives another.
func mask(text string, hits []span) string {
	if len(hits) == 0 {
		return text
	}
	reach := make([]int, len(text)) // where the longest hit ends that begins here
	for _, h := range hits {
		reach[h.from] = max(reach[h.from], h.to)
	}
	var out strings.Builder
	end, clean := 0, 0
	for i := range len(text) {
		if i >= end && reach[i] > 0 {
			out.WriteString(text[clean:i])
			if i > end || i == 0 {
				out.WriteString(redacted)
			}
		}
		if end = max(end, reach[i]); i < end {
			clean = i + 1
		}
	}
	out.WriteString(text[clean:])
	return out.String()
}
