package vault

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/gitseal/gitseal/internal/egress"
	"github.com/gitseal/gitseal/providers"
)

// answer is what Vault sends, whatever it says by it:
// https://developer.hashicorp.com/vault/api-docs
type answer struct {
	Data     json.RawMessage `json:"data"`
	Auth     *granted        `json:"auth"`
	Errors   []string        `json:"errors"`
	Warnings []string        `json:"warnings"`

	status     int
	retryAfter time.Duration
}

// granted is a token, in the answer to a login or a renewal.
type granted struct {
	Token     string            `json:"client_token"`
	Seconds   int64             `json:"lease_duration"`
	Renewable bool              `json:"renewable"`
	Metadata  map[string]string `json:"metadata"`
}

func (g *granted) lasts() time.Duration { return time.Duration(g.Seconds) * time.Second }

// role is as what a method knows whom it let in.
func (g *granted) role() string {
	m := g.Metadata
	return cmp.Or(m["role_name"], m["role"], m["username"], m["cert_name"])
}

// get and put send one request each. The error is that there was no answer.
func get(ctx context.Context, c *api.Client, path string, params url.Values) (answer, error) {
	return receive(ctx, func() (*api.Response, error) { return c.Logical().ReadRawWithDataWithContext(ctx, path, params) })
}

func put(ctx context.Context, c *api.Client, path string, body map[string]string) (answer, error) {
	r := c.NewRequest(http.MethodPut, "/v1/"+path)
	if err := r.SetJSONBody(body); err != nil {
		return answer{}, providers.Invalidf("the credentials of the login are not text")
	}
	return receive(ctx, func() (*api.Response, error) {
		return c.RawRequestWithContext(ctx, r) //nolint:staticcheck // what should replace it loses the body where Vault redirects
	})
}

// receive reads an answer; its size is bounded where it comes in.
func receive(ctx context.Context, send func() (*api.Response, error)) (answer, error) {
	response, err := send()
	if response == nil || response.Body == nil {
		return answer{}, unreachable(ctx, err)
	}
	defer func() { _ = response.Body.Close() }()
	if err != nil && !errors.As(err, new(*api.ResponseError)) {
		return answer{}, unreachable(ctx, err)
	}
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{}, unreachable(ctx, err)
	}
	a := answer{}
	if err := json.Unmarshal(raw, &a); err != nil && len(raw) > 0 && response.StatusCode < 300 {
		return answer{}, unreadable()
	}
	a.status = response.StatusCode
	a.retryAfter = retryAfter(response.Header.Get("Retry-After"))
	return a, nil
}

// retryAfter reads the header of RFC 9110, section 10.2.3, of which Vault sends
// seconds.
func retryAfter(header string) time.Duration {
	seconds, err := strconv.ParseUint(header, 10, 16)
	if err != nil {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// failed is the error of a status that means the same whatever was asked.
func (a answer) failed() error {
	kind, detail := providers.ErrUnavailable, ""
	switch a.status {
	case http.StatusTooManyRequests:
		kind, detail = providers.ErrThrottled, "Vault asks to slow down"
	case http.StatusPreconditionFailed:
		detail = "this node of Vault has not caught up yet"
	case 472, 473:
		detail = "this node of Vault is a standby that serves no reads"
	case http.StatusServiceUnavailable:
		detail = "Vault is in maintenance, or none of its nodes is active"
		if slices.Contains(a.Errors, "Vault is sealed") {
			detail = "Vault is sealed"
		}
	default:
		detail = fmt.Sprintf("Vault answered with status %d", a.status)
	}
	return &providers.Error{Kind: kind, Detail: detail, RetryAfter: a.retryAfter}
}

// Errors of the transport.
var (
	errTooLarge   = errors.New("answer is too large")
	errRedirected = errors.New("redirected to another host")
)

// unreachable says why there was no answer. The error itself may quote
// addresses and headers.
func unreachable(ctx context.Context, err error) error {
	kind, detail := providers.ErrUnavailable, "Vault cannot be reached"
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		detail = "the call was ended"
	case errors.Is(err, errTooLarge):
		kind, detail = providers.ErrInvalid, fmt.Sprintf("Vault's answer is larger than %d MiB", maxAnswer>>20)
	case errors.Is(err, egress.ErrRefused):
		kind, detail = providers.ErrInvalid, "Vault's host has a link-local or metadata address: see --allow-egress of the operator"
	case errors.Is(err, errRedirected):
		kind, detail = providers.ErrInvalid, "the server redirects to another host: vault.server is not Vault's own address"
	case errors.As(err, new(*tls.CertificateVerificationError)):
		detail = "the server's certificate is not trusted: see vault.caBundle and vault.caProvider"
	case errors.As(err, &dns):
		detail = "the name of Vault's host does not resolve"
	case errors.Is(err, syscall.ECONNREFUSED):
		detail = "Vault's host refuses the connection"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		detail = "Vault did not answer in time"
	}
	return &providers.Error{Kind: kind, Detail: detail}
}

func unreadable() error {
	return &providers.Error{Kind: providers.ErrUnavailable, Detail: "the server's answer is not one of Vault's"}
}
