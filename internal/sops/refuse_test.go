package sops

import (
	"bytes"
	"errors"
	"regexp"
	"strings"
	"testing"

	getsops "github.com/getsops/sops/v3"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
)

const manifest = `apiVersion: v1
kind: Secret
metadata:
    name: db
stringData:
    password: canary-hunter2
    user: canary-admin
    port: 54321
`

func manifestFor(keys ...testKey) oracle {
	o := oracle{metadata: getsops.Metadata{EncryptedRegex: "^(data|stringData)$"}}
	var group []string
	for _, k := range keys {
		group = append(group, k.recipient)
	}
	o.groups = [][]string{group}
	return o
}

func replaced(raw []byte, pattern, with string) []byte {
	expression := regexp.MustCompile(pattern)
	if !expression.Match(raw) {
		panic("no match for " + pattern)
	}
	return expression.ReplaceAll(raw, []byte(with))
}

// lineValue is the text after "key: ".
func lineValue(raw []byte, key string) string {
	return string(regexp.MustCompile(`(?m)^ *` + key + `: (.*)$`).FindSubmatch(raw)[1])
}

func TestRefusedFiles(t *testing.T) {
	key, other, quantum := classicKey(t), classicKey(t), postQuantumKey(t)
	raw := manifestFor(key).encrypt(t, "secrets/db.yaml", manifest)
	second := manifestFor(key).encrypt(t, "secrets/db.yaml", manifest)
	pq := manifestFor(quantum).encrypt(t, "secrets/db.yaml", manifest)
	two := manifestFor(other, quantum).encrypt(t, "secrets/db.yaml", manifest)
	shamir := oracle{groups: [][]string{{other.recipient}, {key.recipient}, {quantum.recipient}}, threshold: 2}.encrypt(t, "a.yaml", "a: canary-x\n")
	password, user, mac := lineValue(raw, "password"), lineValue(raw, "user"), lineValue(raw, "mac")
	swapped := bytes.ReplaceAll(raw, []byte(password), []byte("@"))
	swapped = bytes.ReplaceAll(swapped, []byte(user), []byte(password))
	swapped = bytes.ReplaceAll(swapped, []byte("@"), []byte(user))
	restore := ": restore the file from Git history, or encrypt it again"
	pqShort := quantum.recipient[:16] + "…"

	tests := map[string]struct {
		name string
		raw  []byte
		ring *Keyring
		want string
	}{
		"no key":      {raw: raw, ring: NewKeyring(), want: "secrets/db.yaml: the file is encrypted with SOPS, but no key was given: add one (in an Application: to spec.secrets.sops.keys)"},
		"nil keyring": {raw: raw, want: "secrets/db.yaml: the file is encrypted with SOPS, but no key was given: add one (in an Application: to spec.secrets.sops.keys)"},
		"wrong recipient": {raw: raw, ring: other.ring, want: "secrets/db.yaml: the file is encrypted to " + key.recipient + "; the keys given are " + other.recipient +
			": encrypt it to one of these, or add a key that it names (in an Application: to spec.secrets.sops.keys)"},
		"wrong post-quantum recipient": {raw: pq, ring: key.ring, want: "secrets/db.yaml: the file is encrypted to " + pqShort + "; the keys given are " + key.recipient +
			": encrypt it to one of these, or add a key that it names (in an Application: to spec.secrets.sops.keys)"},
		"two wrong recipients": {raw: two, ring: key.ring, want: "secrets/db.yaml: the file is encrypted to " + other.recipient + ", " + pqShort + "; the keys given are " + key.recipient +
			": encrypt it to one of these, or add a key that it names (in an Application: to spec.secrets.sops.keys)"},
		"a recipient that is somebody's text": {raw: bytes.ReplaceAll(raw, []byte(key.recipient), []byte("canary text")), ring: other.ring,
			want: "secrets/db.yaml: the file is encrypted to an unknown kind of key; the keys given are " + other.recipient + ": encrypt it to one of these, or add a key that it names (in an Application: to spec.secrets.sops.keys)"},
		"tampered data key": {raw: replaced(raw, `(?m)^( +)YWdlL\w`, "${1}YWdlLX"), ring: key.ring,
			want: "secrets/db.yaml: the data key for " + key.recipient + " does not open with its identity: the sops metadata was changed" + restore},
		"tampered ciphertext": {raw: bytes.Replace(raw, []byte(password), []byte(flip(password)), 1), ring: key.ring,
			want: `secrets/db.yaml:6: the value of "stringData.password" does not authenticate: it was changed, or moved here from another key or file` + restore},
		"values swapped between two keys": {raw: swapped, ring: key.ring,
			want: `secrets/db.yaml:6: the value of "stringData.password" does not authenticate: it was changed, or moved here from another key or file` + restore},
		"value of another file": {raw: bytes.Replace(raw, []byte(user), []byte(lineValue(second, "user")), 1), ring: key.ring,
			want: `secrets/db.yaml:7: the value of "stringData.user" does not authenticate: it was changed, or moved here from another key or file` + restore},
		"unknown type of value": {raw: bytes.Replace(raw, []byte(",type:str]\n    user"), []byte(",type:odd]\n    user"), 1), ring: key.ring,
			want: `secrets/db.yaml:6: the value of "stringData.password" does not authenticate: it was changed, or moved here from another key or file` + restore},
		"a type that the value does not have": {raw: bytes.Replace(raw, []byte(",type:str]\n    user"), []byte(",type:int]\n    user"), 1), ring: key.ring,
			want: `secrets/db.yaml:6: the value of "stringData.password" does not authenticate: it was changed, or moved here from another key or file` + restore},
		"a value made a comment": {raw: bytes.Replace(raw, []byte(",type:str]\n    user"), []byte(",type:comment]\n    user"), 1), ring: key.ring,
			want: "secrets/db.yaml: the sops MAC does not match: a value, encrypted or not, was changed, added, removed or moved after encryption" + restore},
		"plain text where ciphertext belongs": {raw: bytes.Replace(raw, []byte(password), []byte("canary-new"), 1), ring: key.ring,
			want: `secrets/db.yaml:6: the value of "stringData.password" is in plain text, but the file's rule says that it is encrypted: change the secret, since Git keeps it for ever, and encrypt the file again`},
		"a number where ciphertext belongs": {raw: bytes.Replace(raw, []byte(password), []byte("77777"), 1), ring: key.ring,
			want: "secrets/db.yaml: a value that is not a string is in plain text, but the file's rule says that it is encrypted: encrypt the file again"},
		"ciphertext where plain text belongs": {raw: bytes.Replace(raw, []byte("name: db"), []byte("name: "+user), 1), ring: key.ring,
			want: "secrets/db.yaml: the sops MAC does not match: a value, encrypted or not, was changed, added, removed or moved after encryption" + restore},
		"tampered MAC": {raw: bytes.Replace(raw, []byte(mac), []byte(flip(mac)), 1), ring: key.ring,
			want: "secrets/db.yaml:@mac: the sops MAC does not authenticate: it or lastmodified was changed" + restore},
		"MAC of another file": {raw: bytes.Replace(raw, []byte(mac), []byte(lineValue(second, "mac")), 1), ring: key.ring,
			want: "secrets/db.yaml:@mac: the sops MAC does not authenticate: it or lastmodified was changed" + restore},
		"lastmodified changed": {raw: replaced(raw, `lastmodified: "\d+`, `lastmodified: "1999`), ring: key.ring,
			want: "secrets/db.yaml:@mac: the sops MAC does not authenticate: it or lastmodified was changed" + restore},
		"unencrypted value changed": {raw: bytes.Replace(raw, []byte("name: db"), []byte("name: dc"), 1), ring: key.ring,
			want: "secrets/db.yaml: the sops MAC does not match: a value, encrypted or not, was changed, added, removed or moved after encryption" + restore},
		"value removed": {raw: bytes.Replace(raw, []byte("    user: "+user+"\n"), nil, 1), ring: key.ring,
			want: "secrets/db.yaml: the sops MAC does not match: a value, encrypted or not, was changed, added, removed or moved after encryption" + restore},
		"value removed, MAC over encrypted only": {
			raw: replaced(oracle{metadata: getsops.Metadata{EncryptedRegex: "^stringData$", MACOnlyEncrypted: true}, groups: [][]string{{key.recipient}}}.encrypt(t, "secrets/db.yaml", manifest), `(?m)^    user: .*\n`, ""), ring: key.ring,
			want: "secrets/db.yaml: the sops MAC does not match: a value was changed, added, removed or moved after encryption" + restore},
		"MAC missing": {raw: replaced(raw, `(?m)^    mac: .*\n`, ""), ring: key.ring,
			want: "secrets/db.yaml: the file has no sops MAC, so that nobody can tell whether it was changed" + restore},
		"MAC empty": {raw: replaced(raw, `(?m)^    mac: .*\n`, "    mac: \"\"\n"), ring: key.ring,
			want: "secrets/db.yaml: the file has no sops MAC, so that nobody can tell whether it was changed" + restore},
		"truncated before the metadata": {raw: raw[:bytes.Index(raw, []byte("sops:"))], ring: key.ring,
			want: "secrets/db.yaml:6: SOPS ciphertext in a file without sops metadata; it would be applied as if it were the value: the file is truncated or was edited by hand: restore it from Git history"},
		"truncated within a value": {raw: raw[:bytes.Index(raw, []byte(user))+30], ring: key.ring,
			want: "secrets/db.yaml:6: SOPS ciphertext in a file without sops metadata; it would be applied as if it were the value: the file is truncated or was edited by hand: restore it from Git history"},
		"truncated within the metadata": {raw: raw[:bytes.Index(raw, []byte("lastmodified"))], ring: key.ring,
			want: "secrets/db.yaml: the file or its sops metadata is incomplete or malformed" + restore},
		"not YAML": {raw: bytes.Replace(raw, []byte("kind: Secret"), []byte("kind: 'canary"), 1), ring: key.ring,
			want: "secrets/db.yaml:@any: the file is not valid YAML" + restore},
		"a key twice": {raw: bytes.Replace(raw, []byte("    user:"), []byte("    password:"), 1), ring: key.ring,
			want: "secrets/db.yaml:7: a key stands twice in one mapping" + restore},
		"an alias": {raw: bytes.Replace(bytes.Replace(raw, []byte("apiVersion: v1"), []byte("apiVersion: &a v1"), 1), []byte("kind: Secret"), []byte("kind: *a"), 1), ring: key.ring,
			want: "secrets/db.yaml:2: a YAML alias; sops expands aliases and never writes one" + restore},
		"a list": {raw: append([]byte("- a\n---\n"), raw...), ring: key.ring,
			want: "secrets/db.yaml:1: SOPS needs a mapping at the top of each YAML document" + restore},
		"a newer sops": {raw: replaced(raw, `version: .*`, "version: 4.1.0"), ring: key.ring,
			want: "secrets/db.yaml: the file was written by sops 4.1.0, and gitseal reads the format of sops 3: encrypt it with sops 3, or use a newer gitseal"},
		"a malformed expression": {raw: replaced(raw, `encrypted_regex: .*`, "encrypted_regex: '(('"), ring: key.ring,
			want: "secrets/db.yaml: a regular expression in the sops metadata is not valid" + restore},
		"two selectors": {raw: replaced(raw, `    encrypted_regex: .*`, "    encrypted_regex: a\n    encrypted_suffix: b"), ring: key.ring,
			want: "secrets/db.yaml: the file or its sops metadata is incomplete or malformed" + restore},
		"too large": {raw: append(bytes.Clone(raw), bytes.Repeat([]byte("#\n"), maxFileSize/2)...), ring: key.ring,
			want: "secrets/db.yaml: the encrypted file is larger than 5 MiB: split it"},
		"too few key groups": {name: "a.yaml", raw: shamir, ring: key.ring, want: "a.yaml: the file needs keys of 2 of its 3 key groups (" + other.recipient + ", " + key.recipient + ", " + pqShort +
			"); the keys given, which open 1, are " + key.recipient + ": add the missing keys (in an Application: to spec.secrets.sops.keys)"},
		"truncated json":        {name: "a.json", raw: []byte("{\"a\": \"ENC[AES256_GCM,data:x]\",\n\"sops\": {\"mac\":"), ring: key.ring, want: "a.json:2: the file is not valid JSON" + restore},
		"json with a key twice": {name: "a.json", raw: replaced(encryptedFor(key).encrypt(t, "a.json", `{"a": "x"}`), `\{\n\t"a"`, "{\"a\": \"\", \"a\""), ring: key.ring, want: "a.json: a key stands twice in one object" + restore},
		"ciphertext in a dotenv file": {name: "a.env", raw: []byte("A=1\nB=ENC[AES256_GCM,data:x]\n"), ring: key.ring,
			want: "a.env:2: SOPS ciphertext in a file without sops metadata; it would be applied as if it were the value: the file is truncated or was edited by hand: restore it from Git history"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.name == "" {
				tt.name = "secrets/db.yaml"
			}
			f, values := open(tt.name, tt.raw, testKey{ring: tt.ring})
			got, err := f.ReadFile(tt.name)
			var fail *failure.Error
			if !errors.As(err, &fail) {
				t.Fatalf("ReadFile = %q, %v, want a failure", got, err)
			}
			if fail.Class != failure.Stall || fail.Reason != v1alpha1.ReasonDecryptionFailed {
				t.Errorf("class %v, reason %s", fail.Class, fail.Reason)
			}
			tt.want = strings.ReplaceAll(tt.want, "@mac", lineNumber(tt.raw, "    mac: "))
			message := fail.Message()
			if strings.Contains(tt.want, ":@any:") {
				message = regexp.MustCompile(`:\d+:`).ReplaceAllString(message, ":@any:")
			}
			if message != tt.want {
				t.Errorf("message:\n%s\nwant:\n%s", message, tt.want)
			}
			if strings.Contains(message, "canary") {
				t.Errorf("the message quotes its input: %s", message)
			}
			if values.Len() != 0 {
				t.Errorf("%d values of a refused file were kept", values.Len())
			}
			if f.Err() == nil || f.Err().Error() != fail.Error() {
				t.Errorf("Err() = %v, want %v", f.Err(), fail)
			}
		})
	}
}

func lineNumber(raw []byte, text string) string {
	line := at("", lineOfText(raw, text))
	return strings.TrimPrefix(line, ":")
}

// flip changes the first character of the data of a ciphertext.
func flip(ciphertext string) string {
	at := strings.Index(ciphertext, "data:") + len("data:")
	with := "A"
	if ciphertext[at] == 'A' {
		with = "B"
	}
	return ciphertext[:at] + with + ciphertext[at+1:]
}

func TestUnsupportedKeyTypesAreNamed(t *testing.T) {
	key := classicKey(t)
	raw := manifestFor(key).encrypt(t, "a.yaml", manifest)
	tests := map[string]string{
		"kms":      "    kms:\n        - arn: arn:aws:kms:canary\n          created_at: \"2024-01-01T00:00:00Z\"\n          enc: x\n          aws_profile: \"\"\n          context: {a: null}\n",
		"gcp_kms":  "    gcp_kms:\n        - resource_id: canary\n          created_at: \"2024-01-01T00:00:00Z\"\n          enc: x\n",
		"azure_kv": "    azure_kv:\n        - vault_url: https://canary\n          name: a\n          version: b\n          created_at: \"2024-01-01T00:00:00Z\"\n          enc: x\n",
		"hc_vault": "    hc_vault:\n        - vault_address: https://canary\n          engine_path: a\n          key_name: b\n          created_at: \"2024-01-01T00:00:00Z\"\n          enc: x\n",
		"pgp":      "    pgp:\n        - fp: canary\n          created_at: \"2024-01-01T00:00:00Z\"\n          enc: x\n",
		"hckms":    "    hckms:\n        - key_id: tr-west-1:abc-123\n          created_at: \"2024-01-01T00:00:00Z\"\n          enc: x\n",
	}
	for name, block := range tests {
		t.Run(name, func(t *testing.T) {
			from := bytes.Index(raw, []byte("    age:\n"))
			to := bytes.Index(raw, []byte("    encrypted_regex:"))
			only := append(append(bytes.Clone(raw[:from]), block...), raw[to:]...)
			f, _ := open("a.yaml", only, key)
			_, err := f.ReadFile("a.yaml")
			want := "a.yaml: the file is encrypted with " + name + " only, and gitseal opens age: add an age recipient to the file, for example " + key.recipient
			if err == nil || failure.From(err, "").Message() != want {
				t.Errorf("ReadFile: %v, want %s", err, want)
			}
			beside := append(append(bytes.Clone(raw[:to]), block...), raw[to:]...)
			f, _ = open("a.yaml", beside, key)
			if _, err := f.ReadFile("a.yaml"); err != nil {
				t.Errorf("beside an age recipient: %v", err)
			}
		})
	}
}

func TestKeyGroupsAreCombined(t *testing.T) {
	key, other, third := classicKey(t), postQuantumKey(t), classicKey(t)
	raw := oracle{groups: [][]string{{third.recipient}, {key.recipient}, {other.recipient}}, threshold: 2}.encrypt(t, "a.yaml", "a: one\n")
	ring := NewKeyring()
	data := map[string][]byte{"x.agekey": []byte(key.identity), "y.agekey": []byte(other.identity)}
	if err := ring.AddSecret("Secret a/b", data); err != nil {
		t.Fatal(err)
	}
	f, values := open("a.yaml", raw, testKey{ring: ring})
	got, err := f.ReadFile("a.yaml")
	if err != nil || reveal(t, values, got) != "a: one\n" {
		t.Errorf("ReadFile = %s, %v", got, err)
	}
}

func TestNoKeyIsTakenFromTheEnvironment(t *testing.T) {
	key, other := classicKey(t), classicKey(t)
	raw := manifestFor(key).encrypt(t, "a.yaml", manifest)
	t.Setenv("SOPS_AGE_KEY", key.identity)
	for _, ring := range []*Keyring{NewKeyring(), other.ring} {
		f, _ := open("a.yaml", raw, testKey{ring: ring})
		if _, err := f.ReadFile("a.yaml"); err == nil {
			t.Error("a file was opened with an identity of the environment")
		}
	}
}

func TestErrIsThatOfTheFirstFileByName(t *testing.T) {
	key := classicKey(t)
	raw := manifestFor(key).encrypt(t, "a.yaml", manifest)
	f, _ := open("b.yaml", raw, testKey{ring: NewKeyring()})
	for _, name := range []string{"c.yaml", "b.yaml"} {
		f.opening(name).err = errNoKeys(name)
	}
	if got := f.Err().Error(); !strings.HasPrefix(got, "b.yaml:") {
		t.Errorf("Err() = %s, want that of b.yaml", got)
	}
}
