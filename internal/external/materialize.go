package external

import (
	"context"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
)

// Materialize resolves what the manifests of a revision ask for and makes their
// Secrets. Of what fails it returns a *failure.Error for each, joined, without a
// value; the Secrets are then of no use, the Uses tell what was read.
func (m *Materializer) Materialize(_ context.Context, _ Collection) (Result, error) {
	return Result{}, failure.Stallf(v1alpha1.ReasonSecretInvalid, "ExternalSecrets are understood but not yet resolved")
}
