package source_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gitseal/gitseal/internal/source"
	"github.com/gitseal/gitseal/test/rig"
)

// A connection may die without a word. All calls share it, so that it must not
// be kept until the kernel gives up.
func TestAConnectionThatFallsSilentIsReplaced(t *testing.T) {
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	trusted := server.Client().Transport.(*http.Transport).TLSClientConfig
	synctest.Test(t, func(t *testing.T) {
		cables := rig.LayCables(http.NotFoundHandler(), server.TLS.Certificates)
		defer cables.Close()
		transport := source.NewTransport()
		transport.DialContext, transport.TLSClientConfig, transport.Proxy = cables.Dial, trusted, nil
		client := &http.Client{Transport: transport}
		defer client.CloseIdleConnections()
		ask := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
			defer cancel()
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://example.com", nil)
			if err != nil {
				return err
			}
			answer, err := client.Do(request)
			if err != nil {
				return err
			}
			return answer.Body.Close()
		}
		if err := ask(); err != nil {
			t.Fatal(err)
		}
		cables.Cut()
		begin := time.Now()
		if err := ask(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a call over a cut cable ended with %v", err)
		}
		for ask() != nil && time.Since(begin) < 10*time.Minute {
			continue
		}
		if took := time.Since(begin); took > time.Minute || cables.Laid() != 2 {
			t.Errorf("%d connections after %v, want another one within a minute", cables.Laid(), took)
		}
	})
}
