package e2e

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

const fakeStore = `apiVersion: %s
kind: SecretStore
metadata: {name: fake, namespace: %s}
spec:
  provider:
    fake:
      data:
        - {key: shop/db, value: '{"password": "newest"}'}
        - {key: shop/db, value: '{"password": "first"}', version: v1}
`

// Values that stand in a store of the cluster serve as those of a provider do: a
// store that is changed is read anew, and one that says that it is not ready is
// shown as such.
func TestValuesOfAFakeStore(t *testing.T) {
	t.Parallel()
	s := newStory(t, "store-fake")
	s.app.Spec.Secrets.Policy = v1alpha1.PolicyExternal
	store := fmt.Sprintf(fakeStore, v1alpha1.GroupVersion, s.ns)
	s.kubectl(store, "apply", "--server-side", "-f", "-")
	s.write(map[string]string{"db.yaml": fmt.Sprintf(externalSecret, "SecretStore", "fake", "shop/db", "password")})
	commit := s.push("first")
	s.create()
	s.waitReady(commit)
	s.wantSecret("db", "password", "newest")
	if status := s.waitStore("fake", metav1.ConditionTrue, v1alpha1.ReasonSucceeded, ""); status.Provider != "fake" {
		t.Errorf("status %+v, want provider fake", status)
	}
	if out := s.gitseal("stores", "-n", s.ns); !strings.Contains(out, "secretstore/fake") {
		t.Errorf("stores prints %q", out)
	}
	if out := s.gitseal("refs", "app", "-n", s.ns); !strings.Contains(out, "shop/db") || strings.Contains(out, "newest") {
		t.Errorf("refs prints %q", out)
	}

	s.write(map[string]string{"db.yaml": strings.Replace(fmt.Sprintf(externalSecret, "SecretStore", "fake", "shop/db", "password"), "key: shop/db", "key: shop/db, version: v2", 1)})
	s.push("a version that is not there")
	s.waitRefused(v1alpha1.ReasonSecretMissing)
	s.wantSecret("db", "password", "newest")
	s.kubectl(strings.Replace(store, "version: v1", "version: v2", 1)+"      validationResult: 2\n", "apply", "--server-side", "-f", "-")
	s.waitStore("fake", metav1.ConditionFalse, v1alpha1.ReasonStoreInvalid, "validationResult says that it is not ready")
	s.wantSecret("db", "password", "first")
}

// A store of external-secrets.io in Git is understood as it is, and what is wrong
// with it is said by its place.
func TestValuesOfAFakeStoreInGit(t *testing.T) {
	t.Parallel()
	s := newStory(t, "store-fake-git")
	s.app.Spec.Secrets.Policy = v1alpha1.PolicyExternal
	store := fmt.Sprintf(fakeStore, "external-secrets.io/v1", s.ns)
	s.write(map[string]string{
		"store.yaml": store + "        - {key: shop/db, value: other}\n",
		"db.yaml":    fmt.Sprintf(externalSecret, "SecretStore", "fake", "shop/db", "password"),
	})
	s.push("a key that stands there twice")
	s.create()
	s.waitSaid(v1alpha1.ReasonStoreInvalid, "fake.data[2] has the key and version of data[0]")
	s.write(map[string]string{"store.yaml": store})
	s.waitReady(s.push("once"))
	s.wantSecret("db", "password", "newest")
}
