package controllers

import (
	"context"
	"fmt"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/live"
	"github.com/gitseal/gitseal/internal/signature"
	"github.com/gitseal/gitseal/internal/source"
)

// heldSigners are the allowed signers, or why there are none.
type heldSigners struct {
	scope   live.Scope
	version uint64
	list    *signature.Signers
	err     error
}

// verified is the last revision whose signature was looked at, and what came
// of it.
type verified struct {
	generation int64
	revision   string
	tag        string
	list       uint64
	signer     string
	err        error
}

const verifyHint = "sign it with a key on the list, or add its signer to Secret %q; what was applied last stays"

// verify says whose signature a revision carries. Before it has one that
// counts, nothing of a revision is opened, rendered or applied. A new list of
// signers is a new question about the same revision.
func (r *ApplicationReconciler) verify(ctx context.Context, run *run, s *source.Snapshot) (signer string, err error) {
	v := run.app.Spec.Source.Git.Verify
	if v == nil {
		return "", nil
	}
	list, err := r.signers(ctx, run, v)
	if err != nil {
		return "", err
	}
	m := run.memory
	asked := verified{generation: run.app.Generation, revision: s.Revision, tag: s.TagObject(), list: list.version}
	if held := m.verified; held.generation == asked.generation && held.revision == asked.revision && held.tag == asked.tag && held.list == asked.list {
		return held.signer, held.err
	}
	asked.signer, asked.err = r.signedBy(v, list.list, s)
	if asked.err != nil && failure.From(asked.err, v1alpha1.ReasonVerificationFailed).Class != failure.Stall {
		return "", asked.err
	}
	m.verified = asked
	return asked.signer, asked.err
}

// signedBy checks what the mode asks for.
func (r *ApplicationReconciler) signedBy(v *v1alpha1.GitVerify, list *signature.Signers, s *source.Snapshot) (string, error) {
	commit, tag, name, err := s.Objects()
	if err != nil {
		return "", err
	}
	var signers []string
	if v.Mode != v1alpha1.VerifyHEAD && v.Mode != "" {
		if tag == nil {
			return "", failure.Stallf(v1alpha1.ReasonVerificationFailed, "revision %s is not that of an annotated tag, and spec.source.git.verify.mode is %s", s.Revision, v.Mode).
				WithHint("follow a tag made with git tag --sign, or set the mode to HEAD")
		}
		signer, err := list.Tag(tag, name, s.Commit, r.Clock.Now())
		if err != nil {
			return "", failure.Stallf(v1alpha1.ReasonVerificationFailed, "tag %s of commit %s %w", name, s.Commit, err).WithHint(verifyHint, v.SecretRef.Name)
		}
		signers = append(signers, signer)
	}
	if v.Mode != v1alpha1.VerifyTag {
		signer, err := list.Commit(commit, r.Clock.Now())
		if err != nil {
			return "", failure.Stallf(v1alpha1.ReasonVerificationFailed, "commit %s %w", s.Commit, err).WithHint(verifyHint, v.SecretRef.Name)
		}
		signers = append(signers, signer)
	}
	if len(signers) == 2 && signers[0] != signers[1] {
		return fmt.Sprintf("%s (tag), %s (commit)", signers[0], signers[1]), nil
	}
	return signers[0], nil
}

// signers reads the allowed signers, unless those held are the newest.
func (r *ApplicationReconciler) signers(ctx context.Context, run *run, v *v1alpha1.GitVerify) (heldSigners, error) {
	scope, held := secretScope(run.app.Namespace, v.SecretRef.Name), run.memory.signers
	o, presence := r.Watches.Find(scope, scope.Key(), held.version)
	if presence == live.Absent {
		run.memory.signers = heldSigners{}
		return heldSigners{}, r.missing(run, scope, v1alpha1.ReasonVerificationFailed)
	}
	if held.scope == scope && presence == live.Present && o.ResourceVersion == held.version {
		return held, held.err
	}
	s, err := r.readSecret(ctx, run, scope, v1alpha1.ReasonVerificationFailed)
	if err != nil {
		return heldSigners{}, err
	}
	held = heldSigners{scope: scope, version: live.Version(s.ResourceVersion)}
	if held.list, err = signature.ParseSigners(s.Data); err != nil {
		held.err = failure.Stallf(v1alpha1.ReasonVerificationFailed, "list of signers in Secret %q: %w", s.Name, err).
			WithHint("correct the entry; what was applied last stays")
	}
	run.memory.signers = held
	return held, held.err
}
