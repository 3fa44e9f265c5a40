package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/live"
	"github.com/gitseal/gitseal/internal/sops"
	"github.com/gitseal/gitseal/internal/source"
)

// keyring is what an Application decrypts with. version changes whenever one
// of its keys does.
type keyring struct {
	ring    *sops.Keyring
	version string
}

// keys collects the keys that the spec names. They are read once and again
// only when their watch says that they changed.
func (r *ApplicationReconciler) keys(ctx context.Context, run *run) (keyring, error) {
	// What ails the watch of a member is for bring to find: it may be about to
	// mend it, and a new revision may have no need of it.
	if err := r.watch(ctx, run, run.memory.scopes); ofSecret(err) {
		return keyring{}, r.watchRefusal(ctx, err)
	}
	k := keyring{ring: sops.NewKeyring()}
	var version strings.Builder
	for _, ref := range sopsKeys(run.app) {
		scope := r.keyScope(run.app, ref)
		held, err := r.key(ctx, run, scope)
		if err != nil {
			return keyring{}, err
		}
		k.ring.Merge(held.ring)
		fmt.Fprintf(&version, "%s=%d;", scope.Name, held.version)
	}
	k.version = version.String()
	return k, nil
}

func sopsKeys(app *v1alpha1.Application) []v1alpha1.SOPSKey {
	if app.Spec.Secrets.SOPS == nil {
		return nil
	}
	return app.Spec.Secrets.SOPS.Keys
}

func (r *ApplicationReconciler) keyScope(app *v1alpha1.Application, ref v1alpha1.SOPSKey) live.Scope {
	if ref.KeyRef != nil {
		return secretScope(r.OperatorNamespace, ref.KeyRef.Name)
	}
	return secretScope(app.Namespace, ref.SecretRef.Name)
}

// secretScope watches one Secret as the operator.
func secretScope(namespace, name string) live.Scope {
	return live.Scope{Resource: corev1.SchemeGroupVersion.WithResource("secrets"), Namespace: namespace, Name: name}
}

// credentialScopes are the Secrets that an Application names.
func (r *ApplicationReconciler) credentialScopes(app *v1alpha1.Application) []live.Scope {
	var scopes []live.Scope
	for _, ref := range sopsKeys(app) {
		scopes = append(scopes, r.keyScope(app, ref))
	}
	if ref := app.Spec.Source.Git.SecretRef; ref != nil {
		scopes = append(scopes, secretScope(app.Namespace, ref.Name))
	}
	if v := app.Spec.Source.Git.Verify; v != nil {
		scopes = append(scopes, secretScope(app.Namespace, v.SecretRef.Name))
	}
	return scopes
}

// watch opens the watches of an Application: its Secrets and its members.
func (r *ApplicationReconciler) watch(ctx context.Context, run *run, members []live.Scope) error {
	run.memory.scopes = members
	scopes := slices.Concat(r.credentialScopes(run.app), members)
	return r.Watches.Ensure(ctx, run.target.ApplySet(), scopes)
}

// ofSecret reports whether a watch failed that is not over members. The
// watches of Secrets are waited for first.
func ofSecret(err error) bool {
	var w *live.WatchError
	return err != nil && (!errors.As(err, &w) || w.Scope.Name != "")
}

// watchRefusal says what to do about a watch that does not work.
func (r *ApplicationReconciler) watchRefusal(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	var w *live.WatchError
	if errors.As(err, &w) && w.Scope.Name != "" && apierrors.IsForbidden(w.Err) {
		return failure.Failf(v1alpha1.ReasonAccessDenied, "namespace %q has not let gitseal read Secret %q", w.Scope.Namespace, w.Scope.Name).
			WithHint("grant get and watch on it by name to ServiceAccount %s of namespace %s, as `kubectl gitseal init` does", v1alpha1.OperatorServiceAccount, r.OperatorNamespace)
	}
	return r.Engine.WatchRefusal(ctx, err)
}

// key reads one key, unless the one held is the newest.
func (r *ApplicationReconciler) key(ctx context.Context, run *run, scope live.Scope) (heldKey, error) {
	held := r.heldKeys.get(scope)
	o, presence := r.Watches.Find(scope, scope.Key(), held.version)
	if presence == live.Absent {
		r.heldKeys.drop(scope)
		return heldKey{}, r.missing(run, scope, v1alpha1.ReasonKeyUnavailable)
	}
	if held.version == 0 || presence != live.Present || o.ResourceVersion != held.version {
		s, err := r.readSecret(ctx, run, scope, v1alpha1.ReasonKeyUnavailable)
		if err != nil {
			return heldKey{}, err
		}
		held = heldKey{version: live.Version(s.ResourceVersion), allowed: s.Annotations[v1alpha1.AnnotationAllowedNamespaces], ring: sops.NewKeyring()}
		held.err = held.ring.AddSecret(fmt.Sprintf("Secret %q in namespace %q", s.Name, s.Namespace), s.Data)
		r.heldKeys.put(scope, held)
	}
	if err := r.mayUse(run.app, scope, held.allowed); err != nil {
		return held, err
	}
	return held, held.err
}

// mayUse is the default deny: a key in the operator's namespace serves only
// the namespaces that it names.
func (r *ApplicationReconciler) mayUse(app *v1alpha1.Application, key live.Scope, allowed string) error {
	if key.Namespace == app.Namespace && key.Namespace != r.OperatorNamespace {
		return nil
	}
	for ns := range strings.SplitSeq(allowed, ",") {
		if strings.TrimSpace(ns) == app.Namespace {
			return nil
		}
	}
	return failure.Stallf(v1alpha1.ReasonKeyUnavailable, "key %q may not be used from namespace %q", key.Name, app.Namespace).
		WithHint("whoever owns the key can allow it: kubectl gitseal keys allow %s --for %s", key.Name, app.Namespace)
}

func (r *ApplicationReconciler) missing(run *run, scope live.Scope, reason string) error {
	f := failure.Stallf(reason, "Secret %q does not exist in namespace %q", scope.Name, scope.Namespace)
	if scope.Namespace == r.OperatorNamespace {
		return f.WithHint("make the key: kubectl gitseal keys init %s --for %s", scope.Name, run.app.Namespace)
	}
	return f.WithHint("create it; the sync goes on by itself")
}

func (r *ApplicationReconciler) readSecret(ctx context.Context, run *run, scope live.Scope, reason string) (*corev1.Secret, error) {
	s := &corev1.Secret{}
	err := r.Secrets.Get(ctx, types.NamespacedName{Namespace: scope.Namespace, Name: scope.Name}, s)
	switch {
	case apierrors.IsNotFound(err):
		return nil, r.missing(run, scope, reason)
	case apierrors.IsForbidden(err):
		return nil, failure.Failf(v1alpha1.ReasonAccessDenied, "namespace %q has not let gitseal read Secret %q", scope.Namespace, scope.Name).
			WithHint("grant get and watch on it by name to ServiceAccount %s of namespace %s, as `kubectl gitseal init` does", v1alpha1.OperatorServiceAccount, r.OperatorNamespace)
	case err != nil:
		return nil, failure.Failf(reason, "read Secret %q in namespace %q: the API server does not answer", scope.Name, scope.Namespace)
	}
	return s, nil
}

// credentials reads what the repository asks for, nil where the spec names
// nothing.
func (r *ApplicationReconciler) credentials(ctx context.Context, run *run) (*source.Credentials, error) {
	ref := run.app.Spec.Source.Git.SecretRef
	if ref == nil {
		return nil, nil
	}
	scope, held := secretScope(run.app.Namespace, ref.Name), run.memory.credentials
	o, presence := r.Watches.Find(scope, scope.Key(), 0)
	if held.scope == scope && presence == live.Present && o.ResourceVersion == held.version {
		return held.value, nil
	}
	s, err := r.readSecret(ctx, run, scope, v1alpha1.ReasonCredentialsInvalid)
	if err != nil {
		return nil, err
	}
	value, err := source.ParseCredentials(s.Name, s.Data)
	if err != nil {
		return nil, err
	}
	run.memory.credentials = heldCredentials{scope: scope, version: live.Version(s.ResourceVersion), value: value}
	return value, nil
}
