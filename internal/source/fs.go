package source

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
)

// lfsPrefix begins the pointer that Git LFS commits in place of a file.
var lfsPrefix = []byte("version https://git-lfs.github.com/spec/")

// FS is a Snapshot's files. It notes what is looked at.
type FS struct {
	s     *Snapshot
	reads recorder
}

var (
	_ fs.ReadFileFS = (*FS)(nil)
	_ fs.ReadDirFS  = (*FS)(nil)
	_ fs.StatFS     = (*FS)(nil)
)

func (f *FS) find(op, name string) (entry, error) {
	e, err := f.s.walk(op, name)
	f.reads.note(look{name: name}, traceOf(e, err))
	f.reads.failed(err)
	return e, err
}

func (f *FS) read(name string, e entry) ([]byte, error) {
	raw, err := f.s.readFile(name, e)
	f.reads.failed(err)
	return raw, err
}

// Open implements fs.FS.
func (f *FS) Open(name string) (fs.File, error) {
	e, err := f.find("open", name)
	if err != nil {
		return nil, err
	}
	if e.mode == filemode.Dir {
		entries, err := f.list(name, e)
		if err != nil {
			return nil, err
		}
		return &dirFile{info: fileInfo{name: path.Base(name), mode: fs.ModeDir | 0o555}, entries: entries}, nil
	}
	raw, err := f.read(name, e)
	if err != nil {
		return nil, err
	}
	return &dataFile{info: fileInfo{name: path.Base(name), mode: 0o444, size: int64(len(raw))}, Reader: bytes.NewReader(raw)}, nil
}

// ReadFile implements fs.ReadFileFS. The caller owns what it returns.
func (f *FS) ReadFile(name string) ([]byte, error) {
	e, err := f.find("read", name)
	if err != nil {
		return nil, err
	}
	if e.mode == filemode.Dir {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errIsDirectory}
	}
	return f.read(name, e)
}

// ReadDir implements fs.ReadDirFS.
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	e, err := f.find("readdir", name)
	if err != nil {
		return nil, err
	}
	return f.list(name, e)
}

// Stat implements fs.StatFS.
func (f *FS) Stat(name string) (fs.FileInfo, error) {
	e, err := f.find("stat", name)
	if err != nil {
		return nil, err
	}
	info, err := f.s.info(name, e)
	f.reads.failed(err)
	return info, err
}

var (
	errIsDirectory  = errors.New("is a directory")
	errNotDirectory = errors.New("not a directory")
)

func (s *Snapshot) info(name string, e entry) (fs.FileInfo, error) {
	switch e.mode {
	case filemode.Dir:
		return fileInfo{name: path.Base(name), mode: fs.ModeDir | 0o555}, nil
	case filemode.Submodule:
		return nil, s.submodule(name)
	}
	size, err := s.objects.size(e.hash)
	if err != nil {
		return nil, s.unreadable(name, err)
	}
	return fileInfo{name: path.Base(name), mode: 0o444, size: size}, nil
}

// readFile reads a file within the limits, its size looked at before.
func (s *Snapshot) readFile(name string, e entry) ([]byte, error) {
	if e.mode == filemode.Submodule {
		return nil, s.submodule(name)
	}
	size, err := s.objects.size(e.hash)
	if err != nil {
		return nil, s.unreadable(name, err)
	}
	if size > s.limits.FileBytes {
		return nil, s.invalid(name, "has %d bytes, over the limit of %s", size, bytesText(s.limits.FileBytes)).
			WithHint("split it, or keep it out of what is applied")
	}
	if err := s.count(name, size); err != nil {
		return nil, err
	}
	raw, err := s.objects.read(e.hash, plumbing.BlobObject, s.limits.FileBytes)
	if err != nil {
		return nil, s.unreadable(name, err)
	}
	return s.accept(name, bytes.Clone(raw))
}

// count adds a file to what the Snapshot may read; reading it again is free.
func (s *Snapshot) count(name string, size int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.counted[name] {
		return nil
	}
	switch {
	case s.files+1 > s.limits.Files:
		return s.tooManyFiles(name)
	case s.bytes+size > s.limits.TotalBytes:
		return s.invalid(name, "would take what is read of this commit over the limit of %s", bytesText(s.limits.TotalBytes)).
			WithHint("split the application, or keep other files out of its path")
	}
	s.files++
	s.bytes += size
	s.counted[name] = true
	return nil
}

func (s *Snapshot) tooManyFiles(name string) error {
	return s.invalid(name, "takes what is read of this commit over the limit of %d files", s.limits.Files).
		WithHint("name a smaller spec.path, or split the application")
}

// accept looks into a file for what no reader after it could know.
func (s *Snapshot) accept(name string, raw []byte) ([]byte, error) {
	if len(raw) < 1024 && bytes.HasPrefix(raw, lfsPrefix) {
		return nil, s.invalid(name, "is a pointer to Git LFS, which is not supported").
			WithHint("commit the file itself: git lfs migrate export")
	}
	if raw == nil {
		raw = []byte{}
	}
	return raw, nil
}

// list returns a directory. Its files count once, when it is first listed.
func (f *FS) list(name string, e entry) ([]fs.DirEntry, error) {
	f.reads.note(look{name: name, list: true}, f.s.traceList(name, e))
	switch e.mode {
	case filemode.Submodule:
		return nil, f.s.submodule(name)
	case filemode.Dir:
	default:
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errNotDirectory}
	}
	t, err := f.s.tree(name, e.hash)
	if err != nil {
		f.reads.failed(err)
		return nil, err
	}
	if err := f.s.countListed(name, t); err != nil {
		return nil, err
	}
	list := make([]fs.DirEntry, len(t))
	for i, child := range t {
		list[i] = dirEntry{f: f, path: path.Join(name, child.name), entry: child, mode: f.s.kind(path.Join(name, child.name), child)}
	}
	return list, nil
}

func (s *Snapshot) countListed(name string, t tree) error {
	files := 0
	for _, child := range t {
		if child.mode != filemode.Dir {
			files++
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if key := name + "/"; !s.counted[key] {
		s.counted[key] = true
		s.listed += files
	}
	if s.listed > s.limits.Files {
		return s.tooManyFiles(name)
	}
	return nil
}

// kind is how a directory shows an entry. A link to a directory shows as a
// link, so that walks do not go in circles; any other shows as a file, and
// opening it says what is wrong with it, where something is.
func (s *Snapshot) kind(name string, e entry) fs.FileMode {
	switch e.mode {
	case filemode.Dir, filemode.Submodule:
		return fs.ModeDir
	case filemode.Symlink:
		if to, err := s.walk("stat", name); err == nil && (to.mode == filemode.Dir || to.mode == filemode.Submodule) {
			return fs.ModeSymlink
		}
	}
	return 0
}

type dirEntry struct {
	f     *FS
	path  string
	entry entry
	mode  fs.FileMode
}

func (d dirEntry) Name() string      { return d.entry.name }
func (d dirEntry) IsDir() bool       { return d.mode.IsDir() }
func (d dirEntry) Type() fs.FileMode { return d.mode }
func (d dirEntry) String() string    { return fs.FormatDirEntry(d) }

func (d dirEntry) Info() (fs.FileInfo, error) {
	if d.mode == fs.ModeSymlink {
		return fileInfo{name: d.entry.name, mode: fs.ModeSymlink | 0o777}, nil
	}
	return d.f.Stat(d.path)
}

type fileInfo struct {
	name string
	mode fs.FileMode
	size int64
}

func (i fileInfo) Name() string       { return i.name }
func (i fileInfo) Size() int64        { return i.size }
func (i fileInfo) Mode() fs.FileMode  { return i.mode }
func (i fileInfo) ModTime() time.Time { return time.Time{} }
func (i fileInfo) IsDir() bool        { return i.mode.IsDir() }
func (i fileInfo) Sys() any           { return nil }
func (i fileInfo) String() string     { return fs.FormatFileInfo(i) }

type dataFile struct {
	info fileInfo
	*bytes.Reader
}

func (f *dataFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *dataFile) Close() error               { return nil }

type dirFile struct {
	info    fileInfo
	entries []fs.DirEntry
}

func (f *dirFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *dirFile) Close() error               { return nil }
func (f *dirFile) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: f.info.name, Err: errIsDirectory}
}

func (f *dirFile) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 || n > len(f.entries) {
		if n > 0 && len(f.entries) == 0 {
			return nil, io.EOF
		}
		n = len(f.entries)
	}
	list := f.entries[:n:n]
	f.entries = f.entries[n:]
	return list, nil
}
