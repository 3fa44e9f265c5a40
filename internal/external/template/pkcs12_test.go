package template_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
	"software.sslmate.com/src/go-pkcs12"
)

// pair returns a key and its certificate, and both in PEM.
func pair(t *testing.T) (*ecdsa.PrivateKey, *x509.Certificate, map[string]string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	blank := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"a.example", "b.example"}}
	der, err := x509.CreateCertificate(rand.Reader, blank, blank, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return key, certificate, map[string]string{
		"cert": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		"key":  string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})),
	}
}

func TestStoresAreTheSameEachTime(t *testing.T) {
	_, _, texts := pair(t)
	_, _, others := pair(t)
	for _, text := range []string{
		`{{ pemToPkcs12 .cert .key }}`, `{{ fullPemToPkcs12Pass .cert .key "pw" }}`, `{{ pemTruststoreToPKCS12 .cert }}`,
	} {
		first, err := render(t, text, texts, options())
		if err != nil {
			t.Fatal(err)
		}
		if again, err := render(t, text, texts, options()); err != nil || again != first {
			t.Errorf("%s made another file the second time, %v", text, err)
		}
		if other, err := render(t, text, others, options()); err != nil || other[:200] == first[:200] {
			t.Errorf("%s has the same salt for another certificate, %v", text, err)
		}
	}
}

func TestAStoreThatTakesMinutesToOpenIsRefused(t *testing.T) {
	key, certificate, _ := pair(t)
	file, err := pkcs12.Modern.WithIterations(1_000_001).Encode(key, certificate, nil, "pw")
	if err != nil {
		t.Fatal(err)
	}
	_, err = render(t, `{{ pkcs12keyPass "pw" .file }}`, map[string]string{"file": string(file)}, options())
	if err == nil || !strings.Contains(err.Error(), "too costly to open") {
		t.Errorf("pkcs12keyPass: %v", err)
	}
}

func TestHashesAreThoseOfTheirPasswords(t *testing.T) {
	out, err := render(t, `{{ bcrypt .p }} {{ htpasswd "ada" .p }}`, map[string]string{"p": "pässword"}, options())
	if err != nil {
		t.Fatal(err)
	}
	hash, entry, _ := strings.Cut(out, " ")
	for _, h := range []string{hash, strings.TrimPrefix(entry, "ada:")} {
		if err := bcrypt.CompareHashAndPassword([]byte(h), []byte("pässword")); err != nil {
			t.Errorf("%s is no hash of the password: %v", h, err)
		}
	}
	if cost, err := bcrypt.Cost([]byte(hash)); err != nil || cost != bcrypt.DefaultCost {
		t.Errorf("cost %d, %v", cost, err)
	}
}

func TestNamesOfACertificate(t *testing.T) {
	_, _, texts := pair(t)
	if got, err := render(t, `{{ certSANs .cert | join "," }}`, texts, options()); err != nil || got != "a.example,b.example" {
		t.Errorf("certSANs: %q, %v", got, err)
	}
}
