package kubernetes

import (
	"errors"
	"net/http"
	"testing"

	"github.com/gitseal/gitseal/providers"
)

// Only an API server can say that a Secret is not there: what lives of it may be
// deleted for that.
func TestNotFoundIsWhatAnAPIServerSays(t *testing.T) {
	tests := map[string]struct {
		body string
		want error
	}{
		"an API server of a Secret": {
			`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","details":{"name":"x","kind":"secrets"},"code":404}`, providers.ErrNotFound,
		},
		"an API server of a path": {
			`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","details":{},"code":404}`, providers.ErrUnavailable,
		},
		"an ingress":       {"default backend - 404", providers.ErrUnavailable},
		"a web page":       {"<html>404</html>", providers.ErrUnavailable},
		"another API":      {`{"error":"not found"}`, providers.ErrUnavailable},
		"nothing is said":  {"", providers.ErrUnavailable},
		"JSON of no shape": {"null", providers.ErrUnavailable},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if err := refusal(&http.Response{StatusCode: http.StatusNotFound}, []byte(tt.body)); !errors.Is(err, tt.want) {
				t.Errorf("refusal = %v (%v), want %v", err, errors.Unwrap(err), tt.want)
			}
		})
	}
}
