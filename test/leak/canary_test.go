package leak

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf16"
)

// canary is a value that stands nowhere by chance.
type canary struct {
	// name says in findings which one it is; the value is never printed.
	name  string
	value string
	// secret is where it may stand: namespace/name, under the key.
	secret, key string
	// running is the namespace whose Jobs and pods may hold it.
	running string
	// inGit: it was committed as plain text, so that clones hold it.
	inGit bool
}

// runsAt reports whether a place of etcd is one that may hold it.
func (c *canary) runsAt(place string) bool {
	return c.running != "" && (strings.HasPrefix(place, "/registry/jobs/"+c.running+"/") || strings.HasPrefix(place, "/registry/pods/"+c.running+"/"))
}

// shapes are values of which each is awkward for some encoding or format.
// Digits aside they are unique by their id.
func shapes() map[string]string {
	id := randomID()
	return map[string]string{
		"plain":     "canary-" + id + "-Zx9",
		"lines":     "first line " + id + "\nsecond line " + id + "\n",
		"quotes":    `it's "` + id + `" \ & <b> %s ${HOME} {{ .x }}`,
		"unicode":   "Käse-☕-" + id + "-übel",
		"long":      strings.Repeat(id+"/", 200),
		"digits":    randomDigits(),
		"yaml":      "key: [" + id + ", {a: b}] # no comment",
		"dash":      "- " + id,
		"encoded":   base64.StdEncoding.EncodeToString([]byte("inner " + id)),
		"multi.pem": "-----BEGIN PRIVATE KEY-----\n" + strings.Repeat(id+"\n", 5) + "-----END PRIVATE KEY-----\n",
	}
}

func randomID() string {
	b := make([]byte, 9)
	_, _ = rand.Read(b)
	return strings.NewReplacer("-", "x", "_", "y").Replace(base64.RawURLEncoding.EncodeToString(b))
}

// randomDigits has no run that a counter or a clock is likely to show, and not
// as many digits as a part of a UID, which may be all digits by chance.
func randomDigits() string {
	n, _ := rand.Int(rand.Reader, big.NewInt(80_000_000_000))
	return strconv.FormatInt(n.Int64()+17_000_000_000, 10)
}

const shortest = 8

// forms are the ways in which a value may show itself. The value stands first.
func forms(value string) map[string]string {
	all := map[string]string{"raw": value}
	encodings(all, "", value)
	for i, line := range strings.Split(value, "\n") {
		all[fmt.Sprintf("line %d", i)] = line
	}
	b := []byte(value)
	s1, s256, m5 := sha1.Sum(b), sha256.Sum256(b), md5.Sum(b)
	for name, sum := range map[string][]byte{"SHA-1": s1[:], "SHA-256": s256[:], "MD5": m5[:]} {
		all[name+" hex"] = hex.EncodeToString(sum)
		all[name+" HEX"] = strings.ToUpper(hex.EncodeToString(sum))
		all[name+" base64"] = base64.RawStdEncoding.EncodeToString(sum)
		all[name+" base64url"] = base64.RawURLEncoding.EncodeToString(sum)
		all[name+" bytes"] = string(sum)
	}
	for name, form := range all {
		if len(form) < shortest || strings.HasPrefix(form, "-----") {
			delete(all, name)
		}
	}
	return all
}

func encodings(all map[string]string, prefix, value string) {
	for offset := range 3 {
		padded := append(make([]byte, offset), value...)
		for name, encoding := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			encoded := encoding.EncodeToString(padded)
			// Only whole characters of the value: the first and the last may
			// hold bits of its neighbours.
			begin, end := (offset*8+5)/6, len(padded)*8/6
			all[fmt.Sprintf("%s%s at offset %d", prefix, name, offset)] = encoded[begin:end]
		}
	}
	all[prefix+"hex"] = hex.EncodeToString([]byte(value))
	all[prefix+"HEX"] = strings.ToUpper(hex.EncodeToString([]byte(value)))
	all[prefix+"URL query"] = url.QueryEscape(value)
	all[prefix+"URL path"] = url.PathEscape(value)
	asJSON, _ := json.Marshal(value)
	all[prefix+"JSON"] = inner(string(asJSON))
	var plain strings.Builder
	encoder := json.NewEncoder(&plain)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(value)
	all[prefix+"JSON without HTML"] = inner(strings.TrimSpace(plain.String()))
	twice, _ := json.Marshal(string(asJSON))
	all[prefix+"JSON twice"] = strings.Trim(inner(string(twice)), `\"`)
	all[prefix+"Go"] = inner(strconv.Quote(value))
	all[prefix+"Go ASCII"] = inner(strconv.QuoteToASCII(value))
	all[prefix+"YAML single quoted"] = strings.ReplaceAll(value, "'", "''")
	all[prefix+"YAML folded"] = strings.ReplaceAll(strings.ReplaceAll(value, "'", "''"), "\n", "\n\n")
	var wide []byte
	for _, u := range utf16.Encode([]rune(value)) {
		wide = append(wide, byte(u), byte(u>>8))
	}
	all[prefix+"UTF-16"] = string(wide)
}

func inner(quoted string) string { return quoted[1 : len(quoted)-1] }
