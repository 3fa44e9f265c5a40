package gcp

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/url"
	"os"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/gitseal/gitseal/providers"
)

// scope that Secret Manager asks for.
const scope = "https://www.googleapis.com/auth/cloud-platform"

// keyFile is a file of credentials as Google's console and gcloud write it:
// a service_account or an external_account (AIP-4112, AIP-4117).
type keyFile struct {
	Type           string `json:"type"`
	ProjectID      string `json:"project_id"`
	ClientEmail    string `json:"client_email"`
	PrivateKeyID   string `json:"private_key_id"`
	PrivateKey     string `json:"private_key"`
	TokenURI       string `json:"token_uri"`
	UniverseDomain string `json:"universe_domain"`
	federationFile
}

// parseKeyFile says nothing of what it was given but the field that is wrong.
func parseKeyFile(raw []byte, what string) (keyFile, error) {
	var f keyFile
	if len(raw) > 64<<10 || json.Unmarshal(raw, &f) != nil {
		return f, providers.Invalidf("%s is no JSON object of credentials of Google Cloud", what)
	}
	if f.UniverseDomain != "" && f.UniverseDomain != "googleapis.com" {
		return f, providers.Invalidf("%s is for another universe_domain than googleapis.com", what)
	}
	return f, nil
}

// withKey logs in with a service_account file.
func (t *tokens) withKey(l *login, raw []byte, what string) error {
	f, err := parseKeyFile(raw, what)
	switch {
	case err != nil:
		return err
	case f.Type != "service_account":
		return providers.Invalidf("%s is not of the type service_account", what)
	case f.ClientEmail == "":
		return providers.Invalidf("%s has no client_email", what)
	}
	if f.TokenURI == "" {
		f.TokenURI = "https://oauth2.googleapis.com/token"
	}
	if !t.known(f.TokenURI, "oauth2.googleapis.com", "accounts.google.com", "www.googleapis.com") {
		return providers.Invalidf("%s has a token_uri that is neither Google's nor under gcpsm.stsEndpoint", what)
	}
	signer, err := f.signer(what)
	if err != nil {
		return err
	}
	l.project = f.ProjectID
	l.is(f.ClientEmail)
	l.token = func(ctx context.Context) (token, error) { return t.assert(ctx, f, signer) }
	return nil
}

// known reports whether a URL is https at one of Google's hosts, or below the
// address that replaces them.
func (t *tokens) known(raw string, hosts ...string) bool {
	u, err := url.Parse(raw)
	if err != nil || u.User != nil || u.Fragment != "" {
		return false
	}
	if t.base != "" {
		base, err := url.Parse(t.base)
		return err == nil && u.Scheme == base.Scheme && u.Host == base.Host
	}
	for _, h := range hosts {
		if u.Scheme == "https" && u.Host == h {
			return true
		}
	}
	return false
}

func (f keyFile) signer(what string) (jose.Signer, error) {
	block, _ := pem.Decode([]byte(f.PrivateKey))
	if block == nil {
		return nil, providers.Invalidf("%s has no private_key in PEM", what)
	}
	var key *rsa.PrivateKey
	if parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		key, _ = parsed.(*rsa.PrivateKey)
	} else if parsed, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		key = parsed
	}
	if key == nil {
		return nil, providers.Invalidf("%s has a private_key that is no RSA key", what)
	}
	options := (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", f.PrivateKeyID)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, options)
	if err != nil {
		return nil, providers.Invalidf("%s has a private_key that cannot sign", what)
	}
	return signer, nil
}

// assert trades a signed claim of who we are for a token.
func (t *tokens) assert(ctx context.Context, f keyFile, signer jose.Signer) (token, error) {
	now := t.clock.Now()
	signed, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: f.ClientEmail, Audience: jwt.Audience{f.TokenURI},
		IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(time.Hour)),
	}).Claims(map[string]any{"scope": scope}).Serialize()
	if err != nil {
		return token{}, providers.Invalidf("the service account's key cannot sign")
	}
	return t.grant(ctx, f.TokenURI, url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {signed},
	})
}

// byAmbient is the operator's own identity: the file that
// GOOGLE_APPLICATION_CREDENTIALS names, or else what the metadata server says,
// where the egress guard lets us ask it (AIP-4110).
func (t *tokens) byAmbient(l *login) error {
	name := os.Getenv("GOOGLE_APPLICATION_CREDENTIALS")
	if name == "" {
		return t.byMetadata(l)
	}
	const what = "the file of GOOGLE_APPLICATION_CREDENTIALS"
	raw, err := os.ReadFile(name) //nolint:gosec // the operator's own environment names it
	if err != nil {
		return &providers.Error{Kind: providers.ErrUnauthenticated, Detail: what + " cannot be read"}
	}
	f, err := parseKeyFile(raw, what)
	switch {
	case err != nil:
		return err
	case f.Type == "external_account":
		e, err := t.fromFile(f, what, source{file: true})
		return t.federated(l, e, err)
	}
	return t.withKey(l, raw, what)
}
