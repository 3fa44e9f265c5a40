package policy

import (
	"encoding/base64"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/render"
	"github.com/gitseal/gitseal/internal/secret"
)

const (
	maxSecretBytes = 1 << 20
	maxKeyBytes    = 253
	maxKeyShown    = 60
)

var keyPattern = regexp.MustCompile(`^[-._a-zA-Z0-9]+$`)

// secret checks a v1 Secret.
func (c *checker) secret(found findings) {
	if at := found.first(func(t tokenAt) bool { return t.where == inBody }); at != "" {
		c.violate("use the value in data or stringData only", "holds an opened value at %s", at)
	}
	if c.object.GetAnnotations()[lastApplied] != "" {
		c.violate("remove the annotation", "has the annotation %s, which repeats its data", lastApplied)
	}
	c.fieldTypes()
	size := map[string]int{} // by key: stringData overwrites data
	for _, field := range []string{"data", "stringData"} {
		for _, key := range c.keys(field) {
			value := c.object.Object[field].(map[string]any)[key]
			c.key(field, key)
			text, ok := c.typed(field, key, value)
			if !ok {
				continue
			}
			c.content(field, key, text)
			size[key] = c.size(field, text)
		}
	}
	total := 0
	for _, n := range size {
		total += n
	}
	if total > maxSecretBytes {
		c.malformed("split it over several Secrets", "is larger than 1 MiB")
	}
}

func (c *checker) fieldTypes() {
	if v, ok := c.object.Object["type"]; ok && v != nil {
		if _, ok := v.(string); !ok {
			c.malformed("quote it", "type is %s where text is expected", render.TypeName(v))
		}
	}
	if v, ok := c.object.Object["immutable"]; ok && v != nil {
		if _, ok := v.(bool); !ok {
			c.malformed("write true or false without quotes", "immutable is %s where a boolean is expected", render.TypeName(v))
		}
	}
}

// keys returns the sorted keys of data or stringData.
func (c *checker) keys(field string) []string {
	switch v := c.object.Object[field].(type) {
	case nil:
		return nil
	case map[string]any:
		return slices.Sorted(maps.Keys(v))
	default:
		c.malformed("make it a map of keys and texts", "%s is %s where a map is expected", field, render.TypeName(v))
		return nil
	}
}

func (c *checker) key(field, key string) {
	switch {
	case len(key) > maxKeyBytes:
		c.malformed("shorten the key", "%s has a key of more than %d characters", field, maxKeyBytes)
	case !keyPattern.MatchString(key) || key == "." || strings.HasPrefix(key, ".."):
		c.malformed("use letters, digits, '-', '_' and '.' only", "%s has the key %q, which is not valid", field, shorten(key))
	}
}

// typed returns the text of an entry, and refuses what is none or will not be
// one once it is opened.
func (c *checker) typed(field, key string, value any) (string, bool) {
	path := join(field, shorten(key))
	text, ok := value.(string)
	if !ok {
		hint := "quote it"
		switch value.(type) {
		case nil:
			hint = `remove the key, or make it "" for an empty text`
		case map[string]any, []any:
			hint = "write it as one text, with |"
		}
		c.malformed(hint, "has %s where text is expected at %s", render.TypeName(value), path)
		return "", false
	}
	if name := c.kindAlone(text); name != "" {
		c.malformed("quote it before encrypting", "has %s where text is expected at %s", name, path)
		return "", false
	}
	return text, true
}

// kindAlone names the type of the value that text will become, if text is one
// token and the value is no text.
func (c *checker) kindAlone(text string) string {
	tokens := secret.FindTokens(text)
	if c.values == nil || len(tokens) != 1 || string(tokens[0]) != text {
		return ""
	}
	_, kind, _ := c.values.Lookup(tokens[0])
	switch kind {
	case secret.Int, secret.Float:
		return "a number"
	case secret.Bool:
		return "a boolean"
	}
	return ""
}

// content checks one text of data or stringData: that it is base64 where it
// has to be, and that it comes from where the policy says.
func (c *checker) content(field, key, text string) {
	plain, hasToken := text, secret.HasToken(text)
	if field == "data" && !hasToken {
		decoded, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			c.malformed("encode it, or move it to stringData", "has no valid base64 at %s", join(field, shorten(key)))
			// Whatever it is, it stands in Git: the policy is checked on it too.
		} else {
			plain = string(decoded)
			hasToken = secret.HasToken(plain)
		}
	}
	if plain == "" || c.excepted() {
		return
	}
	opens := c.spec.Policy == v1alpha1.PolicySOPS || c.spec.Policy == v1alpha1.PolicyExternal
	switch {
	case opens && hasToken:
	case c.spec.Policy == v1alpha1.PolicyExternal:
		c.violate("reference it with an ExternalSecret, or allow it in spec.secrets.exceptions",
			"carries plain data at key %q under policy External", shorten(key))
	case c.spec.Policy == v1alpha1.PolicySOPS:
		c.violate("encrypt it with kubectl gitseal encrypt, or allow it in spec.secrets.exceptions",
			"carries plain data at key %q under policy SOPS", shorten(key))
	default:
		c.violate("encrypt it and set policy SOPS, or allow it in spec.secrets.exceptions",
			"carries data at key %q under policy %s", shorten(key), c.spec.Policy)
	}
}

func (c *checker) excepted() bool {
	return slices.ContainsFunc(c.spec.Exceptions, func(e v1alpha1.SecretException) bool {
		return e.Name == c.object.GetName()
	})
}

// size estimates the bytes that an entry comes to in the cluster.
func (c *checker) size(field, text string) int {
	if field != "data" {
		return c.opened(text)
	}
	if secret.HasToken(text) { // base64 once it is opened
		return c.opened(text) / 4 * 3
	}
	plain, _ := base64.StdEncoding.DecodeString(text)
	return c.opened(string(plain))
}

func (c *checker) opened(text string) int {
	size := len(text)
	if c.values == nil {
		return size
	}
	for _, t := range secret.FindTokens(text) {
		v, _, _ := c.values.Lookup(t)
		size += v.Len() - len(t)
	}
	return size
}

func shorten(key string) string {
	if len(key) > maxKeyShown {
		return strings.ToValidUTF8(key[:maxKeyShown], "") + "…"
	}
	return key
}
