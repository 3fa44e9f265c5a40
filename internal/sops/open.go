package sops

import (
	"bytes"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"regexp"
	"strconv"
	"time"

	getsops "github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/aes"
	"github.com/getsops/sops/v3/cmd/sops/common"
	"github.com/getsops/sops/v3/cmd/sops/formats"
	"github.com/getsops/sops/v3/config"
	"github.com/getsops/sops/v3/logging"
	"github.com/getsops/sops/v3/stores"
	"github.com/sirupsen/logrus"
)

const (
	// maxFileSize bounds an encrypted file. A Secret holds 1 MiB.
	maxFileSize = 5 << 20
	// maxLines and maxMetadataLines bound flat files: the library moves the
	// whole file for each metadata line that it takes out.
	maxLines         = 100_000
	maxMetadataLines = 500
	formatMajor      = 3
)

// file is one encrypted file on its way to plaintext.
type file struct {
	name   string
	raw    []byte
	format formats.Format
	store  common.Store
	tree   getsops.Tree
	cipher *recorder
}

// quiet silences the library, which would log comments of files. It keeps one
// logger per package in a global map; setting their level is atomic, changes
// nothing else in the process, and is done nowhere but here.
func quiet() { logging.SetLevel(logrus.PanicLevel) }

// guarded turns a panic of the library, which malformed files have caused, into
// a failure.
func guarded(name string, work func() error) (err error) {
	defer func() {
		if recover() != nil {
			err = malformed(name, 0, "the file is malformed")
		}
	}()
	return work()
}

// openFile decrypts a file and verifies its MAC. With tokens, what was
// encrypted stands in the tree as []byte, and comments are gone.
func openFile(name string, raw []byte, ring *Keyring, tokens bool) (*file, error) {
	quiet()
	format := formats.FormatForPath(name)
	f := &file{
		name: name, raw: raw, format: format,
		store:  common.StoreForFormat(format, storesFor(format, raw)),
		cipher: &recorder{cipher: aes.NewCipher(), mark: tokens},
	}
	if err := f.load(!tokens); err != nil {
		return nil, err
	}
	if err := f.decrypt(ring); err != nil {
		return nil, err
	}
	return f, nil
}

// load parses the file into its tree.
func (f *file) load(comments bool) error {
	if len(f.raw) > maxFileSize {
		return refuse(f.name, 0, "the encrypted file is larger than %d MiB", maxFileSize>>20).WithHint("split it")
	}
	var err error
	switch f.format {
	case formats.Yaml:
		err = f.loadYAML(comments)
	case formats.Json, formats.Binary:
		err = f.loadJSON()
	default:
		err = f.loadFlat()
	}
	if err != nil {
		return f.explainLoad(err)
	}
	return f.checkMetadata()
}

func (f *file) loadYAML(comments bool) error {
	documents, err := yamlDocuments(f.raw)
	if err != nil {
		return err
	}
	branches, err := branchesOf(documents)
	if err != nil {
		return err
	}
	branches, metadata, err := stores.ExtractMetadata(branches, stores.MetadataOpts{})
	if err != nil {
		return err
	}
	f.tree = getsops.Tree{Branches: branches, Metadata: metadata}
	if comments || metadata.EncryptedCommentRegex != "" || metadata.UnencryptedCommentRegex != "" {
		f.tree, err = f.store.LoadEncryptedFile(f.raw)
	}
	return err
}

func (f *file) loadJSON() (err error) {
	if err := checkJSON(f.raw); err != nil {
		return err
	}
	f.tree, err = f.store.LoadEncryptedFile(f.raw)
	if err != nil {
		return err
	}
	return checkUnique(f.tree.Branches[0])
}

// checkJSON finds what the store would overlook, in a document that is cut
// short, or recurse into without bound.
func checkJSON(raw []byte) error {
	var whole json.RawMessage
	err := json.Unmarshal(raw, &whole)
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return &errShape{lineOf(raw, int(syntax.Offset)), "the file is not valid JSON"}
	case err != nil:
		return &errShape{0, "the file is not valid JSON"}
	}
	return nil
}

func checkUnique(value any) error {
	switch value := value.(type) {
	case getsops.TreeBranch:
		seen := make(map[any]bool, len(value))
		for _, item := range value {
			if _, comment := item.Key.(getsops.Comment); comment {
				continue
			}
			if seen[item.Key] {
				return &errShape{0, "a key stands twice in one object"}
			}
			seen[item.Key] = true
			if err := checkUnique(item.Value); err != nil {
				return err
			}
		}
	case []any:
		for _, item := range value {
			if err := checkUnique(item); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *file) loadFlat() (err error) {
	if bytes.Count(f.raw, []byte("\n")) > maxLines {
		return &errShape{0, "the file has more than " + strconv.Itoa(maxLines) + " lines"}
	}
	if len(dotenvMetadata.FindAllIndex(f.raw, maxMetadataLines+1)) > maxMetadataLines {
		return &errShape{0, "the file has more than " + strconv.Itoa(maxMetadataLines) + " lines of sops metadata"}
	}
	f.tree, err = f.store.LoadEncryptedFile(f.raw)
	if err != nil {
		return err
	}
	if f.format == formats.Dotenv {
		return checkUnique(f.tree.Branches[0])
	}
	return nil
}

func (f *file) explainLoad(err error) error {
	var shape *errShape
	switch {
	case errors.As(err, &shape):
		return malformed(f.name, shape.line, "%s", shape.problem)
	case errors.Is(err, getsops.MetadataNotFound):
		return malformed(f.name, 0, "the file has no sops metadata")
	}
	return malformed(f.name, 0, "the file or its sops metadata is incomplete or malformed")
}

var versionPattern = regexp.MustCompile(`^(\d{1,4})(\.\d{1,6}){0,2}$`)

func (f *file) checkMetadata() error {
	m := &f.tree.Metadata
	if v := versionPattern.FindStringSubmatch(m.Version); v != nil {
		if major, _ := strconv.Atoi(v[1]); major > formatMajor {
			return refuse(f.name, 0, "the file was written by sops %s, and gitseal reads the format of sops %d", m.Version, formatMajor).
				WithHint("encrypt it with sops %d, or use a newer gitseal", formatMajor)
		}
	}
	if m.MessageAuthenticationCode == "" {
		return malformed(f.name, 0, "the file has no sops MAC, so that nobody can tell whether it was changed")
	}
	for _, expression := range []string{m.EncryptedRegex, m.UnencryptedRegex, m.EncryptedCommentRegex, m.UnencryptedCommentRegex} {
		if _, err := regexp.Compile(expression); err != nil {
			return malformed(f.name, 0, "a regular expression in the sops metadata is not valid")
		}
	}
	return nil
}

// decrypt turns the tree into plaintext, verified.
func (f *file) decrypt(ring *Keyring) error {
	m := &f.tree.Metadata
	key, err := dataKey(f.name, m, ring)
	if err != nil {
		return err
	}
	computed, err := f.tree.Decrypt(key, f.cipher)
	if err != nil {
		return f.explainDecrypt()
	}
	stored, err := (&recorder{cipher: aes.NewCipher()}).Decrypt(m.MessageAuthenticationCode, key, m.LastModified.Format(time.RFC3339))
	if err != nil {
		return malformed(f.name, f.lineOfLeaf(m.MessageAuthenticationCode), "the sops MAC does not authenticate: it or lastmodified was changed")
	}
	mac, isText := stored.(string)
	if !isText || subtle.ConstantTimeCompare([]byte(mac), []byte(computed)) != 1 {
		scope := "a value"
		if !m.MACOnlyEncrypted {
			scope = "a value, encrypted or not,"
		}
		return malformed(f.name, 0, "the sops MAC does not match: %s was changed, added, removed or moved after encryption", scope)
	}
	return nil
}

// explainDecrypt goes by what the cipher saw, since the library's error quotes
// values.
func (f *file) explainDecrypt() error {
	last := f.cipher.last
	switch problem := f.cipher.problem; {
	case errors.Is(problem, errPlainLeaf):
		return errPlain(f.name, lineOfKey(f.raw, last.additionalData), last.additionalData)
	case errors.Is(problem, errAuthentic):
		return errNotAuthentic(f.name, f.lineOfLeaf(last.ciphertext), last.additionalData)
	}
	return refuse(f.name, 0, "a value that is not a string is in plain text, but the file's rule says that it is encrypted").
		WithHint("encrypt the file again")
}

func (f *file) lineOfLeaf(ciphertext string) int {
	return lineOf(f.raw, bytes.Index(f.raw, []byte(ciphertext)))
}

// storesFor keeps the indentation that the file has.
func storesFor(format formats.Format, raw []byte) *config.StoresConfig {
	stores := config.NewStoresConfig()
	indent := indentOf(raw)
	switch {
	case format == formats.Yaml && indent > 0:
		stores.YAML.Indent = indent
	case format == formats.Json && indent > 0:
		stores.JSON.Indent = indent
	}
	return stores
}

const maxIndent = 8

// indentOf is the indentation of the first indented line, in spaces; 0 if
// there is none.
func indentOf(raw []byte) int {
	for line := range bytes.Lines(raw) {
		text := bytes.TrimLeft(line, " ")
		n := len(line) - len(text)
		if n > 0 && n <= maxIndent && len(bytes.TrimSpace(text)) > 0 && text[0] != '#' && text[0] != '-' {
			return n
		}
	}
	return 0
}
