package external

import (
	"cmp"
	"context"
	"maps"
	"regexp"
	"slices"
	"strconv"

	"github.com/gitseal/gitseal/internal/secret"
)

const (
	maxRewrites  = 64      // of one chain
	maxRewritten = 4 << 10 // characters of a key between two steps
	maxReplacing = 1 << 10 // characters of the target of regexp
)

// rewrite is one step of a chain; one of its fields is set.
type rewrite struct {
	path      string
	regexp    *regexp.Regexp
	target    string // of regexp
	transform string
	merge     *merge
}

// merge takes the values for JSON objects and makes one of them.
type merge struct {
	json           bool   // strategy JSON
	into           string // the key, with strategy JSON
	priority       []string
	ignoreNotFound bool // priorityPolicy IgnoreNotFound
	ignoreConflict bool // conflictPolicy Ignore
}

func readRewrite(n *node) rewrite {
	r := rewrite{path: n.path}
	set := 0
	if re := n.child("regexp"); re != nil {
		set++
		if r.target = re.text("target"); len(r.target) > maxReplacing {
			n.problem(re.at("target"), "shorten it", "is longer than %d characters", maxReplacing)
		}
		re.required("source")
		r.regexp = re.expression("source")
		re.done()
	}
	if transform := n.child("transform"); transform != nil {
		set++
		r.transform = transform.required("template")
		transform.done()
	}
	if m := n.child("merge"); m != nil {
		set++
		r.merge = readMerge(m)
	}
	if set != 1 {
		n.problem(n.path, "set exactly one of them, and add another item for each further step", "has %s of regexp, transform and merge", strconv.Itoa(set))
	}
	n.done()
	return r
}

func readMerge(n *node) *merge {
	m := &merge{
		into: n.text("into"), priority: n.texts("priority"),
		json:           n.enum("strategy", "Extract", "JSON") == "JSON",
		ignoreNotFound: n.enum("priorityPolicy", "Strict", "IgnoreNotFound") == "IgnoreNotFound",
		ignoreConflict: n.enum("conflictPolicy", "Error", "Ignore") == "Ignore",
	}
	if m.json && m.into == "" {
		n.problem(n.at("into"), "set it to the key that is to hold the result", "is missing, which strategy JSON needs")
	}
	n.done()
	return m
}

// rewritten runs a chain of rewrites over keys and values.
func (b *builder) rewritten(ctx context.Context, chain []rewrite, in map[string]secret.Value) (map[string]secret.Value, error) {
	for _, r := range chain {
		if len(in) > maxEntries {
			return nil, b.manifest.at(r.path, problemf("find or extract less at once", "there are more than %d keys", maxEntries))
		}
		out, err := b.rewriteOnce(ctx, r, in)
		if err != nil {
			return nil, b.manifest.at(r.path, err)
		}
		in = out
	}
	return in, nil
}

func (b *builder) rewriteOnce(ctx context.Context, r rewrite, in map[string]secret.Value) (map[string]secret.Value, error) {
	switch {
	case r.merge != nil:
		return r.merge.apply(in)
	case r.regexp != nil:
		return rename(in, "regexp", func(key string) (string, error) {
			return bounded(r.regexp.ReplaceAllString(key, r.target))
		})
	}
	return rename(in, "transform", func(key string) (string, error) {
		out, err := b.Templates.Execute(ctx, Template{
			Name: "rewrite/transform", Text: r.transform, Seed: b.seed,
			Data: map[string]secret.Value{"value": secret.NewValue([]byte(key))},
		})
		if err != nil && ctx.Err() == nil {
			err = problemf("correct the template", "%s", err)
		}
		if err != nil {
			return "", cmp.Or(ctx.Err(), err)
		}
		return bounded(string(out.Reveal())) // made of the name of a key
	})
}

// bounded refuses keys that only grow from step to step.
func bounded(key string) (string, error) {
	if len(key) > maxRewritten {
		return "", problemf("rewrite it to at most 253", "makes a key of more than %d characters", maxRewritten)
	}
	return key, nil
}

// apply merges the values, each a JSON object, in the order of their keys, but
// for those of priority, which come last and so win.
func (m *merge) apply(in map[string]secret.Value) (map[string]secret.Value, error) {
	merged, from := map[string]any{}, map[string]string{}
	for _, key := range m.order(in) {
		v, ok := in[key]
		if !ok && m.ignoreNotFound {
			continue
		}
		if !ok {
			return nil, problemf("remove it from priority, or set priorityPolicy IgnoreNotFound", "priority names %q, which is not among the keys", shorten(key))
		}
		object, err := decodeObject(v.Reveal())
		if err != nil {
			return nil, problemf("merge only what holds JSON objects", "the value of %q %s", shorten(key), err)
		}
		for _, name := range slices.Sorted(maps.Keys(object)) {
			if first, ok := from[name]; ok && !m.ignoreConflict {
				return nil, problemf("rename one of them, or set conflictPolicy Ignore, which lets the later one win",
					"%q is in both %q and %q", shorten(name), shorten(first), shorten(key))
			}
			merged[name], from[name] = normal(object[name]), key
		}
	}
	if !m.json {
		out := make(map[string]secret.Value, len(merged))
		for name, v := range merged {
			text, err := scalar(v)
			if err != nil {
				return nil, err
			}
			out[name] = text
		}
		return out, nil
	}
	text, err := encode(merged, false)
	if err != nil {
		return nil, err
	}
	out := maps.Clone(in)
	out[m.into] = text
	return out, nil
}

func (m *merge) order(in map[string]secret.Value) []string {
	keys := slices.DeleteFunc(slices.Sorted(maps.Keys(in)), func(key string) bool { return slices.Contains(m.priority, key) })
	return append(keys, m.priority...)
}
