package e2e

import (
	"context"
	"fmt"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	corev1 "k8s.io/api/core/v1"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// waitRevision waits until a revision, as status names it, is applied.
func (s *story) waitRevision(revision string) {
	s.t.Helper()
	eventually(s.t, "revision "+revision, func(ctx context.Context) error {
		app, err := s.read(ctx)
		if err != nil {
			return err
		}
		if app.Status.Source == nil || app.Status.Source.Revision != revision {
			return fmt.Errorf("source %+v, conditions %+v", app.Status.Source, app.Status.Conditions)
		}
		return legalStatus(app, status.CurrentStatus)
	})
}

func (s *story) wantConfig(name, value string) {
	s.t.Helper()
	eventually(s.t, "ConfigMap "+name, func(ctx context.Context) error {
		c, err := get(ctx, s, name, &corev1.ConfigMap{})
		if err == nil && c.Data["key"] != value {
			return fmt.Errorf("key is %q, want %q", c.Data["key"], value)
		}
		return err
	})
}

// One private repository over HTTP, followed in each of the ways there are.
func TestEachKindOfReferenceIsFollowed(t *testing.T) {
	t.Parallel()
	s := newStory(t, "references")
	repo := s.private()
	s.repo = repo
	s.credentials("git", map[string]string{"username": sandbox.Sandbox.Git.User, "password": sandbox.Sandbox.Git.Password})
	commits := map[string]string{}
	for _, version := range []string{"v1.0.0", "v1.2.0", "v2.0.0"} {
		s.write(map[string]string{"kept.yaml": configMap("kept", version)})
		commits[version] = s.push(version)
		s.git("tag", "--annotate", "--message", version, version)
	}
	s.git("push", "--quiet", "origin", "--tags", "HEAD:refs/heads/release")
	s.app.Spec.Source.Git.URL = repo.URL
	s.app.Spec.Source.Git.SecretRef = &v1alpha1.LocalReference{Name: "git"}
	s.app.Spec.Source.Git.Ref = v1alpha1.GitRef{Branch: "release"}
	s.create()
	s.waitRevision("release@sha1:" + commits["v2.0.0"])

	for _, tt := range []struct {
		ref      v1alpha1.GitRef
		revision string
		value    string
	}{
		{v1alpha1.GitRef{Tag: "v1.0.0"}, "v1.0.0@sha1:" + commits["v1.0.0"], "v1.0.0"},
		{v1alpha1.GitRef{SemVer: "1.x"}, "v1.2.0@sha1:" + commits["v1.2.0"], "v1.2.0"},
		{v1alpha1.GitRef{Commit: commits["v1.0.0"]}, "sha1:" + commits["v1.0.0"], "v1.0.0"},
	} {
		if err := s.tryEdit(func(spec *v1alpha1.ApplicationSpec) { spec.Source.Git.Ref = tt.ref }); err != nil {
			t.Fatal(err)
		}
		s.waitRevision(tt.revision)
		s.wantConfig("kept", tt.value)
	}

	// A tag that comes into the range is followed by itself.
	if err := s.tryEdit(func(spec *v1alpha1.ApplicationSpec) { spec.Source.Git.Ref = v1alpha1.GitRef{SemVer: "1.x"} }); err != nil {
		t.Fatal(err)
	}
	s.write(map[string]string{"kept.yaml": configMap("kept", "v1.3.0")})
	commit := s.push("v1.3.0")
	s.git("tag", "v1.3.0")
	s.git("push", "--quiet", "origin", "v1.3.0")
	s.waitRevision("v1.3.0@sha1:" + commit)
	s.wantConfig("kept", "v1.3.0")
}

func TestARepositoryOverSSHIsFollowed(t *testing.T) {
	t.Parallel()
	s := newStory(t, "over-ssh")
	server := serveSSH(t, sandbox.Sandbox.Git.Dir)
	s.write(map[string]string{"kept.yaml": configMap("kept", "by ssh")})
	commit := s.push("first")
	s.credentials("git", map[string]string{"identity": server.identity, "known_hosts": server.knownHosts})
	s.app.Spec.Source.Git.URL = "ssh://git@" + server.address + "/over-ssh.git"
	s.app.Spec.Source.Git.SecretRef = &v1alpha1.LocalReference{Name: "git"}
	s.create()
	s.waitReady(commit)
	s.wantConfig("kept", "by ssh")

	// Another server at its address is not trusted.
	r := &refused{story: s, names: map[string]string{}}
	other := serveSSH(t, sandbox.Sandbox.Git.Dir)
	r.follow("ssh://git@"+other.address+"/over-ssh.git", "git")
	want := "repository ssh://" + other.address + "/over-ssh.git: known_hosts has no key of the server: " +
		"add the server's key to known_hosts in the Secret, after comparing its fingerprint"
	s.waitMessage(v1alpha1.ReasonCredentialsInvalid, want)
}
