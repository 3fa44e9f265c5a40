// Package template owns the template engine of ExternalSecret manifests,
// version v2 of external-secrets.io: Go's text/template with a fixed list of
// functions. It must do no I/O, and must not know of stores, manifests or the
// cluster. The same template, values and Options give the same result; see
// docs/adr/0019-external-values-derived.md.
//
// Templates are written by tenants, so everything is bounded: the text, the
// steps that it takes, the bytes that go through its functions, its result.
// And templates hold values, so an error is made from the place in the
// template's text and never from the text of another error.
package template

import (
	"bytes"
	"context"
	"errors"
	"io"
	"text/template"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/gitseal/gitseal/internal/secret"
)

// Template is a text to evaluate.
type Template struct {
	// Name says which one it is, for errors and for what is derived: the key
	// of the Secret that it makes.
	Name string
	Text string
	// Private says that the text is a value itself, as it is when it comes out
	// of a Secret: errors quote nothing of it.
	Private bool
}

// Options are what a template may know besides its data.
type Options struct {
	// Random returns an endless stream of random bytes that is the same each
	// time it is called with the same labels, as secret.Tokenizer.Derive does.
	// Without it, functions that need random bytes fail.
	Random func(labels ...string) io.Reader
	// Now is the time that the template sees: the beginning of the refresh
	// interval that the values are for.
	Now time.Time
	// CreatedOnce allows the functions that make keys and certificates, whose
	// results differ each time.
	CreatedOnce bool
}

// deadline ends a template whose caller has more patience.
const deadline = 10 * time.Second

// Render evaluates t with the data as its dot, a map of strings. Its errors are
// of type *Error, or the context's.
func Render(ctx context.Context, t Template, data map[string]secret.Value, o Options) (secret.Value, error) {
	out, err := execute(ctx, t, data, o)
	return secret.NewValue(out), err
}

// RenderKeys evaluates t and reads the result as a YAML mapping of strings, as
// templateAs KeysAndValues asks.
func RenderKeys(ctx context.Context, t Template, data map[string]secret.Value, o Options) (map[string]secret.Value, error) {
	out, err := execute(ctx, t, data, o)
	if err != nil {
		return nil, err
	}
	texts := map[string]string{}
	if err := yaml.Unmarshal(out, &texts); err != nil {
		return nil, &Error{Template: t.Name, Problem: "it has to make a YAML mapping of keys to strings, and does not"}
	}
	values := make(map[string]secret.Value, len(texts))
	for key, text := range texts {
		values[key] = secret.NewValue([]byte(text))
	}
	return values, nil
}

// Check says whether t can be evaluated at all: whether it can be parsed and
// asks for no function that there is not.
func Check(t Template, o Options) error {
	_, err := parseGuarded(t, o)
	return err
}

func execute(ctx context.Context, t Template, data map[string]secret.Value, o Options) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	parsed, err := parseGuarded(t, o)
	if err != nil {
		return nil, err
	}
	r := &run{ctx: ctx, name: t.Name, options: o, calls: map[string]int{}}
	program := template.New(t.Name).Option("missingkey=error").Funcs(r.functions(parsed.used))
	for name, tree := range parsed.trees {
		if _, err := program.AddParseTree(name, tree); err != nil {
			return nil, &Error{Template: t.Name, Problem: "it is not a template"}
		}
	}
	texts := make(map[string]string, len(data))
	for key, value := range data {
		texts[key] = string(value.Reveal())
	}
	var out bytes.Buffer
	if err := program.Execute(&bounded{to: &out}, texts); err != nil {
		return nil, parsed.explain(ctx, err, texts)
	}
	return out.Bytes(), nil
}

// bounded is a writer that takes as much as a Secret can hold.
type bounded struct {
	to      *bytes.Buffer
	written int
}

var errOutput = errors.New("output is too large")

func (b *bounded) Write(p []byte) (int, error) {
	if b.written += len(p); b.written > maxOutput {
		return 0, errOutput
	}
	return b.to.Write(p)
}
