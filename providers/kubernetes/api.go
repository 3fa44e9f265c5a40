package kubernetes

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitseal/gitseal/internal/egress"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
)

// api speaks to one API server as one identity.
type api struct {
	base   *url.URL
	client *http.Client
	tokens *tokens // nil: the connection itself says who we are
}

// request is one question. The answer may have limit bytes.
type request struct {
	method string
	path   string
	query  url.Values
	accept string
	body   []byte
	limit  int64
}

// newAPI trusts the authorities given, or those of the system.
func newAPI(base *url.URL, ca []byte, certificate *tls.Certificate, s providers.Store) (*api, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(ca) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(ca) {
			return nil, providers.Invalidf("the authorities of the API server are no PEM certificates")
		}
	}
	if certificate != nil {
		config.Certificates = []tls.Certificate{*certificate}
	}
	return &api{base: base, client: &http.Client{
		// No proxy: what is connected to has to pass the guard that Dial is.
		Transport: &http.Transport{
			DialContext: s.Dial, TLSClientConfig: config, ForceAttemptHTTP2: true, DisableCompression: true,
			TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: 90 * time.Second, MaxIdleConnsPerHost: 16,
			MaxResponseHeaderBytes: 64 << 10,
			HTTP2:                  &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 10 * time.Second},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func (a *api) close() { a.client.CloseIdleConnections() }

// do asks, and once more where a token that can be asked for anew was not
// taken.
func (a *api) do(ctx context.Context, r request, into any) error {
	if a.tokens == nil {
		return a.once(ctx, r, secret.Value{}, into)
	}
	token, err := a.tokens.get(ctx)
	if err != nil {
		return err
	}
	err = a.once(ctx, r, token, into)
	if !errors.Is(err, providers.ErrUnauthenticated) || !a.tokens.reject(token) {
		return err
	}
	if token, err = a.tokens.get(ctx); err != nil {
		return err
	}
	return a.once(ctx, r, token, into)
}

func (a *api) once(ctx context.Context, r request, token secret.Value, into any) error {
	u := a.base.JoinPath(r.path)
	u.RawQuery = r.query.Encode()
	req, err := http.NewRequestWithContext(ctx, r.method, u.String(), bytes.NewReader(r.body))
	if err != nil {
		return providers.Invalidf("the URL of the API server is no URL")
	}
	req.Header.Set("Accept", "application/json")
	if r.accept != "" {
		req.Header.Set("Accept", r.accept)
	}
	req.Header.Set("User-Agent", "gitseal-controller")
	if len(r.body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	if !token.IsZero() {
		req.Header.Set("Authorization", "Bearer "+string(token.Reveal()))
	}
	answer, err := a.client.Do(req)
	if err != nil {
		return unreachable(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(answer.Body, r.limit+1))
	switch {
	case err != nil:
		return unreachable(err)
	case answer.StatusCode < 200 || answer.StatusCode > 299:
		return refusal(answer, body)
	case int64(len(body)) > r.limit:
		return providers.Invalidf("the answer of the API server is too large")
	case json.Unmarshal(body, into) != nil:
		return &providers.Error{Kind: providers.ErrUnavailable, Detail: "the API server answers something else than expected"}
	}
	return nil
}

// unreachable says why there was no answer, as far as that is known for sure.
func unreachable(err error) error {
	detail := "the API server does not answer"
	var untrusted *tls.CertificateVerificationError
	switch {
	case errors.Is(err, egress.ErrRefused):
		return providers.Invalidf("the API server has a link-local or metadata address: see --allow-egress of the operator")
	case errors.As(err, &untrusted):
		detail = "the certificate of the API server is not trusted: see kubernetes.server.caBundle"
	case errors.Is(err, context.DeadlineExceeded):
		detail = "the API server does not answer in time"
	}
	return &providers.Error{Kind: providers.ErrUnavailable, Detail: detail}
}

// refusal maps a status. The message of the answer is not passed on: it may
// quote anything. That something is not there is believed of an API server
// only: what lives of it may be deleted.
func refusal(answer *http.Response, body []byte) error {
	e := &providers.Error{Kind: providers.ErrUnavailable, Detail: fmt.Sprintf("the API server answers with status %d", answer.StatusCode)}
	switch answer.StatusCode {
	case http.StatusUnauthorized:
		e.Kind, e.Detail = providers.ErrUnauthenticated, "the API server does not accept the credentials"
	case http.StatusForbidden:
		e.Kind, e.Detail = providers.ErrDenied, "the API server does not let the store's identity do this"
	case http.StatusNotFound:
		e.Detail = "what answers does not do so as an API server: see kubernetes.server.url"
		if saysNotFound(body) {
			e.Kind, e.Detail = providers.ErrNotFound, "there is no such Secret"
		}
	case http.StatusTooManyRequests:
		e.Kind, e.Detail = providers.ErrThrottled, "the API server asks to slow down"
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		e.Kind, e.Detail = providers.ErrInvalid, "the API server does not accept the question"
	}
	if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil && seconds > 0 {
		e.RetryAfter = time.Duration(min(seconds, 3600)) * time.Second
	}
	return e
}

// saysNotFound reads a Status of the API, version v1. Of a path that it does not
// serve, an API server says so too, and names no kind.
func saysNotFound(body []byte) bool {
	var status metav1.Status
	return json.Unmarshal(body, &status) == nil && status.Kind == "Status" && status.Reason == metav1.StatusReasonNotFound &&
		status.Details != nil && status.Details.Kind == "secrets"
}

func isNotFound(err error) bool { return errors.Is(err, providers.ErrNotFound) }
