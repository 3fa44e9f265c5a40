package template

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"strings"

	"golang.org/x/crypto/blowfish" //nolint:staticcheck // bcrypt is made of it
)

const (
	bcryptCost   = 10 // sprig's
	bcryptSalt   = 16 // bytes
	bcryptLength = 72 // bytes of a password that count; more are refused
	// What these functions count for, in bytes of work: they take a tenth of a
	// second each, so that a template may call 16 of them.
	costlyWork = maxTotal / 16
)

// ciphers are the functions that need a salt, which is derived, or much time.
func (r *run) ciphers() map[string]any {
	return map[string]any{
		"bcrypt":   func(password string) (string, error) { return r.bcrypt("bcrypt", password) },
		"htpasswd": r.htpasswd, "encryptAES": r.encryptAES, "derivePassword": r.derivePassword,
	}
}

func (r *run) htpasswd(user, password string) (string, error) {
	if strings.Contains(user, ":") {
		return "", refusal("its first argument, the user, holds a colon")
	}
	hash, err := r.bcrypt("htpasswd", password)
	return user + ":" + hash, err
}

// bcryptEncoding is that of the first implementation, OpenBSD's.
func bcryptEncoding() *base64.Encoding {
	return base64.NewEncoding("./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789").WithPadding(base64.NoPadding)
}

// bcrypt hashes as golang.org/x/crypto/bcrypt does, which lets nobody choose
// the salt: Provos and Mazieres, A Future-Adaptable Password Scheme (1999).
func (r *run) bcrypt(function, password string) (string, error) {
	if len(password) > bcryptLength {
		return "", refusal("its password has more than 72 bytes")
	}
	if err := r.charge(costlyWork); err != nil {
		return "", err
	}
	salt, err := r.salt(function, bcryptSalt, password)
	if err != nil {
		return "", err
	}
	key := append([]byte(password), 0)
	state, err := blowfish.NewSaltedCipher(key, salt)
	if err != nil {
		return "", err
	}
	for range 1 << bcryptCost {
		blowfish.ExpandKey(key, state)
		blowfish.ExpandKey(salt, state)
	}
	text := []byte("OrpheanBeholderScryDoubt")
	for block := text; len(block) > 0; block = block[blowfish.BlockSize:] {
		for range 64 {
			state.Encrypt(block, block)
		}
	}
	encoding := bcryptEncoding()
	return "$2a$10$" + encoding.EncodeToString(salt) + encoding.EncodeToString(text[:len(text)-1]), nil
}

// encryptAES is AES-256-CBC with PKCS #7 padding, after its initialization
// vector, in base64.
func (r *run) encryptAES(password, plain string) (string, error) {
	if plain == "" {
		return "", nil
	}
	iv, err := r.salt("encryptAES", aes.BlockSize, password, plain)
	if err != nil {
		return "", err
	}
	key := make([]byte, 32)
	copy(key, password)
	block, err := aes.NewCipher(key)
	if err != nil {
		return "", err
	}
	padding := aes.BlockSize - len(plain)%aes.BlockSize
	padded := append([]byte(plain), bytes.Repeat([]byte{byte(padding)}, padding)...)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(padded, padded)
	return base64.StdEncoding.EncodeToString(append(iv, padded...)), nil
}

// derivePassword takes 32 MiB of memory and a tenth of a second.
func (r *run) derivePassword(counter uint32, kind, password, user, site string) (string, error) {
	switch kind {
	case "maximum", "long", "medium", "short", "basic", "pin":
	default:
		return "", refusal("there is no such kind of password")
	}
	if err := r.charge(costlyWork); err != nil {
		return "", err
	}
	return sprigCall[string]("derivePassword", counter, kind, password, user, site)
}
