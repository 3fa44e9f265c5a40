package render

import (
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// document is one YAML or JSON document that is not empty.
type document struct {
	value  any
	origin Origin
	items  []int // the lines of a list's items, where they are known
}

// appendObjects adds the object that d holds, or each of a list's.
func appendObjects(objects []Object, d document) ([]Object, error) {
	m, ok := d.value.(map[string]any)
	if !ok {
		return nil, refuse(d.origin, "holds %s where an object with apiVersion and kind is expected", TypeName(d.value)).
			WithHint("%s", notAManifest)
	}
	if err := checkType(m, d.origin); err != nil {
		return nil, err
	}
	items, ok := listItems(m)
	if !ok {
		o, err := NewObject(m, d.origin)
		if err != nil {
			return nil, err
		}
		return append(objects, o), nil
	}
	for i, item := range items {
		o, err := newItem(m, item, itemOrigin(d, i))
		if err != nil {
			return nil, err
		}
		objects = append(objects, o)
	}
	return objects, nil
}

const notAManifest = "make it a manifest, move it out of spec.source.path, or add a kustomization that lists what to apply"

func itemOrigin(d document, i int) Origin {
	if i < len(d.items) {
		return Origin{File: d.origin.File, Line: d.items[i]}
	}
	return d.origin
}

// listItems returns the items of v1 List and of the typed lists.
func listItems(m map[string]any) ([]any, bool) {
	kind, _ := m["kind"].(string)
	items, ok := m["items"].([]any)
	if !ok && m["items"] == nil && kind == "List" {
		return nil, true // items: null
	}
	return items, ok && strings.HasSuffix(kind, "List")
}

// newItem makes an object of a list's item. The items of a typed list need
// not repeat their type.
func newItem(list map[string]any, item any, at Origin) (Object, error) {
	m, ok := item.(map[string]any)
	if !ok {
		return Object{}, refuse(at, "is %s where an object is expected", TypeName(item))
	}
	kind := strings.TrimSuffix(list["kind"].(string), "List")
	if kind != "" && m["kind"] == nil && m["apiVersion"] == nil {
		m["kind"], m["apiVersion"] = kind, list["apiVersion"]
	}
	if err := checkType(m, at); err != nil {
		return Object{}, err
	}
	if _, nested := listItems(m); nested {
		return Object{}, refuse(at, "is a list inside a list").WithHint("list the objects themselves")
	}
	return NewObject(m, at)
}

// checkType refuses what does not say what it is.
func checkType(m map[string]any, at Origin) error {
	for _, field := range []string{"apiVersion", "kind"} {
		switch v := m[field].(type) {
		case nil:
			return refuse(at, "has no %s", field).WithHint("%s", notAManifest)
		case string:
			if v == "" {
				return refuse(at, "has an empty %s", field).WithHint("%s", notAManifest)
			}
		default:
			return refuse(at, "%s is %s where text is expected", field, TypeName(v)).WithHint("quote it")
		}
	}
	return nil
}

// NewObject checks what everything later relies on: a name, and labels and
// annotations of text. Numbers in m are int64 or float64.
func NewObject(m map[string]any, at Origin) (Object, error) {
	meta, ok := m["metadata"].(map[string]any)
	if !ok && m["metadata"] != nil {
		return Object{}, refuse(at, "metadata is %s where a map is expected", TypeName(m["metadata"]))
	}
	if v, ok := meta["generateName"]; ok && v != nil {
		return Object{}, refuse(at, "%s has metadata.generateName", m["kind"]).
			WithHint("set metadata.name: an object without a fixed name cannot be kept in sync")
	}
	for _, field := range []string{"name", "namespace"} {
		if v := meta[field]; v != nil {
			if _, ok := v.(string); !ok {
				return Object{}, refuse(at, "metadata.%s is %s where text is expected", field, TypeName(v)).WithHint("quote it")
			}
		}
	}
	if name, _ := meta["name"].(string); name == "" {
		return Object{}, refuse(at, "%s has no metadata.name", m["kind"]).WithHint("set metadata.name")
	}
	for _, field := range []string{"labels", "annotations"} {
		if err := checkTexts(meta[field], "metadata."+field, at); err != nil {
			return Object{}, err
		}
	}
	if jsonBytes(m) > maxObjectBytes {
		return Object{}, refuse(at, "%s %q is larger than 1.5 MiB, which no cluster stores", m["kind"], meta["name"]).
			WithHint("split it into several objects")
	}
	return Object{Unstructured: &unstructured.Unstructured{Object: m}, Origin: at}, nil
}

// checkTexts refuses anything but a map of text to text.
func checkTexts(v any, field string, at Origin) error {
	if v == nil {
		return nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		return refuse(at, "%s is %s where a map is expected", field, TypeName(v))
	}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if _, ok := m[key].(string); !ok {
			return refuse(at, "%s[%q] is %s where text is expected", field, key, TypeName(m[key])).WithHint("quote it")
		}
	}
	return nil
}

// TypeName says what a value of an object is, for messages.
func TypeName(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "text"
	case bool:
		return "a boolean"
	case map[string]any:
		return "a map"
	case []any:
		return "a list"
	}
	return "a number"
}
