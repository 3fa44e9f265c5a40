package vault

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/providers"
)

func engineFor(t testing.TB, mount, version string) engine {
	t.Helper()
	spec := &v1alpha1.VaultProvider{Version: version}
	if mount != "" {
		spec.Path = &mount
	}
	e, err := engineOf(spec)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestAKeyBecomesAPath(t *testing.T) {
	tests := map[string]struct {
		mount, version, key string
		data, metadata      string
	}{
		"a key below the mount":                       {"secret", "v2", "foo", "secret/data/foo", "secret/metadata/foo"},
		"version 2 is the default":                    {"secret", "", "foo", "secret/data/foo", "secret/metadata/foo"},
		"a key in a folder":                           {"secret", "v2", "a/b", "secret/data/a/b", "secret/metadata/a/b"},
		"a mount of two segments":                     {"team/kv", "v2", "foo", "team/kv/data/foo", "team/kv/metadata/foo"},
		"a key that repeats the mount":                {"team/kv", "v2", "team/kv/foo", "team/kv/data/foo", "team/kv/metadata/foo"},
		"a key that repeats mount and data":           {"team/kv", "v2", "team/kv/data/foo", "team/kv/data/foo", "team/kv/metadata/foo"},
		"a key that only looks like the mount":        {"secret", "v2", "secretive/foo", "secret/data/secretive/foo", "secret/metadata/secretive/foo"},
		"a folder named data":                         {"secret", "v2", "data/foo", "secret/data/data/foo", "secret/metadata/data/foo"},
		"a folder called as the mount":                {"secret", "v2", "/secret/foo", "secret/data/secret/foo", "secret/metadata/secret/foo"},
		"a folder called as mount and data":           {"secret", "v2", "/secret/data/foo", "secret/data/secret/data/foo", "secret/metadata/secret/data/foo"},
		"version 1, a folder called as the mount":     {"kv", "v1", "/kv/b", "kv/kv/b", "kv/kv/b"},
		"a mount with slashes around":                 {"/secret/", "v2", "foo", "secret/data/foo", "secret/metadata/foo"},
		"a key that begins with a slash":              {"secret", "v2", "/foo", "secret/data/foo", "secret/metadata/foo"},
		"version 1":                                   {"kv", "v1", "a/b", "kv/a/b", "kv/a/b"},
		"version 1 with the mount repeated":           {"kv", "v1", "kv/a/b", "kv/a/b", "kv/a/b"},
		"version 1 with a folder named data":          {"kv", "v1", "kv/data/b", "kv/data/b", "kv/data/b"},
		"without a path, the first segment":           {"", "v2", "secret/foo/bar", "secret/data/foo/bar", "secret/metadata/foo/bar"},
		"without a path, up to data":                  {"", "v2", "team/kv/data/foo", "team/kv/data/foo", "team/kv/metadata/foo"},
		"without a path, data twice":                  {"", "v2", "kv/data/data/foo", "kv/data/data/foo", "kv/metadata/data/foo"},
		"without a path, version 1":                   {"", "v1", "kv/a/b", "kv/a/b", "kv/a/b"},
		"without a path, an engine named almost auth": {"", "v1", "authors/a", "authors/a", "authors/a"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			e := engineFor(t, tt.mount, tt.version)
			data, err := e.data(tt.key)
			if err != nil || data != tt.data {
				t.Errorf("data(%q) = %q, %v, want %q", tt.key, data, err, tt.data)
			}
			metadata, err := e.metadata(tt.key)
			if err != nil || metadata != tt.metadata {
				t.Errorf("metadata(%q) = %q, %v, want %q", tt.key, metadata, err, tt.metadata)
			}
		})
	}
}

func TestKeysThatVaultKeepsForItselfAreRefused(t *testing.T) {
	for _, version := range []string{"v1", "v2"} {
		e := engineFor(t, "", version)
		for _, key := range []string{
			"auth/token/lookup-self", "sys/mounts", "cubbyhole/x", "identity/entity/id", "/auth/token/lookup-self", "//sys/data/x", "AUTH/token/lookup-self",
			"x/../sys/mounts", "secret/data/../../auth/token/lookup-self",
		} {
			if path, err := e.data(key); !errors.Is(err, providers.ErrInvalid) {
				t.Errorf("%s: data(%q) = %q, %v, want ErrInvalid", version, key, path, err)
			}
		}
	}
	for _, mount := range []string{"auth/token", "sys", "../x", "", "a/../b"} {
		if _, err := engineOf(&v1alpha1.VaultProvider{Path: &mount}); !errors.Is(err, providers.ErrInvalid) {
			t.Errorf("engineOf(%q) = %v, want ErrInvalid", mount, err)
		}
	}
}

// A path stays where its engine is mounted, whatever the key.
func FuzzPath(f *testing.F) {
	for _, key := range []string{"a", "a/b", "/a", "secret/data/a", "..", "a/../b", "%2e%2e/x", "a//b", "auth/token", "data/", "secret/secret/a", "\x00", "a/.", "secret", "é/ü"} {
		f.Add(key)
	}
	mounted, free := engineFor(f, "secret", "v2"), engineFor(f, "", "v1")
	f.Fuzz(func(t *testing.T, key string) {
		for kind, of := range map[string]func(string) (string, error){"data": mounted.data, "metadata": mounted.metadata} {
			path, err := of(key)
			if err != nil {
				if !errors.Is(err, providers.ErrInvalid) {
					t.Errorf("%s(%q): %v, want ErrInvalid", kind, key, err)
				}
				continue
			}
			if !strings.HasPrefix(path, "secret/"+kind+"/") || escapes(path) {
				t.Errorf("%s(%q) = %q", kind, key, path)
			}
		}
		if at, rest, err := mounted.split(mounted.named(key, "secret", key)); err == nil && !strings.HasPrefix(key, "/") && (at != "secret" || rest != key) {
			t.Errorf("what is found at %q is read at %q of %q", key, rest, at)
		}
		if path, err := free.data(key); err == nil && (escapes(path) || internal(strings.TrimLeft(path, "/"))) {
			t.Errorf("data(%q) = %q", key, path)
		}
	})
}

func escapes(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return strings.ContainsAny(path, "\x00\r\n")
}

// Whatever a server sends, a value is a JSON object, and an error says no word
// of it.
func FuzzAnswer(f *testing.F) {
	for _, body := range []string{
		`{"data":{"data":{"a":"b"},"metadata":{"version":3}}}`, `{"data":{"a":1e400}}`, `{"data":{"data":null,"metadata":{"destroyed":true}}}`,
		`{"errors":["x"]}`, `{"warnings":["x"]}`, `{"data":[]}`, `{"data":"x"}`, `null`, `{"auth":{"client_token":1}}`, `{"data":{"data":[],"metadata":{"version":1}}}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var a answer
		if json.Unmarshal(body, &a) != nil {
			return
		}
		for _, version := range []string{"v1", "v2"} {
			r := engineFor(t, "secret", version).valueOf(a)
			var object map[string]json.RawMessage
			if r.Err == nil && json.Unmarshal(r.Value.Reveal(), &object) != nil {
				t.Errorf("the value of %s of %q is no JSON object", version, body)
			}
			if r.Err != nil && !errors.As(r.Err, new(*providers.Error)) {
				t.Errorf("the error of %s of %q is no *providers.Error", version, body)
			}
		}
		if err := missing(a); !errors.As(err, new(*providers.Error)) || errors.Is(err, providers.ErrNotFound) && a.Errors == nil && a.Data == nil {
			t.Errorf("missing(%q) = %v", body, err)
		}
	})
}
