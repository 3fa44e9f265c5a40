// Package faults breaks what gitseal stands on, and looks at what a user sees:
// that the condition says what is wrong, that nothing is lost, applied or
// pruned that should not be, that other Applications go on, and that everything
// converges by itself when the fault has ended.
//
// The operator is its own program with the rights of config/default. A proxy
// stands between it and the API server; a test breaks there what concerns its
// own namespace, and runs beside the others. Those that break something for
// all run alone: they are not parallel, so that they come first.
package faults

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/test/rig"
)

var (
	sandbox  *rig.Rig
	operator *rig.Operator
	proxy    *rig.Proxy
)

func TestMain(m *testing.M) {
	if os.Getenv(asOperator) != "" {
		os.Exit(runOperator())
	}
	// They wait, for each other's faults not at all.
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	launch := func(r *rig.Rig) (o *rig.Operator, err error) {
		if proxy, err = r.Proxy(); err != nil {
			return nil, err
		}
		return r.StartOperatorAs(context.Background(), rig.Launch{Through: proxy})
	}
	code := rig.MainAs(m, launch, func(r *rig.Rig, o *rig.Operator) { sandbox, operator = r, o })
	if proxy != nil {
		proxy.Close()
	}
	os.Exit(code)
}

// patience is for a machine that is slow, and busy with other packages.
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
	tick := time.NewTicker(100 * time.Millisecond)
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

var stories atomic.Int64

// newStory makes a namespace and a repository, whose names begin with name, and
// an Application that is not created yet.
func newStory(t *testing.T, name string) *story {
	t.Helper()
	name = fmt.Sprintf("%s-%d", name, stories.Add(1))
	if err := sandbox.Namespace(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	repo, err := sandbox.Repo(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	s := &story{t: t, ns: name, repo: repo, app: newApplication(name, "app", repo.URL)}
	t.Cleanup(func() { s.clear(t) })
	return s
}

func newApplication(ns, name, url string) *v1alpha1.Application {
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns}}
	app.Spec.Source.Git.URL = url
	app.Spec.Source.Git.Interval.Duration = time.Second
	app.Spec.Source.Path = "."
	app.Spec.Secrets.Policy = v1alpha1.PolicyNone
	app.Spec.Destination.ServiceAccountName = "deployer"
	app.Spec.Sync.RetryInterval.Duration = time.Second
	return app
}

// clear lets the Applications of a story rest, so that they cost the others
// nothing; what they applied stays for whoever looks. The test may be the one
// that the story's own belongs to, which has ended by then.
func (s *story) clear(t *testing.T) {
	t.Helper()
	ctx := context.Background()
	var all v1alpha1.ApplicationList
	if err := sandbox.Client.List(ctx, &all, client.InNamespace(s.ns)); err != nil {
		t.Error(err)
	}
	rest := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"suspend":{"reason":"its story has ended"}}}`))
	for i := range all.Items {
		if err := sandbox.Client.Patch(ctx, &all.Items[i], rest); client.IgnoreNotFound(err) != nil {
			t.Error(err)
		}
	}
}

func (s *story) push(files map[string]string) (commit string) {
	s.t.Helper()
	commit, err := s.repo.Commit(s.t.Context(), "a change", files)
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

func (s *story) kubectl(stdin string, args ...string) {
	s.t.Helper()
	if _, err := sandbox.Kubectl(s.t.Context(), stdin, args...); err != nil {
		s.t.Fatal(err)
	}
}

// read returns the Application as it is now.
func (s *story) read(ctx context.Context) (*v1alpha1.Application, error) {
	app := &v1alpha1.Application{}
	return app, sandbox.Client.Get(ctx, client.ObjectKeyFromObject(s.app), app)
}

func (s *story) waitReady(commit string) *v1alpha1.Application {
	s.t.Helper()
	var app *v1alpha1.Application
	eventually(s.t, "Application "+s.ns+" ready at "+commit, func(ctx context.Context) (err error) {
		if app, err = s.read(ctx); err != nil {
			return err
		}
		return readyAt(app, commit)
	})
	return app
}

func readyAt(app *v1alpha1.Application, commit string) error {
	ready := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil || ready.Status != metav1.ConditionTrue || app.Status.ObservedGeneration != app.Generation ||
		app.Status.Source == nil || app.Status.Source.Revision != "main@sha1:"+commit {
		return fmt.Errorf("conditions %+v, source %+v", app.Status.Conditions, app.Status.Source)
	}
	return nil
}

// waitRefused waits until Ready is False for a reason and its message has the
// words.
func (s *story) waitRefused(reason string, words ...string) {
	s.t.Helper()
	eventually(s.t, "Application "+s.ns+" refused with "+reason, func(ctx context.Context) error {
		app, err := s.read(ctx)
		if err != nil {
			return err
		}
		return refusedWith(app, reason, words...)
	})
}

func refusedWith(app *v1alpha1.Application, reason string, words ...string) error {
	ready := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil || ready.Status != metav1.ConditionFalse || ready.Reason != reason {
		return fmt.Errorf("conditions %+v, want Ready False for %s", app.Status.Conditions, reason)
	}
	for _, w := range words {
		if !strings.Contains(ready.Message, w) {
			return fmt.Errorf("message %q, want %q in it", ready.Message, w)
		}
	}
	return nil
}

func (s *story) waitGone() {
	s.t.Helper()
	eventually(s.t, "Application "+s.ns+" gone", func(ctx context.Context) error {
		if app, err := s.read(ctx); !apierrors.IsNotFound(err) {
			return fmt.Errorf("still there: %w, %+v", err, app.Status.Conditions)
		}
		return nil
	})
}

// get reads an object of the story's namespace.
func get[T client.Object](ctx context.Context, s *story, name string, o T) (T, error) {
	return o, sandbox.Client.Get(ctx, types.NamespacedName{Namespace: s.ns, Name: name}, o)
}

// configs are the ConfigMaps of the story that gitseal applied, by name, each
// as UID and the value of its key.
func (s *story) configs() map[string]string {
	s.t.Helper()
	var all corev1.ConfigMapList
	if err := sandbox.Client.List(s.t.Context(), &all, client.InNamespace(s.ns), client.HasLabels{v1alpha1.ApplySetPartOfLabel}); err != nil {
		s.t.Fatal(err)
	}
	found := map[string]string{}
	for _, c := range all.Items {
		found[c.Name] = string(c.UID) + "=" + c.Data["key"]
	}
	return found
}

// waitConfigs waits until the ConfigMaps are as they have to be.
func (s *story) waitConfigs(right func(configs map[string]string) bool) (configs map[string]string) {
	s.t.Helper()
	eventually(s.t, "the ConfigMaps of "+s.ns, func(context.Context) error {
		if configs = s.configs(); !right(configs) {
			return fmt.Errorf("they are %v", configs)
		}
		return nil
	})
	return configs
}

// quietFor is for how long nobody writes who rests.
const quietFor = 5 * time.Second

// rest waits until all is right, and nothing was written for a while.
func (s *story) rest(writes func() int, right func() error) {
	s.t.Helper()
	last, since := -1, time.Now()
	eventually(s.t, "no more writes in "+s.ns, func(context.Context) error {
		err := right()
		if n := writes(); err != nil || n != last {
			last, since = n, time.Now()
		}
		if rest := time.Since(since); err == nil && rest < quietFor {
			err = fmt.Errorf("the last of %d writes was %s ago", last, rest)
		}
		return err
	})
}

// waitValue waits until a ConfigMap has a value.
func (s *story) waitValue(name, value string) {
	s.t.Helper()
	eventually(s.t, "ConfigMap "+name+" in "+s.ns+" is "+value, func(ctx context.Context) error {
		c, err := get(ctx, s, name, &corev1.ConfigMap{})
		if err == nil && c.Data["key"] != value {
			err = fmt.Errorf("it is %q", c.Data["key"])
		}
		return err
	})
}

// sees waits until the namespace has an event about the Application. Events
// follow the status, by a way of their own.
func (s *story) sees(reason string, words ...string) {
	s.t.Helper()
	eventually(s.t, "event "+reason, func(ctx context.Context) error {
		var all corev1.EventList
		if err := sandbox.Client.List(ctx, &all, client.InNamespace(s.ns)); err != nil {
			return err
		}
		for _, e := range all.Items {
			told := e.InvolvedObject.Kind == "Application" && e.Reason == reason
			for _, w := range words {
				told = told && strings.Contains(e.Message, w)
			}
			if told {
				return nil
			}
		}
		return fmt.Errorf("no event %s with %q", reason, words)
	})
}

func configMap(name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {key: %q}\n", name, value)
}

// someConfigs are the files of n ConfigMaps.
func someConfigs(n int, value string) map[string]string {
	files := map[string]string{}
	for i := range n {
		name := fmt.Sprintf("c%02d", i)
		files[name+".yaml"] = configMap(name, value)
	}
	return files
}

// in matches requests about objects of a namespace.
func in(ns string) func(rig.Asked) bool {
	return func(a rig.Asked) bool { return strings.Contains(a.Path+"/", "/namespaces/"+ns+"/") }
}

func writesIn(ns string) func(rig.Asked) bool {
	return func(a rig.Asked) bool { return in(ns)(a) && a.Writes() }
}

// edit changes the Application.
func (s *story) edit(change func(*v1alpha1.Application)) {
	s.t.Helper()
	eventually(s.t, "Application "+s.ns+" edited", func(ctx context.Context) error {
		app, err := s.read(ctx)
		if err != nil {
			return err
		}
		change(app)
		return sandbox.Client.Update(ctx, app)
	})
}
