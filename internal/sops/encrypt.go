package sops

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	getsops "github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/aes"
	sopsage "github.com/getsops/sops/v3/age"
	"github.com/getsops/sops/v3/cmd/sops/common"
	"github.com/getsops/sops/v3/cmd/sops/formats"
	"github.com/getsops/sops/v3/keyservice"
	"github.com/getsops/sops/v3/version"
)

// DecryptFile returns the plaintext document of an encrypted file, comments
// included, its MAC verified.
func DecryptFile(name string, cipher []byte, keys *Keyring) (plain []byte, err error) {
	err = guarded(name, func() error {
		f, err := openFile(name, cipher, keys, false)
		if err != nil {
			return err
		}
		if plain, err = f.store.EmitPlainFile(f.tree.Branches); err != nil {
			return malformed(name, 0, "the file holds something that its format cannot")
		}
		return nil
	})
	return plain, err
}

// EncryptFile encrypts a document by the first creation rule of the .sops.yaml
// at configPath that fits name, a path as the user wrote it. It refuses what
// would leave the document unprotected: a rule that selects none of its
// values, or a mix of post-quantum and classic recipients.
func EncryptFile(configPath, name string, plain []byte) (cipher []byte, err error) {
	err = guarded(name, func() error {
		cipher, err = encryptFile(configPath, name, plain)
		return err
	})
	return cipher, err
}

func encryptFile(configPath, name string, plain []byte) ([]byte, error) {
	quiet()
	path, err := filepath.Abs(name)
	if err != nil {
		return nil, fmt.Errorf("find %q: %w", name, err)
	}
	rule, err := loadRule(configPath, path)
	if err != nil {
		return nil, err
	}
	format := formats.FormatForPath(name)
	f := &file{name: name, raw: plain, format: format, store: common.StoreForFormat(format, rule.stores)}
	branches, err := f.loadPlain()
	if err != nil {
		return nil, err
	}
	f.tree = getsops.Tree{Branches: branches, Metadata: rule.metadata(format), FilePath: path}
	return f.encrypt(rule)
}

func (f *file) loadPlain() (getsops.TreeBranches, error) {
	if len(f.raw) > maxFileSize {
		return nil, fmt.Errorf("%s is larger than %d MiB", f.name, maxFileSize>>20)
	}
	if IsEncrypted(f.name, f.raw) {
		return nil, fmt.Errorf("%s is encrypted already; decrypt it first, or edit it with sops", f.name)
	}
	if i := findCiphertext(f.format, string(f.raw)); i >= 0 {
		return nil, fmt.Errorf("%s holds SOPS ciphertext already, but no sops metadata to open it with", at(f.name, lineOf(f.raw, i)))
	}
	if err := f.checkPlain(); err != nil {
		return nil, err
	}
	branches, err := f.store.LoadPlainFile(f.raw)
	if err != nil {
		return nil, fmt.Errorf("%s is not a %s document that SOPS can hold", f.name, f.store.Name())
	}
	for _, branch := range branches {
		if f.store.HasSopsTopLevelKey(branch) {
			return nil, fmt.Errorf("%s has a key that SOPS needs for itself (sops, or sops_ in a dotenv file)", f.name)
		}
	}
	return branches, nil
}

// checkPlain refuses, with a line, what the library would refuse with a quote.
func (f *file) checkPlain() error {
	var err error
	switch f.format {
	case formats.Yaml:
		documents, parseErr := yamlDocuments(f.raw)
		if err = parseErr; err == nil {
			_, err = branchesOf(documents)
		}
		if err == nil && len(documents) == 0 {
			return fmt.Errorf("%s is empty", f.name)
		}
	case formats.Json:
		err = checkJSON(f.raw)
	}
	var shape *errShape
	if errors.As(err, &shape) {
		return fmt.Errorf("%s: %s", at(f.name, shape.line), shape.problem)
	}
	return err
}

func (f *file) encrypt(rule *rule) ([]byte, error) {
	key, errs := f.tree.GenerateDataKeyWithKeyServices([]keyservice.KeyServiceClient{keyService{NewKeyring()}})
	if len(errs) > 0 {
		return nil, fmt.Errorf("%s: no data key could be made for the recipients of %s", f.name, rule)
	}
	cipher := &counter{cipher: aes.NewCipher()}
	if err := common.EncryptTree(common.EncryptTreeOpts{Tree: &f.tree, Cipher: cipher, DataKey: key}); err != nil {
		return nil, fmt.Errorf("%s holds something that SOPS cannot encrypt", f.name)
	}
	// The MAC is the one value that EncryptTree adds.
	if cipher.values <= 1 {
		return nil, fmt.Errorf("%s would encrypt nothing in %s: %s", rule, f.name, rule.selector())
	}
	out, err := f.store.EmitEncryptedFile(f.tree)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be written as a %s document", f.name, f.store.Name())
	}
	return out, nil
}

// metadata is what the file will carry, with the defaults of sops.
func (r *rule) metadata(format formats.Format) getsops.Metadata {
	m := getsops.Metadata{
		KeyGroups:               r.config.KeyGroups,
		ShamirThreshold:         r.config.ShamirThreshold,
		UnencryptedSuffix:       r.config.UnencryptedSuffix,
		EncryptedSuffix:         r.config.EncryptedSuffix,
		UnencryptedRegex:        r.config.UnencryptedRegex,
		EncryptedRegex:          r.config.EncryptedRegex,
		UnencryptedCommentRegex: r.config.UnencryptedCommentRegex,
		EncryptedCommentRegex:   r.config.EncryptedCommentRegex,
		MACOnlyEncrypted:        r.config.MACOnlyEncrypted,
		Version:                 version.Version,
	}
	if format == formats.Binary {
		// The one value of a binary file is always encrypted.
		m.UnencryptedSuffix, m.EncryptedSuffix, m.UnencryptedRegex = "", "", ""
		m.EncryptedRegex, m.UnencryptedCommentRegex, m.EncryptedCommentRegex = "", "", ""
	} else if r.selectorName() == "" {
		m.UnencryptedSuffix = getsops.DefaultUnencryptedSuffix
	}
	return m
}

// checkRecipients lets only age recipients pass, and only of one kind.
func checkRecipients(rule fmt.Stringer, groups []getsops.KeyGroup) error {
	_, others := recipientsOf(groups)
	if len(others) > 0 {
		return fmt.Errorf("%s uses %s; this version encrypts to age recipients only", rule, strings.Join(others, ", "))
	}
	classic, postQuantum := 0, 0
	for i, group := range groups {
		if len(group) == 0 {
			return fmt.Errorf("%s names no age recipient in key group %d", rule, i+1)
		}
		for _, key := range group {
			recipient := key.(*sopsage.MasterKey).Recipient
			if _, err := parseRecipient(recipient); err != nil {
				return fmt.Errorf("%s names %s; only age1... and age1pq1... recipients are supported", rule, shortened(recipient))
			}
			if strings.HasPrefix(recipient, postQuantumPrefix) {
				postQuantum++
			} else {
				classic++
			}
		}
	}
	if classic > 0 && postQuantum > 0 {
		return fmt.Errorf("%s mixes post-quantum and classic age recipients: a file that one classic key opens is protected no better than that key; use one kind", rule)
	}
	return nil
}

// stringsOf lists the recipients of a rule's age field, which sops takes as a
// list or as one string with commas.
func stringsOf(field any) (recipients []string) {
	switch field := field.(type) {
	case string:
		recipients = strings.Split(field, ",")
	case []any:
		for _, item := range field {
			text, _ := item.(string)
			recipients = append(recipients, strings.Split(text, ",")...)
		}
	}
	return recipients
}
