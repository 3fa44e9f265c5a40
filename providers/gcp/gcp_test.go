package gcp_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/egress"
	"github.com/gitseal/gitseal/providers"
	"github.com/gitseal/gitseal/providers/gcp"
	fakegcp "github.com/gitseal/gitseal/test/fakecloud/gcp"
)

func dial(ctx context.Context, network, address string) (net.Conn, error) {
	return (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, network, address)
}

// read opens a store and reads one ref.
func read(t *testing.T, s providers.Store, ref providers.Ref) (string, string, error) {
	t.Helper()
	p, err := gcp.Backend().Open(s)
	if err != nil {
		return "", "", err
	}
	t.Cleanup(func() { _ = p.(interface{ Close() error }).Close() })
	r, err := p.Get(t.Context(), []providers.Ref{ref})
	if err != nil {
		return "", "", err
	}
	return string(r[0].Value.Reveal()), r[0].Version, r[0].Err
}

func TestVersions(t *testing.T) {
	c := startCloud(t, "")
	key, err := c.AddServiceAccount("prod", "reader")
	c.must(err)
	for _, v := range []string{"one", "two", "three", "four"} {
		c.put("db", []byte(v))
	}
	c.put("gone", []byte("only"))
	c.update("db", &secretmanagerpb.Secret{VersionAliases: map[string]int64{"stable": 1}}, "version_aliases")
	for name, end := range map[string]func(string) error{
		"db/versions/4": func(n string) error {
			_, err := c.admin.DisableSecretVersion(c.as(), &secretmanagerpb.DisableSecretVersionRequest{Name: n})
			return err
		},
		"db/versions/3": func(n string) error {
			_, err := c.admin.DestroySecretVersion(c.as(), &secretmanagerpb.DestroySecretVersionRequest{Name: n})
			return err
		},
		"gone/versions/1": func(n string) error {
			_, err := c.admin.DestroySecretVersion(c.as(), &secretmanagerpb.DestroySecretVersionRequest{Name: n})
			return err
		},
	} {
		c.must(end(c.name(name)))
	}
	tests := map[string]struct {
		ref            providers.Ref
		policy         string
		value, version string
		err            error
	}{
		"a number":                          {ref: providers.Ref{Key: "db", Version: "2"}, value: "two", version: "2"},
		"an alias gives its number":         {ref: providers.Ref{Key: "db", Version: "stable"}, value: "one", version: "1"},
		"a latest that is disabled":         {ref: providers.Ref{Key: "db"}, err: providers.ErrNotFound},
		"a version that is destroyed":       {ref: providers.Ref{Key: "db", Version: "3"}, err: providers.ErrNotFound},
		"the newest enabled":                {ref: providers.Ref{Key: "db"}, policy: "LatestOrFetch", value: "two", version: "2"},
		"the newest enabled of none":        {ref: providers.Ref{Key: "gone"}, policy: "LatestOrFetch", err: providers.ErrNotFound},
		"a number is not fetched elsewhere": {ref: providers.Ref{Key: "db", Version: "4"}, policy: "LatestOrFetch", err: providers.ErrNotFound},
		"a version that is none":            {ref: providers.Ref{Key: "db", Version: "../1"}, err: providers.ErrInvalid},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := c.store(t, key)
			s.Spec.GCPSM.SecretVersionSelectionPolicy = tt.policy
			value, version, err := read(t, s, tt.ref)
			if value != tt.value || version != tt.version || !errors.Is(err, tt.err) {
				t.Errorf("Get(%+v) = %q, %q, %v, want %q, %q, %v", tt.ref, value, version, err, tt.value, tt.version, tt.err)
			}
		})
	}
}

func TestDamagedValuesAreNotGivenOut(t *testing.T) {
	c := startCloud(t, "")
	key, err := c.AddServiceAccount("prod", "reader")
	c.must(err)
	c.put("db", []byte("value"))
	c.Corrupt(true)
	if value, _, err := read(t, c.store(t, key), providers.Ref{Key: "db"}); value != "" || !errors.Is(err, providers.ErrUnavailable) {
		t.Errorf("Get of a damaged value = %q, %v, want an error", value, err)
	}
}

func TestMetadataHasTheShapeThatExternalSecretsHas(t *testing.T) {
	c := startCloud(t, "")
	key, err := c.AddServiceAccount("prod", "reader")
	c.must(err)
	c.put("db", []byte("value"))
	c.update("db", &secretmanagerpb.Secret{Labels: map[string]string{"team": "pay"}}, "labels")
	c.update("db", &secretmanagerpb.Secret{Annotations: map[string]string{"owner/of": "Käse"}}, "annotations")
	value, version, err := read(t, c.store(t, key), providers.Ref{Key: "db", Metadata: true})
	if diff := cmp.Diff(`{"annotations":{"owner/of":"Käse"},"labels":{"team":"pay"}}`, value); diff != "" || err != nil || version == "" {
		t.Errorf("metadata of version %q, %v (-want +got):\n%s", version, err, diff)
	}
}

func TestATokenIsRenewedBeforeItEnds(t *testing.T) {
	now := clocktesting.NewFakeClock(time.Now())
	c := startCloudAt(t, "", now)
	key, err := c.AddServiceAccount("prod", "reader")
	c.must(err)
	c.put("db", []byte("value"))
	p, err := gcp.Backend().Open(c.store(t, key))
	c.must(err)
	defer func() { _ = p.(interface{ Close() error }).Close() }()
	c.ResetCounters()
	for _, step := range []struct {
		after  time.Duration
		outage bool
		keys   int
	}{{0, false, 1}, {54 * time.Minute, false, 1}, {2 * time.Minute, false, 2}, {56 * time.Minute, true, 3}, {0, false, 4}} {
		now.Step(step.after)
		if step.outage { // of the token service alone
			c.TokenOutage(true)
		}
		r, err := p.Get(t.Context(), []providers.Ref{{Key: "db"}})
		if err != nil || r[0].Err != nil {
			t.Fatalf("after %+v: %v, %v", step, err, r)
		}
		c.TokenOutage(false)
		if got := c.Calls("key"); got != step.keys {
			t.Errorf("after %+v the token service was asked %d times", step, got)
		}
	}
}

// issuer signs tokens as a cluster does.
type issuer struct {
	signer jose.Signer
	keys   jose.JSONWebKeySet
}

func newIssuer(t *testing.T) issuer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", "k1"))
	if err != nil {
		t.Fatal(err)
	}
	return issuer{signer, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k1", Algorithm: "RS256"}}}}
}

func (i issuer) token(audiences []string) string {
	signed, _ := jwt.Signed(i.signer).Claims(jwt.Claims{
		Issuer: "https://cluster", Subject: "system:serviceaccount:shop:app", Audience: audiences,
		Expiry: jwt.NewNumericDate(time.Now().Add(time.Hour)), IssuedAt: jwt.NewNumericDate(time.Now()),
	}).Serialize()
	return signed
}

const (
	pool    = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/k8s/providers/shop"
	cluster = "identitynamespace:prod.svc.id.goog:https://container.googleapis.com/v1/projects/prod/locations/europe-west3/clusters/main"
	account = "reader@prod.iam.gserviceaccount.com"
	subject = " system:serviceaccount:shop:app"
)

// trusting is a cloud that trusts a cluster, an AWS account and a GKE cluster.
func trusting(t *testing.T) (*cloud, issuer) {
	t.Helper()
	c, i := startCloud(t, ""), newIssuer(t)
	c.put("db", []byte("value"))
	c.AddPool(pool, fakegcp.Pool{Issuer: "https://cluster", Audience: "https:" + pool, Keys: i.keys, AWS: map[string]string{"AKID": "aws-secret"}})
	c.AddPool(cluster, fakegcp.Pool{Issuer: "https://cluster", Audience: "prod.svc.id.goog", Keys: i.keys})
	for _, principal := range []string{pool + subject, cluster + subject, pool + " aws:AKID"} {
		c.AllowImpersonation(principal, account)
	}
	return c, i
}

func external(c *cloud, change func(map[string]any)) string {
	file := map[string]any{
		"type": "external_account", "audience": pool, "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
		"token_url":                         c.TokenURL() + "/v1/token",
		"service_account_impersonation_url": c.TokenURL() + "/v1/projects/-/serviceAccounts/" + account + ":generateAccessToken",
		"credential_source":                 map[string]any{"url": "http://127.0.0.1:1/token", "format": map[string]string{"type": "json", "subject_token_field_name": "id"}},
	}
	change(file)
	raw, _ := json.Marshal(file)
	return string(raw)
}

func TestWaysToBeLetIn(t *testing.T) {
	c, i := trusting(t)
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Ask") != "nicely" {
			w.WriteHeader(http.StatusForbidden)
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"id": i.token([]string{"https:" + pool})})
	}))
	defer endpoint.Close()
	sa := v1alpha1.ServiceAccountSelector{Name: "app"}
	federation := func(f v1alpha1.GCPWorkloadIdentityFederation) v1alpha1.GCPSMAuth {
		return v1alpha1.GCPSMAuth{WorkloadIdentityFederation: &f}
	}
	aws := &v1alpha1.GCPAWSCredentials{Region: "eu-central-1", SecretRef: v1alpha1.SecretReference{Name: "aws"}}
	config := &v1alpha1.ConfigMapKeySelector{Name: "wif", Key: "config.json"}
	tests := map[string]struct {
		auth     v1alpha1.GCPSMAuth
		objects  objects
		identity string
		logins   int
	}{
		"GKE workload identity, by itself": {
			auth:     v1alpha1.GCPSMAuth{WorkloadIdentity: &v1alpha1.GCPWorkloadIdentity{ServiceAccountRef: sa, ClusterLocation: "europe-west3", ClusterName: "main"}},
			identity: "ServiceAccount app in prod.svc.id.goog", logins: 1,
		},
		"GKE workload identity, as a service account": {
			auth: v1alpha1.GCPSMAuth{WorkloadIdentity: &v1alpha1.GCPWorkloadIdentity{
				ServiceAccountRef: v1alpha1.ServiceAccountSelector{Name: "app", Audiences: []string{"besides"}},
				ClusterLocation:   "europe-west3", ClusterName: "main", ClusterProjectID: "prod",
			}},
			objects:  objects{annotations: map[string]string{"iam.gke.io/gcp-service-account": account}},
			identity: account, logins: 2,
		},
		"federation of a ServiceAccount": {
			auth:     federation(v1alpha1.GCPWorkloadIdentityFederation{ServiceAccountRef: &sa, Audience: pool}),
			identity: "a federated identity of " + pool, logins: 1,
		},
		"federation of a ServiceAccount as a service account": {
			auth:     federation(v1alpha1.GCPWorkloadIdentityFederation{ServiceAccountRef: &sa, Audience: pool, GCPServiceAccountEmail: account}),
			identity: account, logins: 2,
		},
		"federation of an AWS identity": {
			auth:     federation(v1alpha1.GCPWorkloadIdentityFederation{AWSSecurityCredentials: aws, Audience: pool, GCPServiceAccountEmail: account}),
			objects:  objects{secrets: map[string]string{"aws/aws_access_key_id": "AKID", "aws/aws_secret_access_key": "aws-secret"}},
			identity: account, logins: 2,
		},
		"federation of a temporary AWS identity": {
			auth:     federation(v1alpha1.GCPWorkloadIdentityFederation{AWSSecurityCredentials: aws, Audience: pool}),
			objects:  objects{secrets: map[string]string{"aws/aws_access_key_id": "AKID", "aws/aws_secret_access_key": "aws-secret", "aws/aws_session_token": "session"}},
			identity: "a federated identity of " + pool, logins: 1,
		},
		"federation by a file of credentials": {
			auth: federation(v1alpha1.GCPWorkloadIdentityFederation{CredConfig: config, ExternalTokenEndpoint: endpoint.URL}),
			objects: objects{configMaps: map[string]string{"wif/config.json": external(c, func(f map[string]any) {
				source := f["credential_source"].(map[string]any)
				source["url"], source["headers"] = endpoint.URL, map[string]string{"X-Ask": "nicely"}
			})}},
			identity: account, logins: 2,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.objects.token = i.token
			s := c.storeWith(tt.auth, &tt.objects)
			told := 0
			s.LoggedIn = func() { told++ }
			p, err := gcp.Backend().Open(s)
			c.must(err)
			defer func() { _ = p.(interface{ Close() error }).Close() }()
			r, err := p.Get(t.Context(), []providers.Ref{{Key: "db"}})
			if err != nil || r[0].Err != nil || string(r[0].Value.Reveal()) != "value" {
				t.Fatalf("Get: %v, %v", err, r)
			}
			identity, err := p.(providers.Checker).Check(t.Context())
			if err != nil || identity != tt.identity || told != tt.logins {
				t.Errorf("Check = %q, %v with %d logins, want %q with %d", identity, err, told, tt.identity, tt.logins)
			}
		})
	}
}

func TestTokensOfOthersAreNotAccepted(t *testing.T) {
	c, i := trusting(t)
	stranger := newIssuer(t)
	sa := v1alpha1.ServiceAccountSelector{Name: "app"}
	tests := map[string]struct {
		f       v1alpha1.GCPWorkloadIdentityFederation
		objects objects
		err     error
	}{
		"signed by another": {v1alpha1.GCPWorkloadIdentityFederation{ServiceAccountRef: &sa, Audience: pool}, objects{token: stranger.token}, providers.ErrUnauthenticated},
		"for another pool":  {v1alpha1.GCPWorkloadIdentityFederation{ServiceAccountRef: &sa, Audience: pool + "2"}, objects{token: i.token}, providers.ErrUnauthenticated},
		"not to impersonate": {
			v1alpha1.GCPWorkloadIdentityFederation{ServiceAccountRef: &sa, Audience: pool, GCPServiceAccountEmail: "admin@prod.iam.gserviceaccount.com"},
			objects{token: i.token}, providers.ErrDenied,
		},
		"of AWS with a wrong key": {
			v1alpha1.GCPWorkloadIdentityFederation{Audience: pool, AWSSecurityCredentials: &v1alpha1.GCPAWSCredentials{Region: "eu-central-1", SecretRef: v1alpha1.SecretReference{Name: "aws"}}},
			objects{secrets: map[string]string{"aws/aws_access_key_id": "AKID", "aws/aws_secret_access_key": "wrong"}}, providers.ErrUnauthenticated,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if _, _, err := read(t, c.storeWith(v1alpha1.GCPSMAuth{WorkloadIdentityFederation: &tt.f}, &tt.objects), providers.Ref{Key: "db"}); !errors.Is(err, tt.err) {
				t.Errorf("Get: %v, want %v", err, tt.err)
			}
		})
	}
	o := &objects{token: i.token}
	if _, _, err := read(t, c.storeWith(v1alpha1.GCPSMAuth{WorkloadIdentityFederation: &v1alpha1.GCPWorkloadIdentityFederation{
		ServiceAccountRef: &v1alpha1.ServiceAccountSelector{Name: "app", Audiences: []string{"https:" + pool, "mine"}}, Audience: pool,
	}}, o), providers.Ref{Key: "db"}); err != nil || len(o.asked) != 2 {
		t.Errorf("with audiences of the spec: %v, %q", err, o.asked)
	}
}

func TestSpecsThatCannotWorkAreRefusedAtOnce(t *testing.T) {
	c, _ := trusting(t)
	key, err := c.AddServiceAccount("prod", "reader")
	c.must(err)
	config := &v1alpha1.ConfigMapKeySelector{Name: "wif", Key: "config.json"}
	file := func(change func(map[string]any)) func(*providers.Store) {
		return func(s *providers.Store) {
			s.Spec.GCPSM.Auth = v1alpha1.GCPSMAuth{WorkloadIdentityFederation: &v1alpha1.GCPWorkloadIdentityFederation{CredConfig: config, ExternalTokenEndpoint: "http://127.0.0.1:1/token"}}
			s.Credentials = &objects{configMaps: map[string]string{"wif/config.json": external(c, change)}}
		}
	}
	source := func(s map[string]any) func(map[string]any) {
		return func(f map[string]any) { f["credential_source"] = s }
	}
	keyFile := func(from, to string) func(*providers.Store) {
		return func(s *providers.Store) {
			s.Credentials = &objects{secrets: map[string]string{"gcp/key.json": strings.Replace(string(key), from, to, 1)}}
		}
	}
	tests := map[string]struct {
		change func(*providers.Store)
		want   string
	}{
		"no settings":                  {func(s *providers.Store) { s.Spec.GCPSM = nil }, "no gcpsm settings"},
		"no credentials":               {func(s *providers.Store) { s.Spec.GCPSM.Auth = v1alpha1.GCPSMAuth{} }, "ClusterSecretStore only"},
		"two ways":                     {func(s *providers.Store) { s.Spec.GCPSM.Auth.WorkloadIdentity = &v1alpha1.GCPWorkloadIdentity{} }, "takes one of"},
		"a project that is a path":     {func(s *providers.Store) { s.Spec.GCPSM.ProjectID = "a/../b" }, "projectID"},
		"a location that is a host":    {func(s *providers.Store) { s.Spec.GCPSM.Location = "evil.example/" }, "location"},
		"an endpoint with a path":      {func(s *providers.Store) { s.Spec.GCPSM.Endpoint = "http://host/path" }, "endpoint"},
		"an endpoint with a user":      {func(s *providers.Store) { s.Spec.GCPSM.Endpoint = "user@host" }, "endpoint"},
		"an stsEndpoint with a user":   {func(s *providers.Store) { s.Spec.GCPSM.STSEndpoint = "https://user:pw@host" }, "stsEndpoint"},
		"a key that is no JSON":        {keyFile("{", ""), "no JSON object"},
		"a key of another type":        {keyFile("service_account", "authorized_user"), "type service_account"},
		"a key without a key":          {keyFile("BEGIN PRIVATE KEY", "BEGIN NOTHING"), "private_key"},
		"a key for another universe":   {keyFile("googleapis.com\"", "evil.example\""), "universe_domain"},
		"a key that is sent to others": {keyFile(c.TokenURL(), "https://evil.example"), "token_uri"},
		"GKE without a cluster": {func(s *providers.Store) {
			s.Spec.GCPSM.Auth = v1alpha1.GCPSMAuth{WorkloadIdentity: &v1alpha1.GCPWorkloadIdentity{ClusterName: "main"}}
		}, "clusterLocation"},
		"federation of nothing": {func(s *providers.Store) {
			s.Spec.GCPSM.Auth = v1alpha1.GCPSMAuth{WorkloadIdentityFederation: &v1alpha1.GCPWorkloadIdentityFederation{Audience: pool}}
		}, "needs one of"},
		"federation without an audience": {func(s *providers.Store) {
			s.Spec.GCPSM.Auth = v1alpha1.GCPSMAuth{WorkloadIdentityFederation: &v1alpha1.GCPWorkloadIdentityFederation{ServiceAccountRef: &v1alpha1.ServiceAccountSelector{Name: "app"}}}
		}, "audience"},
		"a file with a program":              {file(source(map[string]any{"executable": map[string]string{"command": "/bin/sh"}})), "program"},
		"a file with a file":                 {file(source(map[string]any{"file": "/var/run/secrets/kubernetes.io/serviceaccount/token"})), "file of the operator"},
		"a file with another URL":            {file(source(map[string]any{"url": "http://169.254.169.254/"})), "externalTokenEndpoint"},
		"a file with a metadata server":      {file(source(map[string]any{"environment_id": "aws1", "url": "http://169.254.169.254/"})), "awsSecurityCredentials"},
		"a file with a certificate":          {file(source(map[string]any{"certificate": map[string]any{}})), "certificate"},
		"a file with nothing":                {file(source(map[string]any{})), "credential_source"},
		"a file with an odd format":          {file(source(map[string]any{"url": "http://127.0.0.1:1/token", "format": map[string]string{"type": "xml"}})), "format"},
		"a file of another type":             {file(func(f map[string]any) { f["type"] = "service_account" }), "external_account"},
		"a file that sends tokens to others": {file(func(f map[string]any) { f["token_url"] = "https://evil.example/v1/token" }), "token_url"},
		"a file that impersonates elsewhere": {file(func(f map[string]any) { f["service_account_impersonation_url"] = "https://evil.example/" }), "service_account_impersonation_url"},
		"a file without an audience":         {file(func(f map[string]any) { f["audience"] = "" }), "audience"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := c.store(t, key)
			tt.change(&s)
			_, err := gcp.Backend().Open(s)
			if !errors.Is(err, providers.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Open: %v, want one that names %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "evil") {
				t.Errorf("the error %q quotes the spec", err)
			}
		})
	}
}

func TestTheOperatorsOwnIdentity(t *testing.T) {
	c, i := trusting(t)
	key, err := c.AddServiceAccount("prod", "operator")
	c.must(err)
	dir := t.TempDir()
	keyPath, tokenPath, configPath := filepath.Join(dir, "key.json"), filepath.Join(dir, "token"), filepath.Join(dir, "external.json")
	c.must(os.WriteFile(keyPath, key, 0o600))
	c.must(os.WriteFile(tokenPath, []byte(i.token([]string{"https:" + pool})+"\n"), 0o600))
	c.must(os.WriteFile(configPath, []byte(external(c, func(f map[string]any) { f["credential_source"] = map[string]string{"file": tokenPath} })), 0o600))
	for file, identity := range map[string]string{keyPath: "operator@prod.iam.gserviceaccount.com", configPath: account} {
		t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
		s := c.storeWith(v1alpha1.GCPSMAuth{}, &objects{})
		s.Ambient = true
		p, err := gcp.Backend().Open(s)
		c.must(err)
		got, err := p.(providers.Checker).Check(t.Context())
		if err != nil || got != identity {
			t.Errorf("Check with %s = %q, %v, want %q", filepath.Base(file), got, err, identity)
		}
		c.must(p.(interface{ Close() error }).Close())
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
	s := c.storeWith(v1alpha1.GCPSMAuth{}, &objects{})
	s.Ambient = true
	var asked []string
	s.Dial = func(_ context.Context, _, address string) (net.Conn, error) {
		asked = append(asked, address)
		return nil, egress.ErrRefused
	}
	if _, _, err := read(t, s, providers.Ref{Key: "db"}); !errors.Is(err, providers.ErrInvalid) || !strings.Contains(err.Error(), "metadata server") {
		t.Errorf("Get without any credentials: %v", err)
	}
	if diff := cmp.Diff([]string{"metadata.google.internal:80"}, asked); diff != "" {
		t.Errorf("dialled (-want +got):\n%s", diff)
	}
}

func TestAnEndpointThatTheGuardRefusesIsNamed(t *testing.T) {
	c := startCloud(t, "")
	key, err := c.AddServiceAccount("prod", "reader")
	c.must(err)
	s := c.store(t, key)
	s.Spec.GCPSM.Endpoint = "http://169.254.169.254:80"
	s.Dial = egress.Guard{}.Dial
	if _, _, err := read(t, s, providers.Ref{Key: "db"}); !errors.Is(err, providers.ErrInvalid) || !strings.Contains(err.Error(), "gcpsm.endpoint") {
		t.Errorf("Get from a metadata address: %v", err)
	}
	s.Spec.GCPSM.Endpoint = "169.254.169.254"
	s.Spec.GCPSM.STSEndpoint = "http://[fd00:ec2::254]"
	s.Credentials = &objects{secrets: map[string]string{"gcp/key.json": strings.Replace(string(key), c.TokenURL(), s.Spec.GCPSM.STSEndpoint, 1)}}
	if _, _, err := read(t, s, providers.Ref{Key: "db"}); !errors.Is(err, providers.ErrInvalid) || !strings.Contains(err.Error(), "token service") {
		t.Errorf("a login at a metadata address: %v", err)
	}
}

func TestCheckKnowsARefusalFromAProjectThatIsNotThere(t *testing.T) {
	c := startCloud(t, "")
	key, err := c.AddServiceAccount("prod", "reader")
	c.must(err)
	p, err := gcp.Backend().Open(c.store(t, key))
	c.must(err)
	defer func() { _ = p.(interface{ Close() error }).Close() }()
	c.Deny("*")
	if identity, err := p.(providers.Checker).Check(t.Context()); err != nil || identity != account {
		t.Errorf("Check of who may not list = %q, %v", identity, err)
	}
	c.DisableAPI(true)
	if _, err := p.(providers.Checker).Check(t.Context()); !errors.Is(err, providers.ErrDenied) || !strings.Contains(err.Error(), "not enabled") {
		t.Errorf("Check with the API disabled: %v", err)
	}
}
