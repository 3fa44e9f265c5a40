package signature

import (
	"bytes"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// today is after the keys were made.
var today = time.Now().Add(time.Hour)

func mustParse(t testing.TB, entries map[string]string) *Signers {
	t.Helper()
	raw := map[string][]byte{}
	for name, text := range entries {
		raw[name] = []byte(text)
	}
	s, err := ParseSigners(raw)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func wantError(t *testing.T, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("error = %v, want one that says %q", err, text)
	}
}

func TestCommitsThatGitSignsWithSSH(t *testing.T) {
	w := newWorkshop(t)
	for name, kind := range map[string][]string{"ed25519": {"ed25519"}, "ecdsa": {"ecdsa"}, "rsa": {"rsa", "-b", "2048"}} {
		t.Run(name, func(t *testing.T) {
			key, public := w.sshKey(kind...)
			s := mustParse(t, map[string]string{"allowed_signers": "# ours\n\nann@example.org,ann namespaces=\"git\" " + public + " at work\n"})
			raw := w.commitSSH(key)
			if signer, err := s.Commit(raw, today); err != nil || signer != "ann@example.org,ann" {
				t.Errorf("Commit() = %q, %v, want ann", signer, err)
			}
			if _, err := s.Commit(bytes.Replace(raw, []byte("with a body"), []byte("with a Body"), 1), today); err == nil {
				t.Error("a changed message is accepted")
			}
		})
	}
	weak, public := w.sshKey("rsa", "-b", "1024")
	_, err := mustParse(t, map[string]string{"allowed_signers": "a " + public}).Commit(w.commitSSH(weak), today)
	wantError(t, err, "RSA key of less than 2048 bits")
}

func TestWhoIsOnTheListAndWhen(t *testing.T) {
	w := newWorkshop(t)
	key, public := w.sshKey("ed25519")
	_, other := w.sshKey("ed25519")
	raw := w.commitSSH(key)
	past, future := today.AddDate(0, 0, -2).UTC().Format("20060102"), today.AddDate(0, 0, 2).UTC().Format("200601021504")+"Z"
	tests := map[string]struct{ list, wrong string }{
		"any namespace":              {"ann " + public, ""},
		"a pattern of namespaces":    {`ann namespaces="file,g*" ` + public, ""},
		"now":                        {`ann valid-after="` + past + `",valid-before="` + future + `" ` + public, ""},
		"a second line that allows":  {"ann valid-before=" + past + " " + public + "\nann " + public, ""},
		"quoted principals":          {`"ann of example" ` + public, ""},
		"another key":                {"ann " + other, "which is not on the list"},
		"another namespace":          {`ann namespaces="file" ` + public, `does not allow in namespace "git"`},
		"a namespace that is barred": {`ann namespaces="*,!git" ` + public, `does not allow in namespace "git"`},
		"too early":                  {"ann valid-after=" + future + " " + public, "does not allow yet"},
		"too late":                   {"ann valid-before=" + past + " " + public, "does not allow any more"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := mustParse(t, map[string]string{"my.allowed_signers": tt.list}).Commit(raw, today)
			if tt.wrong == "" && err != nil {
				t.Errorf("Commit() = %v, want it accepted", err)
			} else if tt.wrong != "" {
				wantError(t, err, tt.wrong)
			}
		})
	}
}

func TestListsThatAreNotUnderstoodAreRefused(t *testing.T) {
	_, public := newWorkshop(t).sshKey("ed25519")
	tests := map[string]struct {
		entries map[string]string
		wrong   string
	}{
		"nothing":                  {map[string]string{"other": "x"}, "no entry whose name ends in .asc or allowed_signers"},
		"no line":                  {map[string]string{"allowed_signers": "# nobody\n"}, "holds a key"},
		"a certificate authority":  {map[string]string{"allowed_signers": "ok " + public + "\n*@example.org cert-authority " + public}, "entry allowed_signers: line 2: cert-authority is not supported"},
		"an unknown option":        {map[string]string{"allowed_signers": "ann no-touch-required " + public}, `line 1: option "no-touch-required" is not known`},
		"a time that is none":      {map[string]string{"allowed_signers": "ann valid-before=soon " + public}, `"soon" is not a time`},
		"no key":                   {map[string]string{"allowed_signers": "ann ssh-ed25519 AAAA"}, "no public key that can be read"},
		"one word":                 {map[string]string{"allowed_signers": "ann"}, "it is not PRINCIPALS"},
		"open quotes":              {map[string]string{"allowed_signers": `"ann ` + public}, "quotes do not match"},
		"no armor":                 {map[string]string{"ann.asc": "binary"}, "entry ann.asc: it is not armored OpenPGP public keys"},
		"something else in armor":  {map[string]string{"ann.asc": "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n-----END PGP PUBLIC KEY BLOCK-----\n"}, "cannot be read"},
		"a key after other things": {map[string]string{"ann.asc": "hello\n-----BEGIN PGP PUBLIC KEY BLOCK-----\n"}, "it is not armored"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			raw := map[string][]byte{}
			for n, text := range tt.entries {
				raw[n] = []byte(text)
			}
			_, err := ParseSigners(raw)
			wantError(t, err, tt.wrong)
		})
	}
}

// pgpKey is made here, so that the tests need no gpg.
func pgpKey(t testing.TB, config *packet.Config) (*openpgp.Entity, string) {
	t.Helper()
	config.Algorithm = packet.PubKeyAlgoEdDSA
	key, err := openpgp.NewEntity("Ann", "", "ann@example.org", config)
	if err != nil {
		t.Fatal(err)
	}
	var public bytes.Buffer
	w, err := armor.Encode(&public, openpgp.PublicKeyType, nil)
	if err == nil {
		err = key.Serialize(w)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return key, public.String() + "\n"
}

const unsignedCommit = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor Ann <ann@example.org> 1700000000 +0000\ncommitter Ann <ann@example.org> 1700000000 +0000\n\nsubject\n"

func signPGP(t testing.TB, key *openpgp.Entity, payload string, config *packet.Config) string {
	t.Helper()
	var sig bytes.Buffer
	if err := openpgp.ArmoredDetachSign(&sig, key, strings.NewReader(payload), config); err != nil {
		t.Fatal(err)
	}
	return sig.String() + "\n"
}

// weakPGP makes a signature that says it is over a SHA-1.
func weakPGP(t testing.TB, key *openpgp.Entity, payload string) string {
	t.Helper()
	block, err := armor.Decode(strings.NewReader(signPGP(t, key, payload, nil)))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(block.Body)
	if err != nil || raw[2] != 4 || raw[5] != 8 {
		t.Fatalf("packet % x (%v), want a version 4 signature with SHA-256", raw[:6], err)
	}
	raw[5] = 2
	var out bytes.Buffer
	w, err := armor.Encode(&out, openpgp.SignatureType, nil)
	if err == nil {
		_, err = w.Write(raw)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.String() + "\n"
}

// withSignature puts a signature into a commit as Git does.
func withSignature(payload, field, sig string) string {
	head, rest, _ := strings.Cut(payload, "\n\n")
	return head + "\n" + field + " " + strings.ReplaceAll(strings.TrimSuffix(sig, "\n"), "\n", "\n ") + "\n\n" + rest
}

func TestCommitsSignedWithOpenPGP(t *testing.T) {
	key, public := pgpKey(t, &packet.Config{})
	other, otherPublic := pgpKey(t, &packet.Config{})
	good := signPGP(t, key, unsignedCommit, nil)
	both := mustParse(t, map[string]string{"a.asc": otherPublic + public})
	raw := withSignature(unsignedCommit, "gpgsig", good)
	if signer, err := both.Commit([]byte(raw), today); err != nil || signer != "Ann <ann@example.org>" {
		t.Fatalf("Commit() = %q, %v, want Ann", signer, err)
	}
	var text bytes.Buffer
	if err := openpgp.ArmoredDetachSignText(&text, key, strings.NewReader(unsignedCommit), nil); err != nil {
		t.Fatal(err)
	}
	crlf := strings.ReplaceAll(raw, "subject\n", "subject\r\n")
	tests := map[string]struct{ raw, wrong string }{
		"without a signature":          {unsignedCommit, "is not signed"},
		"with a message that changed":  {strings.Replace(raw, "subject", "Subject", 1), "not over this content"},
		"with other line breaks":       {crlf, "not over this content"},
		"with another tree":            {strings.Replace(raw, "4b82", "4b83", 1), "not over this content"},
		"grafted onto another parent":  {strings.Replace(raw, "\nauthor", "\nparent "+strings.Repeat("a", 40)+"\nauthor", 1), "not over this content"},
		"with the signature of text":   {withSignature(unsignedCommit, "gpgsig", text.String()+"\n"), "not over bytes as they are"},
		"signed twice":                 {withSignature(raw, "gpgsig", good), "more than one signature"},
		"with two signatures in armor": {withSignature(unsignedCommit, "gpgsig", good+good), "cannot be read"},
		"with more after the armor":    {withSignature(unsignedCommit, "gpgsig", good+"more\n"), "cannot be read"},
		"signed for SHA-256 too":       {withSignature(raw, "gpgsig-sha256", good), "not supported"},
		"with a second tree":           {strings.Replace(raw, "\nauthor", "\ntree "+strings.Repeat("a", 40)+"\nauthor", 1), "as Git writes it"},
		"with the tree elsewhere":      {"encoding x\n" + raw, "as Git writes it"},
		"with a NUL":                   {raw + "\x00", "as Git writes it"},
		"with S/MIME":                  {withSignature(unsignedCommit, "gpgsig", "-----BEGIN SIGNED MESSAGE-----\n\nAAAA\n-----END SIGNED MESSAGE-----\n"), "neither OpenPGP nor SSH"},
		"with a hash that is weak":     {withSignature(unsignedCommit, "gpgsig", weakPGP(t, key, unsignedCommit)), "a hash that is not accepted"},
		"with something as signature":  {withSignature(unsignedCommit, "gpgsig", pgpBegin+"\n\nAAAA\n"+pgpEnd+"\n"), "cannot be read"},
		"with a huge signature":        {withSignature(unsignedCommit, "gpgsig", pgpBegin+strings.Repeat("\nA", maxSignature)), "too large"},
		"that is huge":                 {raw + strings.Repeat("a", maxObject), "is too large"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := both.Commit([]byte(tt.raw), today)
			wantError(t, err, tt.wrong)
		})
	}
	_, err := both.Commit([]byte(withSignature(unsignedCommit, "gpgsig", signPGP(t, other, unsignedCommit, nil))), today)
	if err != nil {
		t.Errorf("a second key of one entry: %v", err)
	}
	_, err = mustParse(t, map[string]string{"a.asc": otherPublic}).Commit([]byte(raw), today)
	wantError(t, err, "which is not on the list")
}

func TestAnExpiredKeySignsNothing(t *testing.T) {
	born := today.AddDate(0, 0, -10)
	config := &packet.Config{KeyLifetimeSecs: 5 * 24 * 3600, Time: func() time.Time { return born }}
	key, public := pgpKey(t, config)
	raw := withSignature(unsignedCommit, "gpgsig", signPGP(t, key, unsignedCommit, config))
	s := mustParse(t, map[string]string{"a.asc": public})
	if _, err := s.Commit([]byte(raw), born.AddDate(0, 0, 1)); err != nil {
		t.Errorf("while it is good: %v", err)
	}
	_, err := s.Commit([]byte(raw), today)
	wantError(t, err, "has expired")
}

func TestTags(t *testing.T) {
	w := newWorkshop(t)
	key, public := w.sshKey("ed25519")
	w.commitSSH(key)
	commit := w.git("rev-parse", "HEAD")
	w.git("-c", "gpg.format=ssh", "-c", "user.signingKey="+key, "tag", "-s", "-m", "the first", "v1.0.0")
	w.git("-c", "gpg.format=ssh", "-c", "user.signingKey="+key, "tag", "-s", "-m", "of a tag", "v1.1.0", "v1.0.0")
	w.git("-c", "gpg.format=ssh", "-c", "user.signingKey="+key, "tag", "-s", "-m", "of a tree", "tree", "HEAD^{tree}")
	w.git("tag", "-a", "-m", "unsigned", "v2.0.0")
	s := mustParse(t, map[string]string{"allowed_signers": "ann " + public})
	if signer, err := s.Tag(w.object("v1.0.0"), "v1.0.0", commit, today); err != nil || signer != "ann" {
		t.Errorf("Tag() = %q, %v, want ann", signer, err)
	}
	raw := string(w.object("v1.0.0"))
	tests := map[string]struct{ raw, name, commit, wrong string }{
		"of another name":      {raw, "v1.2.0", commit, `was made as tag "v1.0.0"`},
		"of another commit":    {raw, "v1.0.0", strings.Repeat("a", 40), "is the tag of another commit"},
		"that is not signed":   {string(w.object("v2.0.0")), "v2.0.0", commit, "is not signed"},
		"of a tag":             {string(w.object("v1.1.0")), "v1.1.0", commit, "is not the tag of a commit"},
		"of a tree":            {string(w.object("tree")), "tree", commit, "is not the tag of a commit"},
		"that changed":         {strings.Replace(raw, "the first", "the last", 1), "v1.0.0", commit, "not over this content"},
		"with a field more":    {strings.Replace(raw, "\ntagger", "\ngpgsig x\ntagger", 1), "v1.0.0", commit, "as Git writes it"},
		"with more at the end": {raw + "more\n", "v1.0.0", commit, "cannot be read"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := s.Tag([]byte(tt.raw), tt.name, tt.commit, today)
			wantError(t, err, tt.wrong)
		})
	}
}

func TestASignatureOfAFileIsNoneOfACommit(t *testing.T) {
	w := newWorkshop(t)
	key, public := w.sshKey("ed25519")
	cmd := exec.CommandContext(t.Context(), "ssh-keygen", "-q", "-Y", "sign", "-n", "file", "-f", key)
	cmd.Stdin = strings.NewReader(unsignedCommit)
	sig, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	_, err = mustParse(t, map[string]string{"allowed_signers": "ann " + public}).Commit([]byte(withSignature(unsignedCommit, "gpgsig", string(sig))), today)
	wantError(t, err, `for namespace "file", not "git"`)
}

// gpg agrees.
func TestCommitsThatGitSignsWithGPG(t *testing.T) {
	w := newWorkshop(t)
	w.run("mkdir", "-m", "700", "gnupg")
	t.Cleanup(func() {
		stop := exec.Command("gpgconf", "--kill", "all")
		stop.Env = w.env
		_ = stop.Run()
	})
	w.run("gpg", "--batch", "--quiet", "--passphrase", "", "--quick-gen-key", "Ann <ann@example.org>", "rsa2048", "sign", "1y")
	s := mustParse(t, map[string]string{"ann.asc": w.run("gpg", "--armor", "--export")})
	w.git("commit", "-q", "-S", "--allow-empty", "-m", "signed")
	w.git("tag", "-s", "-m", "signed", "v1")
	for what, verify := range map[string]func() (string, error){
		"commit": func() (string, error) { return s.Commit(w.object("HEAD"), today) },
		"tag":    func() (string, error) { return s.Tag(w.object("v1"), "v1", w.git("rev-parse", "HEAD"), today) },
	} {
		if signer, err := verify(); err != nil || signer != "Ann <ann@example.org>" {
			t.Errorf("%s: signer %q, %v, want Ann", what, signer, err)
		}
	}
}

func FuzzCommit(f *testing.F) {
	key, public := pgpKey(f, &packet.Config{})
	raw := withSignature(unsignedCommit, "gpgsig", signPGP(f, key, unsignedCommit, nil))
	s := mustParse(f, map[string]string{"a.asc": public})
	f.Add([]byte(raw))
	f.Add([]byte(unsignedCommit))
	want, _ := splitCommit([]byte(raw))
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := splitCommit(data)
		if _, signedBy := s.Commit(data, today); signedBy == nil && (err != nil || !bytes.Equal(o.payload, want.payload)) {
			t.Errorf("content that nobody signed is accepted: %q", data)
		}
		_, _ = s.Tag(data, "v1", strings.Repeat("a", 40), today)
	})
}

func FuzzAllowedSigners(f *testing.F) {
	f.Add("ann@example.org namespaces=\"git\",valid-after=\"20260101\" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIHqhCkLS3VhVNXv2rNcAwdCxYjVQ5NhQkCrQKgEqDPf")
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := ParseSigners(map[string][]byte{"allowed_signers": []byte(text)}); err == nil && len(s.ssh) == 0 {
			t.Error("a list of nobody is accepted")
		}
	})
}
