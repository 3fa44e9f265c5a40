package vault

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/egress"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
)

// maxAnswer bounds what Vault may send. Its own storage takes at most 1 MiB for
// one secret; a list of 10,000 names fits as well.
const maxAnswer = 4 << 20

// connect makes a client that holds no token, asks in the namespace of the
// secrets, tries nothing again by itself, and knows nothing of the operator's
// environment. Nothing is sent yet. The certificate is the login's, if it has
// one.
func connect(s providers.Store, certificate *tls.Certificate) (client *api.Client, idle func(), err error) {
	spec := s.Spec.Vault
	server, err := url.Parse(spec.Server)
	if err != nil || server.Host == "" || server.User != nil || server.RawQuery != "" || server.Scheme != "http" && server.Scheme != "https" {
		return nil, nil, providers.Invalidf("vault.server is no URL with http or https")
	}
	config, err := tlsOf(s, certificate)
	if err != nil {
		return nil, nil, err
	}
	transport := &http.Transport{
		Proxy:                 egress.Proxy,
		DialContext:           s.Dial,
		TLSClientConfig:       config,
		TLSHandshakeTimeout:   10 * time.Second,
		ForceAttemptHTTP2:     true,
		HTTP2:                 &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 10 * time.Second},
		MaxIdleConnsPerHost:   16,
		IdleConnTimeout:       90 * time.Second,
		ResponseHeaderTimeout: time.Minute,
	}
	client, err = api.NewClient(&api.Config{
		Address: spec.Server,
		HttpClient: &http.Client{
			Transport:     bounded{transport},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		CheckRetry:     func(context.Context, *http.Response, error) (bool, error) { return false, nil },
		ReadYourWrites: spec.ReadYourWrites || spec.ForwardInconsistent,
	})
	if err != nil {
		return nil, nil, providers.Invalidf("the client of Vault cannot be made: see the variables VAULT_... of the operator's environment")
	}
	headers, err := headersOf(spec)
	if err != nil {
		return nil, nil, err
	}
	client.ClearToken()
	client.SetHeaders(headers)
	return client, transport.CloseIdleConnections, nil
}

func headersOf(spec *v1alpha1.VaultProvider) (http.Header, error) {
	headers := http.Header{api.RequestHeaderName: {"true"}}
	for name, value := range spec.Headers {
		switch key := http.CanonicalHeaderKey(name); {
		case key == api.AuthHeaderName || key == "Authorization":
			return nil, providers.Invalidf("vault.headers must not hold %s: it is a secret, and the login gives one", key)
		case key == "" || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ':' }) || strings.ContainsAny(value, "\r\n\x00"):
			return nil, providers.Invalidf("vault.headers holds what is no header")
		default:
			headers.Set(key, value)
		}
	}
	if spec.Namespace != nil && *spec.Namespace != "" {
		headers.Set(api.NamespaceHeaderName, *spec.Namespace)
	}
	if spec.ForwardInconsistent {
		headers.Set(api.HeaderInconsistent, "forward-active-node")
	}
	return headers, nil
}

func tlsOf(s providers.Store, certificate *tls.Certificate) (*tls.Config, error) {
	spec, config := s.Spec.Vault, &tls.Config{MinVersion: tls.VersionTLS12}
	bundle := spec.CABundle
	if spec.CAProvider != nil {
		more, err := s.Credentials.CA(*spec.CAProvider)
		if err != nil {
			return nil, err
		}
		bundle = append(append(append([]byte(nil), bundle...), '\n'), more...)
	}
	if len(bundle) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(bundle) {
			return nil, providers.Invalidf("vault.caBundle and vault.caProvider hold no PEM certificate")
		}
	}
	if certificate == nil && (spec.ClientTLS.CertSecretRef != nil || spec.ClientTLS.KeySecretRef != nil) {
		var err error
		if certificate, err = keyPair(s.Credentials, spec.ClientTLS.CertSecretRef, spec.ClientTLS.KeySecretRef); err != nil {
			return nil, err
		}
	}
	if certificate != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
	}
	return config, nil
}

// keyPair reads a certificate and its key, by default from the entries of a
// Secret of type kubernetes.io/tls.
func keyPair(from providers.Credentials, certificate, key *v1alpha1.SecretKeySelector) (*tls.Certificate, error) {
	if certificate == nil || key == nil {
		return nil, providers.Invalidf("a client certificate needs its key, and the key its certificate")
	}
	public, err := entry(from, *certificate, "tls.crt")
	if err != nil {
		return nil, err
	}
	private, err := entry(from, *key, "tls.key")
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(public.Reveal(), private.Reveal())
	if err != nil {
		return nil, providers.Invalidf("the client certificate and its key are not PEM, or do not belong together")
	}
	return &pair, nil
}

func entry(from providers.Credentials, selector v1alpha1.SecretKeySelector, key string) (secret.Value, error) {
	if selector.Key == "" {
		selector.Key = key
	}
	return from.Secret(selector)
}

// bounded limits what comes in, and where to: Vault's nodes redirect to one
// another with 307, and what stands before it may redirect to another scheme or
// port of the same host.
type bounded struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := b.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if to, err := response.Location(); err == nil && response.StatusCode/100 == 3 &&
		response.StatusCode != http.StatusTemporaryRedirect && to.Hostname() != r.URL.Hostname() {
		_ = response.Body.Close()
		return nil, errRedirected
	}
	response.Body = &limited{body: response.Body, left: maxAnswer}
	return response, nil
}

type limited struct {
	body io.ReadCloser
	left int
}

// Read implements io.Reader.
func (l *limited) Read(p []byte) (int, error) {
	if l.left < 0 {
		return 0, errTooLarge
	}
	n, err := l.body.Read(p[:min(len(p), l.left+1)])
	if l.left -= n; l.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}

// Close implements io.Closer.
func (l *limited) Close() error { return l.body.Close() }
