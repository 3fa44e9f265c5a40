// Package render turns a directory of the repository into Kubernetes objects
// that know which file and line they came from. It renders plain YAML and JSON,
// and Kustomize in process.
//
// It is pure: the objects depend on the files alone. It must not use a
// client, the network, a clock or a disk, and it must not see a secret value:
// the files it is given hold tokens in the place of values.
package render

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
)

const (
	maxObjects   = 10_000 // in one rendering
	maxDocuments = 10_000 // in one file, the empty ones too
	maxDepth     = 200    // of nested maps and lists in one document
	maxAliased   = 50_000 // nodes that the YAML aliases of one file may add
)

// Origin is where an object came from, relative to the root of the repository.
type Origin struct {
	File string
	Line int // 0: not known
}

// String is "file:line", or "file" where the line is not known.
func (o Origin) String() string {
	if o.Line == 0 {
		return o.File
	}
	return o.File + ":" + strconv.Itoa(o.Line)
}

// Object is one rendered object.
type Object struct {
	*unstructured.Unstructured
	Origin Origin
	// Hollow: it is in the cluster and stays as it is there, so that nothing
	// was found out of what it is to hold.
	Hollow bool
}

// Render reads the directory root of fsys and returns its objects: in the
// order of file names and documents for plain files, in Kustomize's order
// where root holds a kustomization. What it refuses is a *failure.Error; an
// ended ctx is returned as it is.
func Render(ctx context.Context, fsys fs.FS, root string) ([]Object, error) {
	dir := path.Clean(root)
	if !fs.ValidPath(dir) {
		return nil, failure.Stallf(v1alpha1.ReasonSourceInvalid, "path %q is not inside the repository", root).
			WithHint("set spec.source.path to a directory relative to the root of the repository")
	}
	kustomized, err := detect(fsys, dir)
	if err != nil {
		return nil, err
	}
	renderer := plain
	if kustomized {
		renderer = kustomize
	}
	objects, err := renderer(ctx, fsys, dir)
	if err != nil {
		return nil, err
	}
	if err := checkSet(dir, objects); err != nil {
		return nil, err
	}
	return objects, nil
}

// detect reports whether root is to be rendered by Kustomize.
func detect(fsys fs.FS, root string) (bool, error) {
	info, err := fs.Stat(fsys, root)
	if errors.Is(err, fs.ErrNotExist) {
		return false, failure.Stallf(v1alpha1.ReasonSourceInvalid, "path %q is not in the repository", root).
			WithHint("set spec.source.path to a directory that the revision holds")
	}
	if err != nil {
		return false, readFailure(root, err)
	}
	if !info.IsDir() {
		return false, failure.Stallf(v1alpha1.ReasonSourceInvalid, "path %q is a file", root).
			WithHint("set spec.source.path to the directory that holds it")
	}
	entries, err := fs.ReadDir(fsys, root)
	if err != nil {
		return false, readFailure(root, err)
	}
	var found []string
	for _, e := range entries {
		if isKustomization(e.Name()) {
			found = append(found, e.Name())
		}
	}
	if len(found) > 1 {
		return false, refuse(Origin{File: root}, "holds %s and %s", found[0], found[1]).
			WithHint("keep one kustomization file in a directory")
	}
	return len(found) == 1, nil
}

// checkSet refuses what is wrong with the objects as a whole.
func checkSet(root string, objects []Object) error {
	if len(objects) == 0 {
		return failure.Stallf(v1alpha1.ReasonRenderFailed,
			"path %q renders no objects; nothing is applied and nothing is pruned", root).
			WithHint("add a manifest, or delete the Application to remove its objects")
	}
	if len(objects) > maxObjects {
		return failure.Stallf(v1alpha1.ReasonRenderFailed, "path %q renders more than %d objects", root, maxObjects).
			WithHint("split it over several Applications")
	}
	type identity struct{ group, kind, namespace, name string }
	seen := make(map[identity]Origin, len(objects))
	for _, o := range objects {
		id := identity{o.GroupVersionKind().Group, o.GetKind(), o.GetNamespace(), o.GetName()}
		if first, ok := seen[id]; ok {
			return refuse(o.Origin, "%s %q is already in %s", o.GetKind(), qualified(o.Unstructured), first).
				WithHint("remove one of the two")
		}
		seen[id] = o.Origin
	}
	return nil
}

func qualified(u *unstructured.Unstructured) string {
	if u.GetNamespace() == "" {
		return u.GetName()
	}
	return u.GetNamespace() + "/" + u.GetName()
}

// refuse is the failure of something that is written at a place.
func refuse(at Origin, format string, args ...any) *failure.Error {
	return failure.Stallf(v1alpha1.ReasonRenderFailed, "%s: %w", at, fmt.Errorf(format, args...))
}

// readFailure keeps what the file system decided, and classes what it did not.
func readFailure(file string, err error) error {
	var decided *failure.Error
	switch {
	case errors.As(err, &decided):
		return decided
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, fs.ErrNotExist):
		return failure.Stallf(v1alpha1.ReasonSourceInvalid, "%s is not in the repository", file)
	}
	return failure.Failf(v1alpha1.ReasonSourceUnavailable, "read %s: %w", file, err)
}
