package signature

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/pem"
	"errors"
	"fmt"

	"golang.org/x/crypto/ssh"
)

// The format is that of PROTOCOL.sshsig in OpenSSH.
const (
	sshBegin     = "-----BEGIN SSH SIGNATURE-----"
	sshMagic     = "SSHSIG"
	sshNamespace = "git"
)

type sshSignature struct {
	Version   uint32
	PublicKey []byte
	Namespace string
	Reserved  []byte
	Hash      string
	Signature []byte
}

type sshMessage struct {
	Namespace string
	Reserved  []byte
	Hash      string
	Digest    []byte
}

func (s *Signers) signerSSH(o signed) (string, error) {
	sig, key, signature, err := parseSSH(o.signature)
	if err != nil {
		return "", err
	}
	name := "SSH key " + ssh.FingerprintSHA256(key)
	message := sshMessage{Namespace: sig.Namespace, Reserved: sig.Reserved, Hash: sig.Hash}
	if sig.Hash == "sha256" {
		sum := sha256.Sum256(o.payload)
		message.Digest = sum[:]
	} else {
		sum := sha512.Sum512(o.payload)
		message.Digest = sum[:]
	}
	if key.Verify(append([]byte(sshMagic), ssh.Marshal(message)...), signature) != nil {
		return "", fmt.Errorf("has a signature of %s that is not over this content", name)
	}
	refusal := fmt.Errorf("is signed with %s, which is not on the list", name)
	for _, allowed := range s.ssh {
		if !bytes.Equal(allowed.key, key.Marshal()) {
			continue
		}
		if err := allowed.may(o.at); err != nil {
			refusal = fmt.Errorf("is signed with %s, which %w", name, err)
			continue
		}
		return allowed.principals, nil
	}
	return "", refusal
}

func parseSSH(text []byte) (sig sshSignature, key ssh.PublicKey, signature *ssh.Signature, err error) {
	malformed := errors.New("has an SSH signature that cannot be read")
	block, rest := pem.Decode(text)
	if block == nil || bytes.Count(text, []byte(sshBegin)) != 1 || block.Type != "SSH SIGNATURE" || len(block.Headers) > 0 || len(bytes.TrimSpace(rest)) > 0 {
		return sig, nil, nil, malformed
	}
	body, ok := bytes.CutPrefix(block.Bytes, []byte(sshMagic))
	if !ok || ssh.Unmarshal(body, &sig) != nil || sig.Version != 1 {
		return sig, nil, nil, malformed
	}
	if key, err = ssh.ParsePublicKey(sig.PublicKey); err != nil {
		return sig, nil, nil, malformed
	}
	signature = &ssh.Signature{}
	if ssh.Unmarshal(sig.Signature, signature) != nil {
		return sig, nil, nil, malformed
	}
	switch {
	case sig.Namespace != sshNamespace:
		return sig, nil, nil, fmt.Errorf("has an SSH signature for namespace %q, not %q", printable(sig.Namespace), sshNamespace)
	case sig.Hash != "sha256" && sig.Hash != "sha512":
		return sig, nil, nil, errors.New("has an SSH signature over a hash that is not accepted; sha256 and sha512 are")
	}
	return sig, key, signature, acceptable(key, signature.Format)
}

// acceptable refuses kinds of keys and signatures that are weak or that this
// package does not know to check.
func acceptable(key ssh.PublicKey, format string) error {
	if _, ok := key.(*ssh.Certificate); ok {
		return errors.New("is signed with an SSH certificate, which is not supported")
	}
	switch key.Type() {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256:
		return nil
	case ssh.KeyAlgoRSA:
		public, ok := key.(ssh.CryptoPublicKey)
		if !ok {
			break
		}
		if k, ok := public.CryptoPublicKey().(*rsa.PublicKey); !ok || k.N.BitLen() < minRSA {
			return fmt.Errorf("is signed with an RSA key of less than %d bits", minRSA)
		}
		if format != ssh.KeyAlgoRSASHA256 && format != ssh.KeyAlgoRSASHA512 {
			return errors.New("is signed with RSA and SHA-1, which is not accepted")
		}
		return nil
	}
	return fmt.Errorf("is signed with an SSH key of type %q, which is not accepted", printable(key.Type()))
}
