package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/fetch"
)

// values is a story's file store: a directory of the operator.
type values struct {
	*story
	dir string
}

// external switches a story to policy External, with a store of files that
// serves its namespace alone.
func (s *story) external() *values {
	s.t.Helper()
	v := &values{story: s, dir: filepath.Join(sandbox.Stores(), s.ns)}
	if err := os.MkdirAll(v.dir, 0o700); err != nil {
		s.t.Fatal(err)
	}
	store := &v1alpha1.ClusterSecretStore{ObjectMeta: metav1.ObjectMeta{Name: s.ns}}
	store.Spec.Provider.File = &v1alpha1.FileProvider{Directory: s.ns}
	store.Spec.Access = []v1alpha1.StoreAccess{{Namespaces: []string{s.ns}}}
	store.Spec.RetrySettings = quickly()
	if err := sandbox.Client.Create(s.t.Context(), store); err != nil {
		s.t.Fatal(err)
	}
	s.app.Spec.Secrets.Policy = v1alpha1.PolicyExternal
	s.app.Spec.Secrets.External = &v1alpha1.External{StoreRef: &v1alpha1.StoreReference{Kind: v1alpha1.KindClusterSecretStore, Name: s.ns}}
	return v
}

// quickly lets a call fail without trying again for long.
func quickly() *v1alpha1.StoreRetrySettings {
	times, pause := int32(1), "10ms"
	return &v1alpha1.StoreRetrySettings{MaxRetries: &times, RetryInterval: &pause}
}

// put writes a value, of which nobody reads a part; "" takes it away.
func (v *values) put(key, value string) {
	v.t.Helper()
	path, written := filepath.Join(v.dir, key), filepath.Join(v.t.TempDir(), "value")
	if value == "" {
		if err := os.Remove(path); err != nil {
			v.t.Fatal(err)
		}
		return
	}
	if err := errors.Join(os.WriteFile(written, []byte(value), 0o600), os.Rename(written, path)); err != nil {
		v.t.Fatal(err)
	}
}

// out takes the store away, and gives what brings it back.
func (v *values) out() (back func()) {
	v.t.Helper()
	away := v.dir + ".away"
	if err := os.Rename(v.dir, away); err != nil {
		v.t.Fatal(err)
	}
	return func() {
		v.t.Helper()
		if err := os.Rename(away, v.dir); err != nil {
			v.t.Fatal(err)
		}
	}
}

// externalManifest is a manifest as users of external-secrets.io have it.
func externalManifest(name, spec string) string {
	return fmt.Sprintf("apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: %s}\nspec:\n", name) +
		"  " + strings.ReplaceAll(strings.TrimSpace(spec), "\n", "\n  ") + "\n"
}

const dbSecret = `
refreshInterval: 1h
data:
  - {secretKey: password, remoteRef: {key: db, property: password}}
`

// refreshed asks for all values to be read again and waits until they were.
func (s *story) refreshed() {
	s.t.Helper()
	out, stderr, err := sandbox.Gitseal(s.t.Context(), s.repo.Dir, nil, "sync", "app", "-n", s.ns, "--refresh", "--wait", "--timeout", patience.String())
	if err != nil {
		s.t.Fatalf("sync --refresh: %v\n%s%s", err, out, stderr)
	}
}

// secretsReady waits for a condition SecretsReady.
func (s *story) secretsReady(status metav1.ConditionStatus, reason, text string) {
	s.t.Helper()
	eventually(s.t, "SecretsReady "+reason, func(ctx context.Context) error {
		app, err := s.read(ctx)
		if err != nil {
			return err
		}
		return secretsSay(status, reason, text)(app)
	})
}

// secretsSay checks a condition SecretsReady.
func secretsSay(status metav1.ConditionStatus, reason, text string) func(*v1alpha1.Application) error {
	return func(app *v1alpha1.Application) error {
		c := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionSecretsReady)
		if c == nil || c.Status != status || c.Reason != reason || !strings.Contains(c.Message, text) {
			return fmt.Errorf("conditions %+v", app.Status.Conditions)
		}
		return nil
	}
}

func TestAnExternalSecretComesWithWhatUsesIt(t *testing.T) {
	t.Parallel()
	s := newStory(t, "external")
	v := s.external()
	v.put("db", `{"user":"app","password":"first value of the provider"}`)
	s.write(map[string]string{"db.yaml": externalManifest("db", dbSecret), "web.yaml": strings.Replace(fmt.Sprintf(plainWeb, "1"),
		"image: ", "envFrom: [{secretRef: {name: db}}], image: ", 1)})
	s.create()
	app := s.waitReady(s.push("first"))
	s.wantData("db", map[string]string{"password": "first value of the provider"})
	s.secretsReady(metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "resolved 1 key of 1 ExternalSecret under policy External")
	if len(app.Status.History) != 1 || app.Status.History[0].Changed != 2 {
		t.Errorf("history %+v, want both in one sync", app.Status.History)
	}
	refs := app.Status.Secrets.References
	if len(refs) != 1 || refs[0].Key != "db" || refs[0].Store.Name != "external" || refs[0].ChangedAt == nil || !slices.Equal(refs[0].Properties, []string{"password"}) || app.Status.Secrets.Resolved != 1 {
		t.Errorf("status.secrets %+v, want the value in use", app.Status.Secrets)
	}
	if out, _ := sandbox.Kubectl(t.Context(), "", "get", "externalsecrets.external-secrets.io", "-n", s.ns); !strings.Contains(out, "the server doesn't have a resource type") && out != "" {
		t.Errorf("kubectl get externalsecrets: %s, want that kind not to be needed", out)
	}

	v.put("db", `{"user":"app","password":"second value of the provider"}`)
	s.refreshed()
	s.wantData("db", map[string]string{"password": "second value of the provider"})
	s.told(`Applied 1 object and pruned 0 objects at ` + app.Status.Source.Revision + `, for new values: 1 key of ClusterSecretStore "external"`)
	app, err := s.read(t.Context())
	if err != nil || app.Status.History[0].Reason != v1alpha1.SyncSecret || len(app.Status.History) != 2 {
		t.Errorf("history %+v, %v, want a sync for the value", app.Status.History, err)
	}
	// What has not changed is not written, in the status neither.
	s.refreshed()
	again, err := s.read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(app.Status.Secrets, again.Status.Secrets); diff != "" || len(again.Status.History) != 2 {
		t.Errorf("status.secrets (-before +after):\n%s", diff)
	}
}

func TestAValueIsReadAgainWhenItIsDue(t *testing.T) {
	t.Parallel()
	s := newStory(t, "external-due")
	v := s.external()
	v.put("db", `{"password":"first"}`)
	v.put("slow", "never read again")
	s.write(map[string]string{
		"db.yaml":   externalManifest("db", strings.Replace(dbSecret, "1h", "10s", 1)),
		"slow.yaml": externalManifest("slow", "refreshPolicy: OnChange\ndata:\n  - {secretKey: k, remoteRef: {key: slow}}"),
	})
	s.app.Spec.Source.Git.Interval.Duration = time.Hour
	commit := s.push("first")
	s.create()
	s.waitReady(commit)
	s.wantData("db", map[string]string{"password": "first"})
	v.put("db", `{"password":"second"}`)
	v.put("slow", "read again all the same")
	s.wantData("db", map[string]string{"password": "second"})
	s.wantData("slow", map[string]string{"k": "never read again"})
}

// What is refreshed on change follows changes in Git, and neither its provider
// nor what others read of the same key.
func TestAValueRefreshedOnChangeFollowsGit(t *testing.T) {
	t.Parallel()
	s := newStory(t, "external-on-change")
	v := s.external()
	v.put("db", "first")
	const data = "data:\n  - {secretKey: k, remoteRef: {key: db}}"
	onChange := externalManifest("changed", "refreshPolicy: OnChange\n"+data)
	s.write(map[string]string{"on-change.yaml": onChange, "periodic.yaml": externalManifest("periodic", "refreshInterval: 10s\n"+data)})
	s.create()
	s.waitReady(s.push("first"))
	v.put("db", "second")
	s.wantData("periodic", map[string]string{"k": "second"})
	s.write(map[string]string{"c.yaml": configMap("c", "1")})
	s.waitReady(s.push("something else"))
	s.wantData("changed", map[string]string{"k": "first"})

	s.write(map[string]string{"on-change.yaml": strings.Replace(onChange, "{name: changed}", `{name: changed, annotations: {force-sync: "1"}}`, 1)})
	s.waitReady(s.push("an annotation"))
	s.wantData("changed", map[string]string{"k": "second"})
	v.put("db", "third")
	s.refreshed()
	s.wantData("changed", map[string]string{"k": "third"})
}

func TestARevisionWithAMissingValueIsNotApplied(t *testing.T) {
	t.Parallel()
	s := newStory(t, "external-missing")
	v := s.external()
	v.put("db", `{"password":"kept"}`)
	s.write(map[string]string{"db.yaml": externalManifest("db", dbSecret), "c.yaml": configMap("c", "1")})
	s.create()
	s.waitReady(s.push("first"))

	s.write(map[string]string{
		"more.yaml": externalManifest("more", "data:\n  - {secretKey: k, remoteRef: {key: nowhere}}"),
		"c.yaml":    "", "d.yaml": configMap("d", "2"),
	})
	commit := s.push("second")
	if m := s.waitRefused(v1alpha1.ReasonSecretMissing); !strings.Contains(m, `ClusterSecretStore "external-missing"`) || !strings.Contains(m, `"nowhere"`) || !strings.Contains(m, "more.yaml:1") {
		t.Errorf("message %q does not name store, key and place", m)
	}
	s.secretsReady(metav1.ConditionFalse, v1alpha1.ReasonSecretMissing, "nowhere")
	s.wantConfigKey("c", "key", "1")
	if _, err := get(t.Context(), s, "d", &corev1.ConfigMap{}); !apierrors.IsNotFound(err) {
		t.Errorf("ConfigMap d: %v, want nothing of the revision applied", err)
	}
	s.by("other", "secret", "db", `{"stringData":{"password":"drifted"}}`)
	s.wantData("db", map[string]string{"password": "kept"})

	v.put("nowhere", "there now") // nothing tells of it
	s.waitReady(commit)
	s.wantData("more", map[string]string{"k": "there now"})
}

func TestAnOutageChangesNothing(t *testing.T) {
	t.Parallel()
	s := newStory(t, "external-outage")
	v := s.external()
	s.app.Spec.Secrets.External.MaxStaleness = &metav1.Duration{Duration: 8 * time.Second}
	s.app.Spec.Secrets.External.Interval = &metav1.Duration{Duration: 10 * time.Second}
	v.put("db", `{"password":"kept"}`)
	s.write(map[string]string{"db.yaml": externalManifest("db", strings.Replace(dbSecret, "refreshInterval: 1h\n", "", 1))})
	s.create()
	commit := s.push("first")
	s.waitReady(commit)
	back := v.out()
	s.by("other", "secret", "db", `{"stringData":{"password":"drifted"}}`)
	s.wantData("db", map[string]string{"password": "kept"})
	// It is due after 10 seconds, and older than it may be by then.
	m := s.waitRefused(v1alpha1.ReasonValuesStale)
	if !strings.Contains(m, "maxStaleness") {
		t.Errorf("message %q", m)
	}
	s.by("other", "secret", "db", `{"stringData":{"password":"drifted again"}}`)
	s.wantData("db", map[string]string{"password": "kept"})
	if app, err := s.read(t.Context()); err != nil || len(app.Status.History) == 0 || app.Status.Resources.Applied != 1 {
		t.Errorf("status %+v, %v, want everything in place", app.Status, err)
	}
	v.dir += ".away"
	v.put("db", `{"password":"rotated meanwhile"}`)
	v.dir = strings.TrimSuffix(v.dir, ".away")
	back()
	s.waitReady(commit)
	s.wantData("db", map[string]string{"password": "rotated meanwhile"})
}

// Values are kept for as long as they may be, and it is said of which store.
func TestAnOutageIsToldWhileValuesAreKept(t *testing.T) {
	t.Parallel()
	s := newStory(t, "external-stale")
	v := s.external()
	v.put("db", `{"password":"kept"}`)
	s.write(map[string]string{"db.yaml": externalManifest("db", strings.Replace(dbSecret, "1h", "10s", 1))})
	s.create()
	commit := s.push("first")
	s.waitReady(commit)
	back := v.out()
	s.secretsReady(metav1.ConditionTrue, v1alpha1.ReasonSucceeded, `the values read last are kept: ClusterSecretStore "external-stale": `)
	s.waitReady(commit)
	// A revision that needs no other values is applied meanwhile.
	s.write(map[string]string{"c.yaml": configMap("c", "1")})
	s.waitReady(s.push("second"))
	s.wantConfigKey("c", "key", "1")
	back()
	eventually(t, "an end of the outage", func(ctx context.Context) error {
		app, err := s.read(ctx)
		if c := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionSecretsReady); err != nil || c == nil || strings.Contains(c.Message, "are kept") {
			return fmt.Errorf("%+v, %w", c, err)
		}
		return nil
	})
}

// A key that is gone at the provider goes from the Secret, but not at once.
func TestADeletedValueIsDeletedOnceThatIsProven(t *testing.T) {
	t.Parallel()
	s := newStory(t, "external-deleted")
	v := s.external()
	v.put("gone", "lives")
	v.put("stays", "lives")
	s.write(map[string]string{"both.yaml": externalManifest("both", `
target: {deletionPolicy: Delete}
data:
  - {secretKey: gone, remoteRef: {key: gone}}
  - {secretKey: stays, remoteRef: {key: stays}}`)})
	s.create()
	commit := s.push("first")
	s.waitReady(commit)
	states, gone := s.states(), time.Now()
	v.put("gone", "")
	s.kubectl("", "-n", s.ns, "annotate", "application", "app", v1alpha1.AnnotationRefreshRequestedAt+"=now")
	states("the revision to lack a value", isRefused(v1alpha1.ReasonSecretMissing))
	s.wantData("both", map[string]string{"stays": "lives"})
	if took := time.Since(gone); took < fetch.Proof {
		t.Errorf("the key went after %s, want two proofs %s apart", took, fetch.Proof)
	}
	s.waitReady(commit)
}

func TestEachCreationPolicy(t *testing.T) {
	t.Parallel()
	s := newStory(t, "external-creation")
	v := s.external()
	v.put("k", "value")
	policy := func(name, policy string) string {
		return externalManifest(name, "target: {creationPolicy: "+policy+"}\ndata:\n  - {secretKey: ours, remoteRef: {key: k}}")
	}
	s.kubectl("", "-n", s.ns, "create", "secret", "generic", "merged", "--from-literal=own=kept")
	s.write(map[string]string{
		"owned.yaml": policy("owned", "Owner"), "orphan.yaml": policy("orphan", "Orphan"), "merged.yaml": policy("merged", "Merge"),
		"either.yaml": policy("either", "CreateOrMerge"), "none.yaml": policy("none", "None"), "c.yaml": configMap("c", "1"),
		"once.yaml": externalManifest("once", "refreshPolicy: CreatedOnce\ndata:\n  - {secretKey: ours, remoteRef: {key: k}}"),
	})
	s.create()
	s.waitReady(s.push("first"))
	ours := map[string]string{"ours": "value"}
	for _, name := range []string{"owned", "orphan", "either", "once"} {
		s.wantData(name, ours)
	}
	s.wantData("merged", map[string]string{"own": "kept", "ours": "value"})
	if _, err := get(t.Context(), s, "none", &corev1.Secret{}); !apierrors.IsNotFound(err) {
		t.Errorf("Secret none: %v, want it only checked", err)
	}
	v.put("k", "changed")
	s.refreshed()
	ours["ours"] = "changed"
	for _, name := range []string{"owned", "orphan", "either"} {
		s.wantData(name, ours)
	}
	s.wantData("merged", map[string]string{"own": "kept", "ours": "changed"})
	s.wantData("once", map[string]string{"ours": "value"})

	s.write(map[string]string{"owned.yaml": "", "orphan.yaml": "", "merged.yaml": "", "either.yaml": "", "none.yaml": "", "once.yaml": ""})
	s.waitReady(s.push("second"))
	eventually(t, "what was owned to be pruned", func(ctx context.Context) error {
		var left []string
		for _, name := range []string{"owned", "once"} {
			if _, err := get(ctx, s, name, &corev1.Secret{}); !apierrors.IsNotFound(err) {
				left = append(left, name)
			}
		}
		if len(left) > 0 {
			return fmt.Errorf("%v are still there", left)
		}
		return nil
	})
	s.wantData("orphan", ours)
	s.wantData("merged", map[string]string{"own": "kept"})
	s.wantData("either", map[string]string{})
}

// A template that does not end is ended, and nobody else waits for it.
func TestATemplateThatLoopsHoldsNothingUp(t *testing.T) {
	t.Parallel()
	s := newStory(t, "external-loop")
	v := s.external()
	v.put("k", "value")
	s.write(map[string]string{"loop.yaml": externalManifest("loop", `
target:
  template:
    data:
      k: '{{ define "x" }}{{ template "x" . }}{{ end }}{{ template "x" . }}'
data:
  - {secretKey: k, remoteRef: {key: k}}`)})
	s.create()
	s.push("first")
	if m := s.waitRefused(v1alpha1.ReasonSecretInvalid); !strings.Contains(m, "loop.yaml:1") || strings.Contains(m, "value") {
		t.Errorf("message %q, want the place and no value", m)
	}
}

func TestPoliciesAreNotMixed(t *testing.T) {
	t.Parallel()
	s := newStory(t, "external-mixed")
	v := s.external()
	v.put("db", `{"password":"value"}`)
	s.write(map[string]string{"db.yaml": externalManifest("db", dbSecret), "plain.yaml": plainSecret("plain", "readable")})
	s.create()
	s.push("first")
	if m := s.waitRefused(v1alpha1.ReasonPolicyViolated); !strings.Contains(m, `Secret "plain" carries plain data at key`) || !strings.Contains(m, "under policy External") {
		t.Errorf("message %q", m)
	}
	if all := s.members(); len(all) != 0 {
		t.Errorf("members %v, want nothing applied", all)
	}
}
