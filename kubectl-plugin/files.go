package kubectlplugin

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

// maxFileBytes bounds what is read: a manifest above it would not fit into
// etcd anyway.
const maxFileBytes = 16 << 20

// stdinName stands for standard input among the file arguments.
const stdinName = "-"

// document is one file on its way through encrypt or decrypt.
type document struct {
	name   string // as the user gave it
	path   string // where it really is, after symbolic links; "" for stdin
	mode   fs.FileMode
	before []byte
	after  []byte
}

// fileArguments are the arguments and flags that encrypt and decrypt share.
type fileArguments struct {
	names    []string
	inPlace  bool
	override string
}

func (a *fileArguments) addFlags(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&a.inPlace, "in-place", "i", false, "Replace the files instead of writing to stdout.")
	cmd.Flags().StringVar(&a.override, "filename-override", "", "The file name whose rule and format apply to standard input.")
}

func (a *fileArguments) complete(cmd *cobra.Command, names []string) error {
	a.names = names
	switch {
	case !a.inPlace && len(names) > 1:
		return usagef(cmd, "several files go to stdout one by one: give one file, or -i to replace them")
	case names[0] != stdinName && a.override != "":
		return usagef(cmd, "--filename-override names standard input, which is read when the file is -")
	case names[0] == stdinName && a.override == "":
		return usagef(cmd, "standard input needs --filename-override: rule and format go by the name")
	}
	for _, name := range names {
		if a.inPlace && name == stdinName {
			return usagef(cmd, "standard input cannot be replaced in place")
		}
	}
	return nil
}

// read reads every file before anything is done to one of them.
func (a *fileArguments) read(stdin io.Reader) ([]*document, error) {
	if a.names[0] == stdinName {
		raw, err := readBounded(stdin, "standard input")
		return []*document{{name: a.override, before: raw}}, err
	}
	var documents []*document
	seen := map[string]string{}
	for _, name := range a.names {
		d, err := readDocument(name)
		if err != nil {
			return nil, err
		}
		if first, twice := seen[d.path]; twice {
			return nil, fmt.Errorf("%s and %s are the same file", first, name)
		}
		seen[d.path] = name
		documents = append(documents, d)
	}
	return documents, nil
}

// readDocument follows symbolic links first: what is read is what gets
// replaced, and the link stays a link.
func readDocument(name string) (*document, error) {
	path, err := filepath.EvalSymlinks(name)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	raw, err := readBounded(f, name)
	return &document{name: name, path: path, mode: info.Mode().Perm(), before: raw}, err
}

func readBounded(r io.Reader, name string) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(raw) > maxFileBytes {
		return nil, fmt.Errorf("%s is larger than %d MiB", name, maxFileBytes>>20)
	}
	return raw, nil
}

// replaceAll puts every document's new content in place. All are written
// beside their targets before the first is renamed, so that a full disk or a
// read-only directory changes nothing.
func replaceAll(documents []*document) error {
	var staged []string
	defer func() {
		for _, temp := range staged {
			_ = os.Remove(temp) // gone already, where it was renamed
		}
	}()
	for _, d := range documents {
		temp, err := stage(d.path, d.mode, d.after)
		if err != nil {
			return err
		}
		staged = append(staged, temp)
	}
	for _, d := range documents {
		if err := d.unchanged(); err != nil {
			return err
		}
	}
	for i, d := range documents {
		if err := os.Rename(staged[i], d.path); err != nil {
			return err
		}
	}
	for _, d := range documents {
		if err := syncDirectory(filepath.Dir(d.path)); err != nil {
			return err
		}
	}
	return nil
}

// unchanged guards against an editor that saved while we worked.
func (d *document) unchanged() error {
	now, err := os.ReadFile(d.path)
	if err != nil {
		return err
	}
	if !bytes.Equal(now, d.before) {
		return fmt.Errorf("%s was changed by somebody else in the meantime and is left alone", d.name)
	}
	return nil
}

// stage writes content to a new file beside path, down to the disk. Until its
// mode is set nobody else can read it.
func stage(path string, mode fs.FileMode, content []byte) (name string, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".gitseal-*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		_ = os.Remove(f.Name())
		return "", fmt.Errorf("write beside %s: %w", path, err)
	}
	return f.Name(), nil
}

// syncDirectory makes a rename last through a power cut.
func syncDirectory(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
