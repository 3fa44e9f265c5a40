package template

import (
	"context"
	"reflect"
	"strconv"

	"github.com/gitseal/gitseal/internal/secret"
)

// Bounds of one evaluation. They are counts rather than times, so that a
// template that passes on one machine passes on all. What can be done with
// 1 MiB of values is well within them.
const (
	maxOutput  = 1 << 20
	maxSteps   = 200_000  // calls of functions and rounds of loops
	maxTotal   = 64 << 20 // bytes that go into and come out of functions
	maxValue   = 4 << 20  // bytes of one argument or result
	maxNesting = 64       // of lists and dictionaries
	maxCalls   = 200      // templates that are within one another
	maxItems   = 100_000  // of a list
)

const (
	tooMuch  = refusal("it takes more steps than a template may")
	tooLong  = refusal("it runs for longer than a template may")
	tooDeep  = refusal("it calls itself too often")
	tooLarge = refusal("it would make a value that is too large")
)

// run is one evaluation of a template.
type run struct {
	ctx     context.Context //nolint:containedctx // functions of templates cannot be given one
	name    string
	options Options

	steps, total, depth int
	calls               map[string]int // how often a function has asked for random bytes
	bound               map[string]any // own, once it was needed
}

func (r *run) step() error {
	if r.steps++; r.steps > maxSteps {
		return tooMuch
	}
	if r.ctx.Err() != nil {
		return tooLong
	}
	return nil
}

// charge counts n bytes of work.
func (r *run) charge(n int) error {
	if r.total += n; r.total > maxTotal {
		return tooMuch
	}
	return nil
}

// guards are the functions that parseGuarded puts into a template.
func (r *run) guard(name string) any {
	own := func(err error) error {
		if err == nil {
			return nil
		}
		return failed(guardFunction, err)
	}
	switch name {
	case guardStep:
		return func() (string, error) { return "", own(r.step()) }
	case guardEnter:
		return func() (string, error) {
			if r.depth++; r.depth > maxCalls {
				return "", own(tooDeep)
			}
			return "", own(r.step())
		}
	case guardLeave:
		return func() string { r.depth--; return "" }
	case guardPrint:
		return func(v any) (any, error) { return v, own(r.measure(reflect.ValueOf(v))) }
	}
	return nil
}

// functions returns those with the given names, each within the bounds.
func (r *run) functions(names map[string]bool) map[string]any {
	functions := make(map[string]any, len(names))
	for name := range names {
		if own := r.guard(name); own != nil {
			functions[name] = own
		} else if f := r.function(name); f != nil {
			functions[name] = r.within(name, reflect.ValueOf(f))
		}
	}
	return functions
}

var errorType = reflect.TypeFor[error]()

// within returns a function that does what f does, counts what goes in and
// comes out, and whose errors are callErrors. f returns one value, and perhaps
// an error.
func (r *run) within(name string, f reflect.Value) any {
	own := f.Type()
	in := make([]reflect.Type, own.NumIn())
	for i := range in {
		in[i] = own.In(i)
	}
	outer := reflect.FuncOf(in, []reflect.Type{own.Out(0), errorType}, own.IsVariadic())
	return reflect.MakeFunc(outer, func(args []reflect.Value) []reflect.Value {
		result, err := r.call(f, args)
		if err != nil {
			return []reflect.Value{reflect.Zero(own.Out(0)), reflect.ValueOf(failed(name, err))}
		}
		return []reflect.Value{result, reflect.Zero(errorType)}
	}).Interface()
}

func (r *run) call(f reflect.Value, args []reflect.Value) (result reflect.Value, err error) {
	// Some functions panic on bad arguments, with text that quotes them.
	defer func() {
		if recover() != nil {
			err = refusal("")
		}
	}()
	if err := r.step(); err != nil {
		return result, err
	}
	for _, arg := range args {
		if err := r.measure(arg); err != nil {
			return result, err
		}
	}
	var out []reflect.Value
	if f.Type().IsVariadic() {
		out = f.CallSlice(args)
	} else {
		out = f.Call(args)
	}
	if len(out) > 1 && !out[1].IsNil() {
		err, _ = out[1].Interface().(error)
		return result, err
	}
	return out[0], r.measure(out[0])
}

// measure charges for v, and refuses what is too large or nested too deeply,
// such as a dictionary that holds itself: printing one would never end.
func (r *run) measure(v reflect.Value) error {
	left := maxValue
	if !weigh(v, maxNesting, &left) {
		return tooLarge
	}
	return r.charge(maxValue - left)
}

// nodeSize is what a value counts for besides its text.
const nodeSize = 16

func weigh(v reflect.Value, depth int, left *int) bool {
	if *left -= nodeSize; *left < 0 || depth < 0 {
		return false
	}
	switch v.Kind() {
	case reflect.String:
		*left -= v.Len()
	case reflect.Interface, reflect.Pointer:
		return v.IsNil() || v.Elem().Kind() == reflect.Struct || weigh(v.Elem(), depth-1, left)
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			*left -= v.Len()
			break
		}
		for i := range v.Len() {
			if !weigh(v.Index(i), depth-1, left) {
				return false
			}
		}
	case reflect.Map:
		for entries := v.MapRange(); entries.Next(); {
			if !weigh(entries.Key(), depth-1, left) || !weigh(entries.Value(), depth-1, left) {
				return false
			}
		}
	}
	return *left >= 0
}

// stream returns the random bytes for the next call of a function. They depend
// on how often it has been called before, so that two calls differ, and not on
// where it stands, so that a new comment changes nothing.
func (r *run) stream(function string, labels ...string) (*secret.Stream, error) {
	if r.options.Derive == nil {
		return nil, refusal("random values cannot be made here")
	}
	n := r.calls[function]
	r.calls[function]++
	return r.options.Derive(append([]string{"template", r.name, function, strconv.Itoa(n)}, labels...)...), nil
}

// random returns those of a random function.
func (r *run) random(function string) (*secret.Stream, error) {
	return r.stream(function, r.options.Epoch)
}

// salt returns count bytes for a function that hashes or encrypts the content.
func (r *run) salt(function string, count int, content ...string) ([]byte, error) {
	stream, err := r.stream(function, content...)
	if err != nil {
		return nil, err
	}
	salt := make([]byte, count)
	_, err = stream.Read(salt)
	return salt, err
}
