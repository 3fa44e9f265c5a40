package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// amend replaces the last commit and pushes by force.
func (s *story) amend(value string) (commit string) {
	s.t.Helper()
	s.write(map[string]string{"kept.yaml": configMap("kept", value)})
	s.git("add", "--all")
	s.git("commit", "--quiet", "--amend", "--message", value)
	s.git("push", "--quiet", "--force", "origin", "HEAD:main")
	return s.git("rev-parse", "HEAD")
}

// A branch that does not hold the applied commit any more is followed only
// where that is allowed, or confirmed.
func TestARewrittenHistoryIsNotFollowedUnseen(t *testing.T) {
	t.Parallel()
	s := newStory(t, "rewritten")
	s.app.Spec.Source.Git.ForcePush = v1alpha1.ForcePushRefuse
	commit := func(value string) string {
		s.write(map[string]string{"kept.yaml": configMap("kept", value)})
		return s.push(value)
	}
	commit("0")
	first := commit("1")
	s.create()
	s.waitReady(first)
	commit("2")
	third := commit("3")
	s.waitReady(third)

	amended := s.amend("amended")
	want := "branch main does not hold commit " + third + " any more, which was applied last: its history was rewritten and leads to " + amended +
		": push it again on top of that commit, or, if it is right: kubectl gitseal confirm app -n rewritten; what was applied last stays"
	s.waitMessage(v1alpha1.ReasonHistoryRewritten, want)
	kept, err := get(t.Context(), s, "kept", &corev1.ConfigMap{})
	if err != nil || kept.Data["key"] != "3" {
		t.Fatalf("ConfigMap kept: %v, %v, want the last good state", kept.Data, err)
	}
	kept.Data["key"] = "by hand"
	if err := sandbox.Client.Update(t.Context(), kept); err != nil {
		t.Fatal(err)
	}
	s.wantConfig("kept", "3")
	s.gitseal("confirm", "app", "--namespace", s.ns, "--wait")
	s.waitReady(amended)
	s.wantConfig("kept", "amended")

	// Who puts the applied commit back needs no confirmation.
	s.git("reset", "--quiet", "--hard", first)
	s.git("push", "--quiet", "--force", "origin", "HEAD:main")
	s.waitRefused(v1alpha1.ReasonHistoryRewritten)
	s.git("reset", "--quiet", "--hard", amended)
	s.waitReady(commit("on top"))

	if err := s.tryEdit(func(spec *v1alpha1.ApplicationSpec) { spec.Source.Git.ForcePush = v1alpha1.ForcePushAllow }); err != nil {
		t.Fatal(err)
	}
	allowed := s.amend("allowed")
	s.waitReady(allowed)
	eventually(t, "an event of the rewritten history", func(ctx context.Context) error {
		var events eventsv1.EventList
		if err := sandbox.Client.List(ctx, &events, client.InNamespace(s.ns)); err != nil {
			return err
		}
		for _, e := range events.Items {
			if e.Reason == v1alpha1.ReasonHistoryRewritten && e.Type == corev1.EventTypeWarning && strings.HasSuffix(e.Note, "leads to "+allowed) {
				return nil
			}
		}
		return fmt.Errorf("%d events, none of it", len(events.Items))
	})
}
