package aws

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/gitseal/gitseal/internal/egress"
)

// maxAnswer bounds what is read of one answer. The largest that AWS gives is a
// batch of 20 values of 64 KiB, of which JSON makes up to six times as much.
const maxAnswer = 16 << 20

type dialer = func(ctx context.Context, network, address string) (net.Conn, error)

// newHTTPClient connects through dial, follows no redirect, and reads answers
// up to maxAnswer. A proxy of the operator's environment is honoured.
func newHTTPClient(dial dialer) *http.Client {
	transport := &http.Transport{
		Proxy:               egress.Proxy,
		DialContext:         dial,
		ForceAttemptHTTP2:   true,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 10 * time.Second},
		MaxIdleConns:        16,
		MaxIdleConnsPerHost: 8,
		IdleConnTimeout:     90 * time.Second,
		TLSHandshakeTimeout: 10 * time.Second,
	}
	return &http.Client{
		Transport:     bounded{transport},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// newDirectHTTPClient asks the node itself, and so no proxy and only once.
func newDirectHTTPClient(dial dialer) *http.Client {
	return &http.Client{
		Transport:     bounded{&http.Transport{DialContext: dial, DisableKeepAlives: true}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       5 * time.Second,
	}
}

var errTooLong = errors.New("the answer is too long")

// bounded bounds answers, and lets them be read to their end.
type bounded struct{ *http.Transport }

// RoundTrip implements http.RoundTripper. The SDK closes a request as soon as
// its answer begins. A Read of it says io.EOF from then on, as it may, but so
// does a WriteTo, which net/http takes for a failure: it would close the
// connection, under the answer, if it looked for the end of the request then.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.ContentLength > 0 {
		r = r.WithContext(r.Context())
		r.Body = struct{ io.ReadCloser }{r.Body} // without WriteTo
	}
	answer, err := b.Transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	answer.Body = &boundedBody{ReadCloser: answer.Body, left: maxAnswer}
	return answer, nil
}

type boundedBody struct {
	io.ReadCloser
	left int
}

// Read implements io.Reader.
func (b *boundedBody) Read(into []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLong
	}
	n, err := b.ReadCloser.Read(into[:min(len(into), b.left)])
	b.left -= n
	return n, err
}
