package vault

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/gitseal/gitseal/providers"
)

// Bounds of a Find.
const (
	maxSeen  = 10_000 // entries of folders
	maxDepth = 32
	asks     = 8 // at once
)

// Find implements providers.Finder. A secret whose newest version is deleted is
// still listed by Vault, and so found.
func (v *vault) Find(ctx context.Context, q providers.Query) ([]string, error) {
	name, err := regexp.Compile(q.Name)
	if err != nil {
		return nil, providers.Invalidf("find.name is no regular expression")
	}
	if len(q.Tags) > 0 && !v.engine.v2 {
		return nil, providers.Invalidf("KV version 1 keeps no metadata to find by")
	}
	mount, folder, err := v.engine.folder(q.Path)
	if err != nil {
		return nil, err
	}
	w := walk{vault: v, mount: mount}
	if err := w.into(ctx, folder, 0); err != nil {
		return nil, err
	}
	var keys []string
	for _, found := range w.found {
		spelled := join(strings.Trim(q.Path, "/"), strings.TrimPrefix(found, folder))
		if name.MatchString(spelled) {
			keys = append(keys, v.engine.named(spelled, mount, found))
		}
	}
	if len(q.Tags) > 0 {
		if keys, err = v.tagged(ctx, keys, q); err != nil {
			return nil, err
		}
	}
	slices.Sort(keys)
	return keys, nil
}

type walk struct {
	vault *vault
	mount string
	found []string // below the mount
	seen  int
}

// into lists a folder, as engine.folder has it, and those in it.
func (w *walk) into(ctx context.Context, folder string, depth int) error {
	if depth > maxDepth {
		return providers.Invalidf("folders below the path lie more than %d deep", maxDepth)
	}
	names, err := w.vault.list(ctx, w.vault.engine.at(w.mount, ofMetadata, folder))
	if err != nil {
		return err
	}
	if w.seen += len(names); w.seen > maxSeen {
		return providers.Invalidf("more than %d keys lie below the path", maxSeen)
	}
	for _, name := range names {
		if !strings.HasSuffix(name, "/") {
			w.found = append(w.found, folder+name)
		} else if err := w.into(ctx, folder+name, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// list is the names in a folder, folders with a "/" at the end. A folder that
// is not there is empty.
func (v *vault) list(ctx context.Context, path string) ([]string, error) {
	a, err := v.read(ctx, path, url.Values{"list": {"true"}})
	if errors.Is(err, providers.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var listed struct {
		Keys []string `json:"keys"`
	}
	if err := json.Unmarshal(a.Data, &listed); err != nil {
		return nil, unreadable()
	}
	return listed.Keys, nil
}

// tagged keeps the keys whose custom metadata holds all tags.
func (v *vault) tagged(ctx context.Context, keys []string, q providers.Query) ([]string, error) {
	fits := make([]bool, len(keys))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(asks)
	for i, key := range keys {
		group.Go(func() error {
			custom, _, err := v.describe(ctx, key)
			if errors.Is(err, providers.ErrNotFound) {
				return nil
			}
			fits[i] = q.HasTags(custom)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var found []string
	for i, key := range keys {
		if fits[i] {
			found = append(found, key)
		}
	}
	return found, nil
}
