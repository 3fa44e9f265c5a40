package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// followed waits until the newest entry of history is a sync for new values at a
// commit that changed so many objects, and nothing says that anything newer is
// applied.
func (s *story) followed(commit string, entries, changed int) {
	s.t.Helper()
	eventually(s.t, "new values of what is in place", func(ctx context.Context) error {
		app, err := s.read(ctx)
		if err != nil {
			return err
		}
		h := app.Status.History
		if len(h) != entries || h[0].Reason != v1alpha1.SyncSecret || int(h[0].Changed) != changed || h[0].Revision != "main@sha1:"+commit || app.Status.Source.Revision != h[0].Revision {
			return fmt.Errorf("source %+v, history %+v", app.Status.Source, h)
		}
		return nil
	})
}

// A value that is rotated reaches what runs, whatever is wrong with the newest
// commit, and while Git cannot be asked.
func TestValuesAreFollowedWhileNothingNewerCanBeHad(t *testing.T) {
	t.Parallel()
	s := newStory(t, "external-follow")
	v := s.external()
	v.put("db", `{"password":"first"}`)
	s.write(map[string]string{"db.yaml": externalManifest("db", dbSecret), "c.yaml": configMap("c", "1")})
	s.create()
	commit := s.push("first")
	s.waitReady(commit)

	rotate := func(value string) {
		t.Helper()
		v.put("db", fmt.Sprintf(`{"password":%q}`, value))
		s.kubectl("", "-n", s.ns, "annotate", "--overwrite", "application", "app", v1alpha1.AnnotationRefreshRequestedAt+"="+value)
		s.wantData("db", map[string]string{"password": value})
	}
	s.write(map[string]string{"c.yaml": "kind: [", "d.yaml": configMap("d", "2")})
	s.push("cannot be rendered")
	s.waitRefused(v1alpha1.ReasonRenderFailed)
	rotate("second")
	s.followed(commit, 2, 1)
	s.told(`Applied 1 object and pruned 0 objects at main@sha1:` + commit + `, for new values: 1 key of ClusterSecretStore "external-follow"`)

	s.write(map[string]string{"c.yaml": configMap("c", "2"), "more.yaml": externalManifest("more", "data:\n  - {secretKey: k, remoteRef: {key: nowhere}}")})
	third := s.push("lacks a value")
	s.waitRefused(v1alpha1.ReasonSecretMissing)
	s.secretsReady(metav1.ConditionFalse, v1alpha1.ReasonSecretMissing, "nowhere")
	rotate("third")
	s.followed(commit, 2, 2)
	s.wantConfigKey("c", "key", "1")

	v.put("nowhere", "there now")
	app := s.waitReady(third)
	if h := app.Status.History; len(h) != 3 || h[0].Reason != v1alpha1.SyncRevision {
		t.Errorf("history %+v, want the revision", h)
	}

	repository := filepath.Join(sandbox.Sandbox.Git.Dir, s.ns+".git")
	if err := os.Rename(repository, repository+".away"); err != nil {
		t.Fatal(err)
	}
	s.kubectl("", "-n", s.ns, "annotate", "--overwrite", "application", "app", v1alpha1.AnnotationSyncRequestedAt+"="+time.Now().String())
	s.waitRefused(v1alpha1.ReasonSourceInvalid)
	rotate("fourth")
	s.followed(third, 4, 1)
	s.secretsReady(metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "resolved 2 keys")
	if err := os.Rename(repository+".away", repository); err != nil {
		t.Fatal(err)
	}
	s.waitReady(third)
}
