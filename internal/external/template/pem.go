package template

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // of RSA-OAEP, chosen by who has encrypted
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/pem"
	"hash"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

const (
	certificateType = "CERTIFICATE"
	privateKeyType  = "PRIVATE KEY"
	publicKeyType   = "PUBLIC KEY"
	// maxKey is how long a private key may be; one of RSA with 16,384 bits has
	// 13 KiB.
	maxKey = 16 << 10
)

const (
	noCertificate = refusal("its argument is not a PEM certificate")
	noKey         = refusal("its key is not a PEM private key: PKCS #1, PKCS #8 or EC, not encrypted")
)

// certificates are the functions for PEM blocks, certificates and keys.
func certificates() map[string]any {
	return map[string]any{
		"filterPEM": filterPEM, "filterCertChain": filterCertChain, "certSANs": certSANs,
		"jwkPublicKeyPem": jwkPublicKeyPem, "jwkPrivateKeyPem": jwkPrivateKeyPem, "rsaDecrypt": rsaDecrypt,
	}
}

func encodePEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// filterPEM returns the blocks of a type, in any case of letters.
func filterPEM(kind, input string) (string, error) {
	var out strings.Builder
	rest := []byte(input)
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if strings.EqualFold(block.Type, kind) {
			out.Write(pem.EncodeToMemory(block))
		}
	}
	if out.Len() == 0 && len(rest) != 0 {
		return "", refusal("there is something in its argument that is not PEM")
	}
	return out.String(), nil
}

// parseCertificates reads certificates that follow one another. What follows
// the last one is left out.
func parseCertificates(input string) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for rest := []byte(input); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return all, nil
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, noCertificate
		}
		all = append(all, certificate)
	}
}

// chain orders certificates from the leaf to the root, each after one that it
// has signed. It fails where they are not one chain.
func chain(certificates []*x509.Certificate) ([]*x509.Certificate, error) {
	issuer := make([]int, len(certificates))
	issues := make([]bool, len(certificates))
	for i, child := range certificates {
		issuer[i] = -1
		for j, parent := range certificates {
			if i != j && bytes.Equal(child.AuthorityKeyId, parent.SubjectKeyId) {
				issuer[i], issues[j] = j, true
				break
			}
		}
	}
	leaf := -1
	for i := range certificates {
		switch {
		case issues[i]:
		case leaf >= 0:
			return nil, refusal("its certificates are not one chain")
		default:
			leaf = i
		}
	}
	var ordered []*x509.Certificate
	for i := leaf; i >= 0; i = issuer[i] {
		if len(ordered) == len(certificates) {
			return nil, refusal("its certificates sign one another")
		}
		ordered = append(ordered, certificates[i])
	}
	if len(ordered) == 0 {
		return nil, refusal("there is no leaf among its certificates")
	}
	return ordered, nil
}

func isRoot(c *x509.Certificate) bool {
	return c.AuthorityKeyId == nil || bytes.Equal(c.AuthorityKeyId, c.SubjectKeyId)
}

// filterCertChain returns the leaf, the intermediate ones or the root of a
// chain, which may come in any order; "" where there is none.
func filterCertChain(which, input string) (string, error) {
	certificates, err := parseCertificates(input)
	if err != nil {
		return "", err
	}
	ordered, err := chain(certificates)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for i, c := range ordered {
		last := i == len(ordered)-1
		switch {
		case which == "leaf" && i == 0 && !isRoot(c),
			which == "root" && last && isRoot(c):
			out.WriteString(encodePEM(certificateType, c.Raw))
		case which == "intermediate" && i > 0:
			if isRoot(c) {
				return out.String(), nil
			}
			out.WriteString(encodePEM(certificateType, c.Raw))
		}
	}
	return out.String(), nil
}

// certSANs returns the names that the first certificate is for: DNS names, IP
// addresses, e-mail addresses and URIs, in this order.
func certSANs(input string) ([]string, error) {
	certificates, err := parseCertificates(input)
	if err != nil || len(certificates) == 0 {
		return nil, noCertificate
	}
	first := certificates[0]
	names := append([]string{}, first.DNSNames...)
	for _, ip := range first.IPAddresses {
		names = append(names, ip.String())
	}
	names = append(names, first.EmailAddresses...)
	for _, uri := range first.URIs {
		names = append(names, uri.String())
	}
	return names, nil
}

// parseKey reads the first PEM block as a private key.
func parseKey(input string) (any, error) {
	block, _ := pem.Decode([]byte(input))
	if block == nil || len(block.Bytes) > maxKey {
		return nil, noKey
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	return nil, noKey
}

// parseJWK reads a key of RFC 7517.
func parseJWK(input string) (any, error) {
	var key jose.JSONWebKey
	if len(input) > maxKey || key.UnmarshalJSON([]byte(input)) != nil {
		return nil, refusal("its argument is not a JSON Web Key of type RSA, EC or OKP (Ed25519)")
	}
	return key.Key, nil
}

func jwkPublicKeyPem(input string) (string, error) {
	key, err := parseJWK(input)
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", refusal("its argument is not a public key")
	}
	return encodePEM(publicKeyType, der), nil
}

func jwkPrivateKeyPem(input string) (string, error) {
	key, err := parseJWK(input)
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", refusal("its argument is not a private key")
	}
	return encodePEM(privateKeyType, der), nil
}

// rsaDecrypt takes scheme None, or RSA-OAEP with hash SHA1, SHA256 (also for
// any other name) or SHA512 (RFC 8017).
func rsaDecrypt(scheme, hashName, input, privateKey string) (string, error) {
	switch scheme {
	case "None":
		return input, nil
	case "RSA-OAEP":
	default:
		return "", refusal("its scheme is neither None nor RSA-OAEP")
	}
	key, err := parseKey(privateKey)
	if err != nil {
		return "", err
	}
	decrypter, ok := key.(*rsa.PrivateKey)
	if !ok {
		return "", refusal("its key is not one of RSA")
	}
	plain, err := rsa.DecryptOAEP(oaepHash(hashName), nil, decrypter, []byte(input), nil)
	if err != nil {
		return "", refusal("its key, hash and ciphertext do not belong together")
	}
	return string(plain), nil
}

func oaepHash(name string) hash.Hash {
	switch name {
	case "SHA1":
		return sha1.New() //nolint:gosec // see the import
	case "SHA512":
		return sha512.New()
	}
	return sha256.New()
}
