package render

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/gitseal/gitseal/internal/failure"
)

// mount is where Kustomize sees the repository. Nothing exists outside of it.
const mount = "/repository"

// Bounds on what one build may read. Overlays that name one another in pairs
// double with every level, so the number of loads is bounded and not only what
// comes out.
const (
	maxKustomizations = 1_000
	maxReads          = 100_000
	maxReadBytes      = 128 << 20
	maxReadObjects    = 2_000 // Kustomize takes time by their square
)

var errReadOnly = errors.New("the repository is read-only")

// jail shows Kustomize a repository as a read-only file system. Every
// kustomization passes the guard before Kustomize sees it.
//
// It keeps the first thing that was refused, because Kustomize takes an error
// on reading a file for a file that is not there and goes on.
type jail struct {
	ended func() error // why the work is to stop, or nil
	fsys  fs.FS
	root  string
	guard *guard

	files          map[string][]byte // what was handed out, by path in the repository
	weights        map[string]int    // its entries
	indexes        map[string][]entry
	order          []string
	kustomizations map[string]*types.Kustomization
	reads, loads   int
	bytes          int
	entries        int
	objects        int
	err            error
}

func newJail(ctx context.Context, fsys fs.FS, root string) *jail {
	j := &jail{
		ended: ctx.Err, fsys: fsys, root: root,
		files: map[string][]byte{}, weights: map[string]int{}, indexes: map[string][]entry{}, kustomizations: map[string]*types.Kustomization{},
	}
	j.guard = newGuard(j)
	return j
}

// inside returns the path in the repository of a path that Kustomize uses.
func inside(name string) (string, error) {
	clean := path.Clean(filepath.ToSlash(name))
	if clean == mount {
		return ".", nil
	}
	rel, ok := strings.CutPrefix(clean, mount+"/")
	if !ok || !fs.ValidPath(rel) {
		return "", &fs.PathError{Op: "open", Path: clean, Err: fs.ErrNotExist}
	}
	return rel, nil
}

func (j *jail) keep(err error) error {
	if err != nil && j.err == nil {
		j.err = err
	}
	return err
}

// ReadFile hands out a file.
func (j *jail) ReadFile(name string) ([]byte, error) {
	rel, err := inside(name)
	if err != nil {
		return nil, err
	}
	if err := j.count(); err != nil {
		return nil, j.keep(err)
	}
	raw, err := j.read(rel)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errIsDir) {
			return nil, err // Kustomize tries names that need not be there
		}
		return nil, j.keep(readFailure(rel, err))
	}
	if !isKustomization(path.Base(rel)) {
		return raw, j.keep(j.countObjects(rel))
	}
	handed, err := j.kustomization(rel, raw)
	return handed, j.keep(err)
}

func (j *jail) count() error {
	if err := j.ended(); err != nil {
		return err
	}
	if j.reads++; j.reads > maxReads || j.bytes > maxReadBytes {
		return refuse(Origin{File: j.root}, "the kustomization reads too much").
			WithHint("split it over several Applications")
	}
	return nil
}

// countObjects counts what a file adds to the build, each time it is read: an
// overlay that names a base twice makes its objects twice.
func (j *jail) countObjects(rel string) error {
	if j.entries += j.weights[rel]; j.entries > maxBuildEntries {
		return tooMuch(j.root, maxBuildEntries)
	}
	if j.objects += len(j.index(rel)); j.objects > maxReadObjects {
		return refuse(Origin{File: j.root}, "the kustomization reads more than %d objects", maxReadObjects).
			WithHint("split it over several Applications")
	}
	return nil
}

// index lists the objects of a file that was read.
func (j *jail) index(rel string) []entry {
	index, ok := j.indexes[rel]
	if !ok {
		index = indexOf(j.files[rel])
		j.indexes[rel] = index
	}
	return index
}

var errIsDir = errors.New("is a directory")

// read returns a file's content, once it is known to be safe to parse.
func (j *jail) read(rel string) ([]byte, error) {
	if raw, ok := j.files[rel]; ok {
		j.bytes += len(raw)
		return raw, nil
	}
	info, err := fs.Stat(j.fsys, rel)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, &fs.PathError{Op: "read", Path: rel, Err: errIsDir}
	}
	raw, err := fs.ReadFile(j.fsys, rel)
	if err != nil {
		return nil, err
	}
	if j.weights[rel], err = weigh(rel, raw); err != nil {
		return nil, err
	}
	j.bytes += len(raw)
	j.files[rel] = raw
	j.order = append(j.order, rel)
	return raw, nil
}

// kustomization checks a kustomization and returns what Kustomize is to see
// of it: the file itself, and for the top one the file with the request for
// origins added.
func (j *jail) kustomization(rel string, raw []byte) ([]byte, error) {
	if j.loads++; j.loads > maxKustomizations {
		return nil, refuse(Origin{File: j.root}, "the kustomization loads more than %d kustomizations", maxKustomizations).
			WithHint("split it over several Applications")
	}
	k := j.kustomizations[rel]
	if k == nil {
		var err error
		if k, err = j.guard.check(rel, raw); err != nil {
			return nil, err
		}
		j.kustomizations[rel] = k
	}
	if path.Dir(rel) != j.root {
		return raw, nil
	}
	top := *k
	if !slices.Contains(top.BuildMetadata, types.OriginAnnotations) {
		top.BuildMetadata = append(slices.Clone(top.BuildMetadata), types.OriginAnnotations)
	}
	return json.Marshal(top) // Kustomize itself copies kustomizations through JSON
}

// topFile is the path of the kustomization that is being built.
func (j *jail) topFile() string { return j.guard.kustomizationIn(j.root) }

// top is the kustomization that is being built, as the user wrote it.
func (j *jail) top() *types.Kustomization {
	if k := j.kustomizations[j.topFile()]; k != nil {
		return k
	}
	return &types.Kustomization{}
}

func (j *jail) stat(name string) (fs.FileInfo, error) {
	rel, err := inside(name)
	if err != nil {
		return nil, err
	}
	info, err := fs.Stat(j.fsys, rel)
	var decided *failure.Error
	if errors.As(err, &decided) {
		return nil, j.keep(decided)
	}
	return info, err
}

// IsDir reports whether name is a directory.
func (j *jail) IsDir(name string) bool {
	info, err := j.stat(name)
	return err == nil && info.IsDir()
}

// Exists reports whether name is there.
func (j *jail) Exists(name string) bool {
	_, err := j.stat(name)
	return err == nil
}

// CleanedAbs splits name into a directory and a file.
func (j *jail) CleanedAbs(name string) (filesys.ConfirmedDir, string, error) {
	if !path.IsAbs(name) {
		name = path.Join(mount, name)
	}
	info, err := j.stat(name)
	if err != nil {
		return "", "", err
	}
	clean := path.Clean(name)
	if info.IsDir() {
		return filesys.ConfirmedDir(clean), "", nil
	}
	return filesys.ConfirmedDir(path.Dir(clean)), path.Base(clean), nil
}

// ReadDir lists the names in a directory.
func (j *jail) ReadDir(name string) ([]string, error) {
	rel, err := inside(name)
	if err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(j.fsys, rel)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// Glob lists the paths that match.
func (j *jail) Glob(pattern string) ([]string, error) {
	rel, err := inside(pattern)
	if err != nil {
		return nil, nil // nothing outside matches
	}
	matches, err := fs.Glob(j.fsys, rel)
	for i := range matches {
		matches[i] = path.Join(mount, matches[i])
	}
	return matches, err
}

// Walk visits what is below name.
func (j *jail) Walk(name string, visit filepath.WalkFunc) error {
	rel, err := inside(name)
	if err != nil {
		return err
	}
	return fs.WalkDir(j.fsys, rel, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return visit(path.Join(mount, p), nil, err)
		}
		info, err := d.Info()
		return visit(path.Join(mount, p), info, err)
	})
}

// Open hands out a file to read from.
func (j *jail) Open(name string) (filesys.File, error) {
	info, err := j.stat(name)
	if err != nil {
		return nil, err
	}
	raw, err := j.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return jailedFile{bytes.NewReader(raw), info}, nil
}

// Create is refused, as every write is.
func (j *jail) Create(string) (filesys.File, error) { return nil, errReadOnly }

// Mkdir is refused.
func (j *jail) Mkdir(string) error { return errReadOnly }

// MkdirAll is refused.
func (j *jail) MkdirAll(string) error { return errReadOnly }

// RemoveAll is refused.
func (j *jail) RemoveAll(string) error { return errReadOnly }

// WriteFile is refused.
func (j *jail) WriteFile(string, []byte) error { return errReadOnly }

type jailedFile struct {
	*bytes.Reader
	info fs.FileInfo
}

func (jailedFile) Write([]byte) (int, error)    { return 0, errReadOnly }
func (jailedFile) Close() error                 { return nil }
func (f jailedFile) Stat() (fs.FileInfo, error) { return f.info, nil }

func isKustomization(name string) bool {
	return slices.Contains(konfig.RecognizedKustomizationFileNames(), name)
}
