package external

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
)

// What can be wrong with a value. Their texts follow the name of it, and say
// nothing of what it is.
var (
	errNotJSON    = errors.New("is no JSON, so that it has no properties")
	errNotObject  = errors.New("is no JSON object")
	errNotText    = errors.New("holds bytes that are no text, so that it cannot be written as JSON")
	errNoProperty = errors.New("has no such property")
	errNotBase64  = errors.New("is no base64")
	errNullByte   = errors.New("holds a null byte, which nullBytePolicy Fail refuses")
)

// payload is a value as a store gave it, and what can be taken out of it.
type payload struct {
	raw      secret.Value
	dialect  providers.Dialect
	metadata bool
}

// whole is the value without a property.
func (p payload) whole() (secret.Value, error) {
	if p.metadata {
		return p.raw, nil
	}
	switch p.dialect {
	case providers.Document:
		object, err := decodeObject(p.raw.Reveal())
		if err != nil {
			return secret.Value{}, err
		}
		return encode(object, true)
	case providers.Entries:
		entries, err := p.entries()
		if err != nil {
			return secret.Value{}, err
		}
		texts := make(map[string]any, len(entries))
		for key, value := range entries {
			text := string(value.Reveal())
			if strings.ToValidUTF8(text, "") != text {
				return secret.Value{}, errNotText
			}
			texts[key] = text
		}
		return encode(texts, false)
	}
	return p.raw, nil
}

// property takes one out of the value.
func (p payload) property(name string) (secret.Value, error) {
	switch {
	case name == "":
		return p.whole()
	case p.metadata:
		return p.describing(name)
	case p.dialect == providers.Document:
		return p.field(name)
	case p.dialect == providers.Entries:
		return p.entry(name)
	}
	return lookUp(p.raw.Reveal(), name)
}

// all returns the keys and values of the value, or of a property of it.
func (p payload) all(name string) (map[string]secret.Value, error) {
	if p.dialect == providers.Entries && !p.metadata {
		return p.allEntries(name)
	}
	v, err := p.property(name)
	if err != nil {
		return nil, err
	}
	if p.dialect == providers.Document {
		return members(v.Reveal(), scalar)
	}
	return rawMembers(v.Reveal())
}

// lookUp takes a property out of JSON text. One whose name has dots is tried
// first, then the name is a path (see GJSON's SYNTAX.md).
func lookUp(text []byte, name string) (secret.Value, error) {
	if !json.Valid(text) {
		return secret.Value{}, errNotJSON
	}
	if strings.Contains(name, ".") {
		if found := gjson.GetBytes(text, strings.ReplaceAll(name, ".", `\.`)); found.Exists() {
			return secret.NewValue([]byte(found.String())), nil
		}
	}
	found := gjson.GetBytes(text, name)
	if !found.Exists() {
		return secret.Value{}, errNoProperty
	}
	return secret.NewValue([]byte(found.String())), nil
}

// field takes a property out of a document: the key of that name before a path.
func (p payload) field(name string) (secret.Value, error) {
	object, err := decodeObject(p.raw.Reveal())
	if err != nil {
		return secret.Value{}, err
	}
	if v, ok := object[name]; ok {
		return scalar(v)
	}
	text, err := encode(object, true)
	if err != nil {
		return secret.Value{}, err
	}
	found := gjson.GetBytes(text.Reveal(), name)
	if !found.Exists() {
		return secret.Value{}, errNoProperty
	}
	return secret.NewValue([]byte(found.String())), nil
}

// entries are those of a Kubernetes Secret.
func (p payload) entries() (map[string]secret.Value, error) {
	var encoded map[string]string
	if json.Unmarshal(p.raw.Reveal(), &encoded) != nil || encoded == nil {
		return nil, errNotObject
	}
	entries := make(map[string]secret.Value, len(encoded))
	for key, text := range encoded {
		plain, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, errNotBase64
		}
		entries[key] = secret.NewValue(plain)
	}
	return entries, nil
}

// entry is the one of that name, or else, behind its first dot, a path in the
// JSON of the one before it.
func (p payload) entry(name string) (secret.Value, error) {
	entries, err := p.entries()
	if err != nil {
		return secret.Value{}, err
	}
	if v, ok := entries[name]; ok {
		return v, nil
	}
	key, path, _ := strings.Cut(name, ".")
	v, ok := entries[key]
	if !ok || path == "" {
		return secret.Value{}, errNoProperty
	}
	if !json.Valid(v.Reveal()) {
		return secret.Value{}, errNotJSON
	}
	found := gjson.GetBytes(v.Reveal(), path)
	if !found.Exists() {
		return secret.Value{}, errNoProperty
	}
	return secret.NewValue([]byte(found.String())), nil
}

// allEntries are those of a Kubernetes Secret, or the members of the JSON in one
// of them, each as JSON: as external-secrets.io has it, texts keep their quotes.
func (p payload) allEntries(name string) (map[string]secret.Value, error) {
	entries, err := p.entries()
	if err != nil || name == "" {
		return entries, err
	}
	v, ok := entries[name]
	if !ok {
		return nil, errNoProperty
	}
	return members(v.Reveal(), func(v any) (secret.Value, error) { return encode(v, false) })
}

// describing takes a property out of metadata: a key, a label or an annotation
// by its whole name, or a path.
func (p payload) describing(name string) (secret.Value, error) {
	object, err := decodeObject(p.raw.Reveal())
	if err != nil {
		return secret.Value{}, err
	}
	if v, ok := object[name]; ok {
		return scalar(v)
	}
	group, key, _ := strings.Cut(name, ".")
	if named, ok := object[group].(map[string]any); ok {
		if v, ok := named[key]; ok {
			return scalar(v)
		}
	}
	return lookUp(p.raw.Reveal(), name)
}

// decodeObject reads a JSON object; digits of numbers are kept.
func decodeObject(text []byte) (map[string]any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var object map[string]any
	if d.Decode(&object) != nil || object == nil {
		return nil, errNotObject
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errNotObject
	}
	return object, nil
}

// members returns the members of a JSON object, each as write has it.
func members(text []byte, write func(any) (secret.Value, error)) (map[string]secret.Value, error) {
	object, err := decodeObject(text)
	if err != nil {
		return nil, err
	}
	out := make(map[string]secret.Value, len(object))
	for key, v := range object {
		if out[key], err = write(normal(v)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// rawMembers returns the members of a JSON object: texts without their quotes,
// null as nothing, and all else as it stands there.
func rawMembers(text []byte) (map[string]secret.Value, error) {
	var object map[string]json.RawMessage
	if json.Unmarshal(text, &object) != nil || object == nil {
		return nil, errNotObject
	}
	out := make(map[string]secret.Value, len(object))
	for key, raw := range object {
		var unquoted string
		if json.Unmarshal(raw, &unquoted) == nil {
			raw = []byte(unquoted)
		}
		out[key] = secret.NewValue(raw)
	}
	return out, nil
}

// scalar writes a text without quotes, null as nothing, and all else as JSON.
func scalar(v any) (secret.Value, error) {
	switch v := v.(type) {
	case string:
		return secret.NewValue([]byte(v)), nil
	case nil:
		return secret.Value{}, nil
	case json.Number:
		return secret.NewValue([]byte(v)), nil
	case float64:
		return secret.NewValue([]byte(strconv.FormatFloat(v, 'f', -1, 64))), nil
	}
	return encode(v, true)
}

// normal replaces numbers that are no plain integers by floats, so that they
// are written as external-secrets.io writes them. Integers keep all digits.
func normal(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key := range v {
			v[key] = normal(v[key])
		}
	case []any:
		for i := range v {
			v[i] = normal(v[i])
		}
	case json.Number:
		if f, err := v.Float64(); err == nil && strings.ContainsAny(v.String(), ".eE") && !math.IsInf(f, 0) {
			return f
		}
	}
	return v
}

// encode writes JSON, with or without the escapes for HTML.
func encode(v any, html bool) (secret.Value, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(html)
	if e.Encode(v) != nil {
		return secret.Value{}, errNotObject // its text may quote a value
	}
	return secret.NewValue(bytes.TrimSuffix(out.Bytes(), []byte("\n"))), nil
}
