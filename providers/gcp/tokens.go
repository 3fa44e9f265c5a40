package gcp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gitseal/gitseal/internal/egress"
	"github.com/gitseal/gitseal/providers"
)

// maxToken bounds the answer of a token service.
const maxToken = 64 << 10

// at is a Google service, or what replaces it.
func (t *tokens) at(host string) string {
	if t.base != "" {
		return t.base
	}
	return "https://" + host
}

func (t *tokens) sts() string { return t.at("sts.googleapis.com") + "/v1/token" }

// exchange trades a subject token for one of Google (RFC 8693), and that, where
// it is wanted, for one of a service account.
func (t *tokens) exchange(ctx context.Context, e exchange) (token, error) {
	subject, err := e.subject(ctx)
	if err != nil {
		return token{}, err
	}
	made, err := t.grant(ctx, t.sts(), url.Values{
		"grant_type":           {"urn:ietf:params:oauth:grant-type:token-exchange"},
		"requested_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
		"audience":             {e.audience},
		"scope":                {scope},
		"subject_token":        {subject},
		"subject_token_type":   {e.kind},
	})
	if err != nil || e.impersonate == "" {
		return made, err
	}
	return t.impersonate(ctx, e.impersonate, made)
}

// grant asks an OAuth service for a token.
func (t *tokens) grant(ctx context.Context, at string, form url.Values) (token, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, at, strings.NewReader(form.Encode()))
	if err != nil {
		return token{}, providers.Invalidf("the token service has no address")
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return t.oauth(r, "the token service")
}

// oauth reads a token as RFC 6749 has it.
func (t *tokens) oauth(r *http.Request, who string) (token, error) {
	raw, err := t.do(r, who)
	if err != nil {
		return token{}, err
	}
	var answer struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
	}
	if json.Unmarshal(raw, &answer) != nil || answer.AccessToken == "" {
		return token{}, &providers.Error{Kind: providers.ErrUnavailable, Detail: who + " gave no token"}
	}
	return t.got(answer.AccessToken, time.Duration(min(answer.ExpiresIn, 1<<20))*time.Second), nil
}

// got counts a token.
func (t *tokens) got(value string, life time.Duration) token {
	if t.loggedIn != nil {
		t.loggedIn()
	}
	return tokenOf(value, t.clock.Now(), life)
}

// impersonate asks for a service account's token
// (iam.googleapis.com, projects.serviceAccounts.generateAccessToken).
func (t *tokens) impersonate(ctx context.Context, path string, with token) (token, error) {
	body, err := json.Marshal(map[string]any{"scope": []string{scope}, "lifetime": "3600s"})
	if err != nil {
		return token{}, providers.Invalidf("the request for a service account's token cannot be written")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, t.at("iamcredentials.googleapis.com")+path, bytes.NewReader(body))
	if err != nil {
		return token{}, providers.Invalidf("the service account to impersonate is no email address")
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+with.value)
	raw, err := t.do(r, "the service account's token service (iamcredentials)")
	if err != nil {
		return token{}, err
	}
	var answer struct {
		AccessToken string    `json:"accessToken"`
		ExpireTime  time.Time `json:"expireTime"`
	}
	if json.Unmarshal(raw, &answer) != nil || answer.AccessToken == "" {
		return token{}, &providers.Error{Kind: providers.ErrUnavailable, Detail: "iamcredentials gave no token"}
	}
	return t.got(answer.AccessToken, answer.ExpireTime.Sub(t.clock.Now())), nil
}

// do sends a request and reads a bounded answer.
func (t *tokens) do(r *http.Request, who string) ([]byte, error) {
	answer, err := t.http.Do(r)
	switch {
	case errors.Is(err, egress.ErrRefused):
		return nil, refusedAddress(who)
	case err != nil && r.Context().Err() != nil:
		return nil, &providers.Error{Kind: providers.ErrUnavailable, Detail: who + " did not answer in time"}
	case err != nil:
		return nil, &providers.Error{Kind: providers.ErrUnavailable, Detail: who + " cannot be reached"}
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return nil, refusal(answer, who)
	}
	raw, err := io.ReadAll(io.LimitReader(answer.Body, maxToken+1))
	if err != nil || len(raw) > maxToken {
		return nil, &providers.Error{Kind: providers.ErrUnavailable, Detail: who + " did not give a whole answer"}
	}
	return raw, nil
}

// refusal maps a status; what the service says besides may quote the token.
func refusal(answer *http.Response, who string) error {
	switch answer.StatusCode {
	case http.StatusBadRequest, http.StatusUnauthorized:
		return &providers.Error{Kind: providers.ErrUnauthenticated, Detail: who + " does not accept the credentials"}
	case http.StatusForbidden:
		return &providers.Error{Kind: providers.ErrDenied, Detail: who + " does not let the identity have a token (roles/iam.workloadIdentityUser, roles/iam.serviceAccountTokenCreator)"}
	case http.StatusNotFound:
		return providers.Invalidf("%s does not know what it was asked for", who)
	case http.StatusTooManyRequests:
		seconds, _ := strconv.Atoi(answer.Header.Get("Retry-After"))
		return &providers.Error{Kind: providers.ErrThrottled, Detail: who + " asks to slow down", RetryAfter: time.Duration(min(max(seconds, 0), 3600)) * time.Second}
	}
	return &providers.Error{Kind: providers.ErrUnavailable, Detail: who + " is not available"}
}

// metadataServer of Google Cloud; Store.Dial refuses it unless the operator
// allows it.
const metadataServer = "http://metadata.google.internal/computeMetadata/v1/"

// byMetadata asks the metadata server, as whom the operator's node or pod runs.
func (t *tokens) byMetadata(l *login) error {
	l.is("the identity of the operator's node or pod")
	l.token = func(ctx context.Context) (token, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, metadataServer+"instance/service-accounts/default/token?scopes="+url.QueryEscape(scope), http.NoBody)
		if err != nil {
			return token{}, providers.Invalidf("the metadata server has no address")
		}
		r.Header.Set("Metadata-Flavor", "Google")
		return t.oauth(r, "the metadata server (gcpsm.auth is empty, GOOGLE_APPLICATION_CREDENTIALS is not set)")
	}
	return nil
}
