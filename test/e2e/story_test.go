package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

func (s *story) gitseal(args ...string) string {
	s.t.Helper()
	out, stderr, err := sandbox.Gitseal(s.t.Context(), s.repo.Dir, nil, args...)
	if err != nil {
		s.t.Fatalf("gitseal %s: %v\n%s", strings.Join(args, " "), err, stderr)
	}
	return out
}

func (s *story) wantSecret(name, key, value string) {
	s.t.Helper()
	eventually(s.t, "Secret "+name, func(ctx context.Context) error {
		o, err := get(ctx, s, name, &corev1.Secret{})
		if err == nil && string(o.Data[key]) != value {
			return fmt.Errorf("%s is not as in Git", key)
		}
		return err
	})
}

// A key beside the Application and a post-quantum one open what is encrypted
// to them.
func TestEachKindOfKeyOpens(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		args []string
		ref  v1alpha1.SOPSKey
	}{
		"beside":       {[]string{"keys", "init", "mine", "--beside"}, v1alpha1.SOPSKey{SecretRef: &v1alpha1.LocalReference{Name: "mine"}}},
		"post-quantum": {[]string{"keys", "init", "pq", "--pq", "--for", "key-post-quantum"}, v1alpha1.SOPSKey{KeyRef: &v1alpha1.LocalReference{Name: "pq"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t, "key-"+name)
			recipient := firstLine(s.gitseal(append(tt.args, "--namespace", s.ns)...))
			s.app.Spec.Secrets = v1alpha1.Secrets{Policy: v1alpha1.PolicySOPS, SOPS: &v1alpha1.SOPS{Keys: []v1alpha1.SOPSKey{tt.ref}}}
			s.write(map[string]string{".sops.yaml": "creation_rules:\n  - encrypted_regex: ^stringData$\n    age: " + recipient + "\n"})
			s.encrypt("db.yaml", plainSecret("db", "opened by "+name))
			commit := s.push("first")
			s.create()
			s.waitReady(commit)
			s.wantSecret("db", "password", "opened by "+name)
			s.legal(status.CurrentStatus)
		})
	}
}

// A key that changes is noticed at once, without a new commit or a poll.
func TestARotatedKeyIsUsedAtOnce(t *testing.T) {
	t.Parallel()
	s := newStory(t, "rotated-key")
	s.sops()
	s.app.Spec.Source.Git.Interval.Duration = time.Hour
	s.app.Spec.Sync.RetryInterval.Duration = time.Hour
	r := &refused{story: s, names: map[string]string{}}
	name, recipient := r.otherKey()
	s.write(map[string]string{".sops.yaml": "creation_rules:\n  - encrypted_regex: ^stringData$\n    age: " + recipient + "\n"})
	s.encrypt("db.yaml", plainSecret("db", "for the new key"))
	commit := s.push("first")
	s.create()
	s.waitRefused(v1alpha1.ReasonDecryptionFailed)
	newer := &corev1.Secret{}
	if err := sandbox.Client.Get(t.Context(), types.NamespacedName{Namespace: v1alpha1.OperatorNamespace, Name: name}, newer); err != nil {
		t.Fatal(err)
	}
	key := &corev1.Secret{}
	if err := sandbox.Client.Get(t.Context(), types.NamespacedName{Namespace: v1alpha1.OperatorNamespace, Name: "key-" + s.ns}, key); err != nil {
		t.Fatal(err)
	}
	for entry, value := range newer.Data {
		key.Data["new-"+entry] = value
	}
	if err := sandbox.Client.Update(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	s.waitReady(commit)
	s.wantSecret("db", "password", "for the new key")
}

const generators = `resources: [web.yaml]
secretGenerator:
  - name: db
    envs: [db.env]
    files: [cert.bin]
`

// Kustomize's generators take encrypted files of every format; a value that
// changes rolls the Deployment, and the Secret of the old one goes.
func TestGeneratorsOfEncryptedFilesRollTheDeployment(t *testing.T) {
	t.Parallel()
	s := newStory(t, "generators")
	s.sops()
	s.write(map[string]string{"kustomization.yaml": generators, "web.yaml": deployment})
	s.encrypt("db.env", "password=one\nuser=alice\n")
	s.encrypt("cert.bin", "\x00\x01binary\xff")
	commit := s.push("first")
	s.create()
	s.waitReady(commit)
	first := s.envFrom()
	s.wantSecret(first, "password", "one")
	s.wantSecret(first, "cert.bin", "\x00\x01binary\xff")

	s.encrypt("db.env", "password=two\nuser=alice\n")
	s.waitReady(s.push("second"))
	second := s.envFrom()
	if first == second {
		t.Fatalf("the Deployment still uses Secret %q after its value changed", first)
	}
	s.wantSecret(second, "password", "two")
	eventually(t, "the old Secret is pruned", func(ctx context.Context) error {
		if _, err := get(ctx, s, first, &corev1.Secret{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("still there: %w", err)
		}
		return nil
	})
}

// envFrom is the Secret that the Deployment takes its environment from.
func (s *story) envFrom() string {
	s.t.Helper()
	web, err := get(s.t.Context(), s, "web", &appsv1.Deployment{})
	if err != nil {
		s.t.Fatal(err)
	}
	return web.Spec.Template.Spec.Containers[0].EnvFrom[0].SecretRef.Name
}

func TestASuspendedApplicationDoesNothing(t *testing.T) {
	t.Parallel()
	s := newStory(t, "suspended")
	s.write(map[string]string{"a.yaml": configMap("a", "1")})
	s.create()
	s.waitReady(s.push("first"))
	s.gitseal("suspend", "app", "--namespace", s.ns, "--reason", "night watch")
	s.waitMessage(v1alpha1.ReasonSuspended, "suspended: night watch")
	s.write(map[string]string{"a.yaml": configMap("a", "2")})
	commit := s.push("second")
	if err := sandbox.Client.Delete(t.Context(), &corev1.ConfigMap{ObjectMeta: meta1("a", s.ns)}); err != nil {
		t.Fatal(err)
	}
	// Whatever it does it does within a few polls; another story's commit
	// going through shows that the operator was not merely slow.
	other := newStory(t, "suspended-other")
	other.write(map[string]string{"b.yaml": configMap("b", "1")})
	other.create()
	other.waitReady(other.push("first"))
	other.write(map[string]string{"b.yaml": configMap("b", "2")})
	other.waitReady(other.push("second"))
	if _, err := get(t.Context(), s, "a", &corev1.ConfigMap{}); !apierrors.IsNotFound(err) {
		t.Errorf("ConfigMap a: %v, want it left alone while suspended", err)
	}
	s.gitseal("resume", "app", "--namespace", s.ns)
	s.waitReady(commit)
	s.wantConfig("a", "2")
}

func TestADependencyIsWaitedFor(t *testing.T) {
	t.Parallel()
	first, second := newStory(t, "depended-on"), newStory(t, "dependent")
	second.app.Spec.DependsOn = []v1alpha1.ApplicationReference{{Name: "app", Namespace: first.ns}}
	second.write(map[string]string{"b.yaml": configMap("b", "1")})
	commit := second.push("first")
	second.create()
	second.waitMessage(v1alpha1.ReasonDependencyNotReady, `Application "app" in namespace "depended-on", which this one depends on, does not exist`)
	second.legal(status.InProgressStatus)
	if got := second.members(); len(got) != 0 {
		t.Errorf("objects applied before the dependency: %v", got)
	}
	first.write(map[string]string{"a.yaml": configMap("a", "1")})
	first.create()
	first.waitReady(first.push("first"))
	second.waitReady(commit)
}

func TestAPruneOverTheLimitIsConfirmed(t *testing.T) {
	t.Parallel()
	s := newStory(t, "prune-limit")
	limit := int32(1)
	s.app.Spec.Sync.PruneLimit = &limit
	s.write(map[string]string{"a.yaml": configMap("a", "1"), "b.yaml": configMap("b", "1"), "c.yaml": configMap("c", "1")})
	s.create()
	s.waitReady(s.push("first"))
	before := s.members()
	s.write(map[string]string{"b.yaml": "", "c.yaml": ""})
	commit := s.push("less")
	want := "2 objects are no longer in Git at main@sha1:" + commit + `, more than spec.sync.pruneLimit of 1, the first of them configmaps "b" in namespace "prune-limit": ` +
		"if that is right: kubectl gitseal confirm app --namespace prune-limit"
	s.waitMessage(v1alpha1.ReasonPruneBlocked, want)
	s.legal(status.FailedStatus)
	if after := s.members(); len(after) != len(before) {
		t.Errorf("objects = %v, want all of %v", after, before)
	}
	if out := s.gitseal("confirm", "app", "--namespace", s.ns, "--wait"); !strings.Contains(out, "ConfigMap   prune-limit   b\nConfigMap   prune-limit   c\n") {
		t.Errorf("confirm printed %q, want the two ConfigMaps", out)
	}
	if app := s.waitReady(commit); app.Status.Confirmation != nil {
		t.Errorf("status.confirmation = %+v, want none any more", app.Status.Confirmation)
	}
	if after := s.members(); len(after) != 1 {
		t.Errorf("objects = %v, want ConfigMap a only", after)
	}
	// What was confirmed was that revision as it was, not what it may mean later.
	eventually(t, "the confirmation is spent", func(ctx context.Context) error {
		app, err := s.read(ctx)
		if err == nil && app.Annotations[v1alpha1.AnnotationConfirmPrune] != "" {
			return errors.New("the annotation is still there")
		}
		return err
	})
}

// A definition and an object of its kind come in one commit; what takes data
// with it is not pruned unless it says so.
func TestDefinitionsComeFirstAndStay(t *testing.T) {
	t.Parallel()
	s := newStory(t, "definitions")
	s.everywhere("cluster-admin")
	s.write(map[string]string{
		"a.yaml":       configMap("a", "1"),
		"b-thing.yaml": "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: one}\n",
		"crd.yaml":     fmt.Sprintf(gadgets, "things", "Thing"),
		"kept.yaml":    "apiVersion: v1\nkind: Namespace\nmetadata: {name: definitions-kept}\n",
		"inside.yaml":  inNamespace("inside", "definitions-kept"),
		"freed.yaml":   "apiVersion: v1\nkind: Namespace\nmetadata: {name: definitions-freed, annotations: {gitseal.dev/prune: Enabled}}\n",
	})
	s.create()
	s.waitReady(s.push("first"))
	s.legal(status.CurrentStatus)
	thing := &unstructured.Unstructured{}
	thing.SetGroupVersionKind(schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Thing"})
	if _, err := get(t.Context(), s, "one", thing); err != nil {
		t.Errorf("Thing one: %v", err)
	}

	s.write(map[string]string{"crd.yaml": "", "kept.yaml": "", "freed.yaml": "", "b-thing.yaml": ""})
	s.waitReady(s.push("without"))
	eventually(t, "what may go is going", func(ctx context.Context) error {
		ns := &corev1.Namespace{}
		err := sandbox.Client.Get(ctx, types.NamespacedName{Name: "definitions-freed"}, ns)
		if err == nil && ns.DeletionTimestamp == nil {
			return errors.New("Namespace definitions-freed is still there")
		}
		return client.IgnoreNotFound(err)
	})
	for name, o := range map[string]client.Object{"definitions-kept": &corev1.Namespace{}, "things.example.com": &apiextensionsv1.CustomResourceDefinition{}} {
		if err := sandbox.Client.Get(t.Context(), types.NamespacedName{Name: name}, o); err != nil || o.GetDeletionTimestamp() != nil {
			t.Errorf("%T %s: %v, want it kept", o, name, err)
		}
	}
}

const crashObjects = 200

// An operator that is killed in the middle of its first sync leaves nothing
// that the next one does not finish. It has a sandbox's operator of its own
// only in that the one of the package stops meanwhile: so it runs alone.
func TestAKilledOperatorIsSucceeded(t *testing.T) {
	s := newStory(t, "killed")
	s.sops()
	for i := range crashObjects {
		s.write(map[string]string{fmt.Sprintf("c%d.yaml", i): configMap(fmt.Sprintf("c%d", i), "1")})
	}
	s.encrypt("db.yaml", plainSecret("db", "after the crash"))
	commit := s.push("first")
	s.create()
	eventually(t, "the sync has begun", func(ctx context.Context) error {
		var list corev1.ConfigMapList
		if err := sandbox.Client.List(ctx, &list, client.InNamespace(s.ns), client.HasLabels{v1alpha1.ApplySetPartOfLabel}); err != nil {
			return err
		}
		if len(list.Items) < crashObjects/10 {
			return fmt.Errorf("%d objects", len(list.Items))
		}
		return nil
	})
	if err := operator.Kill(); err != nil {
		t.Fatal(err)
	}
	next, err := sandbox.StartOperator(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	operator = next
	s.waitReady(commit)
	if got := s.members(); len(got) != crashObjects+1 {
		t.Errorf("%d objects, want %d", len(got), crashObjects+1)
	}
	s.wantSecret("db", "password", "after the crash")
	s.legal(status.CurrentStatus)

	// The next one prunes what the first applied.
	for i := 10; i < crashObjects; i++ {
		if err := os.Remove(filepath.Join(s.repo.Dir, fmt.Sprintf("c%d.yaml", i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.tryEdit(func(spec *v1alpha1.ApplicationSpec) { limit := int32(crashObjects); spec.Sync.PruneLimit = &limit }); err != nil {
		t.Fatal(err)
	}
	s.waitReady(s.push("less"))
	if got := s.members(); len(got) != 10+1 {
		t.Errorf("%d objects, want %d", len(got), 10+1)
	}
}
