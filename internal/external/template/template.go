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
	"text/template"
	"time"

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
	// Derive returns the stream for some labels, for random functions and for
	// salts. Without it they fail.
	Derive func(labels ...string) *secret.Stream
	// Epoch is a label of what random functions draw, which so changes with
	// it. Salts do not: a hash is the same until what is hashed changes.
	Epoch string
	// Now is the time that the template sees: the beginning of the epoch.
	// Without it, functions that need the time fail.
	Now time.Time
	// CreatedOnce allows the functions that make keys and certificates, whose
	// results differ each time.
	CreatedOnce bool
}

// deadline ends a template whose caller has more patience.
const deadline = 30 * time.Second

// Render evaluates t with the data as its dot, a map of strings. Its errors are
// of type *Error, or the context's.
func Render(ctx context.Context, t Template, data map[string]secret.Value, o Options) (secret.Value, error) {
	out, err := execute(ctx, t, data, o)
	return secret.NewValue(out), err
}

// Changes reports whether the result of t may depend on Now or Epoch. Of what is
// no template it is said, too.
func Changes(t Template) bool {
	parsed, err := parseGuarded(t, Options{CreatedOnce: true})
	if err != nil {
		return true
	}
	r := &run{}
	for _, more := range []map[string]any{r.dates(), r.randoms()} {
		for name := range more {
			if parsed.used[name] {
				return true
			}
		}
	}
	return false
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
