package secret

import (
	"bytes"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"text/template"
)

const canary = "canary-Wh1te-r4bbit"

// leaks reports whether text holds the canary in a form that formatting gives
// it.
func leaks(text string) bool {
	sum := fmt.Sprint([]byte(canary))
	for _, form := range []string{
		canary, hex.EncodeToString([]byte(canary)), fmt.Sprintf("%X", canary), fmt.Sprintf("% x", canary),
		sum[1 : len(sum)-1], fmt.Sprintf("%#v", []byte(canary)), fmt.Sprintf("%o", []byte(canary)), fmt.Sprintf("%b", []byte(canary)),
	} {
		if strings.Contains(text, form) {
			return true
		}
	}
	return false
}

type exported struct{ V Value }
type unexported struct{ v Value }
type pointer struct{ v *Value }
type embedded struct{ Value }
type behind struct{ v any }

func holders() map[string]any {
	v := NewValue([]byte(canary))
	return map[string]any{
		"bare":       v,
		"pointer":    &v,
		"exported":   exported{v},
		"unexported": unexported{v},
		"struct ptr": &unexported{v},
		"field ptr":  pointer{&v},
		"embedded":   embedded{v},
		"interface":  behind{v},
		"slice":      []Value{v},
		"map":        map[string]Value{"k": v},
		"nested":     []any{map[string]any{"k": []unexported{{v}}}},
		"set":        func() any { s := testSet(); s.Add(v, String); return s }(),
	}
}

func testSet() *Set { return NewTokenizer([]byte("key")).NewSet() }

func TestNothingPrintsAValue(t *testing.T) {
	for holder, h := range holders() {
		probes := map[string]string{
			"error":    fmt.Errorf("wrapped: %w", fmt.Errorf("%v", h)).Error(),
			"template": executed(h),
			"json":     marshalled(json.Marshal(h)),
			"xml":      marshalled(xml.Marshal(h)),
			"gob":      gobbed(h),
			"slog":     logged(h, false),
			"slogJSON": logged(h, true),
			"reflect":  reflected(reflect.ValueOf(h), 0),
		}
		for _, verb := range []string{"v", "+v", "#v", "s", "q", "x", "X", "d", "o", "b", "c", "U", "t", "e", "p", "T", "10.3s", "# x"} {
			probes["%"+verb] = fmt.Sprintf("%"+verb, h)
		}
		for probe, text := range probes {
			if leaks(text) {
				t.Errorf("%s of %s leaks: %s", probe, holder, text)
			}
		}
	}
}

func marshalled(out []byte, err error) string { return fmt.Sprint(string(out), err) }

func gobbed(h any) string {
	var out bytes.Buffer
	err := gob.NewEncoder(&out).Encode(h)
	return fmt.Sprint(out.String(), err)
}

func executed(h any) string {
	var out bytes.Buffer
	err := template.Must(template.New("").Parse(`{{.}} {{printf "%v %s %x" . . .}}`)).Execute(&out, h)
	return fmt.Sprint(out.String(), err)
}

func logged(h any, asJSON bool) string {
	var out bytes.Buffer
	options := &slog.HandlerOptions{Level: slog.LevelDebug}
	var handler slog.Handler = slog.NewTextHandler(&out, options)
	if asJSON {
		handler = slog.NewJSONHandler(&out, options)
	}
	slog.New(handler).Error("x", "h", h, slog.Group("g", "h", h))
	return out.String()
}

// reflected walks as far as reflection reaches.
func reflected(v reflect.Value, depth int) string {
	if !v.IsValid() || depth > 8 {
		return ""
	}
	var out strings.Builder
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			out.WriteString(reflected(v.Field(i), depth+1))
		}
	case reflect.Pointer, reflect.Interface:
		out.WriteString(reflected(v.Elem(), depth+1))
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			out.WriteString(reflected(v.Index(i), depth+1))
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			out.WriteString(reflected(k, depth+1) + reflected(v.MapIndex(k), depth+1))
		}
	default:
		fmt.Fprintf(&out, "%v ", v)
	}
	return out.String()
}

func TestValuesAreNotMarshalled(t *testing.T) {
	v := NewValue([]byte(canary))
	if _, err := json.Marshal(v); !errors.Is(err, ErrNotMarshalable) {
		t.Errorf("json.Marshal: %v, want %v", err, ErrNotMarshalable)
	}
	if err := gob.NewEncoder(io.Discard).Encode(v); !errors.Is(err, ErrNotMarshalable) {
		t.Errorf("gob: %v, want %v", err, ErrNotMarshalable)
	}
}

func TestValueKeepsItsOwnCopy(t *testing.T) {
	b := []byte("abc")
	v := NewValue(b)
	b[0] = 'x'
	if string(v.Reveal()) != "abc" || v.Len() != 3 || v.IsZero() {
		t.Errorf("Reveal() = %s", v.Reveal())
	}
	if !v.Equal(NewValue([]byte("abc"))) || v.Equal(NewValue(b)) || !(Value{}).IsZero() || !(Value{}).Equal(NewValue(nil)) {
		t.Error("Equal or IsZero is wrong")
	}
}
