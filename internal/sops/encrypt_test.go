package sops

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// configure writes a .sops.yaml and returns its path.
func configure(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), configName)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestEncryptedFilesAreThoseOfSops(t *testing.T) {
	key, quantum := classicKey(t), postQuantumKey(t)
	tests := map[string]struct {
		name, rule, plain string
		key               testKey
	}{
		"every type":         {"a.yaml", "", everyType, key},
		"part of a manifest": {"a.yaml", "    encrypted_regex: ^(data|stringData)$\n", everyType, key},
		"mac_only_encrypted": {"a.yaml", "    encrypted_regex: ^stringData$\n    mac_only_encrypted: true\n", everyType, key},
		"suffix":             {"a.yaml", "    encrypted_suffix: Data\n", everyType, key},
		"by comment":         {"a.yaml", "    encrypted_comment_regex: about the password\n", everyType, key},
		"post-quantum":       {"a.yaml", "", everyType, quantum},
		"several documents":  {"a.yaml", "", "a: one\n---\n---\nb: two\n", key},
		"json":               {"a.json", "", `{"a": "one", "b": [1, null, "", {"c": true}]}`, key},
		"dotenv":             {"a.env", "", "# c\nA=one\nB=a\\nb\n", key},
		"ini":                {"a.ini", "", "[s]\na = one\n", key},
		"binary":             {"tls.key", "    encrypted_regex: ^data$\n", "\x00\x01line\n", key},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			config := configure(t, "creation_rules:\n  - path_regex: nowhere/\n    age: ["+key.recipient+"]\n  - age: "+tt.key.recipient+"\n"+tt.rule)
			path := filepath.Join(filepath.Dir(config), tt.name)
			cipher, err := EncryptFile(config, path, []byte(tt.plain))
			if err != nil {
				t.Fatal(err)
			}
			if !IsEncrypted(tt.name, cipher) {
				t.Errorf("IsEncrypted is false for\n%s", cipher)
			}
			theirs := sopsDecrypt(t, tt.key, tt.name, cipher)
			ours, err := DecryptFile(tt.name, cipher, tt.key.ring)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(theirs, string(ours)); diff != "" {
				t.Errorf("DecryptFile differs from sops -d (-want +got):\n%s", diff)
			}
			if tt.name == "tls.key" {
				if string(ours) != tt.plain {
					t.Errorf("DecryptFile = %q, want %q", ours, tt.plain)
				}
				return
			}
			if diff := cmp.Diff(tree(t, tt.name, tt.plain), tree(t, tt.name, string(ours))); diff != "" {
				t.Errorf("the round trip changed the document (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFilesOfSopsAreDecrypted(t *testing.T) {
	key := classicKey(t)
	for name, plain := range map[string]string{"a.yaml": everyType, "a.json": `{"a": ["x", 1]}`, "a.env": "A=b\n", "a.ini": "[s]\na = b\n", "a.bin": "b\x00"} {
		t.Run(name, func(t *testing.T) {
			cipher := encryptedFor(key).encrypt(t, name, plain)
			ours, err := DecryptFile(name, cipher, key.ring)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(sopsDecrypt(t, key, name, cipher), string(ours)); diff != "" {
				t.Errorf("DecryptFile differs from sops -d (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCommentsInListsSurviveDecryption(t *testing.T) {
	key := classicKey(t)
	plain := "a:\n    # first\n    - x\n    # second\n    - y\n    # last\n"
	got, err := DecryptFile("a.yaml", encryptedFor(key).encrypt(t, "a.yaml", plain), key.ring)
	if err != nil || !strings.Contains(string(got), "# second\n") {
		t.Errorf("DecryptFile = %s, %v", got, err)
	}
}

func TestIndentationIsThatOfTheConfigurationAndOfTheFile(t *testing.T) {
	key := classicKey(t)
	config := configure(t, "stores:\n  yaml:\n    indent: 2\n  json:\n    indent: 3\ncreation_rules:\n  - age: "+key.recipient+"\n")
	for name, want := range map[string]string{"a.yaml": "a:\n  b: c\n", "a.json": "{\n   \"a\": {\n      \"b\": \"c\"\n   }\n}\n"} {
		cipher, err := EncryptFile(config, filepath.Join(filepath.Dir(config), name), []byte(want))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := DecryptFile(name, cipher, key.ring); err != nil || string(got) != want {
			t.Errorf("DecryptFile = %q, %v, want %q", got, err, want)
		}
	}
}

func TestEncryptRefuses(t *testing.T) {
	key, quantum := classicKey(t), postQuantumKey(t)
	age := "creation_rules:\n  - path_regex: .*\n    age: " + key.recipient + "\n"
	const rule = `creation rule 1 (path_regex ".*") of CONFIG`
	tests := map[string]struct{ config, name, plain, want string }{
		"regex matches no key":         {age + "    encrypted_regex: ^(data|stringData)$\n", "a.yaml", "a: canary\n", rule + ` would encrypt nothing in FILE: no key with a value matches encrypted_regex "^(data|stringData)$"`},
		"regex on a dotenv file":       {age + "    encrypted_regex: ^data$\n", "a.env", "A=canary\n", rule + ` would encrypt nothing in FILE: no key with a value matches encrypted_regex "^data$"`},
		"everything is excluded":       {age + "    unencrypted_regex: .\n", "a.yaml", "a: canary\n", rule + ` would encrypt nothing in FILE: unencrypted_regex "." excludes every value`},
		"no comment matches":           {age + "    encrypted_comment_regex: x\n", "a.yaml", "# c\na: canary\n", rule + ` would encrypt nothing in FILE: no comment matches encrypted_comment_regex "x"`},
		"no value":                     {age, "a.yaml", "a: \"\"\nb: null\n", rule + ` would encrypt nothing in FILE: the file holds no value`},
		"empty file":                   {age, "a.yaml", "", "FILE is empty"},
		"encrypted already":            {age, "a.yaml", "a: ENC[AES256_GCM,data:x]\nsops:\n  mac: x\n", "FILE is encrypted already; decrypt it first, or edit it with sops"},
		"ciphertext without metadata":  {age, "a.yaml", "b: 1\na: ENC[AES256_GCM,data:x]\n", "FILE:2 holds SOPS ciphertext already, but no sops metadata to open it with"},
		"a key named sops":             {age, "a.yaml", "sops: {a: canary}\n", "FILE has a key that SOPS needs for itself (sops, or sops_ in a dotenv file)"},
		"a list":                       {age, "a.yaml", "- canary\n", "FILE:1: SOPS needs a mapping at the top of each YAML document"},
		"a key that is no string":      {age, "a.yaml", "a: canary\n1: b\n", "FILE:2: SOPS needs keys that are strings; quote this one"},
		"not YAML":                     {age, "a.yaml", "a: 'canary\n", "FILE:2: the file is not valid YAML"},
		"not JSON":                     {age, "a.json", "{\"a\":\n canary}", "FILE:2: the file is not valid JSON"},
		"a JSON list":                  {age, "a.json", "[\"canary\"]", "FILE is not a json document that SOPS can hold"},
		"not dotenv":                   {age, "a.env", "canary\n", "FILE is not a dotenv document that SOPS can hold"},
		"pgp beside age":               {age + "    pgp: 0123456789ABCDEF0123456789ABCDEF01234567\n", "a.yaml", "a: b\n", rule + " uses pgp; this version encrypts to age recipients only"},
		"no recipient":                 {"creation_rules:\n  - path_regex: .*\n", "a.yaml", "a: b\n", rule + " names no age recipient in key group 1"},
		"an SSH recipient":             {"creation_rules:\n  - path_regex: .*\n    age: ssh-ed25519 AAAA\n", "a.yaml", "a: b\n", rule + ": age recipient 1 is not a valid age1... or age1pq1... recipient"},
		"a private key":                {"creation_rules:\n  - path_regex: .*\n    age: [" + key.identity + "]\n", "a.yaml", "a: b\n", rule + ": age recipient 1 is a private key, and now known to whoever reads the file; make a new one, and put its public recipient there"},
		"a private key in a key group": {"creation_rules:\n  - path_regex: .*\n    key_groups: [{age: [" + key.identity + "]}]\n", "a.yaml", "a: b\n", rule + " is not valid: its recipients or its selectors are malformed"},
		"classic and post-quantum":     {"creation_rules:\n  - path_regex: .*\n    age: [" + key.recipient + ", " + quantum.recipient + "]\n", "a.yaml", "a: b\n", rule + " mixes post-quantum and classic age recipients: a file that one classic key opens is protected no better than that key; use one kind"},
		"malformed selector":           {age + "    encrypted_regex: '(('\n", "a.yaml", "a: b\n", rule + ": the encrypted_regex is not a valid regular expression"},
		"two selectors":                {age + "    encrypted_regex: a\n    encrypted_suffix: b\n", "a.yaml", "a: b\n", rule + " is not valid: its recipients or its selectors are malformed"},
		"malformed path":               {"creation_rules:\n  - path_regex: '(('\n", "a.yaml", "a: b\n", `creation rule 1 (path_regex "((") of CONFIG: the path_regex is not a valid regular expression`},
		"no rule fits":                 {"creation_rules:\n  - path_regex: ^secrets/\n", "a.yaml", "a: b\n", "no creation rule of CONFIG fits a.yaml"},
		"malformed configuration":      {"creation_rules:\n  - a: 'x\n", "a.yaml", "a: b\n", "CONFIG:2 is not a valid sops configuration"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			config := configure(t, tt.config)
			path := filepath.Join(filepath.Dir(config), tt.name)
			got, err := EncryptFile(config, path, []byte(tt.plain))
			if err == nil {
				t.Fatalf("EncryptFile = %s, want an error", got)
			}
			want := strings.NewReplacer("CONFIG", config, "FILE", path).Replace(tt.want)
			if err.Error() != want {
				t.Errorf("EncryptFile: %v\nwant %s", err, want)
			}
			if strings.Contains(err.Error(), "canary") {
				t.Errorf("the error quotes its input: %v", err)
			}
		})
	}
}

func TestFindConfig(t *testing.T) {
	config := configure(t, "")
	dir := filepath.Join(filepath.Dir(config), "a", "b")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if got, err := FindConfig(dir); err != nil || got != config {
		t.Errorf("FindConfig = %s, %v, want %s", got, err, config)
	}
	if err := os.Rename(config, strings.TrimSuffix(config, ".yaml")+".yml"); err != nil {
		t.Fatal(err)
	}
	if _, err := FindConfig(dir); err == nil || !strings.Contains(err.Error(), "only .sops.yml, which sops ignores") {
		t.Errorf("FindConfig: %v", err)
	}
}
