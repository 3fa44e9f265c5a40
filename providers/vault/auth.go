package vault

import (
	"cmp"
	"context"
	"crypto/tls"
	"strings"
	"time"
	"unicode"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
)

// method is how a store is let in.
type method struct {
	// token is there already; then there is no login.
	token secret.Value
	// mount of the method, after auth/, and path of the login below it.
	mount, path string
	// body of the login. Tokens of ServiceAccounts are asked for each time.
	body func(ctx context.Context) (map[string]string, error)
	// certificate of the connection, where the login is by it.
	certificate *tls.Certificate
	// namespace to log in to, where it is another than that of the secrets.
	namespace *string
}

// methodOf reads the credentials that the store names, but for tokens of
// ServiceAccounts.
func methodOf(s providers.Store) (m method, err error) {
	auth := s.Spec.Vault.Auth
	if auth == nil || ways(auth) != 1 {
		return method{}, providers.Invalidf("vault.auth takes exactly one of tokenSecretRef, appRole, kubernetes, ldap, jwt, cert and userPass")
	}
	switch {
	case auth.TokenSecretRef != nil:
		m, err = byToken(s, auth.TokenSecretRef)
	case auth.AppRole != nil:
		m, err = byAppRole(s, auth.AppRole)
	case auth.Kubernetes != nil:
		m, err = byKubernetes(s, auth.Kubernetes)
	case auth.JWT != nil:
		m, err = byJWT(s, auth.JWT)
	case auth.Cert != nil:
		m, err = byCertificate(s, auth.Cert)
	case auth.LDAP != nil:
		m, err = byPassword(s, auth.LDAP, "ldap")
	case auth.UserPass != nil:
		m, err = byPassword(s, auth.UserPass, "userpass")
	}
	if err != nil {
		return method{}, err
	}
	m.namespace = auth.Namespace
	if !m.token.IsZero() {
		return m, nil
	}
	if m.mount = strings.Trim(m.mount, "/"); !plain(m.mount) || !plain(m.path) {
		return method{}, providers.Invalidf("the path of vault.auth, or the username, cannot be part of a path of Vault")
	}
	return m, nil
}

func ways(auth *v1alpha1.VaultAuth) (n int) {
	for _, set := range []bool{
		auth.TokenSecretRef != nil, auth.AppRole != nil, auth.Kubernetes != nil, auth.LDAP != nil, auth.JWT != nil,
		auth.Cert != nil, auth.UserPass != nil,
	} {
		if set {
			n++
		}
	}
	return n
}

func byToken(s providers.Store, ref *v1alpha1.SecretKeySelector) (method, error) {
	stored, err := entry(s.Credentials, *ref, "token")
	if err != nil {
		return method{}, err
	}
	token := trimmed(stored)
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return method{}, &providers.Error{Kind: providers.ErrUnauthenticated, Detail: "what vault.auth.tokenSecretRef names is no token"}
	}
	return method{token: secret.NewValue([]byte(token))}, nil
}

func byAppRole(s providers.Store, spec *v1alpha1.VaultAppRole) (method, error) {
	role := strings.TrimSpace(spec.RoleID)
	if role == "" && spec.RoleRef == nil {
		return method{}, providers.Invalidf("vault.auth.appRole takes one of roleId and roleRef")
	}
	if role == "" {
		stored, err := s.Credentials.Secret(*spec.RoleRef)
		if err != nil {
			return method{}, err
		}
		role = trimmed(stored)
	}
	id, err := s.Credentials.Secret(spec.SecretRef)
	if err != nil {
		return method{}, err
	}
	return method{mount: cmp.Or(spec.Path, "approle"), path: "login", body: func(context.Context) (map[string]string, error) {
		return map[string]string{"role_id": role, "secret_id": trimmed(id)}, nil
	}}, nil
}

// byKubernetes asks for no audience: Vault has the API server review the token,
// which must be meant for that unless the role says otherwise.
func byKubernetes(s providers.Store, spec *v1alpha1.VaultKubernetesAuth) (method, error) {
	m := method{mount: cmp.Or(spec.Path, "kubernetes"), path: "login"}
	token, err := tokenOf(s, spec.SecretRef, spec.ServiceAccountRef, nil, nil)
	if err != nil {
		return method{}, err
	}
	m.body = func(ctx context.Context) (map[string]string, error) { return withJWT(ctx, token, spec.Role) }
	return m, nil
}

func byJWT(s providers.Store, spec *v1alpha1.VaultJWTAuth) (method, error) {
	m := method{mount: cmp.Or(spec.Path, "jwt"), path: "login"}
	account, audiences, seconds := (*v1alpha1.ServiceAccountSelector)(nil), []string{"vault"}, (*int64)(nil)
	if asked := spec.KubernetesServiceAccountToken; asked != nil {
		account, seconds = &asked.ServiceAccountRef, asked.ExpirationSeconds
		if asked.Audiences != nil {
			audiences = asked.Audiences
		}
	}
	token, err := tokenOf(s, spec.SecretRef, account, audiences, seconds)
	if err != nil {
		return method{}, err
	}
	m.body = func(ctx context.Context) (map[string]string, error) {
		return withJWT(ctx, token, strings.TrimSpace(spec.Role))
	}
	return m, nil
}

type tokenSource func(context.Context) (secret.Value, error)

func withJWT(ctx context.Context, source tokenSource, role string) (map[string]string, error) {
	token, err := source(ctx)
	if err != nil {
		return nil, err
	}
	return map[string]string{"jwt": trimmed(token), "role": role}, nil
}

// tokenOf is one that is kept, or one of a ServiceAccount that lives for ten
// minutes unless seconds say otherwise.
func tokenOf(s providers.Store, ref *v1alpha1.SecretKeySelector, account *v1alpha1.ServiceAccountSelector, audiences []string, seconds *int64) (tokenSource, error) {
	switch {
	case (ref == nil) == (account == nil):
		return nil, providers.Invalidf("vault.auth takes one of secretRef and a ServiceAccount")
	case ref != nil:
		stored, err := entry(s.Credentials, *ref, "token")
		return func(context.Context) (secret.Value, error) { return stored, nil }, err
	}
	expiry := 10 * time.Minute
	if seconds != nil {
		expiry = time.Duration(*seconds) * time.Second
	}
	return func(ctx context.Context) (secret.Value, error) {
		token, err := s.Credentials.Token(ctx, *account, audiences, expiry)
		return token.Value, err
	}, nil
}

func byCertificate(s providers.Store, spec *v1alpha1.VaultCertAuth) (method, error) {
	pair, err := keyPair(s.Credentials, &spec.ClientCert, &spec.SecretRef)
	if err != nil {
		return method{}, err
	}
	return method{mount: cmp.Or(spec.Path, "cert"), path: "login", certificate: pair, body: func(context.Context) (map[string]string, error) {
		return map[string]string{"name": spec.Role}, nil
	}}, nil
}

func byPassword(s providers.Store, spec *v1alpha1.VaultPasswordAuth, mount string) (method, error) {
	password, err := s.Credentials.Secret(spec.SecretRef)
	if err != nil {
		return method{}, err
	}
	name := strings.TrimSpace(spec.Username)
	if strings.Contains(name, "/") {
		return method{}, providers.Invalidf("the username of vault.auth must not contain \"/\"")
	}
	return method{mount: cmp.Or(spec.Path, mount), path: "login/" + name, body: func(context.Context) (map[string]string, error) {
		return map[string]string{"password": string(password.Reveal())}, nil
	}}, nil
}

// trimmed is a token or an id without the line's end that editors leave.
func trimmed(v secret.Value) string { return strings.TrimSpace(string(v.Reveal())) }
