package controllers

import (
	"context"
	"io/fs"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/apply"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/policy"
	"github.com/gitseal/gitseal/internal/render"
	"github.com/gitseal/gitseal/internal/sops"
	"github.com/gitseal/gitseal/internal/source"
)

// desire works out what one revision says: it fetches, opens, renders and
// checks. Where none of its inputs changed the last answer holds.
func (r *ApplicationReconciler) desire(ctx context.Context, run *run) (*wanted, error) {
	keys, err := r.keys(ctx, run)
	if err != nil {
		return nil, err
	}
	snapshot, err := r.fetch(ctx, run)
	if err != nil {
		return nil, err
	}
	signer, err := r.verify(ctx, run, snapshot)
	if err != nil {
		return nil, err
	}
	if err := r.continuous(ctx, run, snapshot); err != nil {
		return nil, err
	}
	m := run.memory
	in := inputs{generation: run.app.Generation, commit: snapshot.Revision, keys: keys.version}
	if m.wanted != nil && m.wanted.basis.holds(in, snapshot) {
		if m.refusal != nil || m.draft != nil { // this revision takes back what was refused
			m.draft.abandon()
			m.refusal, m.draft, m.wanted.why = nil, nil, v1alpha1.SyncRevision
			m.wanted.inputs, m.wanted.author, m.wanted.subject, m.wanted.signer = in, snapshot.Author, snapshot.Subject, signer
		}
		run.follow(snapshot)
		run.newest = true
		return r.renew(ctx, run)
	}
	if m.refusal != nil && m.refused.holds(in, snapshot) {
		return nil, m.refusal
	}
	w, err := r.drafted(ctx, run, in, snapshot, keys.ring)
	if err != nil {
		return nil, err
	}
	w.inputs, w.author, w.subject, w.signer = in, snapshot.Author, snapshot.Subject, signer
	if err := r.fill(ctx, run, w); err != nil {
		return nil, err
	}
	m.refusal, m.draft = nil, nil
	r.want(run, w)
	run.follow(snapshot)
	return w, nil
}

// want makes a desired state the one to be brought about.
func (r *ApplicationReconciler) want(run *run, w *wanted) {
	m := run.memory
	before := m.wanted
	w.why, w.first = r.why(run, w), before == nil
	if before != nil && before.inputs == w.inputs { // it goes on with other values
		w.changed = before.changed
		if !before.settled {
			w.why, w.first = before.why, before.first
		}
	}
	before.abandon()
	run.values, run.reason = w.values, w.why
	m.wanted, m.drifted = w, 0
}

// drafted renders a snapshot, unless that was done and it lacks nothing but
// values.
func (r *ApplicationReconciler) drafted(ctx context.Context, run *run, in inputs, s *source.Snapshot, keys *sops.Keyring) (*wanted, error) {
	m := run.memory
	if m.draft != nil && m.draft.basis.holds(in, s) {
		return m.draft, nil
	}
	m.draft.abandon()
	m.draft = nil
	w, err := r.render(ctx, run, s, keys)
	w.basis.inputs = in
	if err != nil {
		// Only what the inputs themselves are to blame for stays refused.
		if f := failure.From(err, v1alpha1.ReasonRenderFailed); f.Class == failure.Stall {
			m.refused, m.refusal = w.basis, r.clean(run, f)
		}
		return nil, err
	}
	if w.material != nil {
		m.draft = w
	}
	return w, nil
}

// holds reports whether what was made of these inputs is what others make. A
// new commit in which nothing that was read is different takes the place of
// the one before.
func (b *basis) holds(in inputs, s *source.Snapshot) bool {
	if b.inputs == in {
		return true
	}
	before := b.inputs
	before.commit = in.commit
	if before != in || !s.Unchanged(b.reads) {
		return false
	}
	b.inputs = in
	return true
}

// render opens the secrets of a snapshot, renders it, checks it against the
// policy and builds what is to be sent; under policy External, all but that.
// What it read is in the answer also when it fails.
func (r *ApplicationReconciler) render(ctx context.Context, run *run, s *source.Snapshot, keys *sops.Keyring) (*wanted, error) {
	spec := run.app.Spec
	run.values = r.Tokenizer.NewSet()
	w := &wanted{values: run.values, author: s.Author, subject: s.Subject, runs: map[apply.ID]apply.Run{}}
	read, opened := s.FS(), func() error { return nil }
	defer func() { w.basis.reads = read.ReadSet() }()
	files := fs.FS(read)
	if spec.Secrets.Policy == v1alpha1.PolicySOPS {
		sealed := sops.NewFS(files, keys, run.values)
		files, opened = sealed, sealed.Err
		defer func() { w.files, w.opened = sealed.Opened() }()
	}
	objects, err := render.Render(ctx, files, spec.Source.Path)
	if openErr := opened(); openErr != nil {
		return w, openErr
	}
	if err != nil {
		return w, err
	}
	if err := policy.Check(spec.Secrets, objects, run.values); err != nil {
		return w, err
	}
	if spec.Secrets.Policy == v1alpha1.PolicyExternal {
		w.material, err = collect(objects)
		return w, err
	}
	w.items, err = r.Engine.Build(run.target, objects)
	return w, err
}

// why says which input brought a new desired state about.
func (r *ApplicationReconciler) why(run *run, w *wanted) string {
	status, now := run.app.Status, w.basis.inputs
	before := inputs{generation: status.ObservedGeneration}
	if status.Source != nil {
		before.commit = status.Source.Revision
	}
	if run.memory.wanted != nil {
		before = run.memory.wanted.basis.inputs
	} else {
		before.keys = now.keys // not known after a restart
	}
	switch {
	case before.commit != now.commit:
		return v1alpha1.SyncRevision
	case before.generation != now.generation:
		return v1alpha1.SyncSpec
	case before.keys != now.keys:
		return v1alpha1.SyncKey
	case run.valuesChanged(w):
		return v1alpha1.SyncSecret
	}
	return v1alpha1.SyncDrift
}

// isReady reports whether an Application is Ready at its latest generation.
func isReady(app *v1alpha1.Application) bool {
	return app.Status.ObservedGeneration == app.Generation && conditionTrue(app, v1alpha1.ConditionReady) && client.Object(app).GetDeletionTimestamp() == nil
}
