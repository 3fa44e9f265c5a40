package gcp_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"

	"k8s.io/utils/clock"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/providers"
	"github.com/gitseal/gitseal/providers/gcp"
)

// Files of credentials come from Secrets and ConfigMaps of tenants. Whatever
// stands in one, opening the store ends with one kind of error, which quotes
// nothing, or sends tokens to Google alone.
func FuzzFilesOfCredentials(f *testing.F) {
	f.Add(`{"type":"service_account","client_email":"a@b","private_key":"-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n"}`)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		f.Fatal(err)
	}
	for _, uri := range []string{"https://oauth2.googleapis.com/token", "https://evil.example/token", "http://oauth2.googleapis.com/token"} {
		raw, _ := json.Marshal(map[string]string{"type": "service_account", "client_email": "a@b", "token_uri": uri,
			"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))})
		f.Add(string(raw))
	}
	f.Add(`{"type":"external_account","audience":"//iam","token_url":"https://sts.googleapis.com/v1/token","credential_source":{"url":"https://source.example"}}`)
	f.Add(`{"type":"external_account","audience":"//iam","credential_source":{"url":"https://source.example"},"service_account_impersonation_url":"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/a@b:generateAccessToken"}`)
	f.Add(`{"type":"external_account","audience":"//iam","token_url":"https://evil.example","credential_source":{"url":"https://source.example"}}`)
	f.Add(`{"type":"external_account","credential_source":{"executable":{"command":"/bin/sh"}}}`)
	f.Add(`{"credential_source":{"format":{"type":[]}}}`)
	f.Fuzz(func(t *testing.T, raw string) {
		o := &objects{secrets: map[string]string{"gcp/key": raw}, configMaps: map[string]string{"gcp/config": raw}}
		for _, auth := range []v1alpha1.GCPSMAuth{
			{SecretRef: &v1alpha1.GCPSMAuthSecretRef{SecretAccessKey: v1alpha1.SecretKeySelector{Name: "gcp", Key: "key"}}},
			{WorkloadIdentityFederation: &v1alpha1.GCPWorkloadIdentityFederation{
				CredConfig: &v1alpha1.ConfigMapKeySelector{Name: "gcp", Key: "config"}, ExternalTokenEndpoint: "https://source.example",
			}},
		} {
			opened(t, raw, providers.Store{Credentials: o, Spec: v1alpha1.StoreProvider{GCPSM: &v1alpha1.GCPSMProvider{ProjectID: "p", Auth: auth}}})
		}
	})
}

func opened(t *testing.T, raw string, s providers.Store) {
	t.Helper()
	s.Clock = clock.RealClock{}
	s.Dial = func(_ context.Context, _, address string) (net.Conn, error) {
		if !slices.Contains([]string{"source.example:443", "sts.googleapis.com:443", "oauth2.googleapis.com:443", "accounts.google.com:443", "www.googleapis.com:443"}, address) {
			t.Errorf("with %s it connects to %s", raw, address)
		}
		return nil, errors.New("nothing is dialled here")
	}
	p, err := gcp.Backend().Open(s)
	switch {
	case err == nil:
		if r, err := p.Get(t.Context(), []providers.Ref{{Key: "db"}}); err != nil || r[0].Err == nil {
			t.Errorf("Get with %s: %v, %v", raw, err, r)
		}
		_ = p.(interface{ Close() error }).Close()
	case !errors.Is(err, providers.ErrInvalid):
		t.Errorf("Open(%s): %v, want %v", raw, err, providers.ErrInvalid)
	case len(raw) > 24 && strings.Contains(err.Error(), raw[:24]):
		t.Errorf("Open(%s): %v, which quotes it", raw, err)
	}
}
