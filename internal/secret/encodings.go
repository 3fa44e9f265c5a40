package secret

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// escapes returns the forms of a text that differ from it only where it holds
// special characters.
func escapes(plain string) []string {
	query, path := url.QueryEscape(plain), url.PathEscape(plain)
	return []string{
		query, path, lowerPercent(query), lowerPercent(path),
		jsonEscape(plain, true), jsonEscape(plain, false),
		strings.ReplaceAll(plain, "'", "''"), yamlEscape(plain),
		inner(strconv.Quote(plain)), inner(strconv.QuoteToASCII(plain)),
	}
}

func inner(quoted string) string { return quoted[1 : len(quoted)-1] }

func jsonEscape(plain string, html bool) string {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(html)
	if err := encoder.Encode(plain); err != nil {
		return ""
	}
	return inner(strings.TrimSuffix(out.String(), "\n"))
}

// lowerPercent writes the digits of %XX in lower case.
func lowerPercent(escaped string) string {
	out := []byte(escaped)
	for i := 0; i+2 < len(out); i++ {
		if out[i] == '%' {
			copy(out[i:], bytes.ToLower(out[i:i+3]))
			i += 2
		}
	}
	return string(out)
}

var yamlEscapes = strings.NewReplacer(
	`\`, `\\`, `"`, `\"`, "\x00", `\0`, "\a", `\a`, "\b", `\b`, "\t", `\t`, "\n", `\n`, "\v", `\v`,
	"\f", `\f`, "\r", `\r`, "\x1b", `\e`, "\u0085", `\N`, "\u00a0", `\_`, "\u2028", `\L`, "\u2029", `\P`,
)

// yamlEscape writes text as YAML libraries do between double quotes.
func yamlEscape(plain string) string {
	var out strings.Builder
	for _, r := range yamlEscapes.Replace(plain) {
		switch {
		case r >= 0x20 && r != 0x7f && r != utf8.RuneError && unicode.IsPrint(r):
			out.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(&out, `\x%02X`, r)
		case r < 0x10000:
			fmt.Fprintf(&out, `\u%04X`, r)
		default:
			fmt.Fprintf(&out, `\U%08X`, r)
		}
	}
	return out.String()
}

// encoded returns the forms of a value that have nothing in common with it.
func encoded(plain string) []string {
	raw := []byte(plain)
	lower := hex.EncodeToString(raw)
	out := []string{
		lower, strings.ToUpper(lower),
		strings.Trim(fmt.Sprint(raw), "[]"), // fmt's %v of bytes
	}
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		out = append(out, encoding.EncodeToString(raw))
		for offset := range 3 {
			out = append(out, base64At(encoding, raw, offset))
		}
	}
	return out
}

const base64Bits = 6

// base64At returns those characters of base64 of other data with raw in it, at
// an offset from a group of three bytes, that raw alone decides.
func base64At(encoding *base64.Encoding, raw []byte, offset int) string {
	padded := append(make([]byte, offset, offset+len(raw)), raw...)
	text := encoding.WithPadding(base64.NoPadding).EncodeToString(padded)
	from := (offset*8 + base64Bits - 1) / base64Bits
	to := len(padded) * 8 / base64Bits
	if from >= to {
		return ""
	}
	return text[from:to]
}
