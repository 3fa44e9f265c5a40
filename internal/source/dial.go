package source

import (
	"net/http"
	"time"

	"github.com/gitseal/gitseal/internal/egress"
)

// guard is not to be relaxed: no repository lives where it lets nobody.
func guard() egress.Guard { return egress.Guard{} }

// NewTransport returns the HTTP transport of a Store: one that connects to no
// link-local, metadata, multicast or unspecified address. The proxy from the
// environment is honoured; behind one, the proxy resolves names and has to do
// the guarding.
func NewTransport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           guard().Dial,
		ForceAttemptHTTP2:     true,
		HTTP2:                 &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 10 * time.Second},
		MaxIdleConns:          32,
		MaxIdleConnsPerHost:   2,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   15 * time.Second,
		ResponseHeaderTimeout: 60 * time.Second,
	}
}
