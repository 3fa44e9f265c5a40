package kubernetes_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/gitseal/gitseal/providers"
	"github.com/gitseal/gitseal/providers/kubernetes"
	"github.com/gitseal/gitseal/test/rig"
)

// A connection may die without a word. All calls share it, so that it must not
// be kept until the kernel gives up.
func TestAConnectionThatFallsSilentIsReplaced(t *testing.T) {
	s := newServer(t, secretOf("db", nil)).start(t)
	settings, handler, certificates := s.settings(), s.Config.Handler, s.TLS.Certificates
	synctest.Test(t, func(t *testing.T) {
		cables := rig.LayCables(handler, certificates)
		defer cables.Close()
		store := storeOf(settings, nil)
		store.Dial = cables.Dial
		p := opened(t, kubernetes.Home{}, store)
		cables.Silence(t, func(ctx context.Context) error {
			results, err := p.Get(ctx, []providers.Ref{{Key: "db"}})
			if err != nil {
				return err
			}
			return results[0].Err
		}, func(err error) { refused(t, err, providers.ErrUnavailable, "does not answer in time") })
	})
}
