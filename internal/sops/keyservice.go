package sops

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"
	getsops "github.com/getsops/sops/v3"
	sopsage "github.com/getsops/sops/v3/age"
	"github.com/getsops/sops/v3/keys"
	"github.com/getsops/sops/v3/keyservice"
	"google.golang.org/grpc"
)

const (
	dataKeySize = 32
	// maxWrappedKey bounds one recipient's copy of the data key; a
	// post-quantum one takes 2.4 KiB.
	maxWrappedKey = 16 << 10
	// maxMasterKeys bounds the work for a file that no identity opens.
	maxMasterKeys = 256
)

var errNotAge = errors.New("only age keys are supported")

// keyService is the one key service that the library is given. It knows age
// recipients and the identities of a Keyring and nothing else: no environment,
// no home directory, no plugin, no agent, no network.
type keyService struct{ keys *Keyring }

// Decrypt opens a data key, or a share of it, with the keyring.
func (s keyService) Decrypt(_ context.Context, r *keyservice.DecryptRequest, _ ...grpc.CallOption) (*keyservice.DecryptResponse, error) {
	if r.GetKey().GetAgeKey() == nil {
		return nil, errNotAge
	}
	if len(r.GetCiphertext()) > maxWrappedKey {
		return nil, errors.New("data key too long")
	}
	plain, err := age.Decrypt(armor.NewReader(bytes.NewReader(r.GetCiphertext())), s.keys.identities...)
	if err != nil {
		return nil, err
	}
	key, err := io.ReadAll(io.LimitReader(plain, maxWrappedKey))
	if err != nil {
		return nil, err
	}
	return &keyservice.DecryptResponse{Plaintext: key}, nil
}

// Encrypt wraps a data key, or a share of it, for an age recipient.
func (s keyService) Encrypt(_ context.Context, r *keyservice.EncryptRequest, _ ...grpc.CallOption) (*keyservice.EncryptResponse, error) {
	recipient, err := parseRecipient(r.GetKey().GetAgeKey().GetRecipient())
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	armored := armor.NewWriter(&out)
	w, err := age.Encrypt(armored, recipient)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(r.GetPlaintext()); err != nil {
		return nil, err
	}
	if err := errors.Join(w.Close(), armored.Close()); err != nil {
		return nil, err
	}
	return &keyservice.EncryptResponse{Ciphertext: out.Bytes()}, nil
}

const postQuantumPrefix = "age1pq1"

func parseRecipient(text string) (age.Recipient, error) {
	if strings.HasPrefix(text, postQuantumPrefix) {
		return age.ParseHybridRecipient(text)
	}
	return age.ParseX25519Recipient(text)
}

// dataKey asks the key service for the data key of a file.
func dataKey(name string, m *getsops.Metadata, ring *Keyring) ([]byte, error) {
	if ring.empty() {
		return nil, errNoKeys(name)
	}
	groups, count := ageOnly(m.KeyGroups, ring)
	if count > maxMasterKeys {
		return nil, malformed(name, 0, "its sops metadata names more than %d keys", maxMasterKeys)
	}
	restricted := *m
	restricted.KeyGroups = groups
	key, err := restricted.GetDataKeyWithKeyServices([]keyservice.KeyServiceClient{keyService{ring}}, nil)
	if err != nil {
		return nil, explainNoKey(name, m, ring)
	}
	if len(key) != dataKeySize {
		return nil, malformed(name, 0, "its data key has the wrong length")
	}
	return key, nil
}

// ageOnly drops every other type of master key, so that the library cannot
// even try them, and puts the recipients of the keyring first, so that a file
// with many recipients costs no more than one with ours alone.
func ageOnly(groups []getsops.KeyGroup, ring *Keyring) (restricted []getsops.KeyGroup, count int) {
	for _, group := range groups {
		var first, rest getsops.KeyGroup
		for _, key := range group {
			mk, ok := key.(*sopsage.MasterKey)
			switch {
			case !ok:
			case ring.has(mk.Recipient):
				first = append(first, mk)
			default:
				rest = append(rest, mk)
			}
		}
		count += len(first) + len(rest)
		restricted = append(restricted, append(first, rest...))
	}
	return restricted, count
}

// recipientsOf returns the age recipients that a file names, in its order, and
// the types of its other master keys, sorted.
func recipientsOf(groups []getsops.KeyGroup) (recipients, others []string) {
	for _, group := range groups {
		for _, key := range group {
			if mk, ok := key.(*sopsage.MasterKey); ok {
				recipients = append(recipients, mk.Recipient)
			} else {
				others = append(others, keyType(key))
			}
		}
	}
	slices.Sort(others)
	return recipients, slices.Compact(others)
}

func keyType(key keys.MasterKey) string { return key.TypeToIdentifier() }
