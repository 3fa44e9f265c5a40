// Package e2e looks at gitseal from outside: it commits to a real Git server,
// and reads what a real API server then holds. The operator runs with exactly
// the rights that config/default and one Role per namespace give it.
package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/test/rig"
)

// The sandbox and the operator serve all tests of the package; each test works
// in namespaces and repositories of its own.
var (
	sandbox  *rig.Rig
	operator *rig.Operator
)

func TestMain(m *testing.M) {
	os.Exit(rig.Main(m, func(r *rig.Rig, o *rig.Operator) { sandbox, operator = r, o }))
}

// patience is for machines that do much else besides, and for what the operator
// puts off by itself: it leaves a fight or a store that is away alone for a minute.
const patience = 5 * time.Minute

// eventually polls until check returns nil, or fails the test with its last
// answer.
func eventually(t *testing.T, what string, check func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var last error
	for {
		if last = check(ctx); last == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not after %s: %v", what, patience, last)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// throughout looks again and again for a while, and fails the test with the
// first thing that check finds wrong.
func throughout(t *testing.T, d time.Duration, check func() error) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); <-tick.C {
		if err := check(); err != nil {
			t.Fatal(err)
		}
	}
}

// story is one Application in a namespace of its own.
type story struct {
	t    *testing.T
	ns   string
	repo *rig.Repo
	app  *v1alpha1.Application
}

// newStory makes namespace, repository and Application object; the last is
// created by create, so that a test can change it first.
func newStory(t *testing.T, name string) *story {
	t.Helper()
	if err := sandbox.Namespace(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	repo, err := sandbox.Repo(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: name}}
	app.Spec.Source.Git.URL = repo.URL
	app.Spec.Source.Git.Interval.Duration = time.Second
	app.Spec.Source.Path = "."
	app.Spec.Secrets.Policy = v1alpha1.PolicyNone
	app.Spec.Destination.ServiceAccountName = "deployer"
	app.Spec.Sync.RetryInterval.Duration = time.Second
	s := &story{t: t, ns: name, repo: repo, app: app}
	t.Cleanup(s.endsLegally)
	return s
}

// endsLegally checks that whatever a story left behind is a status that
// kstatus can read.
func (s *story) endsLegally() {
	app, err := s.read(context.Background())
	if apierrors.IsNotFound(err) {
		return
	}
	if err == nil {
		err = consistent(app)
	}
	if err != nil {
		s.t.Errorf("status of Application %s at the end: %v", s.ns, err)
	}
}

// sops gives the story a key of its own and switches it to policy SOPS. It
// returns the recipient and writes .sops.yaml for it.
func (s *story) sops() (recipient string) {
	s.t.Helper()
	key := "key-" + s.ns
	out, stderr, err := sandbox.Gitseal(s.t.Context(), s.repo.Dir, nil, "keys", "init", key, "--for", s.ns)
	if err != nil {
		s.t.Fatalf("keys init: %v\n%s", err, stderr)
	}
	recipient = firstLine(out)
	s.app.Spec.Secrets = v1alpha1.Secrets{Policy: v1alpha1.PolicySOPS, SOPS: &v1alpha1.SOPS{
		Keys: []v1alpha1.SOPSKey{{KeyRef: &v1alpha1.LocalReference{Name: key}}},
	}}
	s.write(map[string]string{".sops.yaml": "creation_rules:\n  - path_regex: \\.yaml$\n    encrypted_regex: ^(data|stringData)$\n    age: " + recipient +
		"\n  - age: " + recipient + "\n"})
	return recipient
}

func (s *story) write(files map[string]string) {
	s.t.Helper()
	if err := s.repo.Write(files); err != nil {
		s.t.Fatal(err)
	}
}

// encrypt writes a file encrypted, as a developer would.
func (s *story) encrypt(name, plain string) {
	s.t.Helper()
	s.write(map[string]string{name: plain})
	if _, stderr, err := sandbox.Gitseal(s.t.Context(), s.repo.Dir, nil, "encrypt", "-i", name); err != nil {
		s.t.Fatalf("encrypt %s: %v\n%s", name, err, stderr)
	}
}

func (s *story) push(subject string) (commit string) {
	s.t.Helper()
	commit, err := s.repo.Push(s.t.Context(), subject)
	if err != nil {
		s.t.Fatal(err)
	}
	return commit
}

func (s *story) create() {
	s.t.Helper()
	if err := sandbox.Client.Create(s.t.Context(), s.app); err != nil {
		s.t.Fatal(err)
	}
}

// read returns the Application as it is now.
func (s *story) read(ctx context.Context) (*v1alpha1.Application, error) {
	app := &v1alpha1.Application{}
	return app, sandbox.Client.Get(ctx, client.ObjectKeyFromObject(s.app), app)
}

// states watches the Application from now on. What it returns waits until one of
// the states that came since passes check, also one that does not last.
func (s *story) states() func(what string, check func(*v1alpha1.Application) error) {
	s.t.Helper()
	events, err := sandbox.Client.Watch(s.t.Context(), &v1alpha1.ApplicationList{}, client.InNamespace(s.ns), client.MatchingFields{"metadata.name": s.app.Name})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(events.Stop)
	return func(what string, check func(*v1alpha1.Application) error) {
		s.t.Helper()
		ctx, cancel := context.WithTimeout(s.t.Context(), patience)
		defer cancel()
		last := errors.New("no state came")
		for last != nil {
			select {
			case event := <-events.ResultChan():
				app, ok := event.Object.(*v1alpha1.Application)
				if !ok {
					s.t.Fatalf("%s: the watch ended with %+v: %v", what, event.Object, last)
				}
				last = check(app)
			case <-ctx.Done():
				s.t.Fatalf("%s: not within %s: %v", what, patience, last)
			}
		}
	}
}

// isRefused checks that Ready is False for a reason.
func isRefused(reason string) func(*v1alpha1.Application) error {
	return func(app *v1alpha1.Application) error {
		ready := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil || ready.Status != metav1.ConditionFalse || ready.Reason != reason {
			return fmt.Errorf("conditions %+v", app.Status.Conditions)
		}
		return nil
	}
}

// waitReady waits until a commit is applied and healthy.
func (s *story) waitReady(commit string) *v1alpha1.Application {
	s.t.Helper()
	var app *v1alpha1.Application
	eventually(s.t, "Application "+s.ns+" ready at "+commit, func(ctx context.Context) (err error) {
		if app, err = s.read(ctx); err != nil {
			return err
		}
		ready := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil || ready.Status != metav1.ConditionTrue || app.Status.Source == nil || app.Status.Source.Revision != "main@sha1:"+commit ||
			app.Status.ObservedGeneration != app.Generation {
			return fmt.Errorf("conditions %+v, source %+v", app.Status.Conditions, app.Status.Source)
		}
		return nil
	})
	return app
}

// waitRefused waits until Ready is False for a reason and returns the message.
func (s *story) waitRefused(reason string) string {
	s.t.Helper()
	return s.waitRefusal(reason, func(string) error { return nil })
}

// waitRefusal does as waitRefused, for a message that passes check.
func (s *story) waitRefusal(reason string, check func(message string) error) (message string) {
	s.t.Helper()
	eventually(s.t, "Application "+s.ns+" refused with "+reason, func(ctx context.Context) error {
		app, err := s.read(ctx)
		if err == nil {
			err = isRefused(reason)(app)
		}
		if err != nil {
			return err
		}
		message = meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionReady).Message
		return check(message)
	})
	return message
}

// get reads an object of the story's namespace.
func get[T client.Object](ctx context.Context, s *story, name string, o T) (T, error) {
	return o, sandbox.Client.Get(ctx, types.NamespacedName{Namespace: s.ns, Name: name}, o)
}

func firstLine(s string) string {
	for i, c := range s {
		if c == '\n' {
			return s[:i]
		}
	}
	return s
}
