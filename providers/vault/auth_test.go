package vault_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/hashicorp/vault/api"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/providers"
	"github.com/gitseal/gitseal/test/rig"
)

// Each method lets in against a real Vault that is set up as its administrator
// would, and not with another credential.
func TestEveryMethodOfAuthentication(t *testing.T) {
	for name, tt := range map[string]struct {
		// set up the method, and return how to log in and with what, and the key
		// of the credential that must be right.
		prepare  func(*testing.T) (*v1alpha1.VaultAuth, objects, string)
		identity string
		direct   bool // not through the proxy, which ends TLS
	}{
		"a token":                   {prepare: withToken, identity: "auth/token as token-ci"},
		"a role id and a secret id": {prepare: withRole, identity: "auth/approle as shop"},
		"a ServiceAccount's token for Kubernetes": {prepare: withServiceAccount, identity: "auth/kubernetes as shop"},
		"a stored token for Kubernetes":           {prepare: withStoredServiceAccount, identity: "auth/kubernetes as shop"},
		"a ServiceAccount's token as JWT":         {prepare: withJWT, identity: "auth/jwt as shop"},
		"a stored JWT":                            {prepare: withStoredJWT, identity: "auth/jwt as shop"},
		"a user of Vault":                         {prepare: withUser, identity: "auth/userpass as bob"},
		"a user of a directory":                   {prepare: withLDAP, identity: "auth/ldap as bob"},
		"a certificate":                           {prepare: withCertificate, identity: "auth/cert as shop", direct: true},
	} {
		t.Run(name, func(t *testing.T) {
			auth, credentials, right := tt.prepare(t)
			put(t, "shared", map[string]any{"a": "b"})
			store := storeOf(auth, credentials)
			if tt.direct {
				store.Spec.Vault.Server, store.Spec.Vault.CABundle = server.Address, server.CA
			}
			logins := 0
			store.LoggedIn = func() { logins++ }
			p := opened(t, store)
			if value, _, err := read(t, p, providers.Ref{Key: "shared"}); err != nil || value != `{"a":"b"}` {
				t.Errorf("Get = %s, %v, want the value", value, err)
			}
			identity, err := p.(providers.Checker).Check(t.Context())
			if err != nil || identity != tt.identity {
				t.Errorf("Check = %q, %v, want %q", identity, err, tt.identity)
			}
			if want := map[bool]int{true: 0, false: 1}[auth.TokenSecretRef != nil]; logins != want {
				t.Errorf("%d logins, want %d", logins, want)
			}
			wrong := objects{}
			for name, value := range credentials {
				wrong[name] = value
			}
			wrong[right] = spoiled(t, credentials[right])
			store.Credentials = wrong
			p, err = open(t, store)
			if err == nil {
				_, _, err = read(t, p, providers.Ref{Key: "shared"})
			}
			if !errors.Is(err, providers.ErrUnauthenticated) && !errors.Is(err, providers.ErrInvalid) {
				t.Errorf("with a wrong credential: %v, want ErrUnauthenticated or ErrInvalid", err)
			}
		})
	}
}

// spoiled is another credential of the same kind.
func spoiled(t *testing.T, credential string) string {
	if block, _ := pem.Decode([]byte(credential)); block != nil {
		_, key := certificate(t)
		return key
	}
	end := "ffff"
	if strings.HasSuffix(credential, end) {
		end = "0000"
	}
	return credential[:len(credential)-len(end)] + end
}

func withToken(t *testing.T) (*v1alpha1.VaultAuth, objects, string) {
	token := newToken(t, &api.TokenCreateRequest{Policies: []string{"reader"}, DisplayName: "ci"})
	at := ref("token", "")
	return &v1alpha1.VaultAuth{TokenSecretRef: &at}, objects{"token/token": token + "\n"}, "token/token"
}

func newToken(t *testing.T, request *api.TokenCreateRequest) string {
	t.Helper()
	made, err := server.Root.Auth().Token().CreateWithContext(t.Context(), request)
	must(t, err)
	return made.Auth.ClientToken
}

func withRole(t *testing.T) (*v1alpha1.VaultAuth, objects, string) {
	write(t, "auth/approle/role/shop", map[string]any{"token_policies": "reader", "role_id": "role-of-the-shop"})
	id := write(t, "auth/approle/role/shop/secret-id", nil)["secret_id"].(string)
	at := ref("vault", "role")
	return &v1alpha1.VaultAuth{AppRole: &v1alpha1.VaultAppRole{RoleRef: &at, SecretRef: ref("vault", "id")}},
		objects{"vault/role": "role-of-the-shop\n", "vault/id": id}, "vault/id"
}

// reviewed is a token that an API server knows for ServiceAccount vault of
// namespace shop. The end-to-end test has a real one; here it is a web server
// that answers reviews as one does.
func reviewed(t *testing.T) string {
	signer, _ := signing(t)
	token := sign(t, signer, map[string]any{
		"iss": "https://kubernetes.default.svc", "sub": "system:serviceaccount:shop:vault",
		"kubernetes.io": map[string]any{"namespace": "shop", "serviceaccount": map[string]any{"name": "vault", "uid": "u-1"}},
	})
	reviews := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review struct{ Spec struct{ Token string } }
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil || r.URL.Path != "/apis/authentication.k8s.io/v1/tokenreviews" {
			t.Errorf("Vault asked the API server for %s: %v", r.URL.Path, err)
		}
		status := map[string]any{"authenticated": false}
		if review.Spec.Token == token {
			status = map[string]any{"authenticated": true, "user": map[string]any{"username": "system:serviceaccount:shop:vault", "uid": "u-1", "groups": []string{"system:serviceaccounts"}}}
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		must(t, json.NewEncoder(w).Encode(map[string]any{"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "status": status}))
	}))
	t.Cleanup(reviews.Close)
	write(t, "auth/kubernetes/config", map[string]any{"kubernetes_host": reviews.URL, "disable_local_ca_jwt": true, "token_reviewer_jwt": token})
	write(t, "auth/kubernetes/role/shop", map[string]any{
		"bound_service_account_names": "vault", "bound_service_account_namespaces": "shop", "token_policies": "reader", "alias_name_source": "serviceaccount_name",
	})
	return token
}

func withServiceAccount(t *testing.T) (*v1alpha1.VaultAuth, objects, string) {
	auth := &v1alpha1.VaultAuth{Kubernetes: &v1alpha1.VaultKubernetesAuth{Role: "shop", ServiceAccountRef: &v1alpha1.ServiceAccountSelector{Name: "vault"}}}
	return auth, objects{"vault  10m0s": reviewed(t)}, "vault  10m0s"
}

func withStoredServiceAccount(t *testing.T) (*v1alpha1.VaultAuth, objects, string) {
	at := ref("stored", "")
	return &v1alpha1.VaultAuth{Kubernetes: &v1alpha1.VaultKubernetesAuth{Role: "shop", SecretRef: &at}}, objects{"stored/token": reviewed(t)}, "stored/token"
}

func signing(t *testing.T) (jose.Signer, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	must(t, err)
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	must(t, err)
	return signer, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func sign(t *testing.T, signer jose.Signer, claims map[string]any) string {
	t.Helper()
	token, err := jwt.Signed(signer).Claims(claims).Claims(map[string]any{"exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix()}).Serialize()
	must(t, err)
	return token
}

// trusted is a JWT that Vault verifies by itself.
func trusted(t *testing.T) string {
	signer, public := signing(t)
	write(t, "auth/jwt/config", map[string]any{"jwt_validation_pubkeys": public})
	write(t, "auth/jwt/role/shop", map[string]any{"role_type": "jwt", "user_claim": "sub", "bound_audiences": "vault", "token_policies": "reader"})
	return sign(t, signer, map[string]any{"sub": "system:serviceaccount:shop:vault", "aud": "vault"})
}

func withJWT(t *testing.T) (*v1alpha1.VaultAuth, objects, string) {
	auth := &v1alpha1.VaultAuth{JWT: &v1alpha1.VaultJWTAuth{Role: "shop", KubernetesServiceAccountToken: &v1alpha1.VaultServiceAccountToken{
		ServiceAccountRef: v1alpha1.ServiceAccountSelector{Name: "vault"},
	}}}
	return auth, objects{"vault vault 10m0s": trusted(t)}, "vault vault 10m0s"
}

func withStoredJWT(t *testing.T) (*v1alpha1.VaultAuth, objects, string) {
	at := ref("stored", "jwt")
	return &v1alpha1.VaultAuth{JWT: &v1alpha1.VaultJWTAuth{Role: "shop", SecretRef: &at}}, objects{"stored/jwt": trusted(t) + "\n"}, "stored/jwt"
}

func withUser(t *testing.T) (*v1alpha1.VaultAuth, objects, string) {
	write(t, "auth/userpass/users/bob", map[string]any{"password": "canary of bob ", "token_policies": "reader"})
	return &v1alpha1.VaultAuth{UserPass: &v1alpha1.VaultPasswordAuth{Username: "bob", SecretRef: ref("bob", "password")}},
		objects{"bob/password": "canary of bob "}, "bob/password"
}

func withLDAP(t *testing.T) (*v1alpha1.VaultAuth, objects, string) {
	write(t, "auth/ldap/config", map[string]any{"url": directory(t), "userdn": "ou=people,dc=shop", "userattr": "uid"})
	write(t, "auth/ldap/users/bob", map[string]any{"policies": "reader"})
	return &v1alpha1.VaultAuth{LDAP: &v1alpha1.VaultPasswordAuth{Username: "bob", SecretRef: ref("bob", "password")}},
		objects{"bob/password": "canary of bob"}, "bob/password"
}

// directory is as much of an LDAP server (RFC 4511) as binds and searches of one
// user take.
func directory(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go serveBob(c)
		}
	}()
	return "ldap://" + listener.Addr().String()
}

const bob = "uid=bob,ou=people,dc=shop"

func serveBob(c net.Conn) {
	defer c.Close()
	for {
		buffer := make([]byte, 2048)
		n, err := c.Read(buffer)
		if err != nil {
			return
		}
		var message struct {
			ID      int
			Request asn1.RawValue
		}
		if _, err := asn1.Unmarshal(buffer[:n], &message); err != nil {
			return
		}
		answer := func(operation []byte) { _, _ = c.Write(tlv(0x30, tlv(0x02, []byte{byte(message.ID)}), operation)) }
		result := func(tag, code byte) []byte { return tlv(tag, tlv(0x0a, []byte{code}), tlv(0x04), tlv(0x04)) }
		switch message.Request.Tag {
		case 0:
			answer(result(0x61, bindsBob(message.Request.Bytes)))
		case 3:
			uid := tlv(0x30, tlv(0x04, []byte("uid")), tlv(0x31, tlv(0x04, []byte("bob"))))
			answer(tlv(0x64, tlv(0x04, []byte(bob)), tlv(0x30, uid)))
			answer(result(0x65, 0))
		default:
			return
		}
	}
}

// bindsBob is the result code of a simple bind.
func bindsBob(request []byte) byte {
	var version int
	var name []byte
	var password asn1.RawValue
	for _, part := range []any{&version, &name, &password} {
		rest, err := asn1.Unmarshal(request, part)
		if err != nil {
			return 2 // protocolError
		}
		request = rest
	}
	if string(name) == bob && string(password.Bytes) == "canary of bob" {
		return 0
	}
	return 49 // invalidCredentials
}

// tlv is one element of BER, of less than 128 bytes.
func tlv(tag byte, parts ...[]byte) []byte {
	content := bytes.Join(parts, nil)
	return append([]byte{tag, byte(len(content))}, content...)
}

func withCertificate(t *testing.T) (*v1alpha1.VaultAuth, objects, string) {
	public, private := certificate(t)
	write(t, "auth/cert/certs/shop", map[string]any{"certificate": public, "token_policies": "reader", "allowed_common_names": "shop"})
	return &v1alpha1.VaultAuth{Cert: &v1alpha1.VaultCertAuth{Role: "shop", ClientCert: ref("tls", ""), SecretRef: ref("tls", "")}},
		objects{"tls/tls.crt": public, "tls/tls.key": private}, "tls/tls.key"
}

func certificate(t *testing.T) (public, private string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "shop"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
}

// A certificate that Vault does not know is refused like any credential.
func TestAForeignCertificateIsRefused(t *testing.T) {
	auth, _, _ := withCertificate(t)
	public, private := certificate(t)
	store := storeOf(auth, objects{"tls/tls.crt": public, "tls/tls.key": private})
	store.Spec.Vault.Server, store.Spec.Vault.CABundle = server.Address, server.CA
	if _, _, err := read(t, opened(t, store), providers.Ref{Key: "shared"}); !errors.Is(err, providers.ErrUnauthenticated) {
		t.Errorf("Get = %v, want ErrUnauthenticated", err)
	}
}

func TestSpecsThatCannotWork(t *testing.T) {
	token := ref("token", "")
	tests := map[string]func(*v1alpha1.VaultProvider){
		"no auth":                     func(v *v1alpha1.VaultProvider) { v.Auth = nil },
		"auth of no kind":             func(v *v1alpha1.VaultProvider) { v.Auth = &v1alpha1.VaultAuth{} },
		"auth of two kinds":           func(v *v1alpha1.VaultProvider) { v.Auth.TokenSecretRef = &token },
		"no URL":                      func(v *v1alpha1.VaultProvider) { v.Server = "vault.example:8200" },
		"a URL with a password":       func(v *v1alpha1.VaultProvider) { v.Server = "https://a:b@vault.example" },
		"another scheme":              func(v *v1alpha1.VaultProvider) { v.Server = "unix:///run/vault.sock" },
		"a version 3":                 func(v *v1alpha1.VaultProvider) { v.Version = "v3" },
		"authorities that are no PEM": func(v *v1alpha1.VaultProvider) { v.CABundle = []byte("canary") },
		"a token in the headers":      func(v *v1alpha1.VaultProvider) { v.Headers = map[string]string{"x-vault-token": "canary"} },
		"a header with a new line":    func(v *v1alpha1.VaultProvider) { v.Headers = map[string]string{"X-A": "a\r\nX-B: c"} },
		"a certificate without key":   func(v *v1alpha1.VaultProvider) { v.ClientTLS.CertSecretRef = &token },
		"a method's path with ..":     func(v *v1alpha1.VaultProvider) { v.Auth.AppRole.Path = "../sys" },
		"no role":                     func(v *v1alpha1.VaultProvider) { v.Auth.AppRole.RoleID = "" },
		"a username with a slash": func(v *v1alpha1.VaultProvider) {
			v.Auth = &v1alpha1.VaultAuth{UserPass: &v1alpha1.VaultPasswordAuth{Username: "../x", SecretRef: ref("approle", "id")}}
		},
		"a missing entry":  func(v *v1alpha1.VaultProvider) { v.Auth.AppRole.SecretRef.Key = "other" },
		"no token to send": func(v *v1alpha1.VaultProvider) { v.Auth = &v1alpha1.VaultAuth{JWT: &v1alpha1.VaultJWTAuth{}} },
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			store, _ := appRole(t, nil)
			spoil(store.Spec.Vault)
			if _, err := open(t, store); !errors.Is(err, providers.ErrInvalid) {
				t.Errorf("Open = %v, want ErrInvalid", err)
			}
		})
	}
}

// What the operator's environment says about some Vault is not about ours.
func TestTheEnvironmentOfTheOperatorHasNoSay(t *testing.T) {
	for name, value := range map[string]string{
		"VAULT_ADDR": "https://elsewhere.example", "VAULT_TOKEN": "hvs.canary", "VAULT_NAMESPACE": "elsewhere", "VAULT_HEADERS": `{"X-From-Env":"1"}`,
		"VAULT_MAX_RETRIES": "5", "VAULT_SKIP_VERIFY": "true",
	} {
		t.Setenv(name, value)
	}
	store, _ := appRole(t, nil)
	put(t, "x", map[string]any{"a": "b"})
	fail(t, everything, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-From-Env") != "" || r.Header.Get("X-Vault-Namespace") != "" || r.Header.Get("X-Vault-Token") == "hvs.canary" {
			t.Error("a request holds what the environment says")
		}
		server.Proxy.Pass(w, r)
	})
	if _, _, err := read(t, opened(t, store), providers.Ref{Key: "x"}); err != nil {
		t.Error(err)
	}
	before := server.Proxy.Count(rig.VaultReads)
	fail(t, rig.VaultReads, refusing(http.StatusInternalServerError, nil, ""))
	_, _, _ = read(t, opened(t, store), providers.Ref{Key: "x"})
	if made := server.Proxy.Count(rig.VaultReads) - before; made != 1 {
		t.Errorf("%d requests, want 1: others decide what is tried again", made)
	}
}
