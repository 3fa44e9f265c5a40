package secret

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func setOf(values ...string) *Set {
	s := testSet()
	for _, v := range values {
		s.Add(NewValue([]byte(v)), String)
	}
	return s
}

// formsOf encodes with the standard tools, not with the code under test.
func formsOf(v string) map[string]string {
	asJSON, _ := json.Marshal(v)
	one, two := sha1.Sum([]byte(v)), sha256.Sum256([]byte(v))
	forms := map[string]string{
		"raw": v, "hex": hex.EncodeToString([]byte(v)), "HEX": fmt.Sprintf("%X", v),
		"query": url.QueryEscape(v), "path": url.PathEscape(v),
		"json": string(asJSON[1 : len(asJSON)-1]), "quoted": strconv.Quote(v)[1 : len(strconv.Quote(v))-1],
		"yaml": strings.ReplaceAll(v, "'", "''"), "bytes": fmt.Sprint([]byte(v)),
		"sha1": hex.EncodeToString(one[:]), "sha256": hex.EncodeToString(two[:]), "SHA256": fmt.Sprintf("%X", two),
	}
	for name, e := range map[string]*base64.Encoding{
		"std": base64.StdEncoding, "url": base64.URLEncoding, "raw std": base64.RawStdEncoding, "raw url": base64.RawURLEncoding,
	} {
		for offset := range 3 {
			forms[fmt.Sprint(name, offset)] = e.EncodeToString([]byte("xyz"[:offset] + v + "tail"))
		}
		forms[name] = e.EncodeToString([]byte(v))
	}
	return forms
}

// survives reports whether enough of the form is left to rebuild the value.
func survives(v, form, got string) bool {
	if strings.Contains(got, v) {
		return true
	}
	for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		if b, err := e.DecodeString(strings.TrimRight(got, "=")); err == nil && strings.Contains(string(b), v) {
			return true
		}
	}
	return strings.Contains(got, form)
}

func TestRedactHidesEveryForm(t *testing.T) {
	values := []string{
		"hunter2!", canary, `q"uo'te\s & <tags>`, "line one is long\nshort\n\ttabbed line two", "ünïcödé-ß-☃", "a+b/c=d%20e", "\x00\x01\xff\xfebinary\x80", "123456",
	}
	for _, v := range values {
		s := setOf(v)
		for name, form := range formsOf(v) {
			for _, text := range []string{form, "before " + form + " after", `{"m":"` + form + `"}`, form + form} {
				if got := s.Redact(text); got == text || survives(v, form, got) {
					t.Errorf("%s of %q survives: %q gave %q", name, v, text, got)
				}
			}
		}
	}
}

func TestRedact(t *testing.T) {
	tests := map[string]struct {
		values     []string
		text, want string
	}{
		"nothing to hide":        {nil, "hunter22", "hunter22"},
		"no value in it":         {[]string{"hunter22"}, "all fine", "all fine"},
		"short values as words":  {[]string{"1", "true", "abc"}, "1 of 10 abc: abcd, true/untrue", "[redacted] of 10 [redacted]: abcd, [redacted]/untrue"},
		"short value in base64":  {[]string{"abc"}, "data YWJj x", "data [redacted] x"},
		"an empty value":         {[]string{""}, "all fine", "all fine"},
		"one inside another":     {[]string{"abcdef", "abcdefgh"}, "x abcdefgh y", "x [redacted] y"},
		"one overlaps another":   {[]string{"xxabcdef", "abcdefgh"}, "xxabcdefgh", "[redacted]"},
		"a line of a long value": {[]string{"first line\nsecond line\n"}, "got second line here", "got [redacted] here"},
		"a long value":           {[]string{strings.Repeat("long", 10_000)}, "x" + strings.Repeat("long", 10_000), "x[redacted]"},
		"tokens stay":            {[]string{"hunter22"}, "gitseal.v1.abc", "gitseal.v1.abc"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := setOf(tt.values...).Redact(tt.text); got != tt.want {
				t.Errorf("Redact = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestRedactSeesValuesThatAreAddedLater(t *testing.T) {
	s := setOf("first-value")
	_ = s.Redact("x")
	s.Add(NewValue([]byte("second-value")), String)
	if got := s.Redact("first-value second-value"); got != "[redacted] [redacted]" {
		t.Errorf("Redact = %q", got)
	}
}

func TestRedactIsFastEnoughForAThousandValues(t *testing.T) {
	s := testSet()
	for i := range 1000 {
		s.Add(NewValue(fmt.Appendf(nil, "password-%d-%x", i, rand.Uint64())), String)
	}
	text := strings.Repeat("an error message without values ", 32)
	start := time.Now()
	s.Redact(text)
	first := time.Since(start)
	start = time.Now()
	for range 100 {
		s.Redact(text)
	}
	t.Logf("first %v, then %v each", first, time.Since(start)/100)
	if time.Since(start) > time.Minute {
		t.Errorf("100 calls took %v", time.Since(start))
	}
}

func FuzzRedact(f *testing.F) {
	f.Add("hunter2!", "before ", " after")
	f.Add("\x00\xff\u2028'\"\\%", "x", "y")
	f.Add("two lines\nof text", "", "")
	f.Fuzz(func(t *testing.T, value, before, after string) {
		if len(value) < shortValue || strings.Contains(redacted, value) || strings.Contains(before+after, value) {
			t.Skip()
		}
		s := setOf(value)
		for name, form := range formsOf(value) {
			if !utf8.ValidString(value) && name == "json" {
				continue // lossy
			}
			text := before + form + after
			if got := s.Redact(text); strings.Contains(got, form) && !strings.Contains(redacted, form) {
				t.Errorf("%s of %q survives in %q", name, value, got)
			}
		}
	})
}
