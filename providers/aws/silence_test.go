package aws

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"

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
		client := newHTTPClient(cables.Dial)
		client.Transport.(bounded).TLSClientConfig = trusted
		defer client.CloseIdleConnections()
		cables.SilenceHTTP(t, client)
	})
}
