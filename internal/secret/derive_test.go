package secret

import (
	"bytes"
	"encoding/hex"
	"io"
	"strings"
	"testing"
)

func read(t *testing.T, s *Stream, n int) []byte {
	t.Helper()
	out := make([]byte, n)
	if _, err := io.ReadFull(s, out); err != nil {
		t.Fatal(err)
	}
	return out
}

// What was once derived stays as it is: a password in a database must be the
// same after an update of gitseal.
func TestDerivedStreamsStayTheSame(t *testing.T) {
	const want = "8944fc6d3b66cce99f5d6b68b0d5d136"
	if got := hex.EncodeToString(read(t, NewTokenizer([]byte("key")).Derive("a", "b"), 16)); got != want {
		t.Errorf("Derive = %s, want %s", got, want)
	}
}

func TestStreamsDifferByKeyAndLabels(t *testing.T) {
	own := NewTokenizer([]byte("key"))
	streams := map[string]*Stream{
		"one": own.Derive("ab", "c"), "other split": own.Derive("a", "bc"), "joined": own.Derive("abc"),
		"none": own.Derive(), "empty": own.Derive(""), "other key": NewTokenizer([]byte("key2")).Derive("ab", "c"),
	}
	seen := map[string]string{}
	for name, s := range streams {
		text := string(read(t, s, 32))
		if other, ok := seen[text]; ok {
			t.Errorf("%s and %s are the same", name, other)
		}
		seen[text] = name
	}
	whole, parts := own.Derive("x"), own.Derive("x")
	if !bytes.Equal(read(t, whole, 100), append(read(t, parts, 33), read(t, parts, 67)...)) {
		t.Error("a stream depends on how it is read")
	}
}

func TestChoicesAreEven(t *testing.T) {
	s := NewTokenizer([]byte("key")).Derive("x")
	count := map[rune]int{}
	for _, c := range s.Choose("abc", 30_000) {
		count[c]++
	}
	for _, c := range "abc" {
		if count[c] < 9_500 || count[c] > 10_500 {
			t.Errorf("%c was chosen %d times of 30000", c, count[c])
		}
	}
	letters := strings.Split("abcdefghij", "")
	first := map[string]int{}
	for range 10_000 {
		s.Shuffle(len(letters), func(i, j int) { letters[i], letters[j] = letters[j], letters[i] })
		first[letters[0]]++
	}
	for letter, n := range first {
		if n < 850 || n > 1150 {
			t.Errorf("%s was first %d times of 10000", letter, n)
		}
	}
}
