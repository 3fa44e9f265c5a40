package sops

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"filippo.io/age"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
)

// maxIdentities bounds the work for a file that no identity opens.
const maxIdentities = 256

// Keyring holds the age identities that one Application may decrypt with. It
// is filled first and then only read; reading is safe for concurrent use.
type Keyring struct {
	identities []age.Identity
	recipients map[string]bool
}

// NewKeyring returns a keyring without keys.
func NewKeyring() *Keyring { return &Keyring{recipients: map[string]bool{}} }

// Format keeps identities out of everything that is printed.
func (k *Keyring) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[keyring]")) }

// AddSecret takes the data of a Secret in Flux's layout: each entry whose name
// ends in ".agekey" holds one identity per line, and comments. Other entries
// are left alone. The origin names the Secret in errors.
func (k *Keyring) AddSecret(origin string, data map[string][]byte) error {
	found := false
	for _, entry := range slices.Sorted(maps.Keys(data)) {
		if !strings.HasSuffix(entry, v1alpha1.AgeKeySuffix) {
			continue
		}
		found = true
		if err := k.addEntry(origin, entry, data[entry]); err != nil {
			return err
		}
	}
	if !found {
		return failure.Stallf(v1alpha1.ReasonKeyUnavailable, "%s has no entry whose name ends in %s", origin, v1alpha1.AgeKeySuffix).
			WithHint("store the age identity under a name such as identity%s", v1alpha1.AgeKeySuffix)
	}
	return nil
}

func (k *Keyring) addEntry(origin, entry string, content []byte) error {
	before := len(k.identities)
	number := 0
	for line := range bytes.Lines(content) {
		number++
		text := strings.TrimSpace(string(line))
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		if problem := k.addIdentity(text); problem != "" {
			return failure.Stallf(v1alpha1.ReasonKeyUnavailable, "%s, entry %q, line %d: %s", origin, entry, number, problem).
				WithHint("each line is an AGE-SECRET-KEY-1 or AGE-SECRET-KEY-PQ-1 identity, or a comment that begins with #")
		}
	}
	if len(k.identities) == before {
		return failure.Stallf(v1alpha1.ReasonKeyUnavailable, "%s, entry %q holds no age identity", origin, entry).
			WithHint("put the identity that age-keygen or kubectl gitseal keys init made there")
	}
	return nil
}

// addIdentity returns what is wrong with the line, in words that hold nothing
// of it: it may be half a key.
func (k *Keyring) addIdentity(line string) (problem string) {
	if len(k.identities) >= maxIdentities {
		return fmt.Sprintf("more than %d identities", maxIdentities)
	}
	switch {
	case strings.HasPrefix(line, "AGE-SECRET-KEY-PQ-1"):
		id, err := age.ParseHybridIdentity(line)
		if err != nil {
			return "malformed post-quantum age identity"
		}
		k.add(id, id.Recipient().String())
	case strings.HasPrefix(line, "AGE-SECRET-KEY-1"):
		id, err := age.ParseX25519Identity(line)
		if err != nil {
			return "malformed age identity"
		}
		k.add(id, id.Recipient().String())
	case strings.HasPrefix(line, "AGE-PLUGIN-"):
		return "identities of age plugins are not supported"
	case strings.HasPrefix(line, "-----BEGIN"):
		return "SSH keys and encrypted identities are not supported"
	default:
		return "not an age identity"
	}
	return ""
}

func (k *Keyring) add(id age.Identity, recipient string) {
	if !k.recipients[recipient] {
		k.recipients[recipient] = true
		k.identities = append(k.identities, id)
	}
}

// Recipients returns the public recipients of the keys, sorted.
func (k *Keyring) Recipients() []string { return slices.Sorted(maps.Keys(k.recipients)) }

func (k *Keyring) empty() bool { return k == nil || len(k.identities) == 0 }

func (k *Keyring) has(recipient string) bool { return k.recipients[recipient] }

// Merge adds the identities of another keyring.
func (k *Keyring) Merge(other *Keyring) {
	k.identities = append(k.identities, other.identities...)
	maps.Copy(k.recipients, other.recipients)
}
