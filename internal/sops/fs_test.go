package sops

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	getsops "github.com/getsops/sops/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/gitseal/gitseal/internal/secret"
)

func open(name string, raw []byte, k testKey) (*FS, *secret.Set) {
	values := newSet()
	return NewFS(fstest.MapFS{name: {Data: raw}}, k.ring, values), values
}

const everyType = `# a comment
apiVersion: v1
kind: Secret
metadata:
    name: db # inline
stringData:
    # about the password
    password: "hunter2: \"quoted\" #not"
    multi: |-
        line one
        line two
    port: 5432
    ratio: 1.5
    on: true
    off: false
    nothing: null
    empty: ""
    when: 2024-02-29T12:00:00Z
    list:
        # first
        - a1
        - 2
        - x: deep
        # last
    none: []
    no: {}
plain_unencrypted: stays
`

func TestReadFileGivesTheSameDocumentWithTokens(t *testing.T) {
	key, quantum := classicKey(t), postQuantumKey(t)
	tests := map[string]struct {
		name   string
		plain  string
		key    testKey
		oracle oracle
		fresh  bool // the document has to be written anew
	}{
		"every type":                   {name: "a.yaml", plain: everyType, key: key},
		"post-quantum identity":        {name: "a.yaml", plain: everyType, key: quantum},
		"part of a manifest":           {name: "a.yml", plain: everyType, key: key, oracle: oracle{metadata: getsops.Metadata{EncryptedRegex: "^(data|stringData)$"}}},
		"MAC over encrypted only":      {name: "a.yaml", plain: everyType, key: key, oracle: oracle{metadata: getsops.Metadata{EncryptedRegex: "^stringData$", MACOnlyEncrypted: true}}},
		"by comment":                   {name: "a.yaml", plain: "a: 1\n# secret\nb: two\nc: three\n", key: key, oracle: oracle{metadata: getsops.Metadata{EncryptedCommentRegex: "^ secret$"}}},
		"all but by comment":           {name: "a.yaml", plain: "a: 1\n# public\nb: two\n# other\nc: three\n", key: key, oracle: oracle{metadata: getsops.Metadata{UnencryptedCommentRegex: "^ public$"}}},
		"several documents":            {name: "a.yaml", plain: "a: one\n---\n---\nb: two\n---\nc: three\n", key: key},
		"empty first document":         {name: "a.yaml", plain: "---\n---\nb: two\n", key: key},
		"list of comments only":        {name: "a.yaml", plain: "a:\n  - x\n  # only\nb: y\n", key: key},
		"json":                         {name: "a.json", plain: `{"a": "one", "b": {"c": [1, 2.5, true, null, "", "x"]}, "d_unencrypted": "stays"}`, key: key},
		"json without values left":     {name: "a.json", plain: `{"a": "one"}`, key: key},
		"dotenv":                       {name: "a.env", plain: "# c\nA=one\nB=two words = and\nC=a\\nb\n", key: key},
		"ini":                          {name: "a.ini", plain: "[s]\n; c\na = one\nb = 2\n", key: key},
		"equal items of a list":        {name: "a.yaml", plain: "a: [same, same]\nb: same\n", key: key},
		"big integers and exponents":   {name: "a.yaml", plain: "a: 9007199254740993\nb: 1e+21\nc: -0.5\n", key: key},
		"text that looks like a token": {name: "a.yaml", plain: "a: gitseal.v1.aaaa\nb_unencrypted: \"x\"\n", key: key},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.oracle.groups = [][]string{{tt.key.recipient}}
			raw := tt.oracle.encrypt(t, tt.name, tt.plain)
			f, values := open(tt.name, raw, tt.key)
			got, err := f.ReadFile(tt.name)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(got), secret.CiphertextStart) || IsEncrypted(tt.name, got) {
				t.Errorf("ReadFile left ciphertext or metadata:\n%s", got)
			}
			if !strings.Contains(string(got), secret.TokenPrefix) {
				t.Errorf("ReadFile gave no token:\n%s", got)
			}
			// Revealed text is no longer typed or quoted, so compare through
			// trees: ours with tokens replaced, and what sops decrypts to.
			want := sopsDecrypt(t, tt.key, tt.name, raw)
			ours := untokenized(t, tt.name, got, values)
			if diff := cmp.Diff(tree(t, tt.name, want), ours); diff != "" {
				t.Errorf("ReadFile differs from sops -d (-want +got):\n%s\n%s", diff, got)
			}
		})
	}
}

func TestLinesKeepTheirNumbers(t *testing.T) {
	key := classicKey(t)
	raw := encryptedFor(key).encrypt(t, "a.yaml", everyType)
	f, _ := open("a.yaml", raw, key)
	got, err := f.ReadFile("a.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, anchor := range []string{"apiVersion:", "password:", "list:", "plain_unencrypted:"} {
		if want, line := lineOfText(raw, anchor), lineOfText(got, anchor); line != want {
			t.Errorf("%s is on line %d, in Git on %d", anchor, line, want)
		}
	}
}

func TestReformattedFilesAreWrittenAnew(t *testing.T) {
	key := classicKey(t)
	raw := encryptedFor(key).encrypt(t, "a.json", `{"a": "one/two?three", "b": ["x", 5]}`)
	tests := map[string]struct {
		name string
		raw  []byte
	}{
		"json in a yaml file": {"a.yaml", raw},
		"escaped slashes":     {"a.json", bytes.ReplaceAll(raw, []byte("/"), []byte(`\/`))},
		"metadata first":      {"a.json", metadataFirst(raw)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f, values := open(tt.name, tt.raw, key)
			got, err := f.ReadFile(tt.name)
			if err != nil {
				t.Fatal(err)
			}
			want := tree(t, "a.json", `{"a": "one/two?three", "b": ["x", 5]}`)
			if diff := cmp.Diff(want, untokenized(t, tt.name, got, values)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func metadataFirst(raw []byte) []byte {
	from, to := jsonMember(raw, "sops")
	head := bytes.TrimSuffix(bytes.TrimSpace(raw[1:from]), []byte(","))
	return []byte(fmt.Sprintf("{%s,\n%s}", raw[from:to], head))
}

func TestKindsOfValues(t *testing.T) {
	key := classicKey(t)
	raw := encryptedFor(key).encrypt(t, "a.yaml", "s: text\ni: 42\nf: 0.25\nb: true\nt: 2024-02-29T12:00:00Z\n")
	f, values := open("a.yaml", raw, key)
	got, err := f.ReadFile("a.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"s": "0 text", "i": "1 42", "f": "2 0.25", "b": "3 true", "t": "0 2024-02-29T12:00:00Z"}
	for _, line := range strings.Split(strings.TrimSpace(string(got)), "\n") {
		key, token, _ := strings.Cut(line, ": ")
		if want[key] == "" {
			continue
		}
		v, kind, _ := values.Lookup(secret.Token(token))
		if text := fmt.Sprintf("%d %s", kind, v.Reveal()); text != want[key] {
			t.Errorf("%s = %s, want %s", key, text, want[key])
		}
	}
	if files, count := f.Opened(); files != 1 || count != 5 {
		t.Errorf("Opened() = %d, %d, want 1, 5", files, count)
	}
}

func TestBinaryFileIsOneToken(t *testing.T) {
	key := classicKey(t)
	content := "line one\n\x00\x01 binary\n"
	raw := encryptedFor(key).encrypt(t, "tls.key", content)
	f, values := open("tls.key", raw, key)
	got, err := f.ReadFile("tls.key")
	if err != nil {
		t.Fatal(err)
	}
	v, kind, ok := values.Lookup(secret.Token(got))
	if !ok || kind != secret.Bytes || string(v.Reveal()) != content {
		t.Errorf("ReadFile = %q, which is not one token of the content", got)
	}
}

func TestPlainFilesAreUntouched(t *testing.T) {
	tests := map[string]string{
		"a.yaml":    "a: 1 # c\nsops: {enabled: true}\n",
		"b.yaml":    "# password: ENC[AES256_GCM,data:abc]\na: b\n",
		"README.md": "It looks like this:\n\n    password: ENC[AES256_GCM,data:abc]\n",
		"c.json":    `{"a": {"sops": {"lastmodified": "x"}}}`,
		"d.env":     "A=1\n",
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			f, values := open(name, []byte(text), testKey{ring: NewKeyring()})
			got, err := f.ReadFile(name)
			if err != nil || string(got) != text || values.Len() != 0 || f.Err() != nil {
				t.Errorf("ReadFile = %q, %v, want it untouched", got, err)
			}
		})
	}
}

func TestFileSystem(t *testing.T) {
	key := classicKey(t)
	raw := encryptedFor(key).encrypt(t, "a.yaml", "a: one\n")
	values := newSet()
	base := fstest.MapFS{"dir/a.yaml": {Data: raw}, "dir/b.txt": {Data: []byte("b")}}
	f := NewFS(base, key.ring, values)
	if err := fstest.TestFS(NewFS(fstest.MapFS{"dir/b.txt": {Data: []byte("b")}}, key.ring, values), "dir/b.txt"); err != nil {
		t.Error(err)
	}
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if _, err := f.ReadFile("dir/a.yaml"); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	handle, err := f.Open("dir/a.yaml")
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(handle)
	if err != nil {
		t.Fatal(err)
	}
	info, _ := handle.Stat()
	if int(info.Size()) != len(content) || reveal(t, values, content)[:6] != "a: one" {
		t.Errorf("Open gave %d bytes, Stat says %d: %s", len(content), info.Size(), content)
	}
	if files, count := f.Opened(); files != 1 || count != 1 {
		t.Errorf("Opened() = %d, %d, want 1, 1", files, count)
	}
	if _, err := f.ReadFile("dir/none"); err == nil || f.Err() != nil {
		t.Errorf("a file that does not exist: %v, Err() = %v", err, f.Err())
	}
	if entries, err := fs.ReadDir(f, "dir"); err != nil || len(entries) != 2 {
		t.Errorf("ReadDir = %v, %v", entries, err)
	}
	_ = handle.Close()
}
