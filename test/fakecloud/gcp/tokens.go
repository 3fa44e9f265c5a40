package gcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	scope       = "https://www.googleapis.com/auth/cloud-platform"
	emptySHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

// refused is an error of OAuth (RFC 6749, 5.2).
type refused struct {
	status            int
	code, description string
}

func (r refused) Error() string { return r.code + ": " + r.description }

func invalid(description string) error {
	return refused{http.StatusBadRequest, "invalid_grant", description}
}

// tokenServices are the three of them.
func (s *Server) tokenServices() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", s.serve("key", s.assertion))
	mux.HandleFunc("POST /v1/token", s.serve("exchange", s.exchange))
	mux.HandleFunc("POST /v1/projects/-/serviceAccounts/{account}", s.serve("impersonate", s.generate))
	return mux
}

func (s *Server) serve(method string, answer func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.calls[method]++
		latency := s.faults.latency
		s.mu.Unlock()
		if wait(r.Context(), latency) != nil {
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
		s.mu.Lock()
		defer s.mu.Unlock()
		body, err := any(nil), error(refused{http.StatusServiceUnavailable, "unavailable", "try again"})
		if s.faults.outage != Unavailable && !s.faults.tokens {
			body, err = answer(r)
		}
		w.Header().Set("Content-Type", "application/json")
		if err != nil {
			r := refused{http.StatusBadRequest, "invalid_request", err.Error()}
			_ = errors.As(err, &r)
			w.WriteHeader(r.status)
			body = map[string]string{"error": r.code, "error_description": strings.TrimSpace(r.description + " " + s.faults.text)}
		}
		_ = json.NewEncoder(w).Encode(body)
	}
}

// granted is the answer of the OAuth services.
func (s *Server) granted(holder string) any {
	token, expires := s.issue(holder)
	return map[string]any{
		"access_token": token, "token_type": "Bearer", "expires_in": int(expires.Sub(s.clock.Now()).Seconds()),
		"issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
	}
}

// assertion gives a token to a service account that signs who it is (RFC 7523).
func (s *Server) assertion(r *http.Request) (any, error) {
	if g := r.PostFormValue("grant_type"); g != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		return nil, refused{http.StatusBadRequest, "unsupported_grant_type", g}
	}
	signed, err := jwt.ParseSigned(r.PostFormValue("assertion"), []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return nil, invalid("Invalid JWT: it cannot be parsed.")
	}
	claims := struct {
		jwt.Claims
		Scope string `json:"scope"`
	}{}
	if err := signed.UnsafeClaimsWithoutVerification(&claims); err != nil {
		return nil, invalid("Invalid JWT: it has no claims.")
	}
	known, ok := s.iam.accounts[claims.Issuer]
	if !ok {
		return nil, invalid("Invalid grant: account not found")
	}
	if signed.Headers[0].KeyID != known.keyID || signed.Claims(known.key, &claims) != nil {
		return nil, invalid("Invalid JWT Signature.")
	}
	expected := jwt.Expected{Issuer: claims.Issuer, AnyAudience: jwt.Audience{s.TokenURL() + "/token"}, Time: s.clock.Now()}
	if claims.ValidateWithLeeway(expected, time.Minute) != nil || claims.IssuedAt == nil ||
		claims.Expiry == nil || claims.Expiry.Time().Sub(claims.IssuedAt.Time()) > time.Hour {
		return nil, invalid("Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe.")
	}
	if !slices.Contains(strings.Fields(claims.Scope), scope) {
		return nil, refused{http.StatusBadRequest, "invalid_scope", claims.Scope}
	}
	return s.granted(claims.Issuer), nil
}

// exchange gives a token for one of another issuer (RFC 8693).
func (s *Server) exchange(r *http.Request) (any, error) {
	if g := r.PostFormValue("grant_type"); g != "urn:ietf:params:oauth:grant-type:token-exchange" {
		return nil, refused{http.StatusBadRequest, "unsupported_grant_type", g}
	}
	if r.PostFormValue("requested_token_type") != "urn:ietf:params:oauth:token-type:access_token" || r.PostFormValue("scope") != scope {
		return nil, refused{http.StatusBadRequest, "invalid_request", "Invalid requested_token_type or scope."}
	}
	audience := r.PostFormValue("audience")
	pool, ok := s.iam.pools[audience]
	if !ok {
		return nil, refused{http.StatusBadRequest, "invalid_target", "The target service indicated by the \"audience\" parameters is invalid."}
	}
	var subject string
	var err error
	switch r.PostFormValue("subject_token_type") {
	case "urn:ietf:params:oauth:token-type:jwt", "urn:ietf:params:oauth:token-type:id_token":
		subject, err = pool.subject(r.PostFormValue("subject_token"), audience, s.clock.Now())
	case "urn:ietf:params:aws:token-type:aws4_request":
		subject, err = pool.caller(r.Context(), r.PostFormValue("subject_token"), audience, s.clock.Now())
	default:
		return nil, refused{http.StatusBadRequest, "invalid_request", "Invalid subject_token_type."}
	}
	if err != nil {
		return nil, err
	}
	return s.granted(audience + " " + subject), nil
}

// subject verifies a token of the pool's issuer.
func (p Pool) subject(token, audience string, now time.Time) (string, error) {
	signed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
	if err != nil {
		return "", invalid("Unable to parse the ID Token.")
	}
	var claims jwt.Claims
	if err := signed.Claims(p.Keys, &claims); err != nil {
		return "", invalid("The signature of the ID Token cannot be verified.")
	}
	want := p.Audience
	if want == "" {
		want = audience
	}
	if claims.ValidateWithLeeway(jwt.Expected{Issuer: p.Issuer, AnyAudience: jwt.Audience{want}, Time: now}, time.Minute) != nil {
		return "", invalid("The ID Token is stale, or its issuer or audience is not the one that is expected.")
	}
	return claims.Subject, nil
}

// caller verifies a signed GetCallerIdentity request (AIP-4117) by signing it
// again.
func (p Pool) caller(ctx context.Context, token, audience string, now time.Time) (string, error) {
	raw, err := url.QueryUnescape(token)
	var call struct {
		URL     string `json:"url"`
		Method  string `json:"method"`
		Headers []struct{ Key, Value string }
	}
	if err != nil || json.Unmarshal([]byte(raw), &call) != nil {
		return "", invalid("The AWS request cannot be parsed.")
	}
	r, err := http.NewRequestWithContext(ctx, call.Method, call.URL, http.NoBody)
	if err != nil || !strings.HasSuffix(r.URL.Host, ".amazonaws.com") || r.URL.Query().Get("Action") != "GetCallerIdentity" {
		return "", invalid("The AWS request is not one for GetCallerIdentity.")
	}
	for _, h := range call.Headers {
		r.Header.Set(h.Key, h.Value)
	}
	if r.Header.Get("X-Goog-Cloud-Target-Resource") != audience {
		return "", invalid("The AWS request is for another audience.")
	}
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil || now.Sub(at).Abs() > 15*time.Minute {
		return "", invalid("The AWS request is stale.")
	}
	given := r.Header.Get("Authorization")
	id, region, ok := scopeOf(given)
	secret, known := p.AWS[id]
	if !ok || !known {
		return "", invalid("The AWS access key is not known.")
	}
	for _, h := range []string{"Authorization", "X-Amz-Date", "Host"} {
		r.Header.Del(h)
	}
	// A session token is signed, but it is nothing that this server gave out.
	session := r.Header.Get("X-Amz-Security-Token")
	err = v4.NewSigner().SignHTTP(ctx, aws.Credentials{AccessKeyID: id, SecretAccessKey: secret, SessionToken: session}, r, emptySHA256, "sts", region, at)
	if err != nil || r.Header.Get("Authorization") != given {
		return "", invalid("The signature of the AWS request is wrong.")
	}
	return "aws:" + id, nil
}

// scopeOf takes the key's id and the region out of "AWS4-HMAC-SHA256
// Credential=ID/DATE/REGION/sts/aws4_request, ...".
func scopeOf(authorization string) (id, region string, ok bool) {
	_, rest, _ := strings.Cut(authorization, "Credential=")
	credential, _, _ := strings.Cut(rest, ",")
	parts := strings.Split(credential, "/")
	if len(parts) != 5 {
		return "", "", false
	}
	return parts[0], parts[2], true
}

// generate gives a token of a service account to whom it lets.
func (s *Server) generate(r *http.Request) (any, error) {
	email, ok := strings.CutSuffix(r.PathValue("account"), ":generateAccessToken")
	if !ok {
		return nil, refused{http.StatusNotFound, "not_found", r.URL.Path}
	}
	holder, ok := s.iam.holder(r.Header.Get("Authorization"), s.clock.Now())
	if !ok {
		return nil, refused{http.StatusUnauthorized, "unauthenticated", "Request had invalid authentication credentials."}
	}
	if !s.iam.impersonate[holder+" "+email] {
		return nil, refused{http.StatusForbidden, "permission_denied", "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist)."}
	}
	var want struct {
		Scope []string `json:"scope"`
	}
	raw, err := io.ReadAll(r.Body)
	if err != nil || json.Unmarshal(raw, &want) != nil || !slices.Contains(want.Scope, scope) {
		return nil, fmt.Errorf("the request must name the scope")
	}
	token, expires := s.issue(email)
	return map[string]string{"accessToken": token, "expireTime": expires.UTC().Format(time.RFC3339)}, nil
}
