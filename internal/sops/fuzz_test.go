package sops

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	getsops "github.com/getsops/sops/v3"

	"github.com/gitseal/gitseal/internal/secret"
)

// A fixed key, since fuzzing runs in several processes. It protects nothing.
const (
	fuzzIdentity  = "AGE-SECRET-KEY-1YG0RA5UGUTLRMWANAQGAVDQQDFZ9LQ5522W2YXE72W37HLKFW2KQD2LCM4"
	fuzzRecipient = "age1raz8k7pvg8pagd6jhyw2mysazzwq97dthtsjgm4y8c6fgpmr03dq9nztsa"
)

// FuzzReadFile checks that no content makes opening panic, run on, or hand out
// ciphertext.
func FuzzReadFile(f *testing.F) {
	key := ringOf(f, fuzzIdentity, fuzzRecipient)
	names := []string{"a.yaml", "a.json", "a.env", "a.ini", "a.bin"}
	for i, plain := range []string{everyType, `{"a": "one", "b": [1]}`, "A=one\n", "[s]\na = one\n", "x"} {
		f.Add(uint8(i), encryptedFor(key).encrypt(f, names[i], plain))
	}
	f.Add(uint8(0), manifestFor(key).encrypt(f, "a.yaml", manifest))
	f.Add(uint8(0), oracle{metadata: getsops.Metadata{EncryptedCommentRegex: "x"}, groups: [][]string{{key.recipient}}}.encrypt(f, "a.yaml", "# x\na: b\n"))
	f.Add(uint8(0), []byte("a: &a [*a]\nsops: {lastmodified: x}\n"))
	f.Add(uint8(1), []byte(`{"sops":`+strings.Repeat("[", 20000)))
	f.Fuzz(func(t *testing.T, which uint8, raw []byte) {
		name := names[int(which)%len(names)]
		fsys := NewFS(fstest.MapFS{name: {Data: raw}}, key.ring, newSet())
		start := time.Now()
		got, err := fsys.ReadFile(name)
		if time.Since(start) > time.Minute {
			t.Errorf("ReadFile took %v", time.Since(start))
		}
		if (err == nil) != (fsys.Err() == nil) {
			t.Errorf("ReadFile: %v, Err() = %v", err, fsys.Err())
		}
		if files, _ := fsys.Opened(); files == 1 && strings.Contains(string(got), "\n"+secret.CiphertextStart) {
			t.Errorf("ciphertext left in %s", got)
		}
	})
}

// TestHostileFilesAreRefusedInTime holds what takes the libraries minutes, or
// the whole stack, without the bounds of this package.
func TestHostileFilesAreRefusedInTime(t *testing.T) {
	const metadata = "sops:\n  mac: ENC[AES256_GCM,data:x]\n  lastmodified: x\n"
	var keys strings.Builder
	for i := range 400_000 {
		fmt.Fprintf(&keys, "k%x:\n", i)
	}
	tests := map[string]struct{ name, text string }{
		"many keys":                       {"a.yaml", keys.String() + metadata},
		"an alias of itself, second":      {"a.yaml", metadata + "---\na: &a [*a]\n"},
		"an alias of itself, bare return": {"a.yaml", metadata + "\r---\na: &a [*a]\n"},
		"deep json":                       {"a.json", `{"sops": {"lastmodified": ` + strings.Repeat("[", 5_000_000)},
		"deep yaml":                       {"a.yaml", metadata + "a: " + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + "\n"},
		"many lines of metadata":          {"a.env", "sops_lastmodified=x\n" + strings.Repeat("sops_a=\n", 500_000)},
		"many lines":                      {"a.env", "sops_lastmodified=x\n" + strings.Repeat("a=\n", 1_000_000)},
		"many sops keys":                  {"a.yaml", metadata + "---\n{" + strings.Repeat("sops: a, ", 300_000) + "}\n"},
		"many ini sections":               {"a.ini", "[sops]\nlastmodified = x\n" + strings.Repeat("[a]\n", 90_000)},
		"many ini keys":                   {"a.ini", "[sops]\nlastmodified = x\n" + strings.ReplaceAll(keys.String()[:900_000], ":", "=")},
	}
	key := classicKey(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			fsys := NewFS(fstest.MapFS{tt.name: {Data: []byte(tt.text)}}, key.ring, newSet())
			if _, err := fsys.ReadFile(tt.name); err == nil {
				t.Error("the file was opened")
			}
			if took := time.Since(start); took > time.Minute {
				t.Errorf("took %v", took)
			}
			t.Logf("%v: %v", time.Since(start), fsys.Err())
		})
	}
}
