package secret

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestTokens(t *testing.T) {
	one, two := NewTokenizer([]byte("one")), NewTokenizer([]byte("two"))
	a := one.NewSet().Add(NewValue([]byte("a")), String)
	tests := map[string]struct {
		other Token
		same  bool
	}{
		"the same value":      {one.NewSet().Add(NewValue([]byte("a")), String), true},
		"another value":       {one.NewSet().Add(NewValue([]byte("b")), String), false},
		"another kind":        {one.NewSet().Add(NewValue([]byte("a")), Bytes), false},
		"another install key": {two.NewSet().Add(NewValue([]byte("a")), String), false},
	}
	for name, tt := range tests {
		if (a == tt.other) != tt.same {
			t.Errorf("%s: %s and %s", name, a, tt.other)
		}
	}
	if len(a) != len(TokenPrefix)+32 || !HasToken(string(a)) {
		t.Errorf("token %q has the wrong form", a)
	}
	if _, err := base64.StdEncoding.DecodeString(string(a)); err == nil {
		t.Errorf("token %q is valid base64", a)
	}
}

func TestTokensAreFoundAndReplaced(t *testing.T) {
	s := testSet()
	a, b := s.Add(NewValue([]byte("value-a")), String), s.Add(NewValue([]byte("5")), Int)
	text := fmt.Sprintf("x=%s,y=%s%s gitseal.v1.short", a, b, a)
	if got := FindTokens(text); !slices.Equal(got, []Token{a, b, a}) {
		t.Errorf("FindTokens = %v", got)
	}
	got := ReplaceTokens(text, func(t Token) string {
		v, k, _ := s.Lookup(t)
		return fmt.Sprintf("%s/%d", v.Reveal(), k)
	})
	if want := "x=value-a/0,y=5/1value-a/0 gitseal.v1.short"; got != want {
		t.Errorf("ReplaceTokens = %q, want %q", got, want)
	}
	if HasToken("gitseal.v1."+strings.Repeat("A", 32)) || FindTokens("none") != nil {
		t.Error("a token was found where there is none")
	}
	if _, _, ok := s.Lookup("gitseal.v1.x"); ok || s.Len() != 2 {
		t.Errorf("Lookup of an unknown token succeeded, or Len() = %d", s.Len())
	}
}
