package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// versions are the resource versions of a story's Secrets and ConfigMaps.
func (s *story) versions() map[string]string {
	s.t.Helper()
	all := map[string]string{}
	for _, list := range []client.ObjectList{&corev1.SecretList{}, &corev1.ConfigMapList{}} {
		if err := sandbox.Client.List(s.t.Context(), list, client.InNamespace(s.ns), client.HasLabels{v1alpha1.ApplySetPartOfLabel}); err != nil {
			s.t.Fatal(err)
		}
		switch l := list.(type) {
		case *corev1.SecretList:
			for _, o := range l.Items {
				all["Secret "+o.Name] = o.ResourceVersion
			}
		case *corev1.ConfigMapList:
			for _, o := range l.Items {
				all["ConfigMap "+o.Name] = o.ResourceVersion
			}
		}
	}
	return all
}

const passwordGenerator = `apiVersion: generators.external-secrets.io/v1alpha1
kind: Password
metadata: {name: made-up}
spec: {length: 20, digits: 4, symbols: 0, noUpper: false, allowRepeat: true}
---
`

func generated(name string) string {
	return passwordGenerator + externalManifest(name, "dataFrom:\n  - sourceRef: {generatorRef: {apiVersion: generators.external-secrets.io/v1alpha1, kind: Password, name: made-up}}")
}

// drawn makes a key, another one at each render.
func drawn(name string) string {
	return externalManifest(name, `
refreshPolicy: CreatedOnce
target: {template: {data: {key: '{{ genPrivateKey "ecdsa" }}', db: '{{ .db }}'}}}
data: [{secretKey: db, remoteRef: {key: db}}]`)
}

// A restarted operator reads all values anew, and finds that all is in place:
// what a store answers, what is made up, and what was drawn once.
func TestARestartChangesNothingOfExternalSecrets(t *testing.T) {
	s := newStory(t, "external-restart")
	v := s.external()
	v.put("db", `{"password":"as it was"}`)
	s.write(map[string]string{"db.yaml": externalManifest("db", dbSecret), "made.yaml": generated("made"), "once.yaml": drawn("once"), "c.yaml": configMap("c", "1")})
	s.create()
	before := s.waitReady(s.push("first"))
	objects := s.versions()
	if len(objects) != 4 {
		t.Fatalf("objects %v, want four", objects)
	}
	restart(t, func() {})
	s.looked()
	after := s.waitReady(strings.TrimPrefix(before.Status.Source.Revision, "main@sha1:"))
	if diff := cmp.Diff(objects, s.versions()); diff != "" {
		t.Errorf("objects (-before +after the restart):\n%s", diff)
	}
	if diff := cmp.Diff(before.Status.Secrets, after.Status.Secrets); diff != "" {
		t.Errorf("status.secrets (-before +after the restart):\n%s", diff)
	}
	if diff := cmp.Diff(before.Status.History, after.Status.History); diff != "" {
		t.Errorf("history (-before +after the restart):\n%s", diff)
	}

	// Neither a new revision nor a refresh says anything of what was drawn anew.
	s.write(map[string]string{"c.yaml": configMap("c", "2")})
	second := s.waitReady(s.push("second"))
	s.refreshed()
	last := s.waitReady(strings.TrimPrefix(second.Status.Source.Revision, "main@sha1:"))
	now := s.versions()
	objects["ConfigMap c"] = now["ConfigMap c"]
	if diff := cmp.Diff(objects, now); diff != "" {
		t.Errorf("objects (-before +after a revision and a refresh):\n%s", diff)
	}
	if len(second.Status.History) != len(before.Status.History)+1 {
		t.Errorf("%d entries of history after the second revision, want one more than %d", len(second.Status.History), len(before.Status.History))
	}
	if diff := cmp.Diff(second.Status.History, last.Status.History); diff != "" {
		t.Errorf("history (-before +after a refresh):\n%s", diff)
	}
}

// What is made once needs nothing of its store from then on: neither for an
// operator that starts, nor where its manifest changes. Where it is deleted by
// hand, it is made of what the store says by then.
func TestWhatIsMadeOnceOutlivesItsKey(t *testing.T) {
	s := newStory(t, "external-made-once")
	v := s.external()
	v.put("db", `{"password":"of the database"}`)
	v.put("bootstrap", "the first credential")
	const spec = "refreshPolicy: CreatedOnce\ndata:\n  - {secretKey: credential, remoteRef: {key: bootstrap}}"
	s.write(map[string]string{"db.yaml": externalManifest("db", dbSecret), "bootstrap.yaml": externalManifest("bootstrap", spec)})
	s.create()
	first := s.push("first")
	before := s.waitReady(first)
	s.secretsReady(metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "resolved 1 key of 2 ExternalSecrets")
	objects := s.versions()
	restart(t, func() { v.put("bootstrap", "") })
	s.looked()
	after := s.waitReady(first)
	if diff := cmp.Diff(before.Status.Secrets, after.Status.Secrets); diff != "" {
		t.Errorf("status.secrets (-before +after the restart):\n%s", diff)
	}
	s.refreshed()
	s.write(map[string]string{"bootstrap.yaml": strings.Replace(externalManifest("bootstrap",
		strings.Replace(spec, "data:", "target: {immutable: true, template: {type: example.com/other}}\ndata:", 1)), "{name: bootstrap}", "{name: bootstrap, labels: {marked: otherwise}}", 1)})
	second := s.push("second")
	s.waitReady(second)
	if diff := cmp.Diff(objects, s.versions()); diff != "" {
		t.Errorf("objects (-before +after a restart, a refresh and a revision):\n%s", diff)
	}

	s.kubectl("", "-n", s.ns, "delete", "secret", "bootstrap")
	s.secretsReady(metav1.ConditionFalse, v1alpha1.ReasonSecretMissing, `"bootstrap"`)
	v.put("bootstrap", "the second credential")
	s.refreshed()
	made := s.wantData("bootstrap", map[string]string{"credential": "the second credential"})
	if made.Labels["marked"] != "" || made.Type != "example.com/other" || made.Immutable == nil {
		t.Errorf("Secret of type %s with labels %v, want what its manifest says by now", made.Type, made.Labels)
	}
	s.waitReady(second)
}

// A value that changes while no operator runs is a new value, and no drift: it is
// applied also where drift is left alone, and where the store has no versions
// that would tell.
func TestAValueThatChangedWhileNobodyLookedIsNoDrift(t *testing.T) {
	s := newStory(t, "external-meanwhile")
	s.app.Spec.Sync.Drift = v1alpha1.DriftReport
	v := s.external()
	v.put("db", `{"password":"before"}`)
	s.write(map[string]string{"db.yaml": externalManifest("db", dbSecret)})
	s.create()
	commit := s.push("first")
	s.waitReady(commit)
	restart(t, func() { v.put("db", `{"password":"meanwhile"}`) })
	s.wantData("db", map[string]string{"password": "meanwhile"})
	s.looked() // the status follows what is applied
	app := s.waitReady(commit)
	if len(app.Status.Drift) > 0 || app.Status.History[0].Reason != v1alpha1.SyncSecret {
		t.Errorf("drift %v, history %+v, want a new value", app.Status.Drift, app.Status.History)
	}
}

// An operator that starts while a provider is down knows no values. It changes
// nothing, prunes nothing, and says why.
func TestARestartWhileTheProviderIsDownChangesNothing(t *testing.T) {
	s := newStory(t, "external-down")
	v := s.external()
	v.put("db", `{"password":"as it was"}`)
	s.write(map[string]string{"db.yaml": externalManifest("db", dbSecret), "c.yaml": configMap("c", "1")})
	s.create()
	s.waitReady(s.push("first"))
	objects := s.versions()
	var back func()
	var commit string
	restart(t, func() {
		back = v.out()
		s.write(map[string]string{"c.yaml": "", "d.yaml": configMap("d", "2")})
		commit = s.push("second")
		v.dir += ".away"
		v.put("db", `{"password":"rotated meanwhile"}`)
		v.dir = strings.TrimSuffix(v.dir, ".away")
	})
	if m := s.waitRefused(v1alpha1.ReasonStoreUnavailable); !strings.Contains(m, `ClusterSecretStore "external-down"`) {
		t.Errorf("message %q does not name the store", m)
	}
	s.secretsReady(metav1.ConditionFalse, v1alpha1.ReasonStoreUnavailable, "external-down")
	s.looked()
	if diff := cmp.Diff(objects, s.versions()); diff != "" {
		t.Errorf("objects (-before +after the restart):\n%s", diff)
	}
	back()
	app := s.waitReady(commit)
	s.wantData("db", map[string]string{"password": "rotated meanwhile"})
	if app.Status.History[0].Reason != v1alpha1.SyncRevision {
		t.Errorf("history %+v, want the revision", app.Status.History)
	}
}

// What a store was asked for is counted: one value each, and none for a
// revision that needs the same ones.
func TestANewRevisionReadsOnlyWhatItAdds(t *testing.T) {
	t.Parallel()
	s := newStory(t, "external-reads")
	v := s.external()
	v.put("db", `{"user":"app","password":"read once"}`)
	v.put("more", "read once, too")
	reads := func(want int64) {
		t.Helper()
		eventually(t, fmt.Sprintf("%d values read", want), func(ctx context.Context) error {
			var store v1alpha1.ClusterSecretStore
			err := sandbox.Client.Get(ctx, client.ObjectKey{Name: s.ns}, &store)
			if err != nil || store.Status.Calls == nil || store.Status.Calls.Values != want {
				return fmt.Errorf("calls %+v, %w", store.Status.Calls, err)
			}
			return nil
		})
	}
	s.write(map[string]string{"db.yaml": externalManifest("db", dbSecret), "same.yaml": externalManifest("same",
		"dataFrom:\n  - extract: {key: db}")})
	s.create()
	s.waitReady(s.push("first"))
	s.wantData("same", map[string]string{"user": "app", "password": "read once"})
	reads(1)
	for i := range 3 {
		s.write(map[string]string{"c.yaml": configMap("c", fmt.Sprint(i))})
		s.waitReady(s.push("unchanged values"))
	}
	s.write(map[string]string{"more.yaml": externalManifest("more", "data:\n  - {secretKey: k, remoteRef: {key: more}}")})
	s.waitReady(s.push("another value"))
	reads(2)
}
