package external

import (
	"bytes"
	"encoding/base64"

	"github.com/gitseal/gitseal/internal/secret"
)

// decoded decodes a value as decodingStrategy asks, and looks for null bytes as
// nullBytePolicy asks.
func decoded(v secret.Value, strategy string, failNull bool) (secret.Value, error) {
	out, err := decodeBytes(v.Reveal(), strategy)
	if err != nil {
		return secret.Value{}, err
	}
	if failNull && bytes.IndexByte(out, 0) >= 0 {
		return secret.Value{}, errNullByte
	}
	return secret.NewValue(out), nil
}

func decodeBytes(in []byte, strategy string) ([]byte, error) {
	switch strategy {
	case decodeBase64:
		return decodeWith(base64.StdEncoding, in)
	case decodeBase64URL:
		return decodeWith(base64.URLEncoding, in)
	case decodeAuto:
		for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			if out, err := decodeWith(encoding, in); err == nil {
				return out, nil
			}
		}
	}
	return in, nil
}

func decodeWith(encoding *base64.Encoding, in []byte) ([]byte, error) {
	out := make([]byte, encoding.DecodedLen(len(in)))
	n, err := encoding.Decode(out, in)
	if err != nil {
		return nil, errNotBase64
	}
	return out[:n], nil
}
