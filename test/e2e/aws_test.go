package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/fetch"
	fakeaws "github.com/gitseal/gitseal/test/fakecloud/aws"
)

// amazon is an account whose role "shop" trusts the ServiceAccount "secrets" of
// the story's namespace, by the tokens that the real API server signs.
func (s *story) amazon() *fakeaws.Cloud {
	s.t.Helper()
	cloud := fakeaws.Start()
	s.t.Cleanup(cloud.Close)
	var discovery struct {
		Issuer string `json:"issuer"`
	}
	var keys jose.JSONWebKeySet
	for path, into := range map[string]any{"/.well-known/openid-configuration": &discovery, "/openid/v1/jwks": &keys} {
		raw, err := sandbox.Kubectl(s.t.Context(), "", "get", "--raw", path)
		if err != nil {
			s.t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(raw), into); err != nil {
			s.t.Fatal(err)
		}
	}
	cloud.AddIssuer(discovery.Issuer, keys)
	role := cloud.AddRole(fakeaws.Role{
		Name: "shop", Issuer: discovery.Issuer, Audience: "sts.amazonaws.com", Subject: "system:serviceaccount:" + s.ns + ":secrets",
	})
	s.kubectl(fmt.Sprintf(`apiVersion: v1
kind: ServiceAccount
metadata: {name: secrets, namespace: %[1]s, annotations: {eks.amazonaws.com/role-arn: %[2]s}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: gitseal-store-aws, namespace: %[1]s}
rules:
  - {apiGroups: [""], resources: [serviceaccounts], resourceNames: [secrets], verbs: [get, watch]}
  - {apiGroups: [""], resources: [serviceaccounts/token], resourceNames: [secrets], verbs: [create]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: gitseal-store-aws, namespace: %[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: gitseal-store-aws}
subjects: [{kind: ServiceAccount, name: gitseal-controller, namespace: gitseal-system}]
---
apiVersion: gitseal.dev/v1alpha1
kind: SecretStore
metadata: {name: aws, namespace: %[1]s}
spec:
  refreshInterval: 10s
  provider:
    aws:
      region: %[3]s
      endpoint: %[4]s
      stsEndpoint: %[4]s
      auth: {jwt: {serviceAccountRef: {name: secrets}}}
`, s.ns, role, fakeaws.Region, cloud.URL()), "apply", "--server-side", "-f", "-")
	return cloud
}

// awsManifests ask for values in each of the ways, as manifests of today do.
const awsManifests = `apiVersion: external-secrets.io/v1beta1
kind: ExternalSecret
metadata: {name: db}
spec:
  secretStoreRef: {name: aws}
  data:
    - {secretKey: password, remoteRef: {key: shop/db, property: password}}
    - {secretKey: before, remoteRef: {key: shop/db, property: password, version: AWSPREVIOUS}}
    - {secretKey: tags, remoteRef: {key: shop/db, metadataPolicy: Fetch}}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: all}
spec:
  secretStoreRef: {name: aws}
  dataFrom:
    - extract: {key: shop/db}
    - find: {path: shop/keys/, name: {regexp: "^shop/keys/"}, tags: {live: "yes"}}
      rewrite: [{regexp: {source: "shop/keys/(.*)", target: "key-$1"}}]
`

// Manifests that work with External Secrets Operator work here, as the role of
// a ServiceAccount whose token is exchanged: nothing is written down anywhere.
func TestValuesComeFromAWSAsTheRoleOfAServiceAccount(t *testing.T) {
	t.Parallel()
	s := newStory(t, "aws")
	s.app.Spec.Secrets.Policy = v1alpha1.PolicyExternal
	cloud := s.amazon()
	cloud.Put("shop/db", `{"password":"canary-aws-one","user":"shop"}`, map[string]string{"team": "shop"})
	cloud.Put("shop/db", `{"password":"canary-aws-two","user":"shop"}`, nil)
	for name, live := range map[string]string{"a": "yes", "b": "yes", "c": "yes and no"} {
		cloud.Put("shop/keys/"+name, "canary-aws-key-"+name, map[string]string{"live": live})
	}
	status := s.waitStore("aws", metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
	if want := "arn:aws:sts::" + fakeaws.Account + ":assumed-role/shop/gitseal"; status.Identity != want {
		t.Errorf("identity %q, want %q", status.Identity, want)
	}
	s.write(map[string]string{"db.yaml": awsManifests})
	commit := s.push("first")
	s.create()
	s.waitReady(commit)
	s.wantData("db", map[string]string{"password": "canary-aws-two", "before": "canary-aws-one", "tags": `{"team":"shop"}`})
	s.wantData("all", map[string]string{"password": "canary-aws-two", "user": "shop", "key-a": "canary-aws-key-a", "key-b": "canary-aws-key-b"})
	if got := cloud.Sessions(); len(got) != 1 {
		t.Errorf("%d sessions, want 1", len(got))
	}

	// A session that AWS ends is made anew, without a word.
	cloud.ExpireSessions()
	cloud.Put("shop/db", `{"password":"canary-aws-three","user":"shop"}`, nil)
	s.gitseal("sync", "app", "-n", s.ns, "--refresh")
	s.wantSecret("db", "password", "canary-aws-three")
	s.wantSecret("db", "before", "canary-aws-two")

	// A key that a search does not find any more goes once that is proven, and what
	// was asked for is then carried out.
	states, gone := s.states(), time.Now()
	cloud.Tag("shop/keys/b", map[string]string{"live": "no"})
	s.gitseal("sync", "app", "-n", s.ns, "--refresh")
	states("a key that is kept", secretsSay(metav1.ConditionTrue, v1alpha1.ReasonSucceeded, `SecretStore "aws": it finds fewer keys than before`))
	s.refreshed()
	s.wantData("all", map[string]string{"password": "canary-aws-three", "user": "shop", "key-a": "canary-aws-key-a"})
	if took := time.Since(gone); took < fetch.Proof {
		t.Errorf("the key went after %s, want two proofs %s apart", took, fetch.Proof)
	}

	// A denied key is named, and what is there stays.
	cloud.Quote("canary-aws-server")
	cloud.Deny("", "shop/db")
	s.gitseal("sync", "app", "-n", s.ns, "--refresh")
	message := s.waitRefused(v1alpha1.ReasonStoreDenied)
	if !strings.Contains(message, `"shop/db"`) || strings.Contains(message, "canary") {
		t.Errorf("message %q, want the key and nothing of AWS", message)
	}
	s.wantSecret("db", "password", "canary-aws-three")
	cloud.Reset()
	s.waitReady(commit)
	s.wantNothingLogged("canary-aws")
}

// wantNothingLogged looks for a text in what the operator logs, at the highest
// verbosity.
func (s *story) wantNothingLogged(text string) {
	s.t.Helper()
	eventually(s.t, "the log", func(context.Context) error {
		log, err := os.ReadFile(operator.LogFile)
		if err == nil && strings.Contains(string(log), text) {
			s.t.Errorf("the log holds %q", text)
		}
		return err
	})
}
