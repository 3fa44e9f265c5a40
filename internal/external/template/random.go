package template

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
)

const (
	digits  = "0123456789"
	letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	// maxRandom is how many characters or bytes are made at once.
	maxRandom = 64 << 10
)

// printable are the characters of ASCII that are no control characters.
func printable() string {
	all := make([]byte, 0, '~'-' '+1)
	for c := byte(' '); c <= '~'; c++ {
		all = append(all, c)
	}
	return string(all)
}

// randoms are the functions with random results, which are derived: the same
// ones each time.
func (r *run) randoms() map[string]any {
	of := func(name, alphabet string) func(int) (string, error) {
		return func(count int) (string, error) { return r.characters(name, alphabet, count) }
	}
	return map[string]any{
		"randAlphaNum": of("randAlphaNum", letters+digits),
		"randAlpha":    of("randAlpha", letters),
		"randNumeric":  of("randNumeric", digits),
		"randAscii":    of("randAscii", printable()),
		"randBytes":    r.randBytes, "randInt": r.randInt, "uuidv4": r.uuid, "shuffle": r.shuffle,
	}
}

func (r *run) characters(function, alphabet string, count int) (string, error) {
	if count < 0 || count > maxRandom {
		return "", tooLarge
	}
	random, err := r.random(function)
	if err != nil {
		return "", err
	}
	out := make([]byte, count)
	for i := range out {
		n, err := below(random, uint64(len(alphabet)))
		if err != nil {
			return "", err
		}
		out[i] = alphabet[n]
	}
	return string(out), nil
}

// below returns a number from 0 to n-1, each as likely as the others.
func below(random io.Reader, n uint64) (uint64, error) {
	var raw [8]byte
	for {
		if _, err := io.ReadFull(random, raw[:]); err != nil {
			return 0, err
		}
		// Lemire, Fast Random Integer Generation in an Interval (2019): the
		// high half of x*n is even but for few low halves.
		high, low := bits.Mul64(binary.BigEndian.Uint64(raw[:]), n)
		if low >= -n%n {
			return high, nil
		}
	}
}

func (r *run) bytes(function string, count int, labels ...string) ([]byte, error) {
	if count < 0 || count > maxRandom {
		return nil, tooLarge
	}
	random, err := r.random(function, labels...)
	if err != nil {
		return nil, err
	}
	raw := make([]byte, count)
	_, err = io.ReadFull(random, raw)
	return raw, err
}

func (r *run) randBytes(count int) (string, error) {
	raw, err := r.bytes("randBytes", count)
	return base64.StdEncoding.EncodeToString(raw), err
}

func (r *run) randInt(from, to int) (int, error) {
	if to <= from || to-from < 0 {
		return 0, refusal("its first argument has to be less than its second")
	}
	random, err := r.random("randInt")
	if err != nil {
		return 0, err
	}
	n, err := below(random, uint64(to-from))
	return from + int(n), err
}

// uuid is a version 4 UUID, RFC 9562.
func (r *run) uuid() (string, error) {
	raw, err := r.bytes("uuidv4", 16)
	if err != nil {
		return "", err
	}
	raw[6] = raw[6]&0x0f | 0x40
	raw[8] = raw[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", raw[:4], raw[4:6], raw[6:8], raw[8:10], raw[10:]), nil
}

func (r *run) shuffle(s string) (string, error) {
	random, err := r.random("shuffle")
	if err != nil {
		return "", err
	}
	runes := []rune(s)
	for i := len(runes) - 1; i > 0; i-- {
		j, err := below(random, uint64(i+1))
		if err != nil {
			return "", err
		}
		runes[i], runes[j] = runes[j], runes[i]
	}
	return string(runes), nil
}
