package sops

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	getsops "github.com/getsops/sops/v3"
	sopsage "github.com/getsops/sops/v3/age"
	"github.com/getsops/sops/v3/keyservice"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
)

// No message in this package holds text of the library: it quotes its input,
// plaintext included.

func at(name string, line int) string {
	if line > 0 {
		return fmt.Sprintf("%s:%d", name, line)
	}
	return name
}

func refuse(name string, line int, format string, args ...any) *failure.Error {
	return failure.Stallf(v1alpha1.ReasonDecryptionFailed, "%s: %s", at(name, line), fmt.Sprintf(format, args...))
}

func malformed(name string, line int, format string, args ...any) *failure.Error {
	return refuse(name, line, format, args...).
		WithHint("restore the file from Git history, or encrypt it again")
}

func errNoKeys(name string) *failure.Error {
	return refuse(name, 0, "the file is encrypted with SOPS, but no key was given").
		WithHint("add one (in an Application: to spec.secrets.sops.keys)")
}

// explainNoKey finds out why no key opened the file.
func explainNoKey(name string, m *getsops.Metadata, ring *Keyring) *failure.Error {
	recipients, others := recipientsOf(m.KeyGroups)
	if len(recipients) == 0 {
		return refuse(name, 0, "the file is encrypted with %s only, and gitseal opens age", strings.Join(others, ", ")).
			WithHint("add an age recipient to the file, for example %s", firstOf(ring.Recipients()))
	}
	for _, group := range m.KeyGroups {
		for _, key := range group {
			mk, ok := key.(*sopsage.MasterKey)
			if ok && ring.has(mk.Recipient) && !opens(group, ring) {
				return malformed(name, 0, "the data key for %s does not open with its identity: the sops metadata was changed", shortened(mk.Recipient))
			}
		}
	}
	ours := list(ring.Recipients())
	if len(m.KeyGroups) > 1 {
		return refuse(name, 0, "the file needs keys of %d of its %d key groups (%s); the keys given, which open %d, are %s",
			m.ShamirThreshold, len(m.KeyGroups), list(recipients), groupsOpened(m.KeyGroups, ring), ours).
			WithHint("add the missing keys (in an Application: to spec.secrets.sops.keys)")
	}
	return refuse(name, 0, "the file is encrypted to %s; the keys given are %s", list(recipients), ours).
		WithHint("encrypt it to one of these, or add a key that it names (in an Application: to spec.secrets.sops.keys)")
}

func groupsOpened(groups []getsops.KeyGroup, ring *Keyring) (n int) {
	for _, group := range groups {
		if opens(group, ring) {
			n++
		}
	}
	return n
}

func opens(group getsops.KeyGroup, ring *Keyring) bool {
	for _, key := range group {
		mk, ok := key.(*sopsage.MasterKey)
		if !ok || !ring.has(mk.Recipient) {
			continue
		}
		ageKey := keyservice.KeyFromMasterKey(mk)
		request := &keyservice.DecryptRequest{Key: &ageKey, Ciphertext: mk.EncryptedDataKey()}
		if _, err := (keyService{ring}).Decrypt(context.Background(), request); err == nil {
			return true
		}
	}
	return false
}

const maxListed = 5

func list(recipients []string) string {
	shown := make([]string, 0, maxListed+1)
	for i, r := range recipients {
		if i == maxListed {
			shown = append(shown, fmt.Sprintf("%d more", len(recipients)-maxListed))
			break
		}
		shown = append(shown, shortened(r))
	}
	return strings.Join(shown, ", ")
}

func firstOf(recipients []string) string { return shortened(recipients[0]) }

const (
	classicLength = 62
	shortLength   = 16
)

var recipientPattern = regexp.MustCompile(`^age1[a-z0-9]+$`)

// shortened shows a recipient as far as a person compares it. What a file
// calls a recipient is somebody's text, so only what looks like one is shown.
func shortened(recipient string) string {
	switch {
	case strings.HasPrefix(recipient, "ssh-"):
		return "an SSH key"
	case !recipientPattern.MatchString(recipient):
		return "an unknown kind of key"
	case len(recipient) > classicLength:
		return recipient[:shortLength] + "…"
	}
	return recipient
}

// keyPath turns the additional data of a value into the path of its key.
func keyPath(additionalData string) string {
	return strings.ReplaceAll(strings.TrimSuffix(additionalData, ":"), ":", ".")
}

func errNotAuthentic(name string, line int, additionalData string) *failure.Error {
	return malformed(name, line, "the value of %q does not authenticate: it was changed, or moved here from another key or file", keyPath(additionalData))
}

func errPlain(name string, line int, additionalData string) *failure.Error {
	return refuse(name, line, "the value of %q is in plain text, but the file's rule says that it is encrypted", keyPath(additionalData)).
		WithHint("change the secret, since Git keeps it for ever, and encrypt the file again")
}

func errCiphertextLeft(name string, line int, encrypted bool) *failure.Error {
	if encrypted {
		return refuse(name, line, "SOPS ciphertext stands where the file's rule says that nothing is encrypted").
			WithHint("encrypt the file again")
	}
	return refuse(name, line, "SOPS ciphertext in a file without sops metadata; it would be applied as if it were the value").
		WithHint("the file is truncated or was edited by hand: restore it from Git history")
}
