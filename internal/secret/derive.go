package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
)

// Stream is an endless stream of bytes that nobody without the install key can
// tell from random ones. It is not safe for concurrent use.
type Stream struct{ cipher cipher.Stream }

// Derive returns a stream that is the same each time for the same labels:
// AES-256 in counter mode under an HMAC-SHA256 of the labels. What is made of it
// needs to be stored nowhere, and is gone with the install key.
func (t *Tokenizer) Derive(labels ...string) *Stream {
	mac := hmac.New(sha256.New, t.key)
	mac.Write([]byte("derive")) // neither a digest's beginning nor a token's
	for _, label := range labels {
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(label))))
		mac.Write([]byte(label))
	}
	block, err := aes.NewCipher(mac.Sum(nil))
	if err != nil {
		panic(err) // an HMAC-SHA256 has the length of a key
	}
	return &Stream{cipher.NewCTR(block, make([]byte, aes.BlockSize))} //nolint:gosec // each key is used for one stream
}

// Read fills p. It never fails.
func (s *Stream) Read(p []byte) (int, error) {
	clear(p)
	s.cipher.XORKeyStream(p, p)
	return len(p), nil
}

// Below returns a number from 0 to n-1, each as likely as the others. n is at
// least 1.
func (s *Stream) Below(n int) int {
	var raw [8]byte
	for {
		_, _ = s.Read(raw[:])
		// Lemire, Fast Random Integer Generation in an Interval (2019): of each
		// high half of the product, few low halves are too many.
		high, low := bits.Mul64(binary.BigEndian.Uint64(raw[:]), uint64(n))
		if low >= -uint64(n)%uint64(n) {
			return int(high)
		}
	}
}

// Choose returns count characters of an alphabet, each as likely as the others.
func (s *Stream) Choose(alphabet string, count int) string {
	out := make([]byte, count)
	for i := range out {
		out[i] = alphabet[s.Below(len(alphabet))]
	}
	return string(out)
}

// UUID returns a version 4 UUID (RFC 9562).
func (s *Stream) UUID() string {
	var raw [16]byte
	_, _ = s.Read(raw[:])
	raw[6] = raw[6]&0x0f | 0x40
	raw[8] = raw[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", raw[:4], raw[4:6], raw[6:8], raw[8:10], raw[10:])
}

// Shuffle puts n things in an order by chance, as math/rand/v2's Shuffle does.
func (s *Stream) Shuffle(n int, swap func(i, j int)) {
	for i := n - 1; i > 0; i-- {
		swap(i, s.Below(i+1))
	}
}
