package vault

import (
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/providers"
)

const (
	maxKey = 1024
	// What version 2 puts between mount and key.
	ofData     = "data/"
	ofMetadata = "metadata/"
)

// engine knows where a KV engine keeps what. Its rules are those of
// external-secrets.io, whose manifests name a key with or without the mount and
// the data/ of version 2.
type engine struct {
	mount *string // nil: the key has it
	v2    bool
}

func engineOf(spec *v1alpha1.VaultProvider) (engine, error) {
	e := engine{v2: spec.Version != "v1"}
	if spec.Version != "" && spec.Version != "v1" && spec.Version != "v2" {
		return engine{}, providers.Invalidf("vault.version is v1 or v2")
	}
	if spec.Path == nil {
		return e, nil
	}
	mount := strings.Trim(*spec.Path, "/")
	if !plain(mount) || internal(mount) {
		return engine{}, providers.Invalidf("vault.path is not where a KV engine can be mounted")
	}
	e.mount = &mount
	return e, nil
}

// data is the path of a key's value, after /v1/.
func (e engine) data(key string) (string, error) { return e.path(strings.TrimRight(key, "/"), ofData) }

// metadata is the path of a key's metadata. Of version 1 it is that of the
// value.
func (e engine) metadata(key string) (string, error) { return e.path(key, ofMetadata) }

// folder takes a find.path apart as split does a key: below the mount of the
// store as it stands, as external-secrets.io has it. It ends in "/"; "" is the
// engine's root.
func (e engine) folder(path string) (mount, folder string, err error) {
	path = strings.Trim(path, "/")
	switch {
	case path == "" && e.mount == nil:
		return "", "", providers.Invalidf("find needs a path that begins with the mount of an engine, as the store has no vault.path")
	case path == "":
		return *e.mount, "", nil
	}
	return e.split("/" + path + "/")
}

// named is the key of what lies at rest below a mount: as it is spelled, unless
// that is read in another way.
func (e engine) named(spelled, mount, rest string) string {
	m, r, err := e.split(spelled)
	switch {
	case err != nil || m == mount && r == rest:
		return spelled
	case e.mount != nil:
		return "/" + rest
	}
	return join(mount, ofData+rest)
}

func (e engine) path(key, kind string) (string, error) {
	mount, rest, err := e.split(key)
	if err != nil {
		return "", err
	}
	return e.at(mount, kind, rest), nil
}

// at is the path, after /v1/, of what a mount knows as rest.
func (e engine) at(mount, kind, rest string) string {
	if !e.v2 {
		return join(mount, rest)
	}
	return join(mount, kind+rest)
}

func join(mount, rest string) string {
	if mount == "" {
		return rest
	}
	return mount + "/" + rest
}

// split takes a key apart into the mount and what the engine knows it by. With
// a "/" in front a key repeats no mount, whatever it looks like.
func (e engine) split(key string) (mount, rest string, err error) {
	whole := key
	key = strings.TrimLeft(key, "/")
	if !plain(strings.TrimRight(key, "/")) {
		return "", "", providers.Invalidf("a key is a path of up to %d bytes, of characters that can be printed, without \".\" and \"..\" in it", maxKey)
	}
	switch {
	case e.mount != nil && whole != key:
		return *e.mount, key, nil
	case e.mount != nil:
		return *e.mount, e.below(key), nil
	}
	if internal(key) {
		return "", "", providers.Invalidf("Vault keeps no secrets below auth/, cubbyhole/, identity/ and sys/")
	}
	if !e.v2 {
		return "", key, nil
	}
	if mount, rest, ok := strings.Cut(key, "/data/"); ok {
		return mount, rest, nil
	}
	mount, rest, ok := strings.Cut(key, "/")
	if !ok {
		return "", "", providers.Invalidf("a key begins with the mount of its engine, as the store has no vault.path")
	}
	return mount, rest, nil
}

// below takes off what repeats the mount.
func (e engine) below(key string) string {
	rest, ok := strings.CutPrefix(key, *e.mount+"/")
	if ok && e.v2 {
		rest = strings.TrimPrefix(rest, "data/")
	}
	return rest
}

// plain reports whether a path means what it says.
func plain(path string) bool {
	if path == "" || len(path) > maxKey || !utf8.ValidString(path) {
		return false
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return false
		}
	}
	return strings.IndexFunc(path, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// internal reports whether a path is Vault's own. A token could read itself
// there, and become a value.
func internal(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	switch strings.ToLower(first) {
	case "auth", "cubbyhole", "identity", "sys":
		return true
	}
	return false
}

// version asks for one of KV version 2.
func (e engine) version(version string) (url.Values, error) {
	if version == "" {
		return nil, nil
	}
	if !e.v2 {
		return nil, providers.Invalidf("KV version 1 keeps no versions of a secret")
	}
	if n, err := strconv.ParseInt(version, 10, 32); err != nil || n < 1 {
		return nil, providers.Invalidf("a version of a KV secret is a number above 0")
	}
	return url.Values{"version": {version}}, nil
}
