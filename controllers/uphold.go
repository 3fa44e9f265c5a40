package controllers

import (
	"context"
	"errors"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
)

// materials are those whose values are read when they are due: of the newest
// revision, and of what is in place.
func (r *run) materials() (all []*material) {
	m := r.memory
	if m.draft != nil {
		all = append(all, m.draft.material)
	}
	if w := m.wanted; w != nil && w.material != nil && (m.draft == nil && m.refusal == nil || r.upholds()) {
		all = append(all, w.material)
	}
	return all
}

// upholds reports whether what is in place follows its values while nothing
// newer can be had: it was in place as a whole, under this very spec.
func (r *run) upholds() bool {
	w := r.memory.wanted
	return w != nil && w.material != nil && w.settled && w.basis.inputs.generation == r.app.Generation
}

// uphold keeps what is in place as it is meant to be while there is nothing
// newer, because of why: new values of it are applied like any, and drift is
// corrected. That values of it cannot be had is for SecretsReady to say.
func (r *ApplicationReconciler) uphold(ctx context.Context, run *run, why error) error {
	var asked asking
	if errors.As(why, &asked) || run.newest || !run.upholds() {
		r.hold(ctx, run)
		return why
	}
	why = r.clean(run, failure.From(why, v1alpha1.ReasonApplyFailed))
	w, err := r.renew(ctx, run)
	if err != nil {
		run.outdated = r.clean(run, failure.From(err, v1alpha1.ReasonSecretInvalid))
		r.hold(ctx, run)
		return why
	}
	run.upheld, w.announced = true, true // what Ready says is why
	err = r.bring(ctx, run, w)
	if run.gated {
		run.carry(w)
	}
	return errors.Join(why, err)
}

// abandon stops asking for what nobody needs any more.
func (w *wanted) abandon() {
	if w != nil && w.material != nil && w.material.resolving != nil {
		w.material.resolving.cancel()
		w.material.resolving = nil
	}
}
