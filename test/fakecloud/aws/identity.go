package aws

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/go-jose/go-jose/v4"
)

// AccessKey is what a caller signs with.
type AccessKey struct {
	ID, Secret, Token string
}

// credential is an access key, and whose it is.
type credential struct {
	AccessKey
	arn     string // of the caller
	trusted string // ARN by which trust policies know the caller: of the user, or of the role
	expires time.Time
	tags    map[string]string // those that a chained session keeps
}

// Session is one that STS gave out.
type Session struct {
	Role, ExternalID string
	Name             string
	Tags             map[string]string
	Key              string // id of its access key
}

// Role can be assumed by whom it trusts.
type Role struct {
	// Name of the role; its ARN comes of it.
	Name string
	// Trusts are ARNs of users and roles that may assume it.
	Trusts []string
	// ExternalID that must be given, where it is set.
	ExternalID string
	// Tags that the session must have.
	Tags map[string]string
	// Issuer, Audience and Subject of tokens with which it can be assumed.
	Issuer, Audience, Subject string
}

// RoleARN of a role by name.
func RoleARN(name string) string { return "arn:aws:iam::" + Account + ":role/" + name }

// UserARN of a user by name.
func UserARN(name string) string { return "arn:aws:iam::" + Account + ":user/" + name }

// AddUser adds a user and returns an access key that does not expire.
func (c *Cloud) AddUser(name string) AccessKey {
	c.mu.Lock()
	defer c.mu.Unlock()
	own := &credential{AccessKey: AccessKey{ID: "AKIA" + c.random.upper(16), Secret: c.random.mixed(40)}, arn: UserARN(name), trusted: UserARN(name)}
	c.keys[own.ID] = own
	return own.AccessKey
}

// AddRole adds a role, or replaces it, and returns its ARN.
func (c *Cloud) AddRole(r Role) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.roles[RoleARN(r.Name)] = r
	return RoleARN(r.Name)
}

type issuer struct{ keys jose.JSONWebKeySet }

// AddIssuer makes tokens of an OpenID Connect issuer known by its public keys.
func (c *Cloud) AddIssuer(url string, keys jose.JSONWebKeySet) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.issuers[url] = issuer{keys: keys}
}

// SetSessionLifetime sets how long sessions last from now on. Default: an hour.
func (c *Cloud) SetSessionLifetime(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lifetime = d
}

// Sessions returns what STS gave out, in order.
func (c *Cloud) Sessions() []Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.sessions)
}

// ExpireSessions ends all sessions: ExpiredTokenException from now on.
func (c *Cloud) ExpireSessions() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.keys {
		if k.Token != "" {
			k.expires = time.Unix(0, 0)
		}
	}
}

// RevokeSessions forgets all sessions: UnrecognizedClientException from now on.
func (c *Cloud) RevokeSessions() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, k := range c.keys {
		if k.Token != "" {
			delete(c.keys, id)
		}
	}
}

// authenticate finds the caller by the signature (Signature Version 4).
func (c *Cloud) authenticate(r *http.Request, one call) (*credential, error) {
	sign, ok := parseAuthorization(r.Header.Get("Authorization"))
	if !ok {
		return nil, one.refusal("MissingAuthenticationToken", "Request is missing Authentication Token")
	}
	known := c.keys[sign.key]
	token := r.Header.Get("X-Amz-Security-Token")
	switch {
	case known == nil || known.Token != token:
		return nil, one.refusal("UnrecognizedClient", "The security token included in the request is invalid.")
	case !known.expires.IsZero() && !c.now().Before(known.expires):
		return nil, one.refusal("ExpiredToken", "The security token included in the request is expired")
	case sign.service != one.service || sign.region != Region:
		return nil, one.refusal("InvalidSignature", "Credential should be scoped to a valid region.")
	case !signed(r, one.body, known.AccessKey, sign):
		return nil, one.refusal("InvalidSignature", "The request signature we calculated does not match the signature you provided.")
	}
	return known, nil
}

// refusal of a caller has other codes and statuses at STS.
func (c call) refusal(code, message string) *failure {
	if c.service == "secretsmanager" {
		return refusal(code+"Exception", "%s", message)
	}
	other := map[string]string{"UnrecognizedClient": "InvalidClientTokenId", "InvalidSignature": "SignatureDoesNotMatch"}
	if name, ok := other[code]; ok {
		code = name
	}
	f := refusal(code, "%s", message)
	f.status = http.StatusForbidden
	return f
}

type authorization struct {
	key, date, region, service string
	headers                    []string
	whole                      string
}

// parseAuthorization reads "AWS4-HMAC-SHA256 Credential=K/D/R/S/aws4_request,
// SignedHeaders=a;b, Signature=X".
func parseAuthorization(header string) (authorization, bool) {
	rest, ok := strings.CutPrefix(header, "AWS4-HMAC-SHA256 ")
	if !ok {
		return authorization{}, false
	}
	a := authorization{whole: header}
	for field := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		switch name {
		case "Credential":
			scope := strings.Split(value, "/")
			if len(scope) != 5 {
				return authorization{}, false
			}
			a.key, a.date, a.region, a.service = scope[0], scope[1], scope[2], scope[3]
		case "SignedHeaders":
			a.headers = strings.Split(value, ";")
		}
	}
	return a, a.key != "" && len(a.headers) > 0
}

// signed signs the request anew and compares.
func signed(r *http.Request, body []byte, key AccessKey, a authorization) bool {
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil {
		return false
	}
	again, err := http.NewRequestWithContext(r.Context(), r.Method, "http://"+r.Host+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return false
	}
	for _, name := range a.headers {
		if values := r.Header.Values(name); len(values) > 0 && name != "host" && name != "content-length" {
			again.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	sum := sha256.Sum256(body)
	credentials := sdk.Credentials{AccessKeyID: key.ID, SecretAccessKey: key.Secret, SessionToken: key.Token}
	err = v4.NewSigner().SignHTTP(r.Context(), credentials, again, hex.EncodeToString(sum[:]), a.service, a.region, at)
	return err == nil && again.Header.Get("Authorization") == a.whole
}

// names makes what AWS makes at random.
type names struct{}

func newNames() *names { return &names{} }

func (*names) from(alphabet string, n int) string {
	raw := make([]byte, n)
	_, _ = rand.Read(raw) // never fails
	for i, b := range raw {
		raw[i] = alphabet[int(b)%len(alphabet)]
	}
	return string(raw)
}

const upperCase, lowerCase, digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz", "0123456789"

func (n *names) upper(length int) string { return n.from(upperCase+digits, length) }
func (n *names) mixed(length int) string { return n.from(upperCase+lowerCase+digits, length) }

func (n *names) requestID() string {
	const hexDigits = "0123456789abcdef"
	return fmt.Sprintf("%s-%s-%s-%s-%s", n.from(hexDigits, 8), n.from(hexDigits, 4), n.from(hexDigits, 4), n.from(hexDigits, 4), n.from(hexDigits, 12))
}

// Session returns the keys of the nth session that STS gave out.
func (c *Cloud) Session(n int) AccessKey {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.keys[c.sessions[n].Key].AccessKey
}
