// Package file keeps values in a directory of the operator's own disk, one
// file each, for development and tests, and where something else puts them
// there (a CSI driver, an agent). It must never leave that directory: symbolic
// links in it are followed, those that lead out of it are not.
package file

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
)

// Bounds of what is read.
const (
	maxValue = 1 << 20 // a Secret holds no more
	maxKey   = 1024
	maxKeys  = 10_000 // entries that a Find looks at
	maxDepth = 16
)

// Backend reads files below the stores' directories, which are below
// directory. With "" every store is refused.
func Backend(directory string) providers.Backend {
	return providers.Backend{Dialect: providers.Text, Open: func(s providers.Store) (providers.Provider, error) {
		return open(directory, s)
	}}
}

// open touches nothing: a directory may come and go.
func open(directory string, s providers.Store) (*store, error) {
	switch {
	case s.Spec.File == nil:
		return nil, providers.Invalidf("the store has no file settings")
	case directory == "":
		return nil, providers.Invalidf("the operator has no directory for file stores (its flag --file-stores)")
	case !s.Ambient:
		return nil, providers.Invalidf("files of the operator are for a ClusterSecretStore only")
	}
	sub := s.Spec.File.Directory
	if sub == "" {
		sub = "."
	}
	if sub != "." && !plain(sub) {
		return nil, providers.Invalidf("file.directory must be a relative path without \"..\"")
	}
	return &store{directory: directory, sub: sub}, nil
}

// plain reports whether p is a path that means what it says.
func plain(p string) bool {
	return len(p) <= maxKey && p != "." && fs.ValidPath(p) && !strings.ContainsAny(p, "\x00\\")
}

type store struct{ directory, sub string }

// Get implements providers.Provider.
func (s *store) Get(ctx context.Context, refs []providers.Ref) ([]providers.Result, error) {
	root, err := s.root(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	results := make([]providers.Result, len(refs))
	for i, ref := range refs {
		results[i].Value, results[i].Err = read(root, ref)
	}
	return results, nil
}

// root is opened for each call: what is mounted there may be replaced.
func (s *store) root(ctx context.Context) (*os.Root, error) {
	if err := ctx.Err(); err != nil {
		return nil, &providers.Error{Kind: providers.ErrUnavailable, Detail: "the call was ended"}
	}
	top, err := os.OpenRoot(s.directory)
	if err != nil {
		return nil, kindOf(err, providers.ErrUnavailable, "the operator's directory of file stores is not there")
	}
	if s.sub == "." {
		return top, nil
	}
	defer func() { _ = top.Close() }()
	root, err := top.OpenRoot(s.sub)
	if err != nil {
		return nil, kindOf(err, providers.ErrUnavailable, "the store's directory is not there")
	}
	return root, nil
}

func read(root *os.Root, ref providers.Ref) (secret.Value, error) {
	switch {
	case !plain(ref.Key):
		return secret.Value{}, providers.Invalidf("a key is a relative path of up to %d bytes without \"..\"", maxKey)
	case ref.Version != "":
		return secret.Value{}, providers.Invalidf("a file has no versions")
	case ref.Metadata:
		return secret.Value{}, providers.Invalidf("a file has no metadata")
	}
	// O_NONBLOCK, because opening a pipe would wait for who writes to it.
	f, err := root.OpenFile(ref.Key, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return secret.Value{}, kindOf(err, providers.ErrNotFound, "there is no such file")
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return secret.Value{}, kindOf(err, providers.ErrNotFound, "there is no such file")
	}
	if !info.Mode().IsRegular() {
		return secret.Value{}, providers.Invalidf("the key names no regular file")
	}
	b, err := io.ReadAll(io.LimitReader(f, maxValue+1))
	if err != nil {
		return secret.Value{}, kindOf(err, providers.ErrUnavailable, "the file cannot be read")
	}
	if len(b) > maxValue {
		return secret.Value{}, providers.Invalidf("the file is larger than 1 MiB")
	}
	return secret.NewValue(b), nil
}

// kindOf maps an error of the system; the text of it names paths of the
// operator and is dropped.
func kindOf(err, missing error, detail string) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return &providers.Error{Kind: missing, Detail: detail}
	case errors.Is(err, fs.ErrPermission):
		return &providers.Error{Kind: providers.ErrDenied, Detail: "the operator may not read it"}
	case errors.As(err, new(*fs.PathError)) && !errors.As(err, new(syscall.Errno)), errors.Is(err, syscall.ELOOP), errors.Is(err, syscall.ENAMETOOLONG):
		return providers.Invalidf("it leads out of the store's directory, or to nowhere")
	}
	return &providers.Error{Kind: providers.ErrUnavailable, Detail: "the disk does not answer as it should"}
}

// Find implements providers.Finder. Path is a directory; all files in and
// below it are looked at.
func (s *store) Find(ctx context.Context, q providers.Query) ([]string, error) {
	name, err := regexp.Compile(q.Name)
	switch {
	case err != nil:
		return nil, providers.Invalidf("find.name.regexp is no regular expression (RE2)")
	case len(q.Tags) > 0:
		return nil, providers.Invalidf("files have no tags to find them by")
	case q.Path != "" && !plain(strings.TrimSuffix(q.Path, "/")):
		return nil, providers.Invalidf("find.path is a relative path without \"..\"")
	}
	root, err := s.root(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	return walk(ctx, root, path.Clean(q.Path), name)
}

// walk lists what is no directory, but for hidden entries: those are where the
// kubelet keeps what the others link to.
func walk(ctx context.Context, root *os.Root, top string, name *regexp.Regexp) ([]string, error) {
	var keys []string
	seen := 0
	err := fs.WalkDir(root.FS(), top, func(p string, d fs.DirEntry, err error) error {
		seen++
		switch {
		case ctx.Err() != nil:
			return &providers.Error{Kind: providers.ErrUnavailable, Detail: "the call was ended"}
		case err != nil && p == top && errors.Is(err, fs.ErrNotExist):
			return fs.SkipAll
		case err != nil:
			return kindOf(err, providers.ErrUnavailable, "a directory went away")
		case seen > maxKeys:
			return providers.Invalidf("there are more than %d files to look at", maxKeys)
		case p != "." && strings.HasPrefix(d.Name(), "."):
			return skip(d)
		case d.IsDir() && strings.Count(p, "/") >= maxDepth:
			return fs.SkipDir
		case !d.IsDir() && regular(root, p, d) && name.MatchString(p):
			keys = append(keys, p)
		}
		return nil
	})
	slices.Sort(keys)
	return keys, err
}

func skip(d fs.DirEntry) error {
	if d.IsDir() {
		return fs.SkipDir
	}
	return nil
}

// regular follows links, which is how mounted Secrets look.
func regular(root *os.Root, p string, d fs.DirEntry) bool {
	if d.Type()&fs.ModeSymlink == 0 {
		return d.Type().IsRegular()
	}
	info, err := root.Stat(p)
	return err == nil && info.Mode().IsRegular()
}

// Check implements providers.Checker.
func (s *store) Check(ctx context.Context) (string, error) {
	root, err := s.root(ctx)
	if err != nil {
		return "", err
	}
	defer func() { _ = root.Close() }()
	if _, err := root.Stat("."); err != nil {
		return "", kindOf(err, providers.ErrUnavailable, "the store's directory is not there")
	}
	return "directory " + s.sub, nil
}
