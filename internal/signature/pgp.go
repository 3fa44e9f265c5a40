package signature

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

const (
	pgpBegin = "-----BEGIN PGP SIGNATURE-----"
	pgpEnd   = "-----END PGP SIGNATURE-----"
	minRSA   = 2048
)

// addPGP reads armored public keys, one block after the other.
func (s *Signers) addPGP(text []byte) (err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("it holds a key that cannot be read")
		}
	}()
	const begin = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
	blocks := bytes.Split(text, []byte(begin))
	if len(blocks) == 1 || len(bytes.TrimSpace(blocks[0])) > 0 {
		return errors.New("it is not armored OpenPGP public keys (gpg --armor --export)")
	}
	for _, b := range blocks[1:] {
		keys, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(append([]byte(begin), b...)))
		if err != nil || len(keys) == 0 {
			return errors.New("it holds a public key that cannot be read")
		}
		s.pgp = append(s.pgp, keys...)
	}
	if len(s.pgp) > maxSigners {
		return fmt.Errorf("there are more than %d keys", maxSigners)
	}
	return nil
}

func (s *Signers) signerPGP(o signed, now time.Time) (string, error) {
	sig, raw, err := parsePGP(o.signature)
	if err != nil {
		return "", err
	}
	config := &packet.Config{Time: func() time.Time { return now }}
	_, signer, err := openpgp.VerifyDetachedSignature(s.pgp, bytes.NewReader(o.payload), bytes.NewReader(raw), config)
	key := fmt.Sprintf("OpenPGP key %016X", *sig.IssuerKeyId)
	switch {
	case errors.Is(err, pgperrors.ErrUnknownIssuer):
		return "", fmt.Errorf("is signed with %s, which is not on the list or may not sign", key)
	case errors.Is(err, pgperrors.ErrKeyExpired):
		return "", fmt.Errorf("is signed with %s, which has expired or is not valid yet", key)
	case errors.Is(err, pgperrors.ErrKeyRevoked):
		return "", fmt.Errorf("is signed with %s, which is revoked", key)
	case errors.Is(err, pgperrors.ErrSignatureExpired):
		return "", fmt.Errorf("is signed with %s, and the signature has expired", key)
	case err != nil:
		return "", fmt.Errorf("has a signature of %s that is not over this content", key)
	case sig.CreationTime.Before(signer.PrimaryKey.CreationTime):
		return "", fmt.Errorf("has a signature that is older than %s", key)
	case weak(signer, *sig.IssuerKeyId):
		return "", fmt.Errorf("is signed with %s, whose kind or size is too weak", key)
	}
	if id := signer.PrimaryIdentity(); id != nil {
		return printable(id.Name), nil
	}
	return key, nil
}

// parsePGP accepts one block of armor with one packet in it: a signature over
// bytes as they are, with a hash that is not broken.
func parsePGP(text []byte) (*packet.Signature, []byte, error) {
	malformed := errors.New("has an OpenPGP signature that cannot be read")
	_, rest, ok := bytes.Cut(text, []byte(pgpEnd))
	if !ok || len(bytes.TrimSpace(rest)) > 0 || bytes.Count(text, []byte(pgpBegin)) != 1 {
		return nil, nil, malformed
	}
	block, err := armor.Decode(bytes.NewReader(text))
	if err != nil || block.Type != openpgp.SignatureType {
		return nil, nil, malformed
	}
	raw, err := io.ReadAll(io.LimitReader(block.Body, maxSignature))
	if err != nil {
		return nil, nil, malformed
	}
	packets := packet.NewReader(bytes.NewReader(raw))
	first, err := packets.Next()
	sig, ok := first.(*packet.Signature)
	if err != nil || !ok || sig.IssuerKeyId == nil {
		return nil, nil, malformed
	}
	if _, err := packets.Next(); !errors.Is(err, io.EOF) {
		return nil, nil, errors.New("has more than one signature")
	}
	switch {
	case sig.SigType != packet.SigTypeBinary:
		return nil, nil, errors.New("has an OpenPGP signature that is not over bytes as they are")
	case sig.Hash != crypto.SHA256 && sig.Hash != crypto.SHA384 && sig.Hash != crypto.SHA512:
		return nil, nil, errors.New("has an OpenPGP signature over a hash that is not accepted; SHA-256, SHA-384 and SHA-512 are")
	}
	return sig, raw, nil
}

func weak(signer *openpgp.Entity, id uint64) bool {
	keys := []*packet.PublicKey{signer.PrimaryKey}
	for _, k := range signer.Subkeys {
		if k.PublicKey.KeyId == id {
			keys = append(keys, k.PublicKey)
		}
	}
	for _, k := range keys {
		bits, err := k.BitLength()
		switch k.PubKeyAlgo {
		case packet.PubKeyAlgoRSA, packet.PubKeyAlgoRSASignOnly:
			if err != nil || bits < minRSA {
				return true
			}
		case packet.PubKeyAlgoDSA, packet.PubKeyAlgoElGamal:
			return true
		}
	}
	return false
}
