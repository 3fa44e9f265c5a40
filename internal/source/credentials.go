package source

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/secret"
)

// Credentials open a repository. Over plain http they travel readable; that is
// allowed because Git servers inside a cluster often have no TLS.
type Credentials struct {
	Username         string
	Password         secret.Value
	BearerToken      secret.Value
	Identity         secret.Value // a private SSH key
	IdentityPassword secret.Value // its passphrase
	KnownHosts       []byte
	CA               []byte // PEM, beside the system's authorities
}

// fingerprint tells credentials apart in memory. It covers the secret parts,
// so that knowing a user's name does not give access to what was fetched with
// its password, and it is keyed with a random key that dies with the process.
type fingerprint [sha256.Size]byte

// ParseCredentials reads a Secret in the layout that Flux uses: username and
// password, bearerToken, identity (with password as its passphrase) and
// known_hosts, ca.crt. Entries it does not know are ignored.
func ParseCredentials(secretName string, data map[string][]byte) (*Credentials, error) {
	p := credentialParser{name: secretName, data: data}
	if err := p.combination(); err != nil {
		return nil, err
	}
	c := &Credentials{Username: p.line("username"), KnownHosts: data["known_hosts"], CA: data["ca.crt"]}
	if p.has("identity") {
		c.Identity = secret.NewValue(data["identity"])
		c.IdentityPassword = secret.NewValue([]byte(p.line("password")))
	} else {
		c.Password = secret.NewValue([]byte(p.line("password")))
		c.BearerToken = secret.NewValue([]byte(p.line("bearerToken")))
	}
	return c, p.content(c)
}

type credentialParser struct {
	name string
	data map[string][]byte
}

func (p credentialParser) has(entry string) bool { return len(bytes.TrimSpace(p.data[entry])) > 0 }

// line returns an entry without the line break that editors and echo append.
func (p credentialParser) line(entry string) string {
	return strings.TrimRight(string(p.data[entry]), "\r\n")
}

func (p credentialParser) wrong(format string, args ...any) *failure.Error {
	return failure.Stallf(v1alpha1.ReasonCredentialsInvalid, "secret %q: "+format, append([]any{p.name}, args...)...)
}

const credentialsHint = "give username and password, bearerToken, or identity and known_hosts; ca.crt may stand beside the first two"

// combination checks which entries stand together.
func (p credentialParser) combination() error {
	user, password, bearer := p.has("username"), p.has("password"), p.has("bearerToken")
	identity, hosts := p.has("identity"), p.has("known_hosts")
	switch {
	case p.has("tls.crt") || p.has("tls.key"):
		return p.wrong("client certificates (tls.crt, tls.key) are not supported").WithHint(credentialsHint)
	case !user && !password && !bearer && !identity && !hosts && !p.has("ca.crt"):
		return p.wrong("it has none of the entries that open a Git repository").WithHint(credentialsHint)
	case identity && !hosts:
		return p.wrong("entry known_hosts is missing beside identity").
			WithHint("add the server's host keys, as ssh-keyscan prints them and after comparing their fingerprints")
	case hosts && !identity:
		return p.wrong("entry identity is missing beside known_hosts").WithHint("add a private SSH key as identity")
	case identity && (bearer || user):
		return p.wrong("identity does not go with username or bearerToken").
			WithHint("remove them; the SSH user stands in the URL and password is the passphrase of identity")
	case identity:
		return nil
	case bearer && (user || password):
		return p.wrong("bearerToken does not go with username or password").WithHint("keep one of the two")
	case user != password:
		return p.wrong("of username and password one is missing").
			WithHint("give both; with an access token as password, most servers take any username")
	}
	return nil
}

// content checks that each entry is what it should be.
func (p credentialParser) content(c *Credentials) error {
	for _, entry := range []string{"username", "password", "bearerToken"} {
		if strings.ContainsFunc(p.line(entry), func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return p.wrong("entry %s has a line break or another control character", entry).WithHint("write it as one line")
		}
	}
	if strings.Contains(c.Username, ":") {
		return p.wrong("entry username has a colon").WithHint("put the name alone in it and the password in entry password")
	}
	if !c.Identity.IsZero() {
		if err := p.keys(c); err != nil {
			return err
		}
	}
	if p.has("ca.crt") {
		if _, err := c.authorities(); err != nil {
			return p.wrong("entry ca.crt: %w", err).WithHint("give the authority's certificate in PEM")
		}
	}
	return nil
}

func (p credentialParser) keys(c *Credentials) error {
	_, err := c.signer()
	var encrypted *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &encrypted):
		return p.wrong("entry identity is protected by a passphrase").WithHint("add the passphrase as entry password")
	case errors.Is(err, x509.IncorrectPasswordError):
		return p.wrong("entry password does not open entry identity").WithHint("correct the passphrase")
	case err != nil: // the parser's text may quote what it read
		return p.wrong("entry identity is not a private SSH key").WithHint("give an OpenSSH or PEM private key, whole")
	}
	if !validKnownHosts(c.KnownHosts) {
		return p.wrong("entry known_hosts is malformed or holds no key").
			WithHint("give lines as ssh-keyscan prints them: host, key type, key")
	}
	return nil
}

func validKnownHosts(raw []byte) bool {
	for keys := 0; ; keys++ {
		_, _, _, _, rest, err := ssh.ParseKnownHosts(raw)
		if errors.Is(err, io.EOF) {
			return keys > 0
		}
		if err != nil {
			return false
		}
		raw = rest
	}
}

// fit checks the credentials against the kind of URL they are used with.
func (c *Credentials) fit(a address) error {
	hasKey := c != nil && !c.Identity.IsZero()
	switch {
	case a.scheme == "ssh" && !hasKey:
		return failure.Stallf(v1alpha1.ReasonCredentialsInvalid, "repository %s is opened with an SSH key and none is given", a).
			WithHint("name a Secret with identity and known_hosts in spec.source.git.secretRef")
	case a.scheme == "ssh" && len(c.KnownHosts) == 0:
		return failure.Stallf(v1alpha1.ReasonCredentialsInvalid, "no host keys are given for repository %s", a).
			WithHint("add entry known_hosts to the Secret")
	case a.scheme != "ssh" && hasKey:
		return failure.Stallf(v1alpha1.ReasonCredentialsInvalid, "repository %s is opened over %s and the Secret holds an SSH key", a, a.scheme).
			WithHint("write the URL as ssh://, or give username and password or bearerToken")
	}
	return nil
}

func (c *Credentials) fingerprint(key [32]byte, a address) fingerprint {
	h := hmac.New(sha256.New, key[:])
	parts := [][]byte{[]byte(a.scheme), []byte(a.user), []byte(a.host), []byte(a.path)}
	if c != nil {
		parts = append(parts, []byte(c.Username), c.Password.Reveal(), c.BearerToken.Reveal(),
			c.Identity.Reveal(), c.IdentityPassword.Reveal(), c.KnownHosts, c.CA)
	}
	for _, p := range parts {
		_ = binary.Write(h, binary.BigEndian, uint64(len(p)))
		_, _ = h.Write(p)
	}
	return fingerprint(h.Sum(nil))
}

// authorise puts the credentials on a request.
func (c *Credentials) authorise(r *http.Request) {
	switch {
	case c == nil:
	case !c.BearerToken.IsZero():
		r.Header.Set("Authorization", "Bearer "+string(c.BearerToken.Reveal()))
	case c.Username != "" || !c.Password.IsZero():
		r.SetBasicAuth(c.Username, string(c.Password.Reveal()))
	}
}

func (c *Credentials) signer() (ssh.Signer, error) {
	signer, err := ssh.ParsePrivateKey(c.Identity.Reveal())
	var encrypted *ssh.PassphraseMissingError
	if errors.As(err, &encrypted) && !c.IdentityPassword.IsZero() {
		return ssh.ParsePrivateKeyWithPassphrase(c.Identity.Reveal(), c.IdentityPassword.Reveal())
	}
	return signer, err
}

// authorities returns the system's authorities and those of ca.crt, or nil.
func (c *Credentials) authorities() (*x509.CertPool, error) {
	if c == nil || len(c.CA) == 0 {
		return nil, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	found := false
	for rest := c.CA; ; found = true {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil || block.Type != "CERTIFICATE" {
			return nil, errors.New("it holds something else than certificates")
		}
		pool.AddCert(cert)
	}
	if !found {
		return nil, errors.New("it holds no certificate")
	}
	return pool, nil
}
