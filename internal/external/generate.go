package external

import (
	"context"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/gitseal/gitseal/internal/external/template"
	"github.com/gitseal/gitseal/internal/secret"
)

const (
	lowers  = "abcdefghijklmnopqrstuvwxyz"
	digits  = "0123456789"
	symbols = "~!@#$%^&*()_+`-={}|[]\\:\"<>?,./"
	// factor is the part of a password that are digits, and that are symbols,
	// where its spec does not say.
	factor = 4
)

// Derivation makes what is made at random, by derivation from the install key:
// the same for the same seed, so that nothing has to be remembered. It is both
// Deriver and Templates.
type Derivation struct{ tokenizer *secret.Tokenizer }

// NewDerivation derives with the key of a tokenizer.
func NewDerivation(t *secret.Tokenizer) Derivation { return Derivation{t} }

// Execute runs a template. Its errors are a *template.Error, or the context's.
func (d Derivation) Execute(ctx context.Context, t Template) (secret.Value, error) {
	options := template.Options{
		Derive: func(labels ...string) *secret.Stream {
			return d.tokenizer.Derive(append([]string{t.Seed.Home, t.Seed.Namespace, t.Seed.Name}, labels...)...)
		},
		Epoch: strconv.FormatInt(t.Seed.Epoch, 10), Now: t.Seed.Began, CreatedOnce: t.Seed.Once,
	}
	return template.Render(ctx, template.Template{Name: t.Name, Text: t.Text, Private: t.Private}, t.Data, options)
}

// Derive returns the keys and values of a generator.
func (d Derivation) Derive(g Generator, seed Seed) (map[string]secret.Value, error) {
	switch g.Kind {
	case "Fake":
		return fake(g.Fake)
	case "UUID":
		return map[string]secret.Value{"uuid": secret.NewValue([]byte(d.stream(g, seed, "uuid").UUID()))}, nil
	case "Password":
		return d.passwords(g, seed)
	}
	return nil, fmt.Errorf("generators of kind %q are not supported: use Password, UUID or Fake", g.Kind)
}

// stream is for one key of a generator. Another spec, key, use or epoch gives
// another one.
func (d Derivation) stream(g Generator, seed Seed, key string) *secret.Stream {
	spec := ""
	if p := g.Password; p != nil {
		spec = fmt.Sprintf("%d %s %s %q %t %t", p.Length, count(p.Digits), count(p.Symbols), p.alphabet(), p.NoUpper, p.AllowRepeat)
	}
	return d.tokenizer.Derive(seed.Home, seed.Namespace, seed.Name, "generator", g.Kind, g.Name, spec, key,
		strconv.Itoa(seed.Use), strconv.FormatInt(seed.Epoch, 10))
}

func count(n *int) string {
	if n == nil {
		return "-"
	}
	return strconv.Itoa(*n)
}

// fake returns the values that the generator's manifest holds.
func fake(data map[string]string) (map[string]secret.Value, error) {
	values := make(map[string]secret.Value, len(data))
	for key, text := range data {
		values[key] = secret.NewValue([]byte(text))
	}
	return values, nil
}

func (d Derivation) passwords(g Generator, seed Seed) (map[string]secret.Value, error) {
	if g.Password == nil {
		return nil, errors.New("spec is missing")
	}
	keys := g.Password.SecretKeys
	if len(keys) == 0 {
		keys = []string{"password"}
	}
	values := make(map[string]secret.Value, len(keys))
	for _, key := range keys {
		if _, twice := values[key]; twice {
			return nil, fmt.Errorf("spec.secretKeys has %q twice", key)
		}
		plain, err := g.Password.draw(d.stream(g, seed, key))
		if err != nil {
			return nil, err
		}
		encoded, err := encodePassword(plain, g.Password.Encoding)
		if err != nil {
			return nil, err
		}
		values[key] = secret.NewValue([]byte(encoded))
	}
	return values, nil
}

// alphabet are the symbols to choose from.
func (p *Password) alphabet() string {
	if p.SymbolCharacters != nil {
		return *p.SymbolCharacters
	}
	return symbols
}

// class is a part of a password.
type class struct {
	name     string
	alphabet string
	count    int
}

// classes returns the parts that a password is made of.
func (p *Password) classes() ([]class, error) {
	length := p.Length
	if length == 0 {
		length = defaultPasswordLength
	}
	if length < 0 || length > maxPasswordLength {
		return nil, fmt.Errorf("spec.length is %d: it has to be from 1 to %d", length, maxPasswordLength)
	}
	part := func(n *int) int {
		if n == nil {
			return length / factor
		}
		return *n
	}
	ofDigits, ofSymbols := part(p.Digits), part(p.Symbols)
	switch {
	case ofDigits < 0:
		return nil, fmt.Errorf("spec.digits is %d: it has to be 0 or more", ofDigits)
	case ofSymbols < 0:
		return nil, fmt.Errorf("spec.symbols is %d: it has to be 0 or more", ofSymbols)
	case ofDigits > length || ofSymbols > length-ofDigits:
		return nil, fmt.Errorf("spec.digits and spec.symbols are %d and %d, more than spec.length, which is %d", ofDigits, ofSymbols, length)
	}
	letters := lowers
	if !p.NoUpper {
		letters += strings.ToUpper(lowers)
	}
	return []class{
		{"letters", letters, length - ofDigits - ofSymbols},
		{"spec.digits", digits, ofDigits},
		{"spec.symbols", p.alphabet(), ofSymbols},
	}, nil
}

// draw returns a password: so many of each class, in an order by chance.
func (p *Password) draw(random *secret.Stream) (string, error) {
	classes, err := p.classes()
	if err != nil {
		return "", err
	}
	var drawn []rune
	used := map[rune]bool{}
	for _, c := range classes {
		alphabet := []rune(c.alphabet)
		if c.count > 0 && len(alphabet) == 0 {
			return "", fmt.Errorf("spec.symbols is %d, but spec.symbolCharacters is empty", c.count)
		}
		random.Shuffle(len(alphabet), func(i, j int) { alphabet[i], alphabet[j] = alphabet[j], alphabet[i] })
		left := c.count
		for i := 0; left > 0; i++ {
			if i == len(alphabet) && !p.AllowRepeat {
				return "", fmt.Errorf("there are %d %s, but not so many different ones: set allowRepeat: true, or a shorter length", c.count, c.name)
			}
			next := alphabet[i%len(alphabet)]
			if p.AllowRepeat {
				next = alphabet[random.Below(len(alphabet))]
			} else if used[next] {
				continue
			}
			used[next] = true
			drawn = append(drawn, next)
			left--
		}
	}
	random.Shuffle(len(drawn), func(i, j int) { drawn[i], drawn[j] = drawn[j], drawn[i] })
	return string(drawn), nil
}

func encodePassword(plain, encoding string) (string, error) {
	raw := []byte(plain)
	switch encoding {
	case "", "raw":
		return plain, nil
	case "base64":
		return base64.StdEncoding.EncodeToString(raw), nil
	case "base64url":
		return base64.URLEncoding.EncodeToString(raw), nil
	case "base32":
		return base32.StdEncoding.EncodeToString(raw), nil
	case "hex":
		return hex.EncodeToString(raw), nil
	}
	return "", fmt.Errorf("spec.encoding is %q: it has to be raw, base64, base64url, base32 or hex", encoding)
}
