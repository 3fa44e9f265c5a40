package external

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/gitseal/gitseal/internal/secret"
)

const maxKeyBytes = 253

var keyPattern = regexp.MustCompile(`^[-._a-zA-Z0-9]+$`)

// invalidKey says what the API server would refuse about a key of a Secret, or
// "".
func invalidKey(key string) string {
	switch {
	case len(key) > maxKeyBytes:
		return fmt.Sprintf("is longer than %d characters", maxKeyBytes)
	case !keyPattern.MatchString(key) || key == "." || strings.HasPrefix(key, ".."):
		return fmt.Sprintf("is %q, which no Secret takes as a key", shorten(key))
	}
	return ""
}

// convertKeys makes keys of a Secret of a provider's.
func convertKeys(in map[string]secret.Value, unicodeNames bool) (map[string]secret.Value, error) {
	return rename(in, "conversion", func(key string) (string, error) { return convertKey(key, unicodeNames), nil })
}

// convertKey replaces what is no letter, number, '-', '_' or '.' by '_', or by
// its code as in _U0026_.
func convertKey(key string, unicodeNames bool) string {
	var out strings.Builder
	for _, r := range key {
		switch {
		case unicode.IsLetter(r) || unicode.IsNumber(r) || r == '-' || r == '_' || r == '.':
			out.WriteRune(r)
		case unicodeNames:
			fmt.Fprintf(&out, "_U%04x_", r)
		default:
			out.WriteByte('_')
		}
	}
	return out.String()
}

// rename gives each value a new key. Two that get the same are an error: which
// of them wins would be chance.
func rename(in map[string]secret.Value, what string, to func(string) (string, error)) (map[string]secret.Value, error) {
	out, from := make(map[string]secret.Value, len(in)), make(map[string]string, len(in))
	for _, key := range slices.Sorted(maps.Keys(in)) {
		name, err := to(key)
		if err != nil {
			return nil, err
		}
		if first, ok := from[name]; ok && name != "" {
			return nil, problemf("have a rewrite tell them apart", "%s makes %q of both %q and %q", what, shorten(name), shorten(first), shorten(key))
		}
		out[name], from[name] = in[key], key
	}
	return out, nil
}

// checkKeys drops the value without a key, and refuses keys that the API server
// would.
func checkKeys(in map[string]secret.Value) error {
	delete(in, "")
	for _, key := range slices.Sorted(maps.Keys(in)) {
		if problem := invalidKey(key); problem != "" {
			return problemf("rewrite it to letters, digits, '-', '_' and '.'", "a key %s", problem)
		}
	}
	return nil
}
