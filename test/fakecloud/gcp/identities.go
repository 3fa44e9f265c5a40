package gcp

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// identities are who may have a token, and the tokens that they have.
type identities struct {
	accounts    map[string]account // by email
	pools       map[string]Pool    // by audience
	impersonate map[string]bool    // "PRINCIPAL EMAIL"
	tokens      map[string]issued
	lifetime    time.Duration
	issued      int
}

type account struct {
	keyID string
	key   *rsa.PublicKey
}

type issued struct {
	holder  string
	expires time.Time
}

// Pool is a provider of a workload identity pool: whom it trusts.
type Pool struct {
	// Issuer and Audience that a subject token must have. An empty Audience is
	// the name of the pool's provider.
	Issuer, Audience string
	// Keys that sign subject tokens.
	Keys jose.JSONWebKeySet
	// AWS holds secret access keys by their ids.
	AWS map[string]string
}

func newIdentities() identities {
	return identities{
		accounts: map[string]account{}, pools: map[string]Pool{}, impersonate: map[string]bool{},
		tokens: map[string]issued{}, lifetime: time.Hour,
	}
}

// AddServiceAccount makes a service account of a project, or a new key of one,
// which ends the one before. It returns the key file as the console does.
func (s *Server) AddServiceAccount(project, account string) ([]byte, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("make a key for service account %q: %w", account, err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode the key of service account %q: %w", account, err)
	}
	email := account + "@" + project + ".iam.gserviceaccount.com"
	keyID := opaque()
	s.mu.Lock()
	s.iam.accounts[email] = accountOf(keyID, key)
	s.mu.Unlock()
	return json.Marshal(map[string]string{
		"type": "service_account", "project_id": project, "client_email": email, "private_key_id": keyID,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"token_uri":   s.TokenURL() + "/token", "client_id": "100000000000000000001", "universe_domain": "googleapis.com",
	})
}

func accountOf(keyID string, key *rsa.PrivateKey) account {
	return account{keyID: keyID, key: &key.PublicKey}
}

// AddPool trusts the tokens of a pool's provider, named as in an audience.
func (s *Server) AddPool(audience string, p Pool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.iam.pools[audience] = p
}

// AllowImpersonation lets a principal ask for tokens of a service account. A
// principal of a pool is "AUDIENCE SUBJECT".
func (s *Server) AllowImpersonation(principal, email string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.iam.impersonate[principal+" "+email] = true
}

// SetTokenLifetime of the tokens to come; an hour unless it is set.
func (s *Server) SetTokenLifetime(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.iam.lifetime = d
}

// RevokeTokens ends all tokens, before their time and without a word.
func (s *Server) RevokeTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.iam.tokens)
}

// Token hands out a token to nobody in particular: for a test that brings its
// own client. It does not count as a login.
func (s *Server) Token() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	token, _ := s.issue("a test")
	s.iam.issued-- // it is no login
	return token
}

func (s *Server) issue(holder string) (string, time.Time) {
	token := "ya29." + opaque()
	expires := s.clock.Now().Add(s.iam.lifetime)
	s.iam.tokens[token] = issued{holder, expires}
	s.iam.issued++
	return token, expires
}

// holder of the token in an Authorization header.
func (i identities) holder(authorization string, now time.Time) (string, bool) {
	token, ok := strings.CutPrefix(authorization, "Bearer ")
	t, known := i.tokens[token]
	return t.holder, ok && known && now.Before(t.expires)
}

func opaque() string {
	b := make([]byte, 20)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
