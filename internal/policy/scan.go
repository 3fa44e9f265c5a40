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
	s.keys("the top level", o.Object)
	for _, key := range slices.Sorted(maps.Keys(o.Object)) {
		s.top, s.where = key, s.area(key)
		s.value(o.Object[key], join("", key))
	}
	return s.findings
}

type scanner struct {
	findings
	secret bool
	top    string // the top-level key that is being looked under
	where  where  // and what that is
}

func (s *scanner) area(top string) where {
	switch {
	case top == "metadata" || top == "apiVersion" || top == "kind":
		return inMetadata
	case s.secret && (top == "data" || top == "stringData"):
		return inData
	}
	return inBody
}

// keys looks at the keys of a map.
func (s *scanner) keys(field string, m map[string]any) {
	for key := range m {
		if secret.HasToken(key) && s.tokenKey == "" {
			s.tokenKey = field
		}
	}
}

func (s *scanner) value(v any, field string) {
	switch v := v.(type) {
	case map[string]any:
		s.keys(field, v)
		for _, key := range slices.Sorted(maps.Keys(v)) {
			s.value(v[key], join(field, key))
		}
	case []any:
		for i, e := range v {
			s.value(e, field+"["+strconv.Itoa(i)+"]")
		}
	case string:
		s.text(v, field)
	}
}

func (s *scanner) text(v, field string) {
	s.record(v, field)
	if s.top != "data" && s.top != "binaryData" {
		return
	}
	plain, err := base64.StdEncoding.DecodeString(v)
	if err != nil {
		return
	}
	if s.secret {
		s.record(string(plain), field)
		return
	}
	if s.top == "binaryData" && secret.HasToken(string(plain)) && s.encoded == "" {
		s.encoded = field
	}
}

func (s *scanner) record(v, field string) {
	if s.ciphertext == "" && strings.Contains(v, secret.CiphertextStart) {
		s.ciphertext = field
	}
	for _, t := range secret.FindTokens(v) {
		s.tokens = append(s.tokens, tokenAt{t, field, s.where})
		if s.where == inMetadata && s.metadata == "" {
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
