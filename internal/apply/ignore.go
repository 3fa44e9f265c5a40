package apply

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/live"
)

// rulesFor selects the rules of ignoreDifferences that an object falls under.
func rulesFor(rules []v1alpha1.IgnoreDifference, id ID) []v1alpha1.IgnoreDifference {
	var own []v1alpha1.IgnoreDifference
	for _, r := range rules {
		if r.Group == id.Group && r.Kind == id.Kind && (r.Name == "" || r.Name == id.Name) && (r.Namespace == "" || r.Namespace == id.Namespace) {
			own = append(own, r)
		}
	}
	return own
}

// shared says whether others may own fields of an item, as a rule or the
// object's managed fields say, so that the live object decides what is sent.
func (e *Engine) shared(item Item) bool {
	return len(item.ignored) > 0 || e.scaled(item)
}

func (e *Engine) scaled(item Item) bool {
	if item.scaled {
		return true
	}
	o, presence := e.watches.Find(item.Scope, item.key(), 0)
	return presence == live.Present && o.Scaled
}

// yield makes of an item's body what is sent where the object is there: a
// field that others own, as the rules say, is left out where we do not own it,
// and has the live value where we do, so that it neither changes nor goes. The
// version of the live object stands in the body: one that has changed since is
// not touched.
func yield(item Item, body []byte, have *unstructured.Unstructured) ([]byte, error) {
	var object map[string]any
	if err := utiljson.Unmarshal(body, &object); err != nil {
		return nil, err
	}
	ours := parseFields(ownFields(have))
	for _, place := range ignoredPlaces(item.ignored, object, have) {
		value, there := place.of(have.Object)
		if there && ours != nil && owns(ours, place) {
			place.set(object, value)
		} else {
			place.remove(object)
		}
	}
	unstructuredMeta(object)["resourceVersion"] = have.GetResourceVersion()
	return json.Marshal(object)
}

func unstructuredMeta(object map[string]any) map[string]any {
	meta, ok := object["metadata"].(map[string]any)
	if !ok {
		meta = map[string]any{}
		object["metadata"] = meta
	}
	return meta
}

func parseFields(raw []byte) map[string]any {
	var fields map[string]any
	if len(raw) == 0 || utiljson.Unmarshal(raw, &fields) != nil {
		return nil
	}
	return fields
}

// replicas is what an autoscaler owns once it has set it through the scale
// subresource.
var replicas = difference{{field: "spec", text: "spec"}, {field: "replicas", text: "replicas"}}

// ignoredPlaces lists the places of a body that others own.
func ignoredPlaces(rules []v1alpha1.IgnoreDifference, body map[string]any, have *unstructured.Unstructured) []difference {
	var places []difference
	entries := have.GetManagedFields()
	if live.IsScaled(entries) {
		places = append(places, replicas)
	}
	for _, r := range rules {
		for _, p := range r.JSONPointers {
			if place, ok := resolve(p, body, have.Object); ok && !place.strays(body) && !place.strays(have.Object) {
				places = append(places, place)
			}
		}
		for _, e := range entries {
			if slices.Contains(r.ManagedFieldsManagers, e.Manager) && !isOwn(e) && e.FieldsV1 != nil {
				places = theirs(parseFields(e.FieldsV1.GetRawBytes()), body, nil, places)
			}
		}
	}
	// From the back, so that leaving out an element moves none that is to follow.
	slices.Reverse(places)
	return places
}

// resolve finds the place that a JSON pointer names: in the body, or, for a
// field that Git does not say any more, in the live object.
func resolve(pointer string, bodies ...map[string]any) (difference, bool) {
	unescape := strings.NewReplacer("~1", "/", "~0", "~")
	for _, body := range bodies {
		var at any = body
		var place difference
		found := true
		for _, token := range strings.Split(pointer, "/")[1:] {
			var s step
			if s, at, found = follow(at, unescape.Replace(token)); !found {
				break
			}
			place = append(place, s)
		}
		if found {
			return place, true
		}
	}
	return nil, false
}

func follow(v any, token string) (s step, next any, ok bool) {
	switch v := v.(type) {
	case map[string]any:
		next, ok = v[token]
		return step{field: token, text: fieldText(token)}, next, ok
	case []any:
		i, err := strconv.Atoi(token)
		if err != nil || i < 0 || i >= len(v) {
			return s, nil, false
		}
		return step{element: v[i], index: i, text: "[" + token + "]"}, v[i], true
	}
	return s, nil, false
}

// theirs adds the leaves of a body that a set of fields holds. The keys of an
// element are nobody's alone.
func theirs(owned map[string]any, v any, at difference, places []difference) []difference {
	switch v := v.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			node, ok := owned["f:"+name].(map[string]any)
			if !ok {
				continue
			}
			to := append(slices.Clone(at), step{field: name, text: fieldText(name)})
			if len(node) == 0 {
				places = append(places, to)
			} else {
				places = theirs(node, v[name], to, places)
			}
		}
	case []any:
		for _, name := range slices.Sorted(maps.Keys(owned)) {
			i := element(name, v)
			if i < 0 {
				continue
			}
			node, _ := owned[name].(map[string]any)
			to := append(slices.Clone(at), step{element: v[i], index: i})
			if object, ok := v[i].(map[string]any); ok {
				places = theirs(withoutKeys(node, name), object, to, places)
			} else {
				places = append(places, to)
			}
		}
	}
	return places
}

func withoutKeys(node map[string]any, name string) map[string]any {
	_, text, _ := strings.Cut(name, ":")
	node = maps.Clone(node)
	for key := range parseFields([]byte(text)) {
		delete(node, "f:"+key)
	}
	return node
}

// of is the value at a place of an object in which elements of lists may stand
// elsewhere.
func (d difference) of(object any) (any, bool) {
	at := object
	for _, s := range d {
		switch v := at.(type) {
		case map[string]any:
			next, ok := v[s.field]
			if !ok || s.element != nil {
				return nil, false
			}
			at = next
		case []any:
			i := s.in(v)
			if i < 0 {
				return nil, false
			}
			at = v[i]
		default:
			return nil, false
		}
	}
	return at, true
}

// strays says whether a place lies in an element that an object does not have:
// what stands there instead is another one, and says nothing of this.
func (d difference) strays(object any) bool {
	for i, s := range d[:len(d)-1] {
		if s.element == nil {
			continue
		}
		parent, _ := d[:i].of(object)
		list, _ := parent.([]any)
		if _, isNew := s.match(list, d[i+1].field); isNew || s.in(list) < 0 {
			return true
		}
	}
	return false
}

// match finds the element of a list that a step leads to by what tells it
// apart, but for a field that others may have changed. It says that the element
// is new where the list holds none like it.
func (s step) match(list []any, but string) (at int, isNew bool) {
	several := false
	for _, keys := range slices.Concat(identities, [][]string{{"containerPort"}, {"port"}}) {
		name := elementName(keys, s.element)
		if name == "" || slices.Contains(keys, but) {
			continue
		}
		n := 0
		for i, e := range list {
			if elementName(keys, e) == name {
				at, n = i, n+1
			}
		}
		if n == 1 {
			return at, false
		}
		isNew, several = true, several || n > 1
	}
	return -1, isNew && !several
}

// in finds the element of a list that a step leads to, by what tells it apart,
// or by its place.
func (s step) in(list []any) int {
	if at, _ := s.match(list, ""); at >= 0 {
		return at
	}
	if _, isObject := s.element.(map[string]any); !isObject {
		if i := slices.IndexFunc(list, func(e any) bool { return reflect.DeepEqual(e, s.element) }); i >= 0 {
			return i
		}
	}
	if s.element != nil && s.index < len(list) {
		return s.index
	}
	return -1
}

// set puts a value at a place. Maps on the way are made; elements are not.
func (d difference) set(object map[string]any, value any) {
	d.change(object, func(parent any, last step) any {
		switch p := parent.(type) {
		case map[string]any:
			p[last.field] = value
		case []any:
			if i := last.in(p); i >= 0 {
				p[i] = value
			}
		}
		return parent
	})
}

// remove takes away what is at a place.
func (d difference) remove(object map[string]any) {
	if _, there := d.of(object); !there {
		return
	}
	d.change(object, func(parent any, last step) any {
		switch p := parent.(type) {
		case map[string]any:
			delete(p, last.field)
		case []any:
			if i := last.in(p); i >= 0 {
				return slices.Delete(p, i, i+1)
			}
		}
		return parent
	})
	// A map that is empty now would be owned as such.
	if up := d[:len(d)-1]; len(up) > 0 && up[len(up)-1].element == nil {
		if v, _ := up.of(object); reflect.DeepEqual(v, map[string]any{}) {
			up.remove(object)
		}
	}
}

// change lets do change the parent of a place, and puts it back.
func (d difference) change(at any, do func(parent any, last step) any) any {
	if len(d) == 1 {
		return do(at, d[0])
	}
	switch v := at.(type) {
	case map[string]any:
		child, ok := v[d[0].field]
		if !ok && d[1].element == nil {
			child = map[string]any{}
		}
		if child != nil {
			v[d[0].field] = d[1:].change(child, do)
		}
	case []any:
		if i := d[0].in(v); i >= 0 {
			v[i] = d[1:].change(v[i], do)
		}
	}
	return at
}

// ignorable marks in a body, for a comparison with what we own, the places
// that others may own: whether we do or not tells nothing.
func ignorable(rules []v1alpha1.IgnoreDifference, scaled bool, body map[string]any) {
	if scaled {
		replicas.mark(body)
	}
	for _, r := range rules {
		for _, p := range r.JSONPointers {
			if place, ok := resolve(p, body); ok {
				place.mark(body)
			}
		}
	}
}

// anybodys stands where it does not matter who owns a field.
type anybodys struct{}

func (d difference) mark(body map[string]any) {
	if _, there := d.of(body); there {
		d.set(body, anybodys{})
	}
}
