package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// signer makes an SSH key with which the working copy signs what it commits.
func (s *story) signer(name string) (file, public string) {
	s.t.Helper()
	file = filepath.Join(s.t.TempDir(), name)
	if out, err := exec.CommandContext(s.t.Context(), "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", file).CombinedOutput(); err != nil {
		s.t.Fatalf("ssh-keygen: %v: %s", err, out)
	}
	raw, err := os.ReadFile(file + ".pub")
	if err != nil {
		s.t.Fatal(err)
	}
	s.signWith(file)
	return file, strings.TrimSpace(string(raw))
}

func (s *story) signWith(file string) {
	s.t.Helper()
	s.git("config", "gpg.format", "ssh")
	s.git("config", "user.signingKey", file)
	s.git("config", "commit.gpgSign", "true")
}

// Of a revision that nobody on the list has signed nothing is applied, and the
// last good one is kept in place.
func TestOnlySignedRevisionsAreApplied(t *testing.T) {
	t.Parallel()
	s := newStory(t, "verified")
	ann, annPublic := s.signer("ann")
	s.credentials("signers", map[string]string{"allowed_signers": "ann@example.com " + annPublic + "\n"})
	s.app.Spec.Source.Git.Verify = &v1alpha1.GitVerify{Mode: v1alpha1.VerifyHEAD, SecretRef: v1alpha1.LocalReference{Name: "signers"}}
	s.write(map[string]string{"kept.yaml": configMap("kept", "1")})
	first := s.push("signed")
	s.create()
	if app := s.waitReady(first); app.Status.Source.Signer != "ann@example.com" {
		t.Errorf("signer = %q, want ann", app.Status.Source.Signer)
	}

	s.git("config", "commit.gpgSign", "false")
	s.write(map[string]string{"kept.yaml": configMap("kept", "2")})
	unsigned := s.push("not signed")
	want := "commit " + unsigned + ` is not signed: sign it with a key on the list, or add its signer to Secret "signers"; what was applied last stays`
	s.waitMessage(v1alpha1.ReasonVerificationFailed, want)
	kept, err := get(t.Context(), s, "kept", &corev1.ConfigMap{})
	if err != nil || kept.Data["key"] != "1" {
		t.Fatalf("ConfigMap kept: %v, %v, want the signed state", kept.Data, err)
	}
	kept.Data["key"] = "by hand"
	if err := sandbox.Client.Update(t.Context(), kept); err != nil {
		t.Fatal(err)
	}
	s.wantConfig("kept", "1")

	// Another signer counts from the moment that the list names them.
	_, bobPublic := s.signer("bob")
	s.write(map[string]string{"kept.yaml": configMap("kept", "3")})
	second := s.push("signed by bob")
	s.waitSaid(v1alpha1.ReasonVerificationFailed, second)
	secret, err := get(t.Context(), s, "signers", &corev1.Secret{})
	if err != nil {
		t.Fatal(err)
	}
	secret.Data["allowed_signers"] = append(secret.Data["allowed_signers"], "bob@example.com "+bobPublic+"\n"...)
	if err := sandbox.Client.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	if app := s.waitReady(second); app.Status.Source.Signer != "bob@example.com" {
		t.Errorf("signer = %q, want bob", app.Status.Source.Signer)
	}
	s.wantConfig("kept", "3")

	// A tag is to be signed itself.
	s.signWith(ann)
	if err := s.tryEdit(func(spec *v1alpha1.ApplicationSpec) {
		spec.Source.Git.Ref = v1alpha1.GitRef{SemVer: "1.x"}
		spec.Source.Git.Verify.Mode = v1alpha1.VerifyTagAndHEAD
	}); err != nil {
		t.Fatal(err)
	}
	s.git("tag", "--annotate", "--no-sign", "--message", "unsigned", "v1.0.0")
	s.git("push", "--quiet", "origin", "--tags")
	s.waitSaid(v1alpha1.ReasonVerificationFailed, "tag v1.0.0 of commit "+second+" is not signed: ")
	s.git("tag", "--sign", "--message", "signed", "v1.1.0")
	s.git("push", "--quiet", "origin", "--tags")
	s.waitRevision("v1.1.0@sha1:" + second)
	app, err := s.read(t.Context())
	if want := "ann@example.com (tag), bob@example.com (commit)"; err != nil || app.Status.Source.Signer != want {
		t.Errorf("signer = %q, want %s", app.Status.Source.Signer, want)
	}
}
