package render

import (
	"context"
	"io/fs"
	"path"
	"runtime"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// plain renders every YAML and JSON file below root.
func plain(ctx context.Context, fsys fs.FS, root string) ([]Object, error) {
	files, err := listManifests(ctx, fsys, root)
	if err != nil {
		return nil, err
	}
	objects, errs := make([][]Object, len(files)), make([]error, len(files))
	var entries atomic.Int64
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, file := range files {
		group.Go(func() error {
			objects[i], errs[i] = readObjects(ctx, fsys, file, &entries)
			return nil
		})
	}
	_ = group.Wait() // errors are kept in place, so that the first file's is returned whatever finished first
	if entries.Load() > maxEntries {
		return nil, tooMuch(root, maxEntries)
	}
	var all []Object
	for i := range files {
		if errs[i] != nil {
			return nil, errs[i]
		}
		all = append(all, objects[i]...)
	}
	return all, nil
}

// listManifests returns the files to render, in the order of their names.
func listManifests(ctx context.Context, fsys fs.FS, dir string) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil {
		return nil, readFailure(dir, err)
	}
	var files []string
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		isDir, err := resolveDir(fsys, name, e)
		if err != nil {
			return nil, err
		}
		switch {
		case isDir:
			below, err := listManifests(ctx, fsys, name)
			if err != nil {
				return nil, err
			}
			files = append(files, below...)
		case isKustomization(e.Name()):
			// At the top it would have been rendered by Kustomize.
			return nil, refuse(Origin{File: name}, "is a kustomization below a directory that has none").
				WithHint("add a kustomization at the top that lists what to apply, or point spec.source.path at %s", dir)
		case isManifest(e.Name()):
			files = append(files, name)
		}
	}
	return files, nil
}

// resolveDir reports whether an entry is a directory to descend into. A link
// to a file is read like the file; a link to a directory is refused, because
// links can form a circle.
func resolveDir(fsys fs.FS, name string, e fs.DirEntry) (bool, error) {
	if e.Type()&fs.ModeSymlink == 0 {
		return e.IsDir(), nil
	}
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return false, readFailure(name, err)
	}
	if info.IsDir() {
		return false, refuse(Origin{File: name}, "is a symbolic link to a directory").
			WithHint("copy the directory, or use a kustomization that names it")
	}
	return false, nil
}

func isManifest(name string) bool {
	switch path.Ext(name) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

func readObjects(ctx context.Context, fsys fs.FS, file string, entries *atomic.Int64) ([]Object, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if entries.Load() > maxEntries {
		return nil, nil // the whole is refused
	}
	raw, err := fs.ReadFile(fsys, file)
	if err != nil {
		return nil, readFailure(file, err)
	}
	n, err := weigh(file, raw)
	if err != nil {
		return nil, err
	}
	if entries.Add(int64(n)) > maxEntries {
		return nil, nil
	}
	return parseObjects(file, raw)
}

// parseObjects returns the objects of one file, whose size was looked at
// before.
func parseObjects(file string, raw []byte) ([]Object, error) {
	parse := parseYAML
	if path.Ext(file) == ".json" {
		parse = parseJSON
	}
	documents, err := parse(file, raw)
	if err != nil {
		return nil, err
	}
	var objects []Object
	for _, d := range documents {
		objects, err = appendObjects(objects, d)
		if err != nil {
			return nil, err
		}
	}
	return objects, nil
}
