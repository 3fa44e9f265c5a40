package store

import (
	"errors"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/providers"
)

// verdict is what a kind of a provider's error means: of the store as a whole,
// and of one key.
type verdict struct {
	kind  error
	class failure.Class
	// reason and hint where one key was asked for; reason is ofStore's too, where
	// that is empty.
	reason  string
	hint    string
	ofStore string
	// storeHint is for what concerns the store as a whole.
	storeHint string
}

// verdicts is the one table by which a provider's errors become failures. The
// first that fits counts.
var verdicts = []verdict{
	{providers.ErrUnauthenticated, failure.Stall, v1alpha1.ReasonStoreInvalid,
		"put valid credentials where the store names them; they are taken up by themselves", "",
		"put valid credentials where the store names them; they are taken up by themselves"},
	{providers.ErrDenied, failure.Fail, v1alpha1.ReasonStoreDenied,
		"let the store's identity read it: `kubectl gitseal policy-for` prints what it needs", "",
		"let the store's identity in at the provider"},
	{providers.ErrNotFound, failure.Stall, v1alpha1.ReasonSecretMissing,
		"create it at the provider, or change the reference in Git", v1alpha1.ReasonStoreInvalid,
		"look at the paths and names in spec.provider"},
	{providers.ErrNotReady, failure.Wait, v1alpha1.ReasonSecretMissing,
		"it goes on by itself once whatever writes it is done", v1alpha1.ReasonStoreUnavailable,
		"it goes on by itself once the provider is ready"},
	{providers.ErrThrottled, failure.Wait, v1alpha1.ReasonStoreUnavailable,
		"it goes on by itself; spec.limits of the store bounds how hard it asks", "",
		"it goes on by itself; spec.limits of the store bounds how hard it asks"},
	{providers.ErrInvalid, failure.Stall, v1alpha1.ReasonSecretInvalid,
		"change the reference in Git, or the value at the provider", v1alpha1.ReasonStoreInvalid,
		"correct the store's spec or what it names"},
	{providers.ErrUnavailable, failure.Wait, v1alpha1.ReasonStoreUnavailable,
		"it goes on by itself once the provider answers", "",
		"it goes on by itself once the provider answers"},
}

// verdictOf finds what an error means. One of no known kind passes for an
// outage: its text may be anybody's, and is not told.
func verdictOf(err error) (verdict, string) {
	text := ""
	var e *providers.Error
	if errors.As(err, &e) {
		text = e.Error()
	}
	for _, v := range verdicts {
		if errors.Is(err, v.kind) {
			if text == "" {
				text = v.kind.Error()
			}
			return v, text
		}
	}
	return verdicts[len(verdicts)-1], providers.ErrUnavailable.Error()
}

// failed says what an error of a provider means for the store as a whole. An
// error that says it already is left as it is.
func (s Store) failed(err error) *failure.Error {
	var f *failure.Error
	if errors.As(err, &f) {
		return f
	}
	v, text := verdictOf(err)
	reason := v.reason
	if v.ofStore != "" {
		reason = v.ofStore
	}
	return build(v.class, reason, "%s: %s", s, text).WithHint("%s", v.storeHint)
}

// refused says what an error of a provider means for a key.
func (s Store) refused(ref providers.Ref, err error) *failure.Error {
	var f *failure.Error
	if errors.As(err, &f) {
		return f
	}
	v, text := verdictOf(err)
	if ref.Version != "" {
		return build(v.class, v.reason, "%s: key %q, version %q: %s", s, shown(ref.Key), shown(ref.Version), text).WithHint("%s", v.hint)
	}
	return build(v.class, v.reason, "%s: key %q: %s", s, shown(ref.Key), text).WithHint("%s", v.hint)
}

func build(class failure.Class, reason, format string, args ...any) *failure.Error {
	switch class {
	case failure.Wait:
		return failure.Waitf(reason, format, args...)
	case failure.Stall:
		return failure.Stallf(reason, format, args...)
	case failure.Fail:
	}
	return failure.Failf(reason, format, args...)
}
