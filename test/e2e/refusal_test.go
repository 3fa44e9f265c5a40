package e2e

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// refusal is one kind of bad input, brought to an Application that runs well.
type refusal struct {
	// policy None where plain is set, else SOPS with a key of the case's own.
	plain bool
	// prepare changes the story before its first, good revision.
	prepare func(*refused)
	// commit makes the bad revision in the working copy.
	commit func(*refused)
	// change makes the bad spec, or whatever else goes bad in the cluster.
	change func(*refused)
	// reason and message are what Ready must say, to the letter. Names in
	// braces stand for what differs from run to run.
	reason, message string
	// waits: the failure is one that may pass, so kstatus says InProgress.
	waits bool
	// partial: it is the API server that refuses an object, so the others of
	// its wave may be there. Later waves and prunes still may not.
	partial bool
	// mend undoes a change; a commit is undone by a new one. Without either,
	// recovery is not looked at.
	mend func(*refused)
}

// refused is a refusal's story, with what its message may name.
type refused struct {
	*story
	names map[string]string
}

func (r *refused) text(s string) string {
	for name, value := range r.names {
		s = strings.ReplaceAll(s, "{"+name+"}", value)
	}
	return s
}

// name makes a value known to the message under a name.
func (r *refused) name(name, value string) { r.names[name] = value }

// edit changes the Application's spec as it is now.
func (r *refused) edit(change func(*v1alpha1.ApplicationSpec)) {
	r.t.Helper()
	if err := r.tryEdit(change); err != nil {
		r.t.Fatal(err)
	}
}

func (s *story) tryEdit(change func(*v1alpha1.ApplicationSpec)) error {
	app, err := s.read(s.t.Context())
	if err != nil {
		return err
	}
	before := app.DeepCopy()
	change(&app.Spec)
	return sandbox.Client.Patch(s.t.Context(), app, client.MergeFrom(before))
}

func runRefusals(t *testing.T, cases map[string]refusal) {
	t.Helper()
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.run(t, name)
		})
	}
}

func (c refusal) run(t *testing.T, name string) {
	r := &refused{story: newStory(t, slug(name)), names: map[string]string{}}
	r.name("ns", r.ns)
	r.name("url", r.repo.URL)
	if !c.plain {
		r.name("recipient", r.sops())
		r.encrypt("kept-secret.yaml", plainSecret("kept-secret", "stays as it is"))
	}
	r.write(map[string]string{"kept.yaml": configMap("kept", "one"), "extra.yaml": configMap("extra", "one")})
	if c.prepare != nil {
		c.prepare(r)
	}
	good := r.push("good")
	r.create()
	r.waitReady(good)
	before := r.members()

	if c.commit != nil {
		c.commit(r)
		// Were the revision taken, this would be applied and pruned.
		r.write(map[string]string{"kept.yaml": configMap("kept", "two"), "extra.yaml": "", "late.yaml": service})
		r.push("bad")
	}
	if c.change != nil {
		c.change(r)
	}
	r.expect(c, before)
	r.recover(c, good)
}

// waitMessage waits until Ready is False for a reason, in just these words. It
// may say something else before: a Role counts a moment after it was written.
func (s *story) waitMessage(reason, want string) {
	s.t.Helper()
	s.waitRefusal(reason, func(message string) error {
		if diff := cmp.Diff(want, message); diff != "" {
			return fmt.Errorf("message (-want +got):\n%s", diff)
		}
		return nil
	})
}

// expect waits for the refusal and looks at what it left behind.
func (r *refused) expect(c refusal, before map[string]string) {
	r.t.Helper()
	r.waitMessage(c.reason, r.text(c.message))
	want := status.FailedStatus
	if c.waits {
		want = status.InProgressStatus
	}
	r.legal(want)
	after := r.members()
	if c.partial {
		r.partly(before, after)
		return
	}
	if diff := cmp.Diff(before, after); diff != "" {
		r.t.Errorf("objects of the Application (-before +after):\n%s", diff)
	}
}

// partly checks what the API server's own refusal leaves: nothing is pruned,
// and nothing of a later wave is there.
func (r *refused) partly(before, after map[string]string) {
	r.t.Helper()
	for id := range before {
		if _, ok := after[id]; !ok {
			r.t.Errorf("%s was pruned", id)
		}
	}
	if _, ok := after["Service/web"]; ok {
		r.t.Error("Service/web of a later wave was applied")
	}
}

// recover makes it good again and waits until it is.
func (r *refused) recover(c refusal, good string) {
	r.t.Helper()
	if c.mend != nil {
		c.mend(r)
	}
	if c.commit != nil {
		r.git("read-tree", "--reset", "-u", good)
		r.write(map[string]string{"late.yaml": service, "kept.yaml": configMap("kept", "three")})
		good = r.push("good again")
	}
	if c.mend == nil && c.commit == nil {
		return
	}
	r.waitReady(good)
	r.legal(status.CurrentStatus)
}

func (s *story) git(args ...string) string {
	s.t.Helper()
	out, err := s.repo.Git(s.t.Context(), args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// members lists the objects that belong to the Application, each with what
// changes when it is written or replaced.
func (s *story) members() map[string]string {
	s.t.Helper()
	found := map[string]string{}
	for kind, list := range map[string]client.ObjectList{
		"ConfigMap": &corev1.ConfigMapList{}, "Secret": &corev1.SecretList{}, "Service": &corev1.ServiceList{},
	} {
		if err := sandbox.Client.List(s.t.Context(), list, client.InNamespace(s.ns), client.HasLabels{v1alpha1.ApplySetPartOfLabel}); err != nil {
			s.t.Fatal(err)
		}
		err := meta.EachListItem(list, func(o runtime.Object) error {
			m, err := meta.Accessor(o)
			if err == nil {
				found[kind+"/"+m.GetName()] = fmt.Sprintf("uid %s, version %s", m.GetUID(), m.GetResourceVersion())
			}
			return err
		})
		if err != nil {
			s.t.Fatal(err)
		}
	}
	return found
}

// legal checks that the status is one that kstatus reads as want.
func (s *story) legal(want status.Status) {
	s.t.Helper()
	eventually(s.t, "kstatus "+want.String(), func(ctx context.Context) error {
		app, err := s.read(ctx)
		if err != nil {
			return err
		}
		return legalStatus(app, want)
	})
}

func legalStatus(app *v1alpha1.Application, want status.Status) error {
	got, err := kstatus(app)
	if err != nil {
		return err
	}
	if got.Status != want {
		return fmt.Errorf("kstatus says %s (%s), want %s", got.Status, got.Message, want)
	}
	return consistent(app)
}

func kstatus(app *v1alpha1.Application) (*status.Result, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(app)
	if err != nil {
		return nil, err
	}
	u := &unstructured.Unstructured{Object: content}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Application"))
	return status.Compute(u)
}

// consistent checks that the conditions do not contradict each other: Ready is
// there, the others only while they are True, and Ready is what kstatus says.
func consistent(app *v1alpha1.Application) error {
	for _, kind := range []string{v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled} {
		if c := meta.FindStatusCondition(app.Status.Conditions, kind); c != nil && c.Status != metav1.ConditionTrue {
			return fmt.Errorf("condition %s is there and %s, want it True or absent", kind, c.Status)
		}
	}
	if len(app.Status.Conditions) == 0 {
		return nil // not looked at yet
	}
	ready := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil {
		return fmt.Errorf("there is no condition Ready in %+v", app.Status.Conditions)
	}
	got, err := kstatus(app)
	if err != nil {
		return err
	}
	current := app.Status.ObservedGeneration == app.Generation && app.DeletionTimestamp == nil
	if isReady := ready.Status == metav1.ConditionTrue; current && isReady != (got.Status == status.CurrentStatus) {
		return fmt.Errorf("Ready is %s and kstatus says %s (%s)", ready.Status, got.Status, got.Message)
	}
	return nil
}

var noName = regexp.MustCompile(`[^a-z0-9]+`)

const longestSlug = 50

// slug makes the name of a namespace and repository of a case's name.
func slug(name string) string {
	s := strings.Trim(noName.ReplaceAllString(strings.ToLower(name), "-"), "-")
	return strings.Trim(s[:min(len(s), longestSlug)], "-")
}
