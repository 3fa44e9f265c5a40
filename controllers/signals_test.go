package controllers

import (
	"context"
	"errors"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/shard"
	"github.com/gitseal/gitseal/internal/source"
	"github.com/gitseal/gitseal/internal/webhook"
)

// recordingSource remembers what was asked.
type recordingSource struct {
	asked  []source.Request
	answer *source.Snapshot
	err    error
}

func (s *recordingSource) Fetch(_ context.Context, r source.Request) (*source.Snapshot, error) {
	s.asked = append(s.asked, r)
	return s.answer, s.err
}

func TestAPollReachesTheFollowersOfARepository(t *testing.T) {
	d := newDesk(t)
	q := newQueue(t)
	if err := d.signals.Start(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"git.example.com/other", ""} {
		if n := len(d.followers(key)); n != 0 {
			t.Errorf("%d followers of %q, want none", n, key)
		}
	}
	newPolls(d.followers, d.signals, d.clock).Poll(webhook.Push{URLs: []string{"git@git.example.com:App.git"}})
	if q.Len() != 1 {
		t.Errorf("%d queued, want 1", q.Len())
	}
	name := client.ObjectKeyFromObject(d.app)
	d.signals.Poll(name, epoch.Add(-time.Hour))
	if at := d.signals.asked(name); !at.Equal(epoch) {
		t.Errorf("asked() = %v, want the latest that was asked for", at)
	}
}

func TestWhatAnApplicationWantsToKnowOfItsRepository(t *testing.T) {
	d := newDesk(t)
	git := &recordingSource{answer: &source.Snapshot{Asked: epoch.Add(-20 * time.Second)}}
	d.Source = git
	fetch := func() error {
		_, err := d.fetch(t.Context(), d.begin(d.read(t)))
		return err
	}
	check := func(when string, asks int, notBefore time.Time) {
		t.Helper()
		if err := fetch(); err != nil {
			t.Fatal(err)
		}
		if len(git.asked) != asks || !git.asked[asks-1].NotBefore.Equal(notBefore) {
			t.Errorf("%s: %d questions, the last for an answer from %v, want %d and %v", when, len(git.asked), git.asked[len(git.asked)-1].NotBefore, asks, notBefore)
		}
	}
	check("the first look takes what others were told", 1, epoch.Add(-30*time.Second))
	d.clock.SetTime(epoch.Add(39 * time.Second))
	check("within the interval nothing is asked", 1, epoch.Add(-30*time.Second))
	d.clock.SetTime(epoch.Add(40 * time.Second))
	git.answer = &source.Snapshot{Asked: d.clock.Now()}
	check("the interval counts from the answer", 2, epoch.Add(10*time.Second))
	d.signals.Poll(client.ObjectKeyFromObject(d.app), d.clock.Now().Add(1))
	git.answer = &source.Snapshot{Asked: d.clock.Now().Add(1)}
	check("a webhook wants news", 3, d.clock.Now().Add(1))
	check("and once is enough", 3, d.clock.Now().Add(1))
	d.clock.SetTime(epoch.Add(2 * time.Minute))
	git.err = failure.Failf(v1alpha1.ReasonSourceUnavailable, "no")
	if err := fetch(); err == nil {
		t.Fatal("fetch() = nil, want the failure")
	}
	git.err = nil
	check("after a failure, what was asked before it is no news", 5, d.clock.Now().Add(1))
}

func TestWhatChangesInAnApplicationAsksForALook(t *testing.T) {
	d := newDesk(t)
	n := &noticing{signals: d.signals, clock: d.clock}
	name := types.NamespacedName{Namespace: "ns", Name: "app"}
	before := d.read(t)
	tests := map[string]struct {
		change func(*v1alpha1.Application)
		asks   bool
	}{
		"a new spec": {func(a *v1alpha1.Application) { a.Generation++ }, true},
		"a request": {func(a *v1alpha1.Application) {
			a.Annotations = map[string]string{v1alpha1.AnnotationSyncRequestedAt: "x"}
		}, true},
		"a confirmation does not": {func(a *v1alpha1.Application) { a.Annotations = map[string]string{v1alpha1.AnnotationConfirmPrune: "x"} }, false},
	}
	for title, tt := range tests {
		t.Run(title, func(t *testing.T) {
			d.signals.forget(name)
			after, q := before.DeepCopy(), newQueue(t)
			tt.change(after)
			n.Update(t.Context(), event.UpdateEvent{ObjectOld: before, ObjectNew: after}, q)
			if asked := d.signals.asked(name).Equal(epoch); asked != tt.asks || q.Len() != 1 {
				t.Errorf("asked = %v with %d queued, want %v and 1", asked, q.Len(), tt.asks)
			}
		})
	}
	d.signals.forget(name)
	n.Create(t.Context(), event.CreateEvent{Object: before}, newQueue(t))
	if !d.signals.asked(name).Equal(epoch) {
		t.Error("a new Application does not ask for a look")
	}
	q := newQueue(t)
	n.Delete(t.Context(), event.DeleteEvent{Object: before}, q)
	if !d.signals.asked(name).IsZero() || q.Len() != 1 {
		t.Errorf("asked = %v with %d queued after it was deleted, want nothing and 1", d.signals.asked(name), q.Len())
	}
}

// A run that finds its Application with another replica may be late: what was
// asked for since is for when it is gained again.
func TestALateRunOfALostApplicationDropsNoPoll(t *testing.T) {
	d := newDesk(t)
	d.share = shard.New(shard.Options{ID: "a", Clock: d.clock, Duration: time.Second})
	name := client.ObjectKeyFromObject(d.app)
	d.signals.Poll(name, epoch)
	if _, err := d.Reconcile(t.Context(), reconcile.Request{NamespacedName: name}); err != nil {
		t.Fatal(err)
	}
	if !d.signals.asked(name).Equal(epoch) || len(d.watches.gone) != 1 {
		t.Errorf("asked() = %v with %d watches released, want %v and 1", d.signals.asked(name), len(d.watches.gone), epoch)
	}
}

// slowSource answers when it is let.
type slowSource struct {
	answer *source.Snapshot
	let    chan struct{}
}

func (s slowSource) Fetch(context.Context, source.Request) (*source.Snapshot, error) {
	<-s.let
	return s.answer, nil
}

// A server that does not answer holds no worker, and what is known of a
// repository does until it does.
func TestASlowServerHoldsNoWorker(t *testing.T) {
	d := newDesk(t)
	q := newQueue(t)
	if err := d.signals.Start(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	slow := slowSource{answer: &source.Snapshot{Revision: "main@sha1:new", Asked: epoch.Add(time.Hour)}, let: make(chan struct{})}
	d.Source, d.Clock = slow, clock.RealClock{}
	name := client.ObjectKeyFromObject(d.app)
	request := reconcile.Request{NamespacedName: name}
	if _, err := d.Reconcile(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	if got := conditions(d.read(t)); got != "Ready=Unknown/Progressing Reconciling=True/Progressing" {
		t.Errorf("conditions = %s, want it to be said that the server is waited for", got)
	}
	run := d.begin(d.read(t))
	d.fetched(run, "main@sha1:old")
	run.memory.polledAt = run.now.Add(-time.Minute) // it is due
	if s, err := d.fetch(t.Context(), run); err != nil || s.Revision != "main@sha1:old" {
		t.Errorf("fetch() for a poll = %v, %v, want what is known", s, err)
	}
	d.signals.ask(name, epoch.Add(time.Minute))
	if _, err := d.fetch(t.Context(), run); !errors.Is(err, errAsking) {
		t.Errorf("fetch() for a person = %v, want it to be waited for", err)
	}
	close(slow.let)
	if got, _ := q.Get(); got != request {
		t.Errorf("queued %v, want the Application", got)
	}
	if s, err := d.fetch(t.Context(), run); err != nil || s.Revision != "main@sha1:new" {
		t.Errorf("fetch() = %v, %v, want the answer", s, err)
	}
}
