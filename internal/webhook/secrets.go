package webhook

import (
	"bytes"
	"slices"

	"github.com/gitseal/gitseal/internal/secret"
)

const (
	// minSecret keeps out what could be guessed from one signed delivery.
	minSecret = 16
	// maxSecrets per provider: each costs a digest of every body.
	maxSecrets = 8
)

// Secrets are the shared secrets of each provider. More than one is for
// changing them: all of them are valid.
type Secrets map[Provider][]secret.Value

// ParseSecrets reads the entries of a Secret: one entry per provider, one
// secret per line. It returns the entries that hold something that cannot be
// used, in order: a line that is too short, or too many of them.
func ParseSecrets(data map[string][]byte) (Secrets, []string) {
	secrets, unusable := Secrets{}, []string(nil)
	for name := range providers {
		for line := range bytes.Lines(data[string(name)]) {
			line = bytes.TrimSpace(line)
			switch {
			case len(line) == 0:
			case len(line) < minSecret || len(secrets[name]) == maxSecrets:
				unusable = append(unusable, string(name))
			default:
				secrets[name] = append(secrets[name], secret.NewValue(line))
			}
		}
	}
	slices.Sort(unusable)
	return secrets, slices.Compact(unusable)
}
