package controllers

import (
	"context"
	"strings"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/source"
)

// followed is the last commit of a branch or tag that a desired state was, or
// could have been, made of.
type followed struct{ url, ref, commit string }

// before returns the commit that a branch or tag was followed to. After a
// restart that is the one in the status, if it speaks of this very spec.
func (r *run) before(ref string) string {
	last, status := r.memory.followed, r.app.Status
	if last == (followed{}) && status.Source != nil && status.ObservedGeneration == r.app.Generation {
		last.url = r.app.Spec.Source.Git.URL
		last.ref, last.commit, _ = strings.Cut(status.Source.Revision, "@sha1:")
	}
	if ref == "" || last.url != r.app.Spec.Source.Git.URL || last.ref != ref {
		return ""
	}
	return last.commit
}

// follow notes that a desired state stands for a revision.
func (r *run) follow(s *source.Snapshot) {
	r.memory.followed = followed{url: r.app.Spec.Source.Git.URL, ref: s.Ref, commit: s.Commit}
}

// continuous looks whether a branch or tag still holds what was applied from
// it. Where it does not, history was rewritten.
func (r *ApplicationReconciler) continuous(ctx context.Context, run *run, s *source.Snapshot) error {
	before := run.before(s.Ref)
	if before == "" || before == s.Commit {
		return nil
	}
	lineage, err := s.Lineage(ctx, before)
	if run.app.Spec.Source.Git.ForcePush != v1alpha1.ForcePushRefuse {
		if lineage == source.LineageRewritten {
			r.tellRewritten(run, before, s)
		}
		return nil // what cannot be told is no reason to stop
	}
	switch {
	case run.app.Annotations[v1alpha1.AnnotationConfirmRewrite] == s.Revision:
		return nil
	case err != nil:
		return err
	case lineage == source.LineageDescends:
		return nil
	}
	run.confirmation = &v1alpha1.ConfirmationStatus{Revision: s.Revision, Token: s.Revision}
	text := "%s %s does not hold commit %s any more, which was applied last: its history was rewritten and leads to %s"
	if lineage == source.LineageUnknown {
		text = "%s %s may not hold commit %s any more, which was applied last: too much history lies between it and %s to tell"
	}
	return failure.Stallf(v1alpha1.ReasonHistoryRewritten, text, run.refKind(), s.Ref, before, s.Commit).
		WithHint("push it again on top of that commit, or, if it is right: kubectl gitseal confirm %s -n %s; what was applied last stays", run.app.Name, run.app.Namespace)
}

func (r *run) refKind() string {
	if ref := r.app.Spec.Source.Git.Ref; ref.Tag != "" || ref.SemVer != "" {
		return "tag"
	}
	return "branch"
}
