// Package sops opens files that are encrypted with SOPS and encrypts them for
// the command line. It uses the SOPS library for the format, the cipher and
// the metadata, and a key service of its own, which knows age identities that
// it was given and nothing else.
//
// A file is opened only whole and verified: the MAC of the raw bytes is
// checked before anything of the file is used. Values go into a secret.Set,
// and what the package hands to a renderer holds tokens. No error holds text
// of the library, which quotes its input, and nothing is logged.
package sops

import (
	"bytes"
	"io/fs"
	"sync"

	"github.com/getsops/sops/v3/cmd/sops/formats"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/secret"
)

// FS is a file system in which encrypted files read as the same documents with
// tokens in place of the encrypted values. Lines keep their numbers in YAML and
// JSON. It is safe for concurrent use.
type FS struct {
	base   fs.FS
	keys   *Keyring
	values *secret.Set

	mu     sync.Mutex
	opened map[string]*opening
}

// opening is the one attempt to open a file.
type opening struct {
	once     sync.Once
	done     bool // opened without failure
	document []byte
	values   int
	err      *failure.Error
}

// NewFS wraps base. Values that it opens go into values.
func NewFS(base fs.FS, keys *Keyring, values *secret.Set) *FS {
	return &FS{base: base, keys: keys, values: values, opened: map[string]*opening{}}
}

// ReadFile returns the content of a file, with tokens for encrypted values.
// It fails with a *failure.Error if a file holds ciphertext that it cannot
// open.
func (f *FS) ReadFile(name string) ([]byte, error) {
	raw, err := fs.ReadFile(f.base, name)
	if err != nil {
		return nil, err
	}
	encrypted := IsEncrypted(name, raw)
	if !encrypted && !bytes.Contains(raw, []byte(secret.CiphertextStart)) {
		return raw, nil
	}
	o := f.opening(name)
	o.once.Do(func() {
		if encrypted {
			f.open(o, name, raw)
		} else {
			f.refuseCiphertext(o, name, raw)
		}
	})
	switch {
	case o.err != nil:
		return nil, o.err
	case !encrypted:
		return raw, nil
	}
	return bytes.Clone(o.document), nil
}

func (f *FS) opening(name string) *opening {
	f.mu.Lock()
	defer f.mu.Unlock()
	o, ok := f.opened[name]
	if !ok {
		o = &opening{}
		f.opened[name] = o
	}
	return o
}

func (f *FS) open(o *opening, name string, raw []byte) {
	var document []byte
	var values int
	err := guarded(name, func() error {
		opened, err := openFile(name, raw, f.keys, true)
		if err == nil {
			document, values, err = opened.tokenized(f.values)
		}
		return err
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		o.err = failure.From(err, v1alpha1.ReasonDecryptionFailed)
		return
	}
	o.done, o.document, o.values = true, document, values
}

func (f *FS) refuseCiphertext(o *opening, name string, raw []byte) {
	i := findCiphertext(formats.FormatForPath(name), string(raw))
	if i < 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	o.err = errCiphertextLeft(name, lineOf(raw, i), false)
}

// Err returns the failure to open a file, a *failure.Error, whatever a renderer
// made of it; of several, that of the first file by name, so that the same
// revision always gives the same message.
func (f *FS) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var first string
	var err error
	for name, o := range f.opened {
		if o.err != nil && (err == nil || name < first) {
			first, err = name, o.err
		}
	}
	return err
}

// Opened returns how many encrypted files were opened and how many values they
// held.
func (f *FS) Opened() (files, values int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, o := range f.opened {
		if o.done {
			files++
			values += o.values
		}
	}
	return files, values
}

// Open opens a file or directory.
func (f *FS) Open(name string) (fs.File, error) {
	file, err := f.base.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	if info.IsDir() {
		return file, nil
	}
	_ = file.Close()
	content, err := f.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return &handle{Reader: bytes.NewReader(content), info: info}, nil
}

// ReadDir lists a directory of the wrapped file system.
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) { return fs.ReadDir(f.base, name) }

// Stat describes the file as it is in the wrapped file system, so that it
// costs no decryption; the size is that of the ciphertext.
func (f *FS) Stat(name string) (fs.FileInfo, error) { return fs.Stat(f.base, name) }

type handle struct {
	*bytes.Reader
	info fs.FileInfo
}

func (h *handle) Stat() (fs.FileInfo, error) { return sized{h.info, h.Size()}, nil }
func (h *handle) Close() error               { return nil }

type sized struct {
	fs.FileInfo
	size int64
}

func (s sized) Size() int64 { return s.size }
