package sops

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
)

func TestKeyringTakesFluxSecrets(t *testing.T) {
	a, b, c := classicKey(t), postQuantumKey(t), classicKey(t)
	ring := NewKeyring()
	err := ring.AddSecret("Secret a/b", map[string][]byte{
		"one.agekey":       []byte("# created: today\r\n# public key: x\r\n" + a.identity + "\r\n\n" + b.identity),
		"two.agekey":       []byte(c.identity + "\n" + a.identity + "\n"),
		"other.asc":        []byte("-----BEGIN PGP"),
		"sops.vault-token": []byte("x"),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{a.recipient, b.recipient, c.recipient}
	slices.Sort(want)
	if got := ring.Recipients(); !slices.Equal(got, want) {
		t.Errorf("Recipients() = %v, want %v", got, want)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		if text := fmt.Sprintf(verb, ring); text != "[keyring]" {
			t.Errorf("%s prints %s", verb, text)
		}
	}
}

func TestKeyringRefuses(t *testing.T) {
	good := classicKey(t).identity
	const hint = ": each line is an AGE-SECRET-KEY-1 or AGE-SECRET-KEY-PQ-1 identity, or a comment that begins with #"
	tests := map[string]struct {
		data map[string][]byte
		want string
	}{
		"no entry":            {map[string][]byte{"identity.txt": []byte(good)}, "Secret a/b has no entry whose name ends in .agekey: store the age identity under a name such as identity.agekey"},
		"no data":             {nil, "Secret a/b has no entry whose name ends in .agekey: store the age identity under a name such as identity.agekey"},
		"comments only":       {map[string][]byte{"x.agekey": []byte("# c\n\n")}, `Secret a/b, entry "x.agekey" holds no age identity: put the identity that age-keygen or kubectl gitseal keys init made there`},
		"cut short":           {map[string][]byte{"x.agekey": []byte("# c\n" + good[:40])}, `Secret a/b, entry "x.agekey", line 2: malformed age identity` + hint},
		"post-quantum, short": {map[string][]byte{"x.agekey": []byte("AGE-SECRET-KEY-PQ-1CANARY")}, `Secret a/b, entry "x.agekey", line 1: malformed post-quantum age identity` + hint},
		"lower case":          {map[string][]byte{"x.agekey": []byte(good + "\n" + strings.ToLower(good))}, `Secret a/b, entry "x.agekey", line 2: not an age identity` + hint},
		"plugin":              {map[string][]byte{"x.agekey": []byte("AGE-PLUGIN-CANARY-1ABC")}, `Secret a/b, entry "x.agekey", line 1: identities of age plugins are not supported` + hint},
		"ssh":                 {map[string][]byte{"x.agekey": []byte("-----BEGIN OPENSSH PRIVATE KEY-----\nCANARY\n")}, `Secret a/b, entry "x.agekey", line 1: SSH keys and encrypted identities are not supported` + hint},
		"something else":      {map[string][]byte{"x.agekey": []byte("CANARY")}, `Secret a/b, entry "x.agekey", line 1: not an age identity` + hint},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := NewKeyring().AddSecret("Secret a/b", tt.data)
			var fail *failure.Error
			if !errors.As(err, &fail) || fail.Class != failure.Stall || fail.Reason != v1alpha1.ReasonKeyUnavailable {
				t.Fatalf("AddSecret: %v", err)
			}
			if fail.Message() != tt.want {
				t.Errorf("AddSecret: %s\nwant %s", fail.Message(), tt.want)
			}
		})
	}
}

func FuzzAddSecret(f *testing.F) {
	f.Add("x.agekey", []byte(classicKey(f).identity+"\n# c\n"))
	f.Add("x.agekey", []byte("AGE-SECRET-KEY-PQ-1\x00"))
	f.Fuzz(func(t *testing.T, entry string, content []byte) {
		ring := NewKeyring()
		err := ring.AddSecret("Secret a/b", map[string][]byte{entry: content})
		if (err == nil) != (len(ring.Recipients()) > 0) {
			t.Errorf("AddSecret: %v with %d keys", err, len(ring.Recipients()))
		}
	})
}
