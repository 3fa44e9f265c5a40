// Package signature tells who signed a Git commit or an annotated tag, out of a
// list of allowed signers: OpenPGP keys and SSH keys.
//
// It is pure: the bytes of an object, the list and the time give a signer or
// an error. It must not look for objects, keys or signatures anywhere else. It
// is stricter than Git where an object could mean two things: an object has
// one signature, and everything that is not the signature is signed.
package signature

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/ProtonMail/go-crypto/openpgp"
)

const (
	// PGPSuffix ends the name of an entry with armored OpenPGP public keys, and
	// SSHSuffix that of one in the format of ssh-keygen(1)'s ALLOWED SIGNERS.
	PGPSuffix = ".asc"
	SSHSuffix = "allowed_signers"

	maxObject    = 1 << 20
	maxSignature = 64 << 10
	maxSigners   = 10_000
	maxName      = 200
)

// Signers are those whose signatures count.
type Signers struct {
	pgp openpgp.EntityList
	ssh []sshSigner
}

// ParseSigners reads the entries of a Secret. Those of other names are left
// alone. An entry that is not understood whole is refused, so that nobody is
// allowed or left out by mistake.
func ParseSigners(entries map[string][]byte) (*Signers, error) {
	names := make([]string, 0, len(entries))
	for name := range entries {
		names = append(names, name)
	}
	slices.Sort(names)
	s := &Signers{}
	for _, name := range names {
		var err error
		switch {
		case strings.HasSuffix(name, PGPSuffix):
			err = s.addPGP(entries[name])
		case strings.HasSuffix(name, SSHSuffix):
			err = s.addSSH(entries[name])
		}
		if err != nil {
			return nil, fmt.Errorf("entry %s: %w", name, err)
		}
	}
	if len(s.pgp)+len(s.ssh) == 0 {
		return nil, fmt.Errorf("no entry whose name ends in %s or %s holds a key", PGPSuffix, SSHSuffix)
	}
	return s, nil
}

// errUnsigned is that of an object without a signature.
var errUnsigned = errors.New("is not signed")

// Commit returns who signed a commit, given the bytes that its hash is over.
func (s *Signers) Commit(raw []byte, now time.Time) (signer string, err error) {
	o, err := splitCommit(raw)
	if err != nil {
		return "", err
	}
	return s.signer(o, now)
}

// Tag returns who signed the annotated tag of a name that stands for a commit.
func (s *Signers) Tag(raw []byte, name, commit string, now time.Time) (signer string, err error) {
	o, err := splitTag(raw, name, commit)
	if err != nil {
		return "", err
	}
	return s.signer(o, now)
}

func (s *Signers) signer(o signed, now time.Time) (name string, err error) {
	defer func() { // of libraries that parse what strangers wrote
		if recover() != nil {
			name, err = "", errors.New("has a signature that cannot be checked")
		}
	}()
	switch {
	case len(o.signature) == 0:
		return "", errUnsigned
	case len(o.signature) > maxSignature:
		return "", errors.New("has a signature that is too large")
	case bytes.HasPrefix(o.signature, []byte(pgpBegin)):
		return s.signerPGP(o, now)
	case bytes.HasPrefix(o.signature, []byte(sshBegin)):
		return s.signerSSH(o)
	}
	return "", errors.New("is signed in a format that is neither OpenPGP nor SSH")
}

// printable makes one short line of a name that a key or a list gives.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if r := []rune(s); len(r) > maxName {
		s = string(r[:maxName])
	}
	return strings.TrimSpace(s)
}
