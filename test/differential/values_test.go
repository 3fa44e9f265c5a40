package differential_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"software.sslmate.com/src/go-pkcs12"
)

// values are those that templates of testdata/functions.yaml find.
func values(t *testing.T) map[string]string {
	t.Helper()
	root := issue(t, "root", nil)
	middle := issue(t, "middle", root)
	leaf := issue(t, "leaf", middle)
	other := issue(t, "other", root)
	ecKey := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	_, edKey := mustBoth(ed25519.GenerateKey(rand.Reader))(t)
	chain := []*x509.Certificate{middle.certificate, root.certificate}
	keyPEM := encode("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(leaf.key))(t))
	return map[string]string{
		"user": "ada", "password": `pä"ss'<word>&`, "dotted.key": "dots", "json": `{"a":{"b":[1,2.5,true]},"s":"x<y"}`,
		"leafPEM": leaf.pem, "chainPEM": leaf.pem + root.pem + middle.pem, "mixedPEM": leaf.pem + keyPEM + "\n" + root.pem,
		"twoLeavesPEM": leaf.pem + middle.pem + other.pem + root.pem,
		"keyPEM":       keyPEM, "ecPEM": encode("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(ecKey))(t)),
		"p12":     string(must(pkcs12.Modern.Encode(leaf.key, leaf.certificate, chain, ""))(t)),
		"p12pass": string(must(pkcs12.LegacyDES.Encode(leaf.key, leaf.certificate, chain, "changeit"))(t)),
		"rsaJWK":  jwk(t, leaf.key), "ecJWK": jwk(t, ecKey), "edJWK": jwk(t, edKey),
		"rsaPublicJWK": jwk(t, leaf.key.Public()), "ecPublicJWK": jwk(t, ecKey.Public()), "edPublicJWK": jwk(t, edKey.Public()),
		"oaep":     string(must(rsa.EncryptOAEP(sha256.New(), rand.Reader, &leaf.key.PublicKey, []byte("plain"), nil))(t)),
		"oaepSHA1": string(must(rsa.EncryptOAEP(sha1.New(), rand.Reader, &leaf.key.PublicKey, []byte("plain"), nil))(t)),
	}
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func mustBoth[T, U any](v T, w U, err error) func(*testing.T) (T, U) {
	return func(t *testing.T) (T, U) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v, w
	}
}

type identity struct {
	key         *rsa.PrivateKey
	certificate *x509.Certificate
	pem         string
}

// issue makes a certificate that parent signs, or its own key.
func issue(t *testing.T, name string, parent *identity) *identity {
	t.Helper()
	key := must(rsa.GenerateKey(rand.Reader, 2048))(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: name == "root" || name == "middle",
		BasicConstraintsValid: true, SubjectKeyId: []byte(name), DNSNames: []string{name + ".example"}, IPAddresses: []net.IP{{127, 0, 0, 1}},
	}
	signer, issuer := crypto.Signer(key), template
	if parent != nil {
		signer, issuer = parent.key, parent.certificate
	}
	der := must(x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, signer))(t)
	return &identity{key, must(x509.ParseCertificate(der))(t), encode("CERTIFICATE", der)}
}

func encode(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func jwk(t *testing.T, key any) string {
	t.Helper()
	return string(must((&jose.JSONWebKey{Key: key}).MarshalJSON())(t))
}
