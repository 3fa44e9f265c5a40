package e2e

import (
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// beside makes a second Application of the same repository, for another path.
func (s *story) beside(name, path string) *story {
	s.t.Helper()
	other := &story{t: s.t, ns: s.ns, repo: s.repo, app: s.app.DeepCopy()}
	other.app.ResourceVersion, other.app.UID = "", ""
	other.app.Name, other.app.Spec.Source.Path = name, path
	s.t.Cleanup(other.endsLegally)
	return other
}

// Of the Applications of one repository, a commit concerns those that read
// what it touches. Of the others not even the status is written.
func TestACommitConcernsThoseThatReadWhatItTouches(t *testing.T) {
	t.Parallel()
	s := newStory(t, "monorepo")
	s.write(map[string]string{
		"apps/one/kustomization.yaml": "resources: [one.yaml, ../../base]\nnamePrefix: one-\n",
		"apps/one/one.yaml":           configMap("own", "1"),
		"apps/two/two.yaml":           configMap("two", "1"),
		"base/kustomization.yaml":     "resources: [base.yaml]\n",
		"base/base.yaml":              configMap("base", "1"),
	})
	first := s.push("first")
	s.app.Spec.Source.Path = "apps/one"
	two := s.beside("two", "apps/two")
	s.create()
	two.create()
	s.waitReady(first)
	before := two.waitReady(first)

	s.write(map[string]string{"base/base.yaml": configMap("base", "2")})
	second := s.push("the base of one")
	s.waitReady(second)
	s.wantConfig("one-base", "2")
	before = two.unwritten(before, 3*time.Second)

	// Who asks for a sync is answered. The revision stays the last that touched
	// the Application.
	s.gitseal("sync", "two", "--namespace", s.ns, "--wait")
	after := two.waitReady(first)
	if after.Status.LastHandledSyncAt == before.Status.LastHandledSyncAt {
		t.Error("the request for a sync was not recorded")
	}

	// A file that comes into a directory that is listed is noticed.
	s.write(map[string]string{"apps/two/more.yaml": configMap("more", "1")})
	third := s.push("more of two")
	two.waitReady(third)
	s.wantConfig("more", "1")

	// A refusal lasts until what it was about changes, whatever else does.
	s.write(map[string]string{"apps/two/more.yaml": "not a manifest\n"})
	s.push("bad")
	two.waitRefused(v1alpha1.ReasonRenderFailed)
	s.write(map[string]string{"apps/one/one.yaml": configMap("own", "2")})
	s.waitReady(s.push("own of one"))
	two.looked()
	two.waitRefused(v1alpha1.ReasonRenderFailed)
	s.write(map[string]string{"apps/two/more.yaml": configMap("more", "1")})
	two.waitReady(s.push("taken back"))
}

// unwritten checks for a while that nobody writes an Application.
func (s *story) unwritten(before *v1alpha1.Application, d time.Duration) *v1alpha1.Application {
	s.t.Helper()
	var after *v1alpha1.Application
	throughout(s.t, d, func() (err error) {
		if after, err = s.read(s.t.Context()); err == nil && after.ResourceVersion != before.ResourceVersion {
			s.t.Fatalf("Application %s was written: %+v", client.ObjectKeyFromObject(after), after.Status)
		}
		return err
	})
	return after
}
