package external

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"sigs.k8s.io/yaml"

	"github.com/gitseal/gitseal/internal/external/template"
	"github.com/gitseal/gitseal/internal/render"
	"github.com/gitseal/gitseal/internal/secret"
)

const templateField = "spec.target.template"

// fill runs the templates of a blueprint: templateFrom in order, then data, over
// the values themselves where mergePolicy or the lack of templates keeps them.
func (b *builder) fill(ctx context.Context, d *draft, t *blueprint) {
	if t.merge || len(t.data) == 0 && len(t.from) == 0 {
		maps.Copy(d.data, b.values)
	}
	for _, from := range t.from {
		b.fillFrom(ctx, d, from)
	}
	for _, key := range slices.Sorted(maps.Keys(t.data)) {
		b.run(ctx, d, templateRun{field: fmt.Sprintf("%s.data[%q]", templateField, shorten(key)), key: key, text: t.data[key], target: targetData})
	}
	for _, marks := range []struct {
		name, target string
		texts        map[string]string
	}{{"labels", targetLabels, t.labels}, {"annotations", targetAnnotations, t.annotations}} {
		for _, key := range slices.Sorted(maps.Keys(marks.texts)) {
			field := fmt.Sprintf("%s.metadata.%s[%q]", templateField, marks.name, shorten(key))
			b.run(ctx, d, templateRun{field: field, key: key, text: marks.texts[key], target: marks.target})
		}
	}
}

// templateRun is one template and where its output goes.
type templateRun struct {
	field   string
	key     string // of the output; "" for a map of keys and texts
	text    string
	private bool
	target  string
}

func (b *builder) fillFrom(ctx context.Context, d *draft, from templateFrom) {
	if from.kind == "" {
		b.run(ctx, d, templateRun{field: from.path + ".literal", text: from.literal, target: from.target})
		return
	}
	for i, item := range from.items {
		text, err := b.scene.text(b.manifest, from, item.key)
		if err != nil {
			b.fail(from.path, err)
			return
		}
		r := templateRun{
			field: fmt.Sprintf("%s.%s.items[%d]", from.path, strings.ToLower(from.kind[:1])+from.kind[1:], i),
			text:  text, private: from.kind == "Secret", target: from.target,
		}
		if !item.keys {
			r.key = item.key
		}
		b.run(ctx, d, r)
	}
}

// run executes a template and puts what it gives into the draft. Metadata is
// read by all who may list Secrets: no value is there for a template of it.
func (b *builder) run(ctx context.Context, d *draft, r templateRun) {
	out, err := b.execute(ctx, r)
	if err != nil {
		b.fail(r.field, err)
		return
	}
	if r.target == targetData {
		b.Values.Add(out, secret.String)
	}
	outputs := map[string]secret.Value{r.key: out}
	if r.key == "" {
		if outputs, err = b.keysAndValues(out, r); err != nil {
			b.fail(r.field, err)
			return
		}
	}
	d.put(r.target, outputs)
}

func (b *builder) execute(ctx context.Context, r templateRun) (secret.Value, error) {
	if !strings.Contains(r.text, "{{") {
		return secret.NewValue([]byte(r.text)), nil
	}
	t := Template{Name: cmp.Or(r.key, r.field), Text: r.text, Private: r.private, Data: b.values, Seed: b.seed}
	if r.target != targetData {
		// What is drawn goes by the name, too: metadata must not tell an entry's.
		t.Data, t.Name = map[string]secret.Value{}, r.target+"/"+t.Name
	}
	out, err := b.Templates.Execute(ctx, t)
	if err == nil {
		b.noteEpoch(ctx, t, out)
	}
	if err == nil || ctx.Err() != nil {
		return out, cmp.Or(ctx.Err(), err)
	}
	hint := "correct the template"
	if r.target != targetData {
		hint = "labels and annotations are readable by all who may list Secrets: use no value in them"
	}
	return secret.Value{}, problemf(hint, "%s", err)
}

// noteEpoch finds out whether a template would give something else in the next
// epoch: it is then due at the end of this one.
func (b *builder) noteEpoch(ctx context.Context, t Template, out secret.Value) {
	if b.ends.IsZero() || !b.epoch.IsZero() || !template.Changes(template.Template{Name: t.Name, Text: t.Text}) {
		return
	}
	t.Seed.Epoch, t.Seed.Began = t.Seed.Epoch+1, b.ends
	if next, err := b.Templates.Execute(ctx, t); err != nil || !next.Equal(out) {
		b.epoch = b.ends
	}
}

func (d *draft) put(target string, outputs map[string]secret.Value) {
	for key, v := range outputs {
		switch target {
		case targetData:
			d.data[key] = v
		case targetLabels:
			d.labels[key] = string(v.Reveal()) // made without values
		case targetAnnotations:
			d.annotations[key] = string(v.Reveal())
		}
	}
}

// keysAndValues reads the output of a template as YAML. A key that the template
// made of a value is refused: keys are no secret.
func (b *builder) keysAndValues(out secret.Value, r templateRun) (map[string]secret.Value, error) {
	var texts map[string]string
	if yaml.Unmarshal(out.Reveal(), &texts) != nil {
		return nil, problemf("have the template write a YAML map, and put values in quotes with toJson or quote", "its output is no map of keys and texts")
	}
	values := make(map[string]secret.Value, len(texts))
	draws := sync.OnceValue(r.draws)
	own := secret.NewTokenizer(nil).NewSet() // of few values, to be searched quickly
	for _, v := range b.values {
		own.Add(v, secret.String)
	}
	for key, text := range texts {
		_, given := b.values[key]
		written := strings.Contains(r.text, key)
		if !given && ((r.private || !written) && own.Redact(key) != key || !written && draws()) {
			return nil, problemf("use values as values only: keys are readable by all who may list Secrets", "its output has a key that holds a value")
		}
		values[key] = secret.NewValue([]byte(text))
	}
	if r.target == targetData {
		if err := checkKeys(values); err != nil {
			return nil, problemf("use letters, digits, '-', '_' and '.' in keys", "its output has a key that no Secret takes")
		}
	}
	if r.target == targetData {
		b.known(values)
	}
	return values, nil
}

// draws reports whether the template may depend on chance, or on the time.
func (r templateRun) draws() bool {
	return template.Changes(template.Template{Name: r.field, Text: r.text})
}

// text returns an entry of a ConfigMap or Secret of the revision.
func (s *scene) text(m *Manifest, from templateFrom, key string) (string, error) {
	o, ok := s.objects[objectID{from.kind, s.defaults.namespace(m.Namespace), from.name}]
	if !ok {
		return "", problemf("commit it beside the ExternalSecret: what is only in the cluster is not read",
			"there is no %s %q in this revision", from.kind, from.name)
	}
	text, ok, err := textOf(o, key)
	switch {
	case err != nil:
		return "", problemf("correct it", "%s %q in %s: entry %q %s", from.kind, from.name, o.Origin, shorten(key), err)
	case !ok:
		return "", problemf("correct the key", "%s %q in %s has no entry %q", from.kind, from.name, o.Origin, shorten(key))
	}
	return text, nil
}

func textOf(o render.Object, key string) (string, bool, error) {
	field := func(name string) (string, bool) {
		entries, _ := o.Object[name].(map[string]any)
		text, ok := entries[key].(string)
		return text, ok
	}
	text, ok := field("data")
	if !isSecret(o) {
		return text, ok, nil
	}
	if plain, ok := field("stringData"); ok {
		return plain, true, nil
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "", ok, errNotBase64
	}
	return string(raw), ok, nil
}
