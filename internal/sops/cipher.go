package sops

import (
	"errors"
	"strconv"
	"strings"
	"time"

	getsops "github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/aes"

	"github.com/gitseal/gitseal/internal/secret"
)

// leaf is one formerly encrypted value of a file.
type leaf struct {
	additionalData string
	ciphertext     string
	value          secret.Value
	kind           secret.Kind
	comment        bool
}

// recorder is the cipher that the library decrypts a tree with. It notes, in
// document order, what was encrypted, which the decrypted tree alone does not
// tell, and where decryption failed, which the library's errors do not tell
// without quoting values.
type recorder struct {
	cipher aes.Cipher
	// mark returns values as []byte, a type that no store loads, so that what
	// was encrypted can be told from what was not.
	mark    bool
	leaves  []leaf
	last    leaf  // what was decrypted last
	problem error // why that failed
}

const (
	typeBytes  = ",type:bytes]"
	typeString = ",type:str]"
)

var (
	errPlainLeaf = errors.New("not encrypted")
	errAuthentic = errors.New("does not authenticate")
	errOneWay    = errors.New("this cipher works in one direction only")
)

// Decrypt opens one value.
func (r *recorder) Decrypt(ciphertext string, key []byte, additionalData string) (any, error) {
	plain, err := r.open(ciphertext, key, additionalData)
	r.last, r.problem = leaf{additionalData: additionalData, ciphertext: ciphertext}, err
	return plain, err
}

func (r *recorder) open(ciphertext string, key []byte, additionalData string) (any, error) {
	if ciphertext == "" {
		return "", nil // empty strings are not encrypted
	}
	if !strings.HasPrefix(ciphertext, secret.CiphertextStart) {
		return nil, errPlainLeaf
	}
	// The library cannot take its own type bytes: it uses the value as a map key.
	text, isBytes := strings.CutSuffix(ciphertext, typeBytes)
	if isBytes {
		text += typeString
	} else {
		text = ciphertext
	}
	plain, err := r.cipher.Decrypt(text, key, additionalData)
	if err != nil {
		return nil, errAuthentic
	}
	if isBytes {
		plain = []byte(plain.(string))
	}
	return r.record(plain, ciphertext, additionalData)
}

func (r *recorder) record(plain any, ciphertext, additionalData string) (any, error) {
	_, isComment := plain.(getsops.Comment)
	if isComment || !r.mark {
		r.leaves = append(r.leaves, leaf{additionalData: additionalData, ciphertext: ciphertext, comment: isComment})
		return plain, nil
	}
	// What the MAC covers is the library's text of the typed value.
	canonical, err := getsops.ToBytes(plain)
	if err != nil {
		return nil, errAuthentic
	}
	text, kind := typed(plain, canonical)
	r.leaves = append(r.leaves, leaf{
		additionalData: additionalData, ciphertext: ciphertext,
		value: secret.NewValue(text), kind: kind,
	})
	if len(canonical) == 0 {
		canonical = []byte{}
	}
	return canonical, nil
}

// typed is the text that injection parses back, and the kind to parse it as.
func typed(plain any, canonical []byte) ([]byte, secret.Kind) {
	switch plain := plain.(type) {
	case int:
		return canonical, secret.Int
	case float64:
		return canonical, secret.Float
	case bool:
		return strconv.AppendBool(nil, plain), secret.Bool
	case []byte:
		return canonical, secret.Bytes
	case time.Time:
		return canonical, secret.String
	default:
		return canonical, secret.String
	}
}

// Encrypt is never called; the interface wants it.
func (r *recorder) Encrypt(any, []byte, string) (string, error) { return "", errOneWay }

// counter is the cipher that the library encrypts a tree with. It counts the
// values, so that a rule that selects none is noticed.
type counter struct {
	cipher aes.Cipher
	values int
}

// Encrypt encrypts one value.
func (c *counter) Encrypt(plain any, key []byte, additionalData string) (string, error) {
	if _, comment := plain.(getsops.Comment); !comment && plain != "" {
		c.values++
	}
	return c.cipher.Encrypt(plain, key, additionalData)
}

// Decrypt is never called; the interface wants it.
func (c *counter) Decrypt(string, []byte, string) (any, error) { return nil, errOneWay }
