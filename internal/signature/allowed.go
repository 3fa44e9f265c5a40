package signature

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// sshSigner is one line of an allowed signers file.
type sshSigner struct {
	principals    string
	key           []byte
	namespaces    []string // patterns; none means any
	after, before time.Time
}

// may says whether the key counts for a signature in Git's namespace on
// something of that time.
func (s sshSigner) may(at time.Time) error {
	switch {
	case len(s.namespaces) > 0 && !matches(s.namespaces, sshNamespace):
		return fmt.Errorf("the list does not allow in namespace %q", sshNamespace)
	case !s.after.IsZero() && at.Before(s.after):
		return errors.New("the list does not allow yet at that time")
	case !s.before.IsZero() && !at.Before(s.before):
		return errors.New("the list does not allow any more at that time")
	}
	return nil
}

// matches knows ssh_config(5)'s pattern lists.
func matches(patterns []string, name string) bool {
	found := false
	for _, p := range patterns {
		p, negated := strings.CutPrefix(p, "!")
		if ok, err := path.Match(strings.NewReplacer("[", `\[`, `\`, `\\`).Replace(p), name); err != nil || !ok {
			continue
		}
		if negated {
			return false
		}
		found = true
	}
	return found
}

func (s *Signers) addSSH(text []byte) error {
	n := 0
	for line := range bytes.Lines(text) {
		n++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		signer, err := parseSigner(string(line))
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if s.ssh = append(s.ssh, signer); len(s.ssh) > maxSigners {
			return fmt.Errorf("there are more than %d keys", maxSigners)
		}
	}
	return nil
}

// parseSigner reads: principals [options] keytype base64 [comment].
func parseSigner(line string) (sshSigner, error) {
	principals, rest, err := cutPrincipals(line)
	if err != nil {
		return sshSigner{}, err
	}
	key, _, options, more, err := ssh.ParseAuthorizedKey([]byte(rest))
	if err != nil || len(more) > 0 {
		return sshSigner{}, errors.New("it has no public key that can be read")
	}
	if _, ok := key.(*ssh.Certificate); ok {
		return sshSigner{}, errors.New("certificates are not supported")
	}
	s := sshSigner{principals: printable(principals), key: key.Marshal()}
	for _, o := range options {
		if err := s.option(o); err != nil {
			return sshSigner{}, err
		}
	}
	return s, nil
}

func cutPrincipals(line string) (principals, rest string, err error) {
	if quoted, ok := strings.CutPrefix(line, `"`); ok {
		principals, rest, ok = strings.Cut(quoted, `"`)
		if !ok || !strings.HasPrefix(rest, " ") && !strings.HasPrefix(rest, "\t") {
			return "", "", errors.New("its quotes do not match")
		}
	} else if i := strings.IndexAny(line, " \t"); i >= 0 {
		principals, rest = line[:i], line[i:]
	}
	if rest = strings.TrimSpace(rest); principals == "" || rest == "" {
		return "", "", errors.New("it is not PRINCIPALS [OPTIONS] KEYTYPE KEY")
	}
	return principals, rest, nil
}

func (s *sshSigner) option(text string) (err error) {
	name, value, _ := strings.Cut(text, "=")
	value = strings.Trim(value, `"`)
	switch strings.ToLower(name) {
	case "namespaces":
		s.namespaces = strings.Split(value, ",")
	case "valid-after":
		s.after, err = parseTime(value)
	case "valid-before":
		s.before, err = parseTime(value)
	case "cert-authority":
		return errors.New("cert-authority is not supported: list the keys themselves")
	default:
		return fmt.Errorf("option %q is not known", printable(name))
	}
	return err
}

// parseTime reads YYYYMMDD[HHMM[SS]][Z]. Without the Z ssh-keygen takes the
// time zone of its machine; here all times are UTC.
func parseTime(text string) (time.Time, error) {
	digits := strings.TrimSuffix(text, "Z")
	for _, layout := range []string{"20060102", "200601021504", "20060102150405"} {
		if t, err := time.Parse(layout, digits); err == nil && len(layout) == len(digits) {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a time such as 20261231 or 202612312359Z", printable(text))
}
