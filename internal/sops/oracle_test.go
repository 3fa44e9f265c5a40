package sops

import (
	"strings"
	"testing"

	"filippo.io/age"
	getsops "github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/aes"
	sopsage "github.com/getsops/sops/v3/age"
	"github.com/getsops/sops/v3/cmd/sops/common"
	"github.com/getsops/sops/v3/cmd/sops/formats"
	"github.com/getsops/sops/v3/config"
	"github.com/getsops/sops/v3/decrypt"
	"github.com/getsops/sops/v3/keyservice"

	"github.com/gitseal/gitseal/internal/secret"
)

// testKey is an age key pair and the keyring that holds it.
type testKey struct {
	identity, recipient string
	ring                *Keyring
}

func classicKey(t testing.TB) testKey {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return ringOf(t, id.String(), id.Recipient().String())
}

func postQuantumKey(t testing.TB) testKey {
	t.Helper()
	id, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return ringOf(t, id.String(), id.Recipient().String())
}

func ringOf(t testing.TB, identity, recipient string) testKey {
	t.Helper()
	ring := NewKeyring()
	if err := ring.AddSecret("Secret app/key", map[string][]byte{"a.agekey": []byte(identity)}); err != nil {
		t.Fatal(err)
	}
	return testKey{identity, recipient, ring}
}

// oracle encrypts with the library's own stores, cipher and local key service,
// as the sops command does.
type oracle struct {
	metadata  getsops.Metadata
	groups    [][]string // recipients
	threshold int
}

func (o oracle) encrypt(t testing.TB, name, plain string) []byte {
	t.Helper()
	store := common.DefaultStoreForPath(config.NewStoresConfig(), name)
	branches, err := store.LoadPlainFile([]byte(plain))
	if err != nil {
		t.Fatalf("load %s: %v", name, err)
	}
	m := o.metadata
	m.Version, m.ShamirThreshold = "3.13.3", o.threshold
	if m.EncryptedRegex == "" && m.EncryptedCommentRegex == "" && m.UnencryptedCommentRegex == "" && formats.FormatForPath(name) != formats.Binary {
		m.UnencryptedSuffix = getsops.DefaultUnencryptedSuffix
	}
	for _, recipients := range o.groups {
		keys, err := sopsage.MasterKeysFromRecipients(strings.Join(recipients, ","))
		if err != nil {
			t.Fatal(err)
		}
		var group getsops.KeyGroup
		for _, k := range keys {
			group = append(group, k)
		}
		m.KeyGroups = append(m.KeyGroups, group)
	}
	tree := getsops.Tree{Branches: branches, Metadata: m}
	key, errs := tree.GenerateDataKeyWithKeyServices([]keyservice.KeyServiceClient{keyservice.NewLocalClient()})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if err := common.EncryptTree(common.EncryptTreeOpts{Tree: &tree, Cipher: aes.NewCipher(), DataKey: key}); err != nil {
		t.Fatal(err)
	}
	out, err := store.EmitEncryptedFile(tree)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func encryptedFor(k testKey) oracle { return oracle{groups: [][]string{{k.recipient}}} }

// sopsDecrypt is the library's stable entry point.
func sopsDecrypt(t *testing.T, k testKey, name string, cipher []byte) string {
	t.Helper()
	t.Setenv("SOPS_AGE_KEY", k.identity)
	plain, err := decrypt.DataWithFormat(cipher, formats.FormatForPath(name))
	if err != nil {
		t.Fatalf("sops decrypt %s: %v\n%s", name, err, cipher)
	}
	return string(plain)
}

func newSet() *secret.Set {
	return secret.NewTokenizer([]byte("0123456789abcdef0123456789abcdef")).NewSet()
}

// reveal puts values back in place of tokens, typed as SOPS had them.
func reveal(t testing.TB, values *secret.Set, document []byte) string {
	t.Helper()
	return secret.ReplaceTokens(string(document), func(token secret.Token) string {
		v, _, ok := values.Lookup(token)
		if !ok {
			t.Fatalf("unknown token %s", token)
		}
		return string(v.Reveal())
	})
}

func uncommented(v any) any {
	switch v := v.(type) {
	case getsops.TreeBranch:
		kept := getsops.TreeBranch{}
		for _, item := range v {
			if _, comment := item.Key.(getsops.Comment); !comment {
				kept = append(kept, getsops.TreeItem{Key: item.Key, Value: uncommented(item.Value)})
			}
		}
		return kept
	case []any:
		var kept []any
		for _, item := range v {
			if _, comment := item.(getsops.Comment); !comment {
				kept = append(kept, uncommented(item))
			}
		}
		return kept
	}
	return v
}
