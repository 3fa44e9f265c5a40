package source

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
)

func TestParseCredentials(t *testing.T) {
	plain, signer := newKey(t, "")
	locked, _ := newKey(t, "canary-pass")
	hosts := "h " + string(ssh.MarshalAuthorizedKey(signer.PublicKey()))
	notCA := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("canary")}))
	tests := map[string]struct {
		data map[string]string
		text string
	}{
		"username and password":         {data: map[string]string{"username": "u", "password": "canary"}},
		"entries of others are ignored": {data: map[string]string{"bearerToken": "canary", "identity.pub": "x", "other": "y"}},
		"a key":                         {data: map[string]string{"identity": string(plain), "known_hosts": "# comment\n\n" + hosts}},
		"a key with its passphrase":     {data: map[string]string{"identity": string(locked), "known_hosts": hosts, "password": "canary-pass"}},
		"nothing":                       {data: nil, text: "none of the entries"},
		"only entries of others":        {data: map[string]string{"token": "canary"}, text: "give username and password"},
		"a key without host keys":       {data: map[string]string{"identity": string(plain)}, text: "known_hosts is missing"},
		"host keys without a key":       {data: map[string]string{"known_hosts": hosts}, text: "identity is missing"},
		"a key and a username":          {data: map[string]string{"identity": string(plain), "known_hosts": hosts, "username": "u"}, text: "the SSH user stands in the URL"},
		"username alone":                {data: map[string]string{"username": "u"}, text: "one is missing"},
		"password alone":                {data: map[string]string{"password": "canary"}, text: "one is missing"},
		"bearer token and password":     {data: map[string]string{"bearerToken": "canary", "username": "u", "password": "canary"}, text: "keep one"},
		"client certificate":            {data: map[string]string{"tls.crt": "canary", "tls.key": "canary"}, text: "not supported"},
		"locked key, no passphrase":     {data: map[string]string{"identity": string(locked), "known_hosts": hosts}, text: "protected by a passphrase"},
		"locked key, wrong passphrase":  {data: map[string]string{"identity": string(locked), "known_hosts": hosts, "password": "canary"}, text: "does not open"},
		"something else than a key":     {data: map[string]string{"identity": "canary", "known_hosts": hosts}, text: "not a private SSH key"},
		"malformed host keys":           {data: map[string]string{"identity": string(plain), "known_hosts": "canary"}, text: "known_hosts is malformed"},
		"host keys without a line":      {data: map[string]string{"identity": string(plain), "known_hosts": "# canary\n"}, text: "known_hosts is malformed"},
		"ca.crt without certificate":    {data: map[string]string{"ca.crt": "canary"}, text: "holds no certificate"},
		"ca.crt with something else":    {data: map[string]string{"ca.crt": notCA}, text: "something else than certificates"},
		"a token of two lines":          {data: map[string]string{"bearerToken": "canary\nX: y"}, text: "control character"},
		"a username with a colon":       {data: map[string]string{"username": "u:v", "password": "canary"}, text: "colon"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			raw := map[string][]byte{}
			for k, v := range test.data {
				raw[k] = []byte(v)
			}
			c, err := ParseCredentials("deploy-key", raw)
			if test.text == "" {
				if err != nil {
					t.Fatal(err)
				}
				if shown := fmt.Sprintf("%v %+v %#v", c, *c, c); strings.Contains(shown, "canary") {
					t.Errorf("credentials print as %s", shown)
				}
				return
			}
			checkFailure(t, err, failure.Stall, v1alpha1.ReasonCredentialsInvalid, `secret "deploy-key"`, test.text)
			if strings.Contains(err.Error(), "canary") {
				t.Errorf("message shows content: %v", err)
			}
		})
	}
}

func TestParseTreeRejectsNames(t *testing.T) {
	for _, name := range []string{"", ".", "..", ".git", ".GiT", "a/b", "/", "..\\..\xff"} {
		raw := []byte("100644 " + name + "\x00" + strings.Repeat("x", 20))
		if _, err := parseTree(raw, 10); err == nil {
			t.Errorf("parseTree accepts the name %q", name)
		}
	}
	twice := []byte(strings.Repeat("100644 a\x00"+strings.Repeat("x", 20), 2))
	if _, err := parseTree(twice, 10); err == nil {
		t.Error("parseTree accepts a name that stands twice")
	}
}

func TestCraftedTree(t *testing.T) {
	r := newRepo(t)
	r.commit("refs/heads/main", map[string]file{"x": text("1")})
	blob := r.git("1", "-C", r.dir, "hash-object", "-w", "--stdin")
	raw := "100644 ..\x00" + string(mustHex(t, blob))
	tree := r.git(raw, "-C", r.dir, "hash-object", "-w", "--literally", "-t", "tree", "--stdin")
	c := r.git("m", "-C", r.dir, "-c", "user.name=a", "-c", "user.email=b", "commit-tree", tree)
	r.git("", "-C", r.dir, "update-ref", "refs/heads/main", c)
	url, _ := serve(t, r)
	snap := mustFetch(t, newStore(t, nil), Request{URL: url})
	_, err := snap.FS().Open("x")
	checkFailure(t, err, failure.Stall, v1alpha1.ReasonSourceInvalid, "name is not allowed")
}

func mustHex(t *testing.T, s string) []byte {
	t.Helper()
	var out []byte
	if _, err := fmt.Sscanf(s, "%x", &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestNewRemovesFilesOfAnEarlierRun(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"gitseal-pack-1", "gitseal-known-hosts-1", "kept"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := New(Options{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
	if _, err := New(Options{}); err == nil {
		t.Error("New accepts no directory")
	}
}

func FuzzCredentials(f *testing.F) {
	key, _ := newKey(f, "")
	f.Add([]byte("u"), []byte("canary-p"), []byte(""), []byte(""), []byte(""), []byte(""))
	f.Add([]byte(""), []byte(""), []byte("canary-t"), []byte(""), []byte(""), []byte(""))
	f.Add([]byte(""), []byte("canary-p"), []byte(""), key, []byte("h "+testHostKey), []byte("-----BEGIN CERTIFICATE-----"))
	f.Add([]byte(""), []byte(""), []byte(""), key, []byte("@revoked |1|x|y ssh-rsa AAAA"), []byte(""))
	f.Fuzz(func(t *testing.T, user, password, bearer, identity, hosts, ca []byte) {
		c, err := ParseCredentials("s", map[string][]byte{"username": user, "password": password,
			"bearerToken": bearer, "identity": identity, "known_hosts": hosts, "ca.crt": ca})
		if err != nil {
			if bytes.HasPrefix(password, []byte("canary")) && strings.Contains(err.Error(), string(password)) {
				t.Errorf("message shows the password: %v", err)
			}
			return
		}
		if !c.Identity.IsZero() {
			if _, err := hostKeys(t.TempDir(), c.KnownHosts); err != nil {
				t.Skip("known_hosts that only the second parser refuses")
			}
		}
	})
}

func FuzzLinkParts(f *testing.F) {
	f.Add("a/b", "../../c")
	f.Add("a", "..")
	f.Add("a/b/c", "./x/../../..//y")
	f.Fuzz(func(t *testing.T, name, destination string) {
		parts, ok := linkParts(name, destination)
		if !ok {
			return
		}
		depth := strings.Count(name, "/")
		for _, p := range parts {
			if p == "" || p == "." || strings.ContainsAny(p, "/\x00") {
				t.Fatalf("linkParts(%q, %q) = %q", name, destination, parts)
			}
			if depth++; p == ".." {
				depth -= 2
			}
			if depth < 0 {
				t.Fatalf("linkParts(%q, %q) = %q leaves the root", name, destination, parts)
			}
		}
	})
}

func FuzzParseTree(f *testing.F) {
	f.Add([]byte("100644 a\x00" + strings.Repeat("x", 20) + "40000 d\x00" + strings.Repeat("y", 20)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		tree, err := parseTree(raw, 100)
		for _, e := range tree {
			if got, ok := tree.find(e.name); err == nil && (!ok || got != e || !allowedName(e.name)) {
				t.Errorf("find(%q) = %v, %v", e.name, got, ok)
			}
		}
		_, _ = parseCommit([20]byte{}, raw)
	})
}

func FuzzPack(f *testing.F) {
	small := newRepo(f)
	small.commit("refs/heads/main", map[string]file{"a": text(strings.Repeat("line\n", 99)), "b": text(strings.Repeat("line\n", 100))})
	small.git("", "-C", small.dir, "repack", "-adfq")
	packs, _ := filepath.Glob(small.dir + "/objects/pack/*.pack")
	if raw, err := os.ReadFile(packs[0]); err == nil {
		f.Add(raw)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, raw []byte) {
		file, err := os.CreateTemp(dir, "")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = file.Close(); _ = os.Remove(file.Name()) }()
		if len(raw) > 20 { // so that more than the checksum is tested
			sum := sha1.Sum(raw[:len(raw)-20])
			raw = append(raw[:len(raw)-20:len(raw)-20], sum[:]...)
		}
		l := DefaultLimits()
		l.ObjectBytes, l.FetchBytes = 1<<16, 1<<16
		p, err := writePack(context.Background(), bytes.NewReader(raw), file, &objects{}, newContentCache(1<<16), l)
		if err != nil {
			return
		}
		for _, at := range p.sorted {
			if p.objects[at].size <= l.ObjectBytes {
				if _, err := p.content(int(at)); err != nil {
					t.Errorf("object %d: %v", at, err)
				}
			}
		}
	})
}

func FuzzPatch(f *testing.F) {
	f.Add([]byte("hello world"), []byte("\x0b\x05\x90\x05"))
	f.Add([]byte("hello world"), []byte("\x0b\x03\x03abc"))
	f.Add([]byte("hello"), []byte("\x05\xff\xff\xff\xff\x0f\x90\x05"))
	f.Fuzz(func(t *testing.T, from, delta []byte) {
		if out, err := patch(from, delta, 1000); err == nil && len(out) > 1000 {
			t.Errorf("patch gives %d bytes", len(out))
		}
	})
}
