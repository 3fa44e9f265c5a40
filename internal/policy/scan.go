package policy

import (
	"encoding/base64"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/gitseal/gitseal/internal/render"
	"github.com/gitseal/gitseal/internal/secret"
)

// ciphertextStart begins every value that SOPS has encrypted.
const ciphertextStart = "ENC[AES256_GCM,"

// lastApplied is where kubectl apply keeps a copy of the whole object.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// where a token stands in an object.
type where int

const (
	inBody where = iota
	inData       // data and stringData of a Secret
	inMetadata
)

type tokenAt struct {
	token secret.Token
	field string
	where where
}

// findings is what matters about the texts of an object. Its fields are paths,
// of the first place in the order of keys.
type findings struct {
	tokens     []tokenAt
	metadata   string // where metadata holds a token
	tokenKey   string // where a key of a map holds a token
	ciphertext string
	encoded    string // where base64 outside a Secret hides a token
}

// first returns the first field that holds a token for which match.
func (f *findings) first(match func(tokenAt) bool) string {
	for _, t := range f.tokens {
		if match(t) {
			return t.field
		}
	}
	return ""
}

func scan(o render.Object) findings {
	s := scanner{secret: isSecret(o)}
	s.value(o.Object, "", inBody)
	return s.findings
}

type scanner struct {
	findings
	secret bool
}

func (s *scanner) value(v any, field string, in where) {
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if secret.HasToken(key) && s.tokenKey == "" {
				s.tokenKey = "the top level"
				if field != "" {
					s.tokenKey = field
				}
			}
			s.value(v[key], join(field, key), s.area(field, key, in))
		}
	case []any:
		for i, e := range v {
			s.value(e, field+"["+strconv.Itoa(i)+"]", in)
		}
	case string:
		s.text(v, field, in)
	}
}

func (s *scanner) area(field, key string, in where) where {
	switch {
	case field != "":
		return in
	case key == "metadata" || key == "apiVersion" || key == "kind":
		return inMetadata
	case s.secret && (key == "data" || key == "stringData"):
		return inData
	}
	return in
}

func (s *scanner) text(v, field string, in where) {
	s.record(v, field, in)
	if !strings.HasPrefix(field, "data.") && !strings.HasPrefix(field, "binaryData.") {
		return
	}
	plain, err := base64.StdEncoding.DecodeString(v)
	if err != nil {
		return
	}
	if s.secret {
		s.record(string(plain), field, in)
		return
	}
	if strings.HasPrefix(field, "binaryData.") && secret.HasToken(string(plain)) && s.encoded == "" {
		s.encoded = field
	}
}

func (s *scanner) record(v, field string, in where) {
	if s.ciphertext == "" && strings.Contains(v, ciphertextStart) {
		s.ciphertext = field
	}
	for _, t := range secret.FindTokens(v) {
		s.tokens = append(s.tokens, tokenAt{t, field, in})
		if in == inMetadata && s.metadata == "" {
			s.metadata = field
		}
	}
}

// join writes the path of a map's entry; names that are no plain field names
// are quoted.
func join(field, key string) string {
	if field == "" {
		return key
	}
	if strings.ContainsAny(key, ". /[]\"\n") {
		return field + "[" + strconv.Quote(key) + "]"
	}
	return field + "." + key
}
