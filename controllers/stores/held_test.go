package stores

import (
	"context"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/external"
	"github.com/gitseal/gitseal/internal/live"
	"github.com/gitseal/gitseal/providers"
)

// slowWatches are opened while something else happens.
type slowWatches struct {
	*watches
	meanwhile func()
	open      map[string]bool
}

func (w *slowWatches) Ensure(_ context.Context, owner string, _ []live.Scope) error {
	w.meanwhile()
	w.open[owner] = true
	return nil
}

func (w *slowWatches) Release(owner string) { delete(w.open, owner) }

// What an Application has asked for may still be under way when it is gone, or
// another replica's. Nothing is held or watched for it then.
func TestNothingIsHeldForAnApplicationThatIsGone(t *testing.T) {
	app := types.NamespacedName{Namespace: "ns", Name: "app"}
	for _, when := range []string{"before it opens a store", "while it opens one"} {
		t.Run(when, func(t *testing.T) {
			c := newCounter(t)
			ctx, cancel := context.WithCancel(t.Context())
			leave := func() {
				cancel()
				c.keeper.Forget(app)
			}
			w := &slowWatches{watches: c.watches, meanwhile: func() {}, open: map[string]bool{}}
			c.keeper.watches = w
			resolver, err := c.keeper.For(&v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "app"}}, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			if when == "while it opens one" {
				w.meanwhile = leave
			} else {
				leave()
			}
			resolver.Resolve(ctx, []external.Request{{Namespace: "ns", Store: v1alpha1.StoreReference{Name: "s"}, Ref: providers.Ref{Key: "k"}}})
			if len(c.keeper.held) != 0 || len(w.open) != 0 {
				t.Errorf("%d stores are held and %d watched, want none", len(c.keeper.held), len(w.open))
			}
		})
	}
}
