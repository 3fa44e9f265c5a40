package apply

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/secret"
)

// inject returns the item's body with values in place of tokens. The result
// is plaintext: it is sent and forgotten.
func inject(item Item, values *secret.Set) ([]byte, error) {
	if !item.HasTokens {
		return item.body, nil
	}
	d := json.NewDecoder(bytes.NewReader(item.body))
	d.UseNumber()
	var object map[string]any
	if err := d.Decode(&object); err != nil {
		return nil, fmt.Errorf("decode %s: %w", item.ID, err)
	}
	in := injector{item: item, values: values}
	if item.ID.GroupKind == kindSecret {
		in.secretData(object)
	} else {
		in.walk(object, "")
		if holdsTokens(object) {
			in.fail("a field", "holds an encrypted value in base64", "put the value into the data of a Secret")
		}
	}
	if in.err != nil {
		return nil, in.err
	}
	body, err := json.Marshal(object)
	if err != nil {
		// The text of an encoding error may quote a value.
		return nil, failure.Stallf(v1alpha1.ReasonObjectInvalid, "%s: %s cannot be written as JSON once it is decrypted", item.Origin, item.ID)
	}
	return body, nil
}

type injector struct {
	item   Item
	values *secret.Set
	err    error
}

func (in *injector) fail(field, problem, hint string) {
	if in.err == nil {
		in.err = failure.Stallf(v1alpha1.ReasonObjectInvalid, "%s: %s: %s %s", in.item.Origin, in.item.ID, field, problem).WithHint("%s", hint)
	}
}

// secretData injects into the data of a Secret, where a token stands either
// raw, for a value that is base64 itself, or within base64, for plain text.
func (in *injector) secretData(object map[string]any) {
	for _, field := range slices.Sorted(maps.Keys(object)) {
		if field != "data" && holdsTokens(object[field]) {
			in.unknown(field)
		}
	}
	data, _ := object["data"].(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(data)) {
		text, ok := data[key].(string)
		if !ok {
			continue
		}
		field := fmt.Sprintf("data[%q]", key)
		if secret.HasToken(text) {
			data[key] = in.rawData(field, text)
		} else if plain := decoded(text); secret.HasToken(plain) {
			data[key] = base64.StdEncoding.EncodeToString([]byte(in.replace(field, plain)))
		}
	}
}

// rawData checks what the API server would check, because its complaint would
// quote the value.
func (in *injector) rawData(field, text string) string {
	encoded := in.replace(field, text)
	if _, err := base64.StdEncoding.DecodeString(encoded); err != nil {
		in.fail(field, "does not hold base64 once it is decrypted", "encode it before it is encrypted, or move it to stringData")
	}
	return encoded
}

func (in *injector) walk(v any, field string) any {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) { // the first complaint is always the same
			v[k] = in.walk(v[k], join(field, k))
		}
	case []any:
		for i, e := range v {
			v[i] = in.walk(e, field+"["+strconv.Itoa(i)+"]")
		}
	case string:
		if tokens := secret.FindTokens(v); len(tokens) == 1 && string(tokens[0]) == v {
			return in.typed(field, tokens[0])
		}
		return in.text(field, in.replace(field, v))
	}
	return v
}

// typed gives a value that stands alone the type it had in its file.
func (in *injector) typed(field string, t secret.Token) any {
	value, kind, ok := in.values.Lookup(t)
	if !ok {
		in.unknown(field)
		return nil
	}
	text := string(value.Reveal())
	switch kind {
	case secret.Int, secret.Float:
		if !jsonNumber.MatchString(text) {
			in.fail(field, "is a number that JSON cannot hold", "quote it before it is encrypted")
			return nil
		}
		return json.Number(text)
	case secret.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			in.fail(field, "is marked as a boolean but is none", "encrypt the file again")
		}
		return b
	default:
		return in.text(field, text)
	}
}

var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

// text refuses what JSON would silently garble.
func (in *injector) text(field, s string) string {
	if !utf8.ValidString(s) {
		in.fail(field, "holds bytes that are no text once it is decrypted", "put them into a Secret")
	}
	return s
}

func join(field, key string) string {
	if field == "" {
		return key
	}
	return field + "." + key
}

func (in *injector) replace(field, text string) string {
	return secret.ReplaceTokens(text, func(t secret.Token) string {
		value, _, ok := in.values.Lookup(t)
		if !ok {
			in.unknown(field)
			return ""
		}
		return string(value.Reveal())
	})
}

func (in *injector) unknown(field string) {
	in.fail(field, "holds a token that stands for no value here", "a token is never written into Git, and a Secret holds values in data only")
}
