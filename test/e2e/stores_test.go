package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// source is a namespace whose Secrets a store reads as a ServiceAccount of it.
func (s *story) source() (namespace, token string) {
	s.t.Helper()
	namespace = s.ns + "-source"
	s.kubectl(fmt.Sprintf(`apiVersion: v1
kind: Namespace
metadata: {name: %[1]s}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader, namespace: %[1]s}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: %[1]s}
rules: [{apiGroups: [""], resources: [secrets], verbs: [get, list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: %[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader, namespace: %[1]s}]
---
apiVersion: v1
kind: Secret
metadata: {name: db, namespace: %[1]s}
stringData: {password: from-the-source}
`, namespace), "apply", "--server-side", "-f", "-")
	return namespace, s.readerToken(namespace)
}

func (s *story) readerToken(namespace string) string {
	s.t.Helper()
	token, err := sandbox.Kubectl(s.t.Context(), "", "create", "token", "reader", "-n", namespace, "--duration=1h")
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(token)
}

// tokenStore is a SecretStore of that namespace, with a token that is kept in
// the Secret "reader".
func tokenStore(ns, source string) string {
	return fmt.Sprintf(`apiVersion: gitseal.dev/v1alpha1
kind: SecretStore
metadata: {name: source, namespace: %s}
spec:
  refreshInterval: 10s
  provider:
    kubernetes:
      remoteNamespace: %s
      auth: {token: {bearerToken: {name: reader, key: token}}}
`, ns, source)
}

const externalSecret = `apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: db}
spec:
  secretStoreRef: {kind: %s, name: %s}
  data:
    - {secretKey: password, remoteRef: {key: %s, property: %s}}
`

func (s *story) credential(token string) {
	s.t.Helper()
	s.kubectl(fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: reader, namespace: %s}\nstringData: {token: %q}\n", s.ns, token),
		"apply", "--server-side", "--field-manager=people", "-f", "-")
}

// letRead lets the operator read Secrets of the namespace, as init does.
func (s *story) letRead(secrets ...string) {
	s.t.Helper()
	s.kubectl(fmt.Sprintf(`apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: gitseal-stores, namespace: %[1]s}
rules: [{apiGroups: [""], resources: [secrets], resourceNames: [%[2]s], verbs: [get, watch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: gitseal-stores, namespace: %[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: gitseal-stores}
subjects: [{kind: ServiceAccount, name: gitseal-controller, namespace: gitseal-system}]
`, s.ns, strings.Join(secrets, ", ")), "apply", "--server-side", "-f", "-")
}

// waitStore waits until a store says something of itself as its spec is now, and
// returns it.
func (s *story) waitStore(name string, status metav1.ConditionStatus, reason, part string) v1alpha1.SecretStoreStatus {
	s.t.Helper()
	var store v1alpha1.SecretStore
	eventually(s.t, "SecretStore "+name+" of "+s.ns+" "+reason, func(ctx context.Context) error {
		if err := sandbox.Client.Get(ctx, types.NamespacedName{Namespace: s.ns, Name: name}, &store); err != nil {
			return err
		}
		if store.Status.ObservedGeneration != store.Generation {
			return fmt.Errorf("generation %d, of which %d is observed", store.Generation, store.Status.ObservedGeneration)
		}
		return storeSays(store.Status, status, reason, part)
	})
	return store.Status
}

func storeSays(got v1alpha1.SecretStoreStatus, status metav1.ConditionStatus, reason, part string) error {
	ready := meta.FindStatusCondition(got.Conditions, v1alpha1.ConditionReady)
	if ready == nil || ready.Status != status || ready.Reason != reason || !strings.Contains(ready.Message, part) {
		return fmt.Errorf("conditions %+v", got.Conditions)
	}
	return nil
}

// Whatever is wrong with a store is said of it, and mending it is enough: the
// Role, the credentials, and those again.
func TestAStoreSaysWhatIsWrongUntilItIsMended(t *testing.T) {
	t.Parallel()
	s := newStory(t, "store-mended")
	s.app.Spec.Secrets.Policy = v1alpha1.PolicyExternal
	namespace, token := s.source()
	s.write(map[string]string{"db.yaml": fmt.Sprintf(externalSecret, "SecretStore", "source", "db", "password")})
	commit := s.push("first")
	s.create()
	s.waitRefused(v1alpha1.ReasonStoreMissing)

	s.kubectl(tokenStore(s.ns, namespace), "apply", "--server-side", "-f", "-")
	s.waitStore("source", metav1.ConditionFalse, v1alpha1.ReasonAccessDenied, "kubectl gitseal init")
	s.waitRefused(v1alpha1.ReasonAccessDenied)
	s.letRead("reader")
	s.waitStore("source", metav1.ConditionFalse, v1alpha1.ReasonStoreInvalid, `Secret "reader" in namespace "store-mended" does not exist`)
	s.credential("not-a-token")
	s.waitStore("source", metav1.ConditionFalse, v1alpha1.ReasonStoreInvalid, "does not accept the credentials")
	s.waitSaid(v1alpha1.ReasonStoreInvalid, "does not accept the credentials")
	s.credential(token)
	status := s.waitStore("source", metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
	if want := "system:serviceaccount:" + namespace + ":reader"; status.Identity != want || status.Provider != "kubernetes" || status.Capabilities != "ReadOnly" {
		t.Errorf("status %+v, want identity %q", status, want)
	}
	s.waitReady(commit)
	s.wantSecret("db", "password", "from-the-source")

	// A ServiceAccount that is gone takes its tokens along.
	s.kubectl("", "delete", "serviceaccount", "reader", "-n", namespace)
	s.waitStore("source", metav1.ConditionFalse, v1alpha1.ReasonStoreInvalid, "does not accept the credentials")
	s.kubectl("", "create", "serviceaccount", "reader", "-n", namespace)
	s.credential(s.readerToken(namespace))
	s.waitStore("source", metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
	s.waitReady(commit)
}

// A ClusterSecretStore serves whom it names and nobody else, and an Application
// that it begins to serve needs no push.
func TestAClusterStoreServesWhomItNames(t *testing.T) {
	t.Parallel()
	s := newStory(t, "store-denied")
	s.app.Spec.Secrets.Policy = v1alpha1.PolicyExternal
	directory := filepath.Join(sandbox.Stores(), s.ns)
	if err := os.MkdirAll(filepath.Join(directory, "team"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"team/password": "of the team", "other": "of others"} {
		if err := os.WriteFile(filepath.Join(directory, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	store := &v1alpha1.ClusterSecretStore{ObjectMeta: metav1.ObjectMeta{Name: s.ns}}
	store.Spec.Provider.File = &v1alpha1.FileProvider{Directory: s.ns}
	if err := sandbox.Client.Create(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	const whole = `apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: db}
spec:
  secretStoreRef: {kind: ClusterSecretStore, name: store-denied}
  data: [{secretKey: password, remoteRef: {key: %s}}]
`
	s.write(map[string]string{"db.yaml": fmt.Sprintf(whole, "other")})
	s.push("first")
	s.create()
	s.waitSaid(v1alpha1.ReasonStoreDenied, `ClusterSecretStore "store-denied" does not serve Application "app" of namespace "store-denied"`)
	eventually(t, "the store ready", func(ctx context.Context) error {
		if err := sandbox.Client.Get(ctx, client.ObjectKeyFromObject(store), store); err != nil {
			return err
		}
		return storeSays(store.Status, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
	})
	s.kubectl("", "label", "namespace", s.ns, "team=payments")
	s.kubectl("", "patch", "clustersecretstore", s.ns, "--type=merge", "-p",
		`{"spec":{"access":[{"namespaceSelector":{"matchLabels":{"team":"payments"}},"keys":["team/"]}]}}`)
	s.waitSaid(v1alpha1.ReasonStoreDenied, `does not let Application "app" of namespace "store-denied" use key "other"`)
	s.write(map[string]string{"db.yaml": fmt.Sprintf(whole, "team/password")})
	s.waitReady(s.push("a key of the team's own"))
	s.wantSecret("db", "password", "of the team")
}

// What something else has yet to write is waited for, and taken up by itself.
func TestASecretThatIsNotReadyYetIsWaitedFor(t *testing.T) {
	t.Parallel()
	s := newStory(t, "store-waits")
	s.app.Spec.Secrets.Policy = v1alpha1.PolicyExternal
	namespace, token := s.source()
	s.letRead("reader")
	s.credential(token)
	s.kubectl(strings.Replace(tokenStore(s.ns, namespace), "remoteNamespace:", "expectedKeys: [password]\n      remoteNamespace:", 1), "apply", "--server-side", "-f", "-")
	s.write(map[string]string{"db.yaml": fmt.Sprintf(externalSecret, "SecretStore", "source", "late", "password")})
	commit := s.push("first")
	s.create()
	s.waitSaid(v1alpha1.ReasonSecretMissing, `key "late": the Secret is not there yet: it goes on by itself`)
	s.kubectl("", "create", "secret", "generic", "late", "-n", namespace)
	s.waitSaid(v1alpha1.ReasonSecretMissing, `the Secret has no entry "password" yet`)
	s.kubectl("", "patch", "secret", "late", "-n", namespace, "-p", `{"stringData": {"password": "at last"}}`)
	s.waitReady(commit)
	s.wantSecret("db", "password", "at last")
}
