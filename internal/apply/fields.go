package apply

import (
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// step leads from a value into it: to a field of a map, or to an element of a
// list.
type step struct {
	field   string
	element any // nil for a field
	index   int // of the element, where nothing tells it apart
	text    string
}

// difference is the place at which two objects differ.
type difference []step

const maxFieldText = 200

func (d difference) String() string {
	var b strings.Builder
	for i, s := range d {
		if s.element == nil && i > 0 && !strings.HasPrefix(s.text, "[") {
			b.WriteByte('.')
		}
		b.WriteString(s.text)
	}
	return clipped(b.String(), maxFieldText)
}

func clipped(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// comparison finds where two objects differ. Opaque: an object that holds
// values. Of such a one only the names are told that Git itself uses.
type comparison struct {
	opaque bool
	found  []difference
}

// differences compares a live object with what it would be if the item were
// applied, but for what the API server itself writes.
func differences(item Item, have, want map[string]any) []difference {
	var body any
	if utiljson.Unmarshal(item.body, &body) != nil {
		return nil
	}
	c := comparison{opaque: item.opaque()}
	c.compare(nil, telling(have), telling(want), body)
	return c.found
}

// telling is an object without what tells nothing of its content.
func telling(object map[string]any) map[string]any {
	object = maps.Clone(object)
	delete(object, "status")
	meta, ok := object["metadata"].(map[string]any)
	if !ok {
		return object
	}
	meta = maps.Clone(meta)
	stripped(map[string]any{"metadata": meta})
	if annotations, ok := meta["annotations"].(map[string]any); ok {
		annotations = maps.Clone(annotations)
		delete(annotations, v1alpha1.AnnotationDigest)
		meta["annotations"] = annotations
		if len(annotations) == 0 {
			delete(meta, "annotations")
		}
	}
	object["metadata"] = meta
	return object
}

func (c *comparison) compare(at difference, have, want, body any) {
	h, ok1 := have.(map[string]any)
	w, ok2 := want.(map[string]any)
	if ok1 && ok2 || ok1 && len(h) > 0 && want == nil || ok2 && len(w) > 0 && have == nil {
		c.compareMaps(at, h, w, body)
		return
	}
	hl, ok1 := have.([]any)
	wl, ok2 := want.([]any)
	if ok1 && ok2 {
		c.compareLists(at, hl, wl, body)
		return
	}
	if !reflect.DeepEqual(have, want) {
		c.found = append(c.found, at)
	}
}

func (c *comparison) compareMaps(at difference, have, want map[string]any, body any) {
	inGit, _ := body.(map[string]any)
	names := slices.Collect(maps.Keys(have))
	for name := range want {
		if _, ok := have[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		h, ok1 := have[name]
		w, ok2 := want[name]
		part, known := inGit[name]
		if reflect.DeepEqual(h, w) && ok1 == ok2 {
			continue
		}
		if c.opaque && !known {
			c.found = append(c.found, append(slices.Clone(at), step{field: name, text: "[…]"}))
			return
		}
		c.compare(append(slices.Clone(at), step{field: name, text: fieldText(name)}), h, w, part)
	}
}

// compareLists pairs the elements by the fields that tell them apart, or by
// their place.
func (c *comparison) compareLists(at difference, have, want []any, body any) {
	if reflect.DeepEqual(have, want) {
		return
	}
	keys := tellingApart(have, want)
	if c.opaque || keys == nil {
		if len(have) != len(want) {
			c.found = append(c.found, at)
			return
		}
		inGit, _ := body.([]any)
		for i := range have {
			var part any
			if i < len(inGit) {
				part = inGit[i]
			}
			c.compare(append(slices.Clone(at), step{element: have[i], text: fmt.Sprintf("[%d]", i)}), have[i], want[i], part)
		}
		return
	}
	before := len(c.found)
	c.pair(at, keys, have, want)
	if len(c.found) == before { // the same elements in another order
		c.found = append(c.found, at)
	}
}

func (c *comparison) pair(at difference, keys []string, have, want []any) {
	find := func(list []any, name string) any {
		for _, e := range list {
			if elementName(keys, e) == name {
				return e
			}
		}
		return nil
	}
	for _, h := range have {
		name := elementName(keys, h)
		place := append(slices.Clone(at), step{element: h, text: name})
		if w := find(want, name); w != nil {
			c.compare(place, h, w, nil)
		} else {
			c.found = append(c.found, place)
		}
	}
	for _, w := range want {
		name := elementName(keys, w)
		if find(have, name) == nil {
			c.found = append(c.found, append(slices.Clone(at), step{element: w, text: name}))
		}
	}
}

// identities are fields by which elements of lists are told apart, as the API
// server's own kinds have them.
var identities = [][]string{
	{"name"}, {"port", "protocol"}, {"containerPort", "protocol"}, {"mountPath"}, {"devicePath"}, {"key"}, {"type"}, {"ip"}, {"topologyKey"},
}

// tellingApart returns the identity that every element of both lists has, each
// another one within its list.
func tellingApart(lists ...[]any) []string {
	for _, keys := range identities {
		if !slices.ContainsFunc(lists, func(list []any) bool { return !distinct(keys, list) }) {
			return keys
		}
	}
	return nil
}

func distinct(keys []string, list []any) bool {
	seen := map[string]bool{}
	for _, e := range list {
		name := elementName(keys, e)
		if name == "" || seen[name] {
			return false
		}
		seen[name] = true
	}
	return true
}

const maxKeyText = 64

// elementName is [key=value,...]; "" for an element that lacks a key.
func elementName(keys []string, element any) string {
	object, _ := element.(map[string]any)
	parts := make([]string, 0, len(keys))
	for _, key := range keys {
		v, ok := object[key]
		if !ok {
			return ""
		}
		parts = append(parts, key+"="+clipped(fmt.Sprint(v), maxKeyText))
	}
	return "[" + strings.Join(parts, ",") + "]"
}

var plainField = regexp.MustCompile(`^[A-Za-z0-9_$-]+$`)

func fieldText(name string) string {
	if plainField.MatchString(name) {
		return name
	}
	return "[" + clipped(name, 2*maxKeyText) + "]"
}

// managerOf names the field manager, other than ours, that wrote one of the
// places last; "" where nobody owns any, as after a removal.
func managerOf(entries []metav1.ManagedFieldsEntry, places []difference) string {
	var last *metav1.ManagedFieldsEntry
	for i := range entries {
		e := &entries[i]
		if isOwn(*e) || e.FieldsV1 == nil || last != nil && e.Time.Before(last.Time) {
			continue
		}
		owned := parseFields(e.FieldsV1.GetRawBytes())
		if owned == nil {
			continue
		}
		if slices.ContainsFunc(places, func(d difference) bool { return owns(owned, d) }) {
			last = e
		}
	}
	if last == nil {
		return ""
	}
	return clipped(last.Manager, maxKeyText*2)
}

// owns says whether a set of fields (FieldsV1) holds a place, or something in
// it.
func owns(owned map[string]any, place difference) bool {
	for _, s := range place {
		if len(owned) == 0 {
			return true // it holds the whole
		}
		node, ok := into(owned, s)
		if !ok {
			return false
		}
		owned = node
	}
	return true
}

func into(owned map[string]any, s step) (map[string]any, bool) {
	if s.element == nil {
		node, ok := owned["f:"+s.field].(map[string]any)
		return node, ok
	}
	for name, node := range owned {
		if element(name, []any{s.element}) == 0 {
			fields, _ := node.(map[string]any)
			return fields, true
		}
	}
	return nil, false
}
