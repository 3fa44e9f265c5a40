package kubernetes

import (
	"context"
	"crypto/tls"
	"net/url"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/utils/clock"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
)

// connect makes the client of a store. It calls nobody.
func connect(home Home, settings v1alpha1.KubernetesProvider, s providers.Store) (*api, error) {
	if settings.AuthRef != nil {
		return connectKubeconfig(home, *settings.AuthRef, s)
	}
	if settings.Auth == nil {
		return nil, providers.Invalidf("kubernetes.auth is missing: the operator's own identity reads no Secrets for a store")
	}
	base, ca, err := server(home, settings.Server, s)
	if err != nil {
		return nil, err
	}
	switch auth := settings.Auth; {
	case auth.Cert != nil:
		certificate, err := keyPair(auth.Cert, s)
		if err != nil {
			return nil, err
		}
		return newAPI(base, ca, certificate, s)
	case auth.Token != nil:
		token, err := s.Credentials.Secret(auth.Token.BearerToken)
		if err != nil {
			return nil, err
		}
		return withTokens(base, ca, kept(token), s)
	case auth.ServiceAccount != nil:
		return withTokens(base, ca, asked(*auth.ServiceAccount, s), s)
	}
	return nil, providers.Invalidf("kubernetes.auth takes one of cert, token and serviceAccount")
}

func withTokens(base *url.URL, ca []byte, t *tokens, s providers.Store) (*api, error) {
	if !t.wellFormed() {
		return nil, &providers.Error{Kind: providers.ErrUnauthenticated, Detail: "the bearer token is no token"}
	}
	a, err := newAPI(base, ca, nil, s)
	if err != nil {
		return nil, err
	}
	a.tokens = t
	return a, nil
}

// ownNames are what the cluster's own API server is called inside of it.
var ownNames = []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}

// server is the API server to talk to, and whom it is certified by.
func server(home Home, settings v1alpha1.KubernetesServer, s providers.Store) (*url.URL, []byte, error) {
	ca := settings.CABundle
	if settings.CAProvider != nil && len(ca) == 0 {
		var err error
		if ca, err = s.Credentials.CA(*settings.CAProvider); err != nil {
			return nil, nil, err
		}
	}
	text := settings.URL
	if text != "" && !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, nil, providers.Invalidf("kubernetes.server.url is no URL")
	}
	if text == "" || slices.Contains(ownNames, u.Hostname()) {
		if len(ca) == 0 {
			ca = home.CA
		}
		if u, err = url.Parse(home.URL); err != nil || home.URL == "" {
			return nil, nil, providers.Invalidf("kubernetes.server.url is missing")
		}
	}
	if u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, nil, providers.Invalidf("kubernetes.server.url must begin with https:// and name no user")
	}
	return u, ca, nil
}

func keyPair(auth *v1alpha1.KubernetesCertAuth, s providers.Store) (*tls.Certificate, error) {
	certificate, err := s.Credentials.Secret(auth.ClientCert)
	if err != nil {
		return nil, err
	}
	key, err := s.Credentials.Secret(auth.ClientKey)
	if err != nil {
		return nil, err
	}
	return parsePair(certificate.Reveal(), key.Reveal())
}

func parsePair(certificate, key []byte) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, &providers.Error{Kind: providers.ErrUnauthenticated, Detail: "the client certificate and its key are no PEM, or do not belong together"}
	}
	return &pair, nil
}

const maxKubeconfig = 1 << 20

// connectKubeconfig takes a kubeconfig that holds everything itself: it must
// start no program, and name no file of the operator.
func connectKubeconfig(home Home, ref v1alpha1.SecretKeySelector, s providers.Store) (*api, error) {
	raw, err := s.Credentials.Secret(ref)
	if err != nil {
		return nil, err
	}
	if raw.Len() > maxKubeconfig {
		return nil, providers.Invalidf("the kubeconfig is larger than 1 MiB")
	}
	config, err := clientcmd.Load(raw.Reveal())
	if err != nil {
		return nil, providers.Invalidf("the kubeconfig cannot be read")
	}
	current := config.Contexts[config.CurrentContext]
	if current == nil {
		return nil, providers.Invalidf("the kubeconfig has no current-context")
	}
	cluster, user := config.Clusters[current.Cluster], config.AuthInfos[current.AuthInfo]
	if cluster == nil || user == nil {
		return nil, providers.Invalidf("the current context of the kubeconfig names a cluster or user that it does not hold")
	}
	if err := selfContained(cluster, user); err != nil {
		return nil, err
	}
	if cluster.Server == "" {
		return nil, providers.Invalidf("the kubeconfig names no server")
	}
	base, ca, err := server(home, v1alpha1.KubernetesServer{URL: cluster.Server, CABundle: cluster.CertificateAuthorityData}, s)
	if err != nil {
		return nil, err
	}
	if user.Token != "" {
		return withTokens(base, ca, kept(secret.NewValue([]byte(user.Token))), s)
	}
	pair, err := parsePair(user.ClientCertificateData, user.ClientKeyData)
	if err != nil {
		return nil, err
	}
	return newAPI(base, ca, pair, s)
}

func selfContained(cluster *clientcmdapi.Cluster, user *clientcmdapi.AuthInfo) error {
	refused := []struct {
		what string
		set  bool
	}{
		{"an exec plugin", user.Exec != nil},
		{"an auth provider", user.AuthProvider != nil},
		{"the path of a file", cluster.CertificateAuthority+user.ClientCertificate+user.ClientKey+user.TokenFile != ""},
		{"insecure-skip-tls-verify", cluster.InsecureSkipTLSVerify},
		{"a proxy", cluster.ProxyURL != ""},
		{"a tls-server-name", cluster.TLSServerName != ""},
		{"a user name and password", user.Username != "" || user.Password != ""},
		{"impersonation", user.Impersonate != "" || user.ImpersonateUID != "" || len(user.ImpersonateGroups) > 0 || len(user.ImpersonateUserExtra) > 0},
	}
	for _, r := range refused {
		if r.set {
			return providers.Invalidf("the kubeconfig uses %s, which is not supported: it has to hold server, authorities and a token or client certificate itself", r.what)
		}
	}
	return nil
}

// tokens gives the token to come with: one that is kept, or one that is asked
// for, and asked for anew before it ends.
type tokens struct {
	ask   func(context.Context) (providers.Token, error) // nil: current is kept
	clock clock.PassiveClock
	turn  chan struct{} // one asks, the others wait

	current secret.Value
	renew   time.Time
}

func kept(token secret.Value) *tokens {
	t := &tokens{current: secret.NewValue([]byte(strings.TrimSpace(string(token.Reveal())))), turn: make(chan struct{}, 1)}
	return t
}

// tokenLifetime is what is asked for; the API server may give less or more.
const tokenLifetime = time.Hour

func asked(sa v1alpha1.ServiceAccountSelector, s providers.Store) *tokens {
	return &tokens{clock: s.Clock, turn: make(chan struct{}, 1), ask: func(ctx context.Context) (providers.Token, error) {
		token, err := s.Credentials.Token(ctx, sa, nil, tokenLifetime)
		if err == nil && s.LoggedIn != nil {
			s.LoggedIn()
		}
		return token, err
	}}
}

// wellFormed reports whether a kept token can stand in a header.
func (t *tokens) wellFormed() bool {
	return t.ask != nil || !t.current.IsZero() && !strings.ContainsFunc(string(t.current.Reveal()), func(r rune) bool { return r <= ' ' || r > '~' })
}

func (t *tokens) get(ctx context.Context) (secret.Value, error) {
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return secret.Value{}, unreachable(ctx.Err())
	}
	if t.ask == nil || !t.current.IsZero() && t.clock.Now().Before(t.renew) {
		return t.current, nil
	}
	token, err := t.ask(ctx)
	if err != nil {
		return secret.Value{}, err
	}
	// Renewed with a fifth of its life to go, so that none ends under way.
	t.current, t.renew = token.Value, token.Expires.Add(-token.Expires.Sub(t.clock.Now())/5)
	return t.current, nil
}

// reject drops a token that was not taken, and reports whether there can be
// another one.
func (t *tokens) reject(token secret.Value) bool {
	if t.ask == nil {
		return false
	}
	t.turn <- struct{}{}
	defer func() { <-t.turn }()
	if t.current.Equal(token) {
		t.current = secret.Value{}
	}
	return true
}
