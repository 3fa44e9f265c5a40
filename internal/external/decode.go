package external

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/render"
)

const (
	maxTextBytes  = 64 << 10 // of one field, but templates
	maxEntries    = 4096     // of one list or map
	maxExpression = 1 << 10
	maxProblems   = 16 // that are collected of one manifest
)

// decoding reads one manifest and collects all that is wrong with it.
type decoding struct {
	origin   render.Origin
	kind     string
	name     string
	problems []error
}

func newDecoding(o render.Object) *decoding {
	return &decoding{origin: o.Origin, kind: o.GetKind(), name: o.GetName()}
}

// problem is one thing wrong at a field; hint is the next step.
func (d *decoding) problem(field, hint, format string, args ...any) {
	if len(d.problems) < maxProblems {
		text := fmt.Sprintf(format, args...)
		d.problems = append(d.problems, failure.Stallf(v1alpha1.ReasonSecretInvalid, "%s: %s %q: %s %s", d.origin, d.kind, d.name, field, text).
			WithHint("%s", hint))
	}
}

func (d *decoding) err() error { return errors.Join(d.problems...) }

// node is a map of a manifest. Each field is asked for once; what was not asked
// for is refused by done. A nil node is an absent one, whose fields are absent.
type node struct {
	*decoding
	path   string
	fields map[string]any
	asked  map[string]bool
}

func (d *decoding) node(path string, v any) *node {
	switch v := v.(type) {
	case nil:
		return nil
	case map[string]any:
		return &node{decoding: d, path: path, fields: v, asked: map[string]bool{}}
	}
	d.problem(path, "see docs/spec/v1alpha1/externalsecret.md", "is %s where a map is expected", render.TypeName(v))
	return nil
}

// at is the path of a field.
func (n *node) at(field string) string {
	if n.path == "" {
		return field
	}
	return n.path + "." + field
}

// take returns what a field holds, which is nil where it is absent or null.
func (n *node) take(field string) any {
	if n == nil {
		return nil
	}
	n.asked[field] = true
	return n.fields[field]
}

func (n *node) child(field string) *node {
	v := n.take(field)
	if v == nil {
		return nil
	}
	return n.node(n.at(field), v)
}

func (n *node) items(field string) []any {
	v := n.take(field)
	if v == nil {
		return nil
	}
	list, ok := v.([]any)
	switch {
	case !ok:
		n.problem(n.at(field), "put a - before each item", "is %s where a list is expected", render.TypeName(v))
	case len(list) > maxEntries:
		n.problem(n.at(field), "split it over several objects", "has more than %d items", maxEntries)
		return nil
	}
	return list
}

// list returns the maps of a list.
func (n *node) list(field string) []*node {
	var nodes []*node
	for i, item := range n.items(field) {
		path := n.at(field) + "[" + strconv.Itoa(i) + "]"
		if item == nil {
			n.problem(path, "fill it in or remove it", "is empty")
			continue
		}
		if child := n.node(path, item); child != nil {
			nodes = append(nodes, child)
		}
	}
	return nodes
}

// texts returns a list of text.
func (n *node) texts(field string) []string {
	var out []string
	for i, item := range n.items(field) {
		text, ok := item.(string)
		if !ok {
			n.problem(n.at(field)+"["+strconv.Itoa(i)+"]", "quote it", "is %s where text is expected", render.TypeName(item))
			continue
		}
		out = append(out, text)
	}
	return out
}

// dict returns a map of text to text.
func (n *node) dict(field string) map[string]string {
	child := n.child(field)
	if child == nil {
		return nil
	}
	if len(child.fields) > maxEntries {
		n.problem(child.path, "split it over several objects", "has more than %d entries", maxEntries)
		return nil
	}
	out := make(map[string]string, len(child.fields))
	for _, key := range slices.Sorted(maps.Keys(child.fields)) {
		text, ok := child.fields[key].(string)
		if !ok {
			n.problem(fmt.Sprintf("%s[%q]", child.path, key), "quote it", "is %s where text is expected", render.TypeName(child.fields[key]))
			continue
		}
		out[key] = text
	}
	return out
}

// template is a text that may be long; nil where it is absent.
func (n *node) template(field string) *string {
	v := n.take(field)
	if v == nil {
		return nil
	}
	text, ok := v.(string)
	if !ok {
		n.problem(n.at(field), "quote it", "is %s where text is expected", render.TypeName(v))
	}
	return &text
}

func (n *node) text(field string) string {
	text := n.template(field)
	if text == nil {
		return ""
	}
	if len(*text) > maxTextBytes {
		n.problem(n.at(field), "shorten it", "is longer than %d bytes", maxTextBytes)
		return ""
	}
	return *text
}

// required is a text that must be there.
func (n *node) required(field string) string {
	before := len(n.problems)
	text := n.text(field)
	if text == "" && len(n.problems) == before {
		n.problem(n.at(field), "set it", "is missing")
	}
	return text
}

var objectName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)

const maxNameBytes = 253

// refName is the field name, which names an object; "" where it is absent.
func (n *node) refName() string {
	text := n.text("name")
	if text != "" && (len(text) > maxNameBytes || !objectName.MatchString(text)) {
		n.problem(n.at("name"), "use lower case letters, digits, '-' and '.'", "is no name of an object")
		return ""
	}
	return text
}

// enum is one of some words; the first is the default.
func (n *node) enum(field string, words ...string) string {
	text := n.text(field)
	if text == "" {
		return words[0]
	}
	if !slices.Contains(words, text) {
		n.problem(n.at(field), "use one of "+strings.Join(words, ", "), "is %q, which it cannot be", shorten(text))
		return words[0]
	}
	return text
}

// expression is a regular one; what is absent matches all.
func (n *node) expression(field string) *regexp.Regexp {
	text := n.text(field)
	if len(text) > maxExpression {
		n.problem(n.at(field), "shorten it", "is longer than %d characters", maxExpression)
		return nil
	}
	compiled, err := regexp.Compile(text)
	if err != nil {
		n.problem(n.at(field), "see https://github.com/google/re2/wiki/Syntax", "is no regular expression")
	}
	return compiled
}

func (n *node) boolean(field string) bool {
	v := n.take(field)
	b, ok := v.(bool)
	if v != nil && !ok {
		n.problem(n.at(field), "write true or false without quotes", "is %s where a boolean is expected", render.TypeName(v))
	}
	return b
}

// number is a whole one from 0 to most; nil where it is absent.
func (n *node) number(field string, most int) *int {
	var number int
	switch v := n.take(field).(type) {
	case nil:
		return nil
	case int64:
		number = int(v)
	case float64:
		number = int(v)
		if float64(number) != v {
			number = -1
		}
	default:
		n.problem(n.at(field), "write it without quotes", "is %s where a number is expected", render.TypeName(v))
		return nil
	}
	if number < 0 || number > most {
		n.problem(n.at(field), fmt.Sprintf("use a whole number from 0 to %d", most), "is out of range")
		return nil
	}
	return &number
}

// duration is nil where it is absent.
func (n *node) duration(field string) *time.Duration {
	v := n.take(field)
	if v == nil {
		return nil
	}
	text, ok := v.(string)
	d, err := time.ParseDuration(text)
	if !ok || err != nil {
		n.problem(n.at(field), `write it as "1h", "90s" or "0s"`, "is no duration")
		return nil
	}
	return &d
}

// unsupported refuses a field that external-secrets.io has and gitseal has not.
func (n *node) unsupported(field, hint string) {
	if n.take(field) != nil {
		n.problem(n.at(field), hint, "is not supported")
	}
}

// done refuses the fields that nobody asked for.
func (n *node) done() {
	if n == nil {
		return
	}
	for _, field := range slices.Sorted(maps.Keys(n.fields)) {
		switch {
		case n.asked[field]:
		case field == "namespace":
			n.problem(n.at(field), "remove it; what several namespaces share is read through a ClusterSecretStore", "refers to another namespace")
		default:
			n.problem(n.at(shorten(field)), "correct its spelling or its place, or remove it", "is no field of %s", n.kind)
		}
	}
}

const maxShown = 60

// shorten bounds what a message repeats of a manifest.
func shorten(text string) string {
	if len(text) > maxShown {
		return strings.ToValidUTF8(text[:maxShown], "") + "…"
	}
	return text
}
