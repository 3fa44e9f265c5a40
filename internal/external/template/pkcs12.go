package template

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"

	"software.sslmate.com/src/go-pkcs12"
)

const (
	// maxStore is how long a PKCS #12 file may be, in bytes.
	maxStore = 256 << 10
	// maxIterations is how often its password may be hashed; keytool does it
	// 10,000 times, OpenSSL 2,048 times.
	maxIterations = 1_000_000
	maxDERDepth   = 32
)

// stores are the functions for PKCS #12 files (RFC 7292). Those that read take
// the file as it is, those that write give it in base64. What they need random
// bytes for is derived.
func (r *run) stores() map[string]any {
	return map[string]any{
		"pkcs12key":                 func(file string) (string, error) { return r.storeKey("", file) },
		"pkcs12keyPass":             r.storeKey,
		"pkcs12cert":                func(file string) (string, error) { return r.storeCertificates("", file) },
		"pkcs12certPass":            r.storeCertificates,
		"pemToPkcs12":               func(cert, key string) (string, error) { return r.makeStore(cert, key, "") },
		"pemToPkcs12Pass":           r.makeStore,
		"fullPemToPkcs12":           func(cert, key string) (string, error) { return r.makeFullStore(cert, key, "") },
		"fullPemToPkcs12Pass":       r.makeFullStore,
		"pemTruststoreToPKCS12":     func(certs string) (string, error) { return r.makeTrustStore(certs, "") },
		"pemTruststoreToPKCS12Pass": r.makeTrustStore,
	}
}

type store struct {
	key         any
	certificate *x509.Certificate
	others      []*x509.Certificate
}

func (r *run) open(password, file string) (store, error) {
	if len(file) > maxStore || costlyDER([]byte(file), 0) {
		return store{}, refusal("its PKCS #12 file is too large, or too costly to open")
	}
	if err := r.charge(costlyWork); err != nil {
		return store{}, err
	}
	key, certificate, others, err := pkcs12.DecodeChain([]byte(file), password)
	if err != nil {
		return store{}, refusal("its argument is not a PKCS #12 file of this password")
	}
	return store{key, certificate, others}, nil
}

// costlyDER reports whether a number in the file could be one of iterations that
// would take minutes.
func costlyDER(der []byte, depth int) bool {
	for len(der) > 0 && depth < maxDERDepth {
		var element asn1.RawValue
		rest, err := asn1.Unmarshal(der, &element)
		if err != nil {
			return false
		}
		der = rest
		var number int
		isNumber := element.Class == asn1.ClassUniversal && element.Tag == asn1.TagInteger
		if isNumber {
			if _, err := asn1.Unmarshal(element.FullBytes, &number); err == nil && number > maxIterations {
				return true
			}
		}
		nested := element.IsCompound || element.Class == asn1.ClassUniversal && element.Tag == asn1.TagOctetString
		if nested && costlyDER(element.Bytes, depth+1) {
			return true
		}
	}
	return len(der) > 0
}

func (r *run) storeKey(password, file string) (string, error) {
	s, err := r.open(password, file)
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(s.key)
	if err != nil {
		return "", refusal("the key in the PKCS #12 file is of an unknown type")
	}
	return encodePEM(privateKeyType, der), nil
}

// storeCertificates returns them from the leaf to the root, or, where they are
// not one chain, in the order of the file.
func (r *run) storeCertificates(password, file string) (string, error) {
	s, err := r.open(password, file)
	if err != nil {
		return "", err
	}
	all := append([]*x509.Certificate{s.certificate}, s.others...)
	if ordered, err := chain(all); err == nil {
		all = ordered
	}
	var out string
	for _, c := range all {
		out += encodePEM(certificateType, c.Raw)
	}
	return out, nil
}

// makeStore takes the first certificate only.
func (r *run) makeStore(cert, key, password string) (string, error) {
	block, _ := pem.Decode([]byte(cert))
	if block == nil {
		return "", noCertificate
	}
	return r.makeFullStore(encodePEM(block.Type, block.Bytes), key, password)
}

// makeFullStore takes the certificate of the key first, then its issuers.
func (r *run) makeFullStore(certs, key, password string) (string, error) {
	certificates, err := parseCertificates(certs)
	if err != nil || len(certificates) == 0 {
		return "", noCertificate
	}
	parsed, err := parseKey(key)
	if err != nil {
		return "", err
	}
	encoder, err := r.encoder(certs, key, password)
	if err != nil {
		return "", err
	}
	file, err := encoder.Encode(parsed, certificates[0], certificates[1:], password)
	if err != nil {
		return "", refusal("a PKCS #12 file cannot be made of this key, these certificates and this password")
	}
	return base64.StdEncoding.EncodeToString(file), nil
}

func (r *run) makeTrustStore(certs, password string) (string, error) {
	certificates, err := parseCertificates(certs)
	if err != nil {
		return "", err
	}
	encoder, err := r.encoder(certs, password)
	if err != nil {
		return "", err
	}
	file, err := encoder.EncodeTrustStore(certificates, password)
	if err != nil {
		return "", refusal("a PKCS #12 file cannot be made of these certificates and this password")
	}
	return base64.StdEncoding.EncodeToString(file), nil
}

// encoder makes files with PBES2, AES-256 and SHA-256. Salts and vectors are
// derived from what goes into the file, so that another one has others.
func (r *run) encoder(content ...string) (*pkcs12.Encoder, error) {
	if err := r.charge(costlyWork); err != nil {
		return nil, err
	}
	random, err := r.stream("pkcs12", content...)
	if err != nil {
		return nil, err
	}
	return pkcs12.Modern.WithRand(random), nil
}
