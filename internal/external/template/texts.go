package template

import (
	"encoding/base32"
	"encoding/base64"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/Masterminds/sprig/v3"
	"github.com/huandu/xstrings"
)

// texts are functions that make long texts and lists of little. They do what
// sprig's do, and refuse what would be too large. Where sprig puts the text of
// an error in the place of a value, or has an order by chance, they do not.
func texts() map[string]any {
	return map[string]any{
		"repeat": repeat, "indent": indent, "nindent": nindent, "replace": replace,
		"wrap":      func(width int, s string) (string, error) { return sprigCall[string]("wrap", width, s) },
		"wrapWith":  wrapWith,
		"camelcase": xstrings.ToCamelCase, // External Secrets' sprig has this one, sprig has ToPascalCase
		"join":      join, "split": split, "splitn": splitn, "splitList": splitList,
		"until": until, "untilStep": untilStep, "seq": seq,
		"b64dec": b64dec, "b32dec": b32dec,
		"keys": keys, "values": values,
	}
}

// fits says whether count times size bytes are not too large.
func fits(count, size int) error {
	if count > 0 && size > 0 && count > maxValue/size {
		return tooLarge
	}
	return nil
}

func repeat(count int, s string) (string, error) {
	if err := fits(count, len(s)); err != nil {
		return "", err
	}
	return strings.Repeat(s, count), nil
}

func indent(spaces int, s string) (string, error) {
	if err := fits(spaces, 1+strings.Count(s, "\n")); err != nil {
		return "", err
	}
	pad := strings.Repeat(" ", spaces)
	return pad + strings.ReplaceAll(s, "\n", "\n"+pad), nil
}

func nindent(spaces int, s string) (string, error) {
	indented, err := indent(spaces, s)
	return "\n" + indented, err
}

func replace(from, to, s string) (string, error) {
	if err := fits(strings.Count(s, from), len(to)); err != nil {
		return "", err
	}
	return strings.ReplaceAll(s, from, to), nil
}

func wrapWith(width int, separator, s string) (string, error) {
	if err := fits(1+len(s)/max(width, 1), len(separator)); err != nil {
		return "", err
	}
	return sprigCall[string]("wrapWith", width, separator, s)
}

func join(separator string, list any) (string, error) {
	parts, err := sprigCall[[]string]("toStrings", list)
	if err != nil {
		return "", err
	}
	if err := fits(len(parts), len(separator)); err != nil {
		return "", err
	}
	return strings.Join(parts, separator), nil
}

func split(separator, s string) (map[string]string, error) {
	return splitn(separator, -1, s)
}

func splitn(separator string, n int, s string) (map[string]string, error) {
	if err := parts(separator, s); err != nil {
		return nil, err
	}
	list := strings.SplitN(s, separator, n)
	named := make(map[string]string, len(list))
	for i, part := range list {
		named["_"+strconv.Itoa(i)] = part
	}
	return named, nil
}

func splitList(separator, s string) ([]string, error) {
	if err := parts(separator, s); err != nil {
		return nil, err
	}
	return strings.Split(s, separator), nil
}

func parts(separator, s string) error {
	if strings.Count(s, separator) > maxItems {
		return tooLarge
	}
	return nil
}

func until(count int) ([]int, error) {
	step := 1
	if count < 0 {
		step = -1
	}
	return untilStep(0, count, step)
}

func untilStep(start, stop, step int) ([]int, error) {
	list := []int{}
	if step == 0 || (stop < start) != (step < 0) {
		return list, nil
	}
	for i := start; (step > 0 && i < stop) || (step < 0 && i > stop); i += step {
		if len(list) == maxItems {
			return nil, tooLarge
		}
		list = append(list, i)
	}
	return list, nil
}

// seq counts as the program of that name does: LAST, FIRST LAST or FIRST STEP
// LAST.
func seq(params ...int) (string, error) {
	first, step := 1, 0
	switch len(params) {
	case 1:
	case 2:
		first = params[0]
	case 3:
		first, step = params[0], params[1]
	default:
		return "", nil
	}
	last := params[len(params)-1]
	end := 1
	if last < first {
		end = -1
	}
	switch {
	case len(params) < 3:
		step = end
	case end < 0 && step > 0:
		return "", nil
	}
	list, err := untilStep(first, last+end, step)
	if err != nil {
		return "", err
	}
	return strings.Trim(fmt.Sprint(list), "[]"), nil
}

func b64dec(s string) (string, error) {
	plain, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return "", refusal("its argument is not base64")
	}
	return string(plain), nil
}

func b32dec(s string) (string, error) {
	plain, err := base32.StdEncoding.DecodeString(s)
	if err != nil {
		return "", refusal("its argument is not base32")
	}
	return string(plain), nil
}

// keys are those of the dictionaries, each one's in order.
func keys(dicts ...map[string]any) []string {
	all := []string{}
	for _, dict := range dicts {
		all = append(all, slices.Sorted(maps.Keys(dict))...)
	}
	return all
}

// values are in the order of their keys.
func values(dict map[string]any) []any {
	all := []any{}
	for _, key := range keys(dict) {
		all = append(all, dict[key])
	}
	return all
}

// sprigCall calls one of sprig's functions, for another one's sake.
func sprigCall[T any](name string, args ...any) (result T, err error) {
	in := make([]reflect.Value, len(args))
	f := reflect.ValueOf(sprig.GenericFuncMap()[name])
	for i, arg := range args {
		if in[i] = reflect.ValueOf(arg); !in[i].IsValid() {
			in[i] = reflect.Zero(f.Type().In(i))
		}
	}
	result, ok := f.Call(in)[0].Interface().(T)
	if !ok {
		return result, refusal("")
	}
	return result, nil
}

// printf is fmt.Sprintf for formats that ask for no more than is allowed.
func printf(format string, args ...any) (string, error) {
	size, verbs := formatSize(format, args)
	for _, arg := range args {
		left := maxValue
		if !weigh(reflect.ValueOf(arg), maxNesting, &left) {
			return "", tooLarge
		}
		if err := fits(verbs, maxValue-left); err != nil {
			return "", err
		}
	}
	if size > maxValue {
		return "", tooLarge
	}
	return fmt.Sprintf(format, args...), nil
}

// formatSize returns how many bytes the widths and precisions of a format ask
// for, at most, and how many verbs it has.
func formatSize(format string, args []any) (size, verbs int) {
	widest := 0 // that an argument for a * may ask for
	for _, arg := range args {
		if v := reflect.ValueOf(arg); v.CanInt() {
			widest = max(widest, int(min(max(v.Int(), -v.Int()), maxValue)))
		} else if v.CanUint() {
			widest = max(widest, int(min(v.Uint(), maxValue)))
		}
	}
	for _, verb := range strings.Split(format, "%")[1:] {
		verbs++
		number := 0
		for _, c := range verb {
			if !strings.ContainsRune("+-# 0123456789.*[]", c) {
				break
			}
			switch {
			case c == '*':
				size += widest
			case '0' <= c && c <= '9':
				number = min(number*10+int(c-'0'), maxValue)
				continue
			}
			size, number = size+number, 0
		}
		size += number
	}
	return size, verbs
}
