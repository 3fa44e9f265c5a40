package kubernetes_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

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
		ask := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
			defer cancel()
			results, err := p.Get(ctx, []providers.Ref{{Key: "db"}})
			if err != nil {
				return err
			}
			return results[0].Err
		}
		if err := ask(); err != nil {
			t.Fatal(err)
		}
		cables.Cut()
		begin := time.Now()
		refused(t, ask(), providers.ErrUnavailable, "does not answer in time")
		for ask() != nil && time.Since(begin) < 10*time.Minute {
			continue
		}
		if took := time.Since(begin); took > time.Minute || cables.Laid() != 2 {
			t.Errorf("%d connections after %v, want another one within a minute", cables.Laid(), took)
		}
	})
}
