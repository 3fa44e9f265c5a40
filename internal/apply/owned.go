package apply

import (
	"reflect"
	"strings"

	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/kubernetes/scheme"
)

// ownsAll reports whether entry, what our field manager owns of a live object
// (FieldsV1), is just what applying the item gives it. The API server takes a
// field away from its owner as soon as anybody else changes or removes it, so
// an object that carries the item's digest and of which we own all is as it
// was applied.
//
// The two are compared without a schema. In doubt the answer is no. Scaled: an
// autoscaler owns the replicas.
func ownsAll(entry string, scaled bool, item Item) bool {
	owned := parseFields([]byte(entry))
	var body map[string]any
	if owned == nil || utiljson.Unmarshal(item.body, &body) != nil {
		return false
	}
	ignorable(item.ignored, scaled, body)
	stripped(body)
	if _, ok := owned["f:status"]; !ok {
		delete(body, "status") // which is written through its subresource
	}
	c := coverage{builtIn: scheme.Scheme.IsGroupRegistered(item.ID.Group)}
	return c.object(owned, body)
}

// stripped takes out of an object what nobody ever owns.
func stripped(body map[string]any) {
	delete(body, "apiVersion")
	delete(body, "kind")
	meta, _ := body["metadata"].(map[string]any)
	for _, field := range []string{
		"name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation", "managedFields", "resourceVersion",
	} {
		delete(meta, field)
	}
}

// coverage walks a set of fields beside an object. builtIn: the object's kind
// has a schema in which a map that is owned as a whole is atomic; in others it
// may be one all of whose fields somebody took.
type coverage struct{ builtIn bool }

func (c coverage) value(owned map[string]any, v any) bool {
	switch v := v.(type) {
	case map[string]any:
		if len(owned) == 0 {
			return len(v) == 0 || c.builtIn
		}
		return c.object(owned, v)
	case []any:
		return len(owned) == 0 || c.list(owned, v)
	case anybodys:
		return true
	}
	return len(owned) == 0
}

func (c coverage) object(owned, object map[string]any) bool {
	for name := range owned {
		field, isField := strings.CutPrefix(name, "f:")
		if _, ok := object[field]; name != "." && (!isField || !ok) {
			return false
		}
	}
	for name, v := range object {
		node, ok := owned["f:"+name].(map[string]any)
		if !ok && !nothing(v) || ok && !c.value(node, v) {
			return false
		}
	}
	return true
}

// nothing says whether applying v gives no field to own, or may not.
func nothing(v any) bool {
	switch v := v.(type) {
	case []any:
		return len(v) == 0
	case map[string]any:
		for _, e := range v {
			if !nothing(e) {
				return false
			}
		}
		return len(v) > 0 // an empty one is owned itself
	case anybodys:
		return true
	}
	return v == nil
}

func (c coverage) list(owned map[string]any, list []any) bool {
	used := make([]bool, len(list))
	for name, node := range owned {
		if name == "." {
			continue
		}
		at := element(name, list)
		if at < 0 || used[at] {
			return false
		}
		used[at] = true
		fields, _ := node.(map[string]any)
		object, isObject := list[at].(map[string]any)
		if isObject && !c.object(fields, object) || !isObject && len(fields) > 0 {
			return false
		}
	}
	for _, u := range used {
		if !u {
			return false
		}
	}
	return true
}

// element finds the one element of a list that a path element (k:{...} or
// v:...) stands for; -1 if there is none, or more than one may be meant. A key
// that an object lacks was filled in by the API server.
func element(name string, list []any) int {
	kind, text, _ := strings.Cut(name, ":")
	var wanted any
	if utiljson.Unmarshal([]byte(text), &wanted) != nil {
		return -1
	}
	at, best := -1, -1
	for i, e := range list {
		n := -1
		switch kind {
		case "k":
			n = sameKeys(wanted, e)
		case "v":
			if reflect.DeepEqual(wanted, e) {
				n = 0
			}
		}
		switch {
		case n > best:
			at, best = i, n
		case n == best && n >= 0:
			at = -1
		}
	}
	return at
}

// sameKeys counts the keys that an element has as wanted; -1 if it has another
// value for one.
func sameKeys(wanted, e any) int {
	keys, ok1 := wanted.(map[string]any)
	object, ok2 := e.(map[string]any)
	if !ok1 || !ok2 {
		return -1
	}
	n := 0
	for key, want := range keys {
		have, ok := object[key]
		switch {
		case !ok:
		case reflect.DeepEqual(want, have):
			n++
		default:
			return -1
		}
	}
	return n
}
