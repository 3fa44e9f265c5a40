package store_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/external"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
)

// What is in use already is asked of nobody, and may be used as long as the
// store says so.
func TestWhatIsHeldIsStillSubjectToAccess(t *testing.T) {
	b := newBench()
	held := &external.Answer{Value: secret.NewValue([]byte("in use")), Version: "7"}
	request := ask(ownStore, "team/a")
	request.Held, request.MaxAge = held, 0
	find := external.FindRequest{Namespace: "team", Store: ownStore, Query: providers.Query{Name: "."}, Held: &external.Found{Keys: []string{"other", "team/a"}}}
	allow := func(keys ...string) {
		b.own(func(s *v1alpha1.SecretStoreSpec) { s.Access = []v1alpha1.StoreAccess{{Keys: keys}} })
	}
	allow("team/")
	if a := b.resolver().Resolve(t.Context(), []external.Request{request})[0]; a.Err != nil || a.Version != "7" {
		t.Errorf("Resolve = version %q, %v, want what is held", a.Version, a.Err)
	}
	found, err := b.resolver().Find(t.Context(), find)
	if diff := cmp.Diff([]string{"team/a"}, found.Keys); err != nil || diff != "" {
		t.Errorf("Find: %v, (-want +got):\n%s", err, diff)
	}
	nothing := find
	nothing.Query.Path, nothing.Held = "team/", &external.Found{Read: b.clock.Now().Add(-time.Hour)}
	if found, err := b.resolver().Find(t.Context(), nothing); err != nil || !found.Read.Equal(nothing.Held.Read) {
		t.Errorf("Find = %v, %v, want that there is nothing, as it was found", found, err)
	}
	allow("elsewhere/")
	fails(t, b.resolver().Resolve(t.Context(), []external.Request{request})[0].Err, failure.Stall, v1alpha1.ReasonStoreDenied, "spec.access")
	_, err = b.resolver().Find(t.Context(), find)
	fails(t, err, failure.Stall, v1alpha1.ReasonStoreDenied, "none of the keys")
	if b.shelf.reads != 0 {
		t.Errorf("the provider was asked %d times, want none", b.shelf.reads)
	}
}
