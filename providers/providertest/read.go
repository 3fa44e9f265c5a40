package providertest

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/gitseal/gitseal/providers"
)

func openingCallsNobody(t *testing.T, tr *trial) {
	requests, logins := tr.requests(), tr.serverLogins()
	tr.open()
	if tr.requests() != requests || tr.serverLogins() != logins {
		t.Error("Open called the provider")
	}
}

// requests is 0 where nobody counts.
func (tr *trial) requests() int {
	if tr.server.Requests == nil {
		return 0
	}
	return tr.server.Requests()
}

func (tr *trial) serverLogins() int {
	if tr.server.Logins == nil {
		return 0
	}
	return tr.server.Logins()
}

func found(t *testing.T, tr *trial) {
	content, version := tr.put(tr.key("found"))
	r, _ := tr.get(tr.open(), providers.Ref{Key: tr.key("found")})
	tr.want(r, content)
	if r.Version != version {
		t.Errorf("Get gave the version %q, want %q", r.Version, version)
	}
}

func notFound(_ *testing.T, tr *trial) {
	tr.put(tr.key("there"))
	p := tr.open()
	_, err := tr.get(p, providers.Ref{Key: tr.key("missing")})
	tr.wantKind(err, providers.ErrNotFound)
	if tr.subject.has(Metadata) {
		_, err = tr.get(p, providers.Ref{Key: tr.key("missing"), Metadata: true})
		tr.wantKind(err, providers.ErrNotFound)
	}
}

func oddKeys(t *testing.T, tr *trial) {
	p := tr.open()
	for _, key := range tr.subject.OddKeys {
		content, _ := tr.put(key)
		r, _ := tr.get(p, providers.Ref{Key: key})
		if tr.want(r, content); t.Failed() {
			t.Fatalf("with the key %q", key)
		}
	}
}

func badKeys(t *testing.T, tr *trial) {
	tr.put(tr.key("there"))
	p := tr.open()
	for _, key := range append([]string{""}, tr.subject.BadKeys...) {
		if _, err := tr.get(p, providers.Ref{Key: key}); err == nil {
			t.Errorf("Get(%q) gave a value", key)
		} else if tr.wantKind(err, providers.ErrInvalid); t.Failed() {
			t.Fatalf("with the key %q", key)
		}
	}
}

func contents(t *testing.T, tr *trial) {
	tests := map[string][]byte{
		"json":        []byte(`{"user":"admin","id":12345678901234567890,"deep":{"a":[1,2,null]}}`),
		"quotes":      []byte("it's \"so\" \\ & <b> %s ${HOME} {{ .x }}\r\n\ttabs and lines\n\n"),
		"unicode":     []byte("Käse-☕-übel-𝔘𝔫𝔦𝔠𝔬𝔡𝔢-\u2028-日本語"),
		"of-64-kib":   []byte(strings.Repeat("0123456789abcdef", 4096)),
		"spaces":      []byte(" leading and trailing \n"),
		"like-base64": []byte("Y2FuYXJ5LW9mLWJhc2U2NA=="),
	}
	if tr.subject.has(Binary) {
		every := make([]byte, 256)
		for i := range every {
			every[i] = byte(i)
		}
		tests["binary"] = bytes.Repeat(every, 4)
		tests["no-utf-8"] = []byte{0xff, 0xfe, 'a', 0xc3, 0x28, 0}
	}
	p := tr.open()
	for name, content := range tests {
		t.Run(name, func(t *testing.T) {
			tr.putContent(tr.key(name), content)
			r, _ := tr.get(p, providers.Ref{Key: tr.key(name)})
			if tr.want(r, content); tr.t.Failed() {
				t.Fail()
			}
		})
	}
}

func newest(t *testing.T, tr *trial) {
	p, key := tr.open(), tr.key("newest")
	first, v1 := tr.put(key)
	r, _ := tr.get(p, providers.Ref{Key: key})
	tr.want(r, first)
	second, v2 := tr.put(key)
	if tr.subject.has(Versions) && v1 == v2 {
		t.Errorf("both contents have the version %q", v1)
	}
	r, _ = tr.get(p, providers.Ref{Key: key})
	tr.want(r, second)
	if r.Version != v2 {
		t.Errorf("Get gave the version %q, want %q", r.Version, v2)
	}
}

func pinned(t *testing.T, tr *trial) {
	p, key := tr.open(), tr.key("pinned")
	first, v1 := tr.put(key)
	second, _ := tr.put(key)
	if tr.subject.has(Pinning) && !tr.subject.has(Versions) {
		v1 = tr.server.Keep(key, first)
	}
	if !tr.subject.has(Pinning) {
		if r, err := tr.get(p, providers.Ref{Key: key, Version: "1"}); err != nil {
			tr.wantKind(err, providers.ErrInvalid)
		} else {
			tr.want(r, second)
		}
		return
	}
	r, _ := tr.get(p, providers.Ref{Key: key, Version: v1})
	tr.want(r, first)
	if r.Version != v1 {
		t.Errorf("Get of version %q gave version %q", v1, r.Version)
	}
	other := tr.key("other")
	tr.put(other)
	missing := missingVersion(v1)
	_, err := tr.get(p, providers.Ref{Key: other, Version: missing})
	tr.wantKind(err, providers.ErrNotFound)
}

// missingVersion is like a version, and is none of a key with one content.
func missingVersion(version string) string {
	if strings.Trim(version, "0123456789") == "" {
		return "4711"
	}
	// Another one of its own kind: digits and letters change, the shape stays.
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return '0' + (r-'0'+1)%10
		}
		return r
	}, version)
}

func metadata(t *testing.T, tr *trial) {
	key := tr.key("tagged")
	content, _ := tr.put(key)
	if !tr.subject.has(Metadata) {
		_, err := tr.get(tr.open(), providers.Ref{Key: key, Metadata: true})
		tr.wantKind(err, providers.ErrInvalid)
		return
	}
	tr.server.Tag(key, map[string]string{"team": "payments"})
	r, err := tr.get(tr.open(), providers.Ref{Key: key, Metadata: true})
	if err != nil {
		t.Fatalf("Get of metadata: %v", err)
	}
	var object map[string]any
	if err := json.Unmarshal(r.Value.Reveal(), &object); err != nil {
		t.Fatal("the metadata is no JSON object")
	}
	if !holds(object, "team", "payments") {
		t.Errorf("the metadata %s does not hold the tag", r.Value.Reveal())
	}
	if bytes.Contains(r.Value.Reveal(), content) {
		t.Error("the metadata holds the content")
	}
}

// holds looks for an entry at any depth, also as AWS has it.
func holds(value any, key, want string) bool {
	switch v := value.(type) {
	case map[string]any:
		for k, inner := range v {
			if k == key && inner == want || holds(inner, key, want) {
				return true
			}
		}
	case []any:
		for _, inner := range v {
			if holds(inner, key, want) {
				return true
			}
		}
	}
	return false
}
