package external_test

import (
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gitseal/gitseal/internal/external"
	"github.com/gitseal/gitseal/internal/secret"
)

var (
	_ external.Deriver   = external.Derivation{}
	_ external.Templates = external.Derivation{}
)

func derivation(key string) external.Derivation {
	return external.NewDerivation(secret.NewTokenizer([]byte(key)))
}

func derive(t *testing.T, g external.Generator, s external.Seed) map[string]string {
	t.Helper()
	values, err := derivation("install key").Derive(g, s)
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for key, v := range values {
		texts[key] = string(v.Reveal())
	}
	return texts
}

func passwordOf(p external.Password) external.Generator {
	return external.Generator{Kind: "Password", Name: "db", Password: &p}
}

func number(n int) *int { return &n }

func TestPasswordsAreWhatTheirSpecAsks(t *testing.T) {
	hash := "#"
	tests := map[string]struct {
		spec external.Password
		want string // pattern
		of   map[string]int
	}{
		"by default 24 characters, a quarter digits and a quarter symbols": {external.Password{}, `^.{24}$`, map[string]int{"digit": 6, "symbol": 6, "letter": 12}},
		"of a length":                  {external.Password{Length: 9}, `^.{9}$`, map[string]int{"digit": 2, "symbol": 2, "letter": 5}},
		"without symbols":              {external.Password{Length: 30, Symbols: number(0), Digits: number(0)}, `^[a-zA-Z]{30}$`, nil},
		"without capitals":             {external.Password{Length: 26, Symbols: number(0), Digits: number(0), NoUpper: true}, `^[a-z]{26}$`, nil},
		"digits only, repeated":        {external.Password{Length: 40, Digits: number(40), Symbols: number(0), AllowRepeat: true}, `^[0-9]{40}$`, nil},
		"with symbols of one's own":    {external.Password{Length: 8, Digits: number(0), Symbols: number(8), SymbolCharacters: &hash, AllowRepeat: true}, `^#{8}$`, nil},
		"long, where it may repeat":    {external.Password{Length: 400, AllowRepeat: true}, `^.{400}$`, map[string]int{"digit": 100, "symbol": 100, "letter": 200}},
		"as many letters as there are": {external.Password{Length: 52, Digits: number(0), Symbols: number(0)}, `^[a-zA-Z]{52}$`, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := derive(t, passwordOf(tt.spec), external.Seed{Name: "es"})["password"]
			if !regexp.MustCompile(tt.want).MatchString(got) {
				t.Errorf("password %q, want %s", got, tt.want)
			}
			if tt.of != nil {
				if diff := cmp.Diff(tt.of, kinds(got)); diff != "" {
					t.Errorf("password %q: %s", got, diff)
				}
			}
			if !tt.spec.AllowRepeat && repeats(got) {
				t.Errorf("password %q repeats a character", got)
			}
		})
	}
}

func kinds(password string) map[string]int {
	count := map[string]int{}
	for _, c := range password {
		switch {
		case '0' <= c && c <= '9':
			count["digit"]++
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
			count["letter"]++
		default:
			count["symbol"]++
		}
	}
	return count
}

func repeats(password string) bool {
	seen := map[rune]bool{}
	for _, c := range password {
		if seen[c] {
			return true
		}
		seen[c] = true
	}
	return false
}

func TestBadGeneratorsAreRefused(t *testing.T) {
	none, letter := "", "a"
	tests := map[string]struct {
		generator external.Generator
		want      string
	}{
		"too long":                 {passwordOf(external.Password{Length: 5000}), "spec.length is 5000: it has to be from 1 to 4096"},
		"of negative length":       {passwordOf(external.Password{Length: -1}), "spec.length is -1"},
		"negative digits":          {passwordOf(external.Password{Digits: number(-1)}), "spec.digits is -1"},
		"negative symbols":         {passwordOf(external.Password{Symbols: number(-1)}), "spec.symbols is -1"},
		"more than fits":           {passwordOf(external.Password{Length: 8, Digits: number(5), Symbols: number(4)}), "spec.digits and spec.symbols are 5 and 4, more than spec.length, which is 8"},
		"a sum that overflows":     {passwordOf(external.Password{Length: 8, Digits: number(1<<63 - 1), Symbols: number(1<<63 - 1)}), "more than spec.length"},
		"too few digits":           {passwordOf(external.Password{Length: 20, Digits: number(11)}), "there are 11 spec.digits, but not so many different ones: set allowRepeat: true"},
		"too few letters":          {passwordOf(external.Password{Length: 60, Digits: number(0), Symbols: number(0)}), "there are 60 letters"},
		"no symbols":               {passwordOf(external.Password{Symbols: number(2), SymbolCharacters: &none}), "spec.symbols is 2, but spec.symbolCharacters is empty"},
		"symbols that are letters": {passwordOf(external.Password{Length: 53, Digits: number(0), Symbols: number(1), SymbolCharacters: &letter}), "there are 1 spec.symbols"},
		"an unknown encoding":      {passwordOf(external.Password{Encoding: "rot13"}), `spec.encoding is "rot13"`},
		"a key twice":              {passwordOf(external.Password{SecretKeys: []string{"a", "a"}}), `spec.secretKeys has "a" twice`},
		"no spec":                  {external.Generator{Kind: "Password"}, "spec is missing"},
		"another kind":             {external.Generator{Kind: "SSHKey"}, `generators of kind "SSHKey" are not supported`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := derivation("key").Derive(tt.generator, external.Seed{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Derive: %v, want %s", err, tt.want)
			}
		})
	}
}

func TestGeneratedValuesChangeWithWhatTheyAreFor(t *testing.T) {
	seed := external.Seed{Namespace: "team", Name: "es", Epoch: 7}
	one := derive(t, passwordOf(external.Password{SecretKeys: []string{"a", "b"}}), seed)
	if again := derive(t, passwordOf(external.Password{SecretKeys: []string{"a", "b"}}), seed); !cmp.Equal(one, again) {
		t.Errorf("the same seed gave other values")
	}
	if one["a"] == one["b"] {
		t.Error("two keys have the same password")
	}
	for name, s := range map[string]external.Seed{
		"namespace": {Namespace: "other", Name: "es", Epoch: 7}, "name": {Namespace: "team", Name: "x", Epoch: 7},
		"epoch": {Namespace: "team", Name: "es", Epoch: 8}, "use": {Namespace: "team", Name: "es", Epoch: 7, Use: 1},
	} {
		if got := derive(t, passwordOf(external.Password{SecretKeys: []string{"a", "b"}}), s); got["a"] == one["a"] {
			t.Errorf("another %s has the same password", name)
		}
	}
	if got := derive(t, passwordOf(external.Password{Length: 25, SecretKeys: []string{"a"}}), seed); strings.Contains(got["a"], one["a"][:8]) {
		t.Error("another spec has a password that begins alike")
	}
	values, err := derivation("another key").Derive(passwordOf(external.Password{SecretKeys: []string{"a"}}), seed)
	if err != nil || string(values["a"].Reveal()) == one["a"] {
		t.Errorf("another install key has the same password, %v", err)
	}
}

func TestEncodings(t *testing.T) {
	plain := derive(t, passwordOf(external.Password{}), external.Seed{})["password"]
	for encoding, want := range map[string]string{
		"raw": plain, "base64": base64.StdEncoding.EncodeToString([]byte(plain)), "base64url": base64.URLEncoding.EncodeToString([]byte(plain)),
		"base32": base32.StdEncoding.EncodeToString([]byte(plain)), "hex": hex.EncodeToString([]byte(plain)),
	} {
		if got := derive(t, passwordOf(external.Password{Encoding: encoding}), external.Seed{})["password"]; got != want {
			t.Errorf("%s: %q, want %q", encoding, got, want)
		}
	}
}

func TestUUIDAndFake(t *testing.T) {
	uuid := derive(t, external.Generator{Kind: "UUID", Name: "id"}, external.Seed{Name: "es"})["uuid"]
	if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(uuid) {
		t.Errorf("uuid %q is not of version 4", uuid)
	}
	want := map[string]string{"a": "b"}
	if got := derive(t, external.Generator{Kind: "Fake", Fake: want}, external.Seed{}); !cmp.Equal(got, want) {
		t.Errorf("fake: %v, want %v", got, want)
	}
}

func TestTemplatesHaveTheSeedOfTheirManifest(t *testing.T) {
	run := func(text string, s external.Seed) (string, error) {
		out, err := derivation("key").Execute(t.Context(), external.Template{
			Name: "k", Text: text, Seed: s, Data: map[string]secret.Value{"v": secret.NewValue([]byte("x"))},
		})
		return string(out.Reveal()), err
	}
	a, err := run(`{{ .v }} {{ uuidv4 }}`, external.Seed{Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := run(`{{ .v }} {{ uuidv4 }}`, external.Seed{Name: "b"}); err != nil || a == b {
		t.Errorf("two ExternalSecrets share %q, %v", b, err)
	}
	if got, err := run(`{{ now.Year }}`, external.Seed{Began: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}); err != nil || got != "2026" {
		t.Errorf("now: %q, %v", got, err)
	}
	if _, err := run(`{{ now.Year }}`, external.Seed{}); err == nil || !strings.Contains(err.Error(), "there is no time here") {
		t.Errorf("now without a time: %v", err)
	}
	if got, err := run(`{{ genPrivateKey "ed25519" | trunc 10 }}`, external.Seed{Once: true}); err != nil || got != "-----BEGIN" {
		t.Errorf("genPrivateKey with CreatedOnce: %q, %v", got, err)
	}
}
