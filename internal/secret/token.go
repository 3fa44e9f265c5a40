package secret

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"regexp"
	"strings"
)

// Token stands for a value wherever files are read, rendered, compared or
// printed. It is TokenPrefix and 32 base32 characters of a truncated
// HMAC-SHA256 of the value under the install key: equal values give equal
// tokens, so rendering is deterministic and a checksum of rendered output
// changes exactly when a value does, but without the key a token confirms no
// guess. Its dots make it invalid base64, so that a token that stands raw in
// Secret.data is told apart from base64 of text that holds tokens.
type Token string

// TokenPrefix begins every token.
const TokenPrefix = "gitseal.v1."

// CiphertextStart begins every value that SOPS has encrypted.
const CiphertextStart = "ENC[AES256_GCM,"

const tokenBytes = 20 // 32 base32 characters, no padding

var (
	tokenEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)
	tokenPattern  = regexp.MustCompile(regexp.QuoteMeta(TokenPrefix) + "[a-z2-7]{32}")
)

// HasToken reports whether text holds a token.
func HasToken(text string) bool {
	return strings.Contains(text, TokenPrefix) && tokenPattern.MatchString(text)
}

// FindTokens returns the tokens in text, in order.
func FindTokens(text string) []Token {
	if !strings.Contains(text, TokenPrefix) {
		return nil
	}
	var tokens []Token
	for _, t := range tokenPattern.FindAllString(text, -1) {
		tokens = append(tokens, Token(t))
	}
	return tokens
}

// ReplaceTokens returns text with each token replaced by what replace gives
// for it.
func ReplaceTokens(text string, replace func(Token) string) string {
	if !strings.Contains(text, TokenPrefix) {
		return text
	}
	return tokenPattern.ReplaceAllStringFunc(text, func(t string) string { return replace(Token(t)) })
}

// Tokenizer makes tokens under one install key.
type Tokenizer struct{ key []byte }

// NewTokenizer uses key, which should be 32 random bytes that stay the same
// for the life of an installation.
func NewTokenizer(key []byte) *Tokenizer {
	return &Tokenizer{key: append([]byte(nil), key...)}
}

// Digest is a keyed digest of text that holds tokens in place of values. It may
// be stored where anybody reads it.
func (t *Tokenizer) Digest(text []byte) string {
	mac := hmac.New(sha256.New, t.key)
	mac.Write([]byte("digest")) // a token's begins with its kind, which is no letter
	mac.Write(text)
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:tokenBytes])
}

func (t *Tokenizer) token(v Value, k Kind) Token {
	mac := hmac.New(sha256.New, t.key)
	mac.Write([]byte{byte(k)})
	mac.Write(v.Reveal())
	return Token(TokenPrefix + tokenEncoding.EncodeToString(mac.Sum(nil)[:tokenBytes]))
}
