package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	secretmanager "cloud.google.com/go/secretmanager/apiv1"
	"cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"github.com/go-jose/go-jose/v4"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/test/fakecloud/gcp"
)

// google is a Google Cloud that trusts the sandbox's API server.
type google struct {
	*story
	*gcp.Server
	admin *secretmanager.Client
}

const (
	googlePool    = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/sandbox/providers/e2e"
	googleCluster = "identitynamespace:shop-prod.svc.id.goog:https://container.googleapis.com/v1/projects/shop-prod/locations/europe-west3/clusters/sandbox"
	googleReader  = "reader@shop-prod.iam.gserviceaccount.com"
)

func (s *story) google() *google {
	s.t.Helper()
	server, err := gcp.Start(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = server.Close() })
	admin, err := server.Client(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = admin.Close() })
	g := &google{s, server, admin}
	var keys jose.JSONWebKeySet
	var issuer struct{ Issuer string }
	g.raw("/openid/v1/jwks", &keys)
	g.raw("/.well-known/openid-configuration", &issuer)
	subject := " system:serviceaccount:" + s.ns + ":values"
	for pool, audience := range map[string]string{googlePool: "https:" + googlePool, googleCluster: "shop-prod.svc.id.goog"} {
		server.AddPool(pool, gcp.Pool{Issuer: issuer.Issuer, Audience: audience, Keys: keys})
		server.AllowImpersonation(pool+subject, googleReader)
	}
	return g
}

// raw is what the API server says of its own tokens.
func (g *google) raw(path string, into any) {
	g.t.Helper()
	out, err := sandbox.Kubectl(g.t.Context(), "", "get", "--raw", path)
	if err == nil {
		err = json.Unmarshal([]byte(out), into)
	}
	if err != nil {
		g.t.Fatal(err)
	}
}

// put adds a version to a secret.
func (g *google) put(id, value string) {
	g.t.Helper()
	ctx := metadata.AppendToOutgoingContext(g.t.Context(), "authorization", "Bearer "+g.Token())
	_, err := g.admin.CreateSecret(ctx, &secretmanagerpb.CreateSecretRequest{Parent: "projects/shop-prod", SecretId: id})
	if err != nil && status.Code(err) != codes.AlreadyExists {
		g.t.Fatal(err)
	}
	_, err = g.admin.AddSecretVersion(ctx, &secretmanagerpb.AddSecretVersionRequest{
		Parent: "projects/shop-prod/secrets/" + id, Payload: &secretmanagerpb.SecretPayload{Data: []byte(value)},
	})
	if err != nil {
		g.t.Fatal(err)
	}
}

// account makes the ServiceAccount of the store, and lets the operator have
// its tokens, as the samples do.
func (g *google) account(annotations string) {
	g.t.Helper()
	g.kubectl(fmt.Sprintf(`apiVersion: v1
kind: ServiceAccount
metadata: {name: values, namespace: %[1]s, annotations: {%[2]s}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: gitseal-store-google, namespace: %[1]s}
rules:
  - {apiGroups: [""], resources: [serviceaccounts/token], resourceNames: [values], verbs: [create]}
  - {apiGroups: [""], resources: [serviceaccounts], resourceNames: [values], verbs: [get, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: gitseal-store-google, namespace: %[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: gitseal-store-google}
subjects: [{kind: ServiceAccount, name: gitseal-controller, namespace: gitseal-system}]
`, g.ns, annotations), "apply", "--server-side", "-f", "-")
}

func (g *google) store(auth string) {
	g.t.Helper()
	g.kubectl(fmt.Sprintf(`apiVersion: gitseal.dev/v1alpha1
kind: SecretStore
metadata: {name: google, namespace: %s}
spec:
  refreshInterval: 10s
  retrySettings: {maxRetries: 1, retryInterval: 10ms}
  provider:
    gcpsm:
      projectID: shop-prod
      endpoint: %s
      stsEndpoint: %s
      auth: %s
`, g.ns, g.Endpoint(), g.TokenURL(), auth), "apply", "--server-side", "--force-conflicts", "-f", "-")
}

// A ServiceAccount of the cluster is let in at Google without any key, by the
// tokens that the API server signs; many values are read with one login.
func TestGoogleLetsAServiceAccountIn(t *testing.T) {
	t.Parallel()
	s := newStory(t, "store-google")
	s.app.Spec.Secrets.Policy = v1alpha1.PolicyExternal
	g := s.google()
	g.SetErrorText("Google says hunter2")
	g.put("db", `{"password":"from-google"}`)
	g.put("api", "key-of-the-api")
	g.account("")
	g.store(fmt.Sprintf("{workloadIdentityFederation: {audience: %q, serviceAccountRef: {name: values}, gcpServiceAccountEmail: %s}}", googlePool, googleReader))
	s.write(map[string]string{"db.yaml": externalManifest("db", `
secretStoreRef: {name: google}
data:
  - {secretKey: password, remoteRef: {key: db, property: password}}
  - {secretKey: api, remoteRef: {key: api}}
`)})
	commit := s.push("first")
	s.create()
	s.waitReady(commit)
	s.wantData("db", map[string]string{"password": "from-google", "api": "key-of-the-api"})
	status := s.waitStore("google", metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
	if status.Identity != googleReader || status.Provider != "gcpsm" {
		t.Errorf("status %+v, want identity %q", status, googleReader)
	}
	if exchanges := g.Calls("exchange"); exchanges != 1 {
		t.Errorf("%d logins, want 1", exchanges)
	}

	// A token that is taken away is replaced, and a new value comes with it.
	g.RevokeTokens()
	g.put("db", `{"password":"from-google-again"}`)
	s.refreshed()
	s.wantData("db", map[string]string{"password": "from-google-again", "api": "key-of-the-api"})

	// What Google says of a refusal stays with Google.
	g.Deny("db")
	s.kubectl("", "annotate", "application.gitseal.dev", "app", "-n", s.ns, "gitseal.dev/refresh-requested-at=now", "--overwrite")
	if message := s.waitSaid(v1alpha1.ReasonStoreDenied, `"db"`); strings.Contains(message, "hunter2") {
		t.Errorf("message %q, want no word of Google's", message)
	}
	g.Allow("db")

	// The same ServiceAccount, as GKE has it.
	g.account("iam.gke.io/gcp-service-account: " + googleReader)
	g.store("{workloadIdentity: {clusterProjectID: shop-prod, clusterLocation: europe-west3, clusterName: sandbox, serviceAccountRef: {name: values}}}")
	eventually(t, "a login as GKE has it", func(context.Context) error {
		if n := g.Calls("impersonate"); n < 3 {
			return fmt.Errorf("%d tokens of the service account, want 3", n)
		}
		return nil
	})
	s.waitStore("google", metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
	s.waitReady(commit)
}
