package source

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing/protocol/packp"

	"github.com/gitseal/gitseal/internal/egress"
)

const infoRefs = "/info/refs"

// statusError is an HTTP status that is no success. The body is not read.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("HTTP status %d", int(e)) }

// redirectError is a redirect that is not followed. It knows the host only.
type redirectError struct{ host string }

func (e redirectError) Error() string {
	return fmt.Sprintf("it redirects to %q, which is not followed", e.host)
}

var errNoCA = errors.New("ca.crt needs a transport that takes authorities")

type httpSession struct {
	client http.Client
	base   *url.URL // follows the redirect of the first request
	auth   *Credentials
	stall  time.Duration
}

// httpTransport returns rt with the authorities of c, the guarded dialer kept.
func httpTransport(rt http.RoundTripper, c *Credentials) (http.RoundTripper, error) {
	pool, err := c.authorities()
	if err != nil || pool == nil {
		return rt, err
	}
	t, ok := rt.(*http.Transport)
	if !ok {
		return nil, errNoCA
	}
	t = t.Clone()
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	t.TLSClientConfig.RootCAs = pool
	return t, nil
}

func newHTTPSession(rt http.RoundTripper, a address, c *Credentials, stall time.Duration) (*httpSession, error) {
	u := &url.URL{Scheme: a.scheme, Host: a.host, Path: strings.TrimRight(a.path, "/")}
	// Behind a proxy the dialer does not see the address, so look here too.
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && guard().Refuses(ip) {
		return nil, egress.ErrRefused
	}
	s := &httpSession{base: u, auth: c, stall: stall}
	s.client = http.Client{Transport: rt, CheckRedirect: checkRedirect}
	return s, nil
}

// checkRedirect allows what net/http sends credentials along with safely: the
// same host and port, or the same name from http to https; and only for the
// first request, whose address the second takes over.
func checkRedirect(req *http.Request, via []*http.Request) error {
	from, to := via[len(via)-1].URL, req.URL
	same := to.Scheme == from.Scheme && to.Host == from.Host
	upgrade := from.Scheme == "http" && to.Scheme == "https" && to.Hostname() == from.Hostname()
	if req.Method != http.MethodGet || via[0].Method != http.MethodGet || len(via) > 5 ||
		to.User != nil || !strings.HasSuffix(to.Path, infoRefs) || (!same && !upgrade) {
		return redirectError{host: clean(to.Host, 256)}
	}
	return nil
}

func (s *httpSession) refs(ctx context.Context) (io.ReadCloser, error) {
	u := *s.base
	u.Path += infoRefs
	u.RawQuery = "service=git-upload-pack"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, errProtocol
	}
	res, err := s.do(req, "application/x-git-upload-pack-advertisement")
	if err != nil {
		return nil, err
	}
	s.base = &url.URL{Scheme: res.Request.URL.Scheme, Host: res.Request.URL.Host,
		Path: strings.TrimSuffix(res.Request.URL.Path, infoRefs)}
	return res.Body, nil
}

func (s *httpSession) upload(ctx context.Context, r *packp.UploadPackRequest) (io.ReadCloser, error) {
	var body bytes.Buffer
	if err := encode(&body, r); err != nil {
		return nil, errProtocol
	}
	u := *s.base
	u.Path += "/git-upload-pack"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), &body)
	if err != nil {
		return nil, errProtocol
	}
	req.Header.Set("Content-Type", "application/x-git-upload-pack-request")
	res, err := s.do(req, "application/x-git-upload-pack-result")
	if err != nil {
		return nil, err
	}
	return res.Body, nil
}

func (s *httpSession) do(req *http.Request, contentType string) (*http.Response, error) {
	req.Header.Set("User-Agent", "git/gitseal") // some servers answer "git/" only
	req.Header.Set("Accept", contentType)
	s.auth.authorise(req)
	ctx, cancel := context.WithCancel(req.Context())
	res, err := s.client.Do(req.WithContext(ctx))
	if err != nil {
		cancel()
		return nil, err
	}
	res.Body = &patient{ReadCloser: res.Body, limit: s.stall, abandon: cancel}
	if res.StatusCode != http.StatusOK {
		_ = res.Body.Close()
		return nil, statusError(res.StatusCode)
	}
	if res.Header.Get("Content-Type") != contentType {
		_ = res.Body.Close()
		return nil, errProtocol
	}
	return res, nil
}

func (s *httpSession) Close() error { return nil }
