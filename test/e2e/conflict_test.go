package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// rival is another Application in the namespace of a story, with a repository
// of its own.
func (s *story) rival(name string) *story {
	s.t.Helper()
	repo, err := sandbox.Repo(s.t.Context(), s.ns+"-"+name)
	if err != nil {
		s.t.Fatal(err)
	}
	other := &story{t: s.t, ns: s.ns, repo: repo, app: s.app.DeepCopy()}
	other.app.ObjectMeta = meta1(name, s.ns)
	other.app.Spec.Source.Git.URL = repo.URL
	s.t.Cleanup(other.endsLegally)
	return other
}

// conflicts waits until status.conflicts holds exactly the objects named, each
// as NAME with APPLICATION.
func (s *story) conflicts(want ...string) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("conflicts %v of Application %s", want, s.app.Name), func(ctx context.Context) error {
		app, err := s.read(ctx)
		if err != nil {
			return err
		}
		var got []string
		for _, c := range app.Status.Conflicts {
			got = append(got, c.Kind+" "+c.Name+" with "+c.Application.Name)
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("status.conflicts = %v, conditions %+v", got, app.Status.Conditions)
		}
		return nil
	})
}

// contest makes two Applications that both declare ConfigMap a: first owns it,
// second is refused. Neither looks at Git or retries by itself, so that all
// that happens later happens because of an event.
func contest(t *testing.T, name string) (first, second *story, commit string) {
	t.Helper()
	first = newStory(t, name)
	first.app.Spec.Source.Git.Interval.Duration = time.Hour
	first.app.Spec.Sync.RetryInterval.Duration = time.Hour
	second = first.rival("second")
	first.write(map[string]string{"a.yaml": configMap("a", "first"), "mine.yaml": configMap("mine", "1")})
	begun := first.push("first")
	first.create()
	first.waitReady(begun)
	second.write(map[string]string{"a.yaml": configMap("a", "second"), "b.yaml": configMap("b", "1")})
	commit = second.push("second")
	second.create()
	want := fmt.Sprintf(`a.yaml:1: ConfigMap "a" in namespace %q already belongs to Application %s/app: `+
		"remove it from one of the two; what the other one drops is handed over, not pruned", name, name)
	if got := second.waitRefused(v1alpha1.ReasonObjectConflict); got != want {
		t.Errorf("message = %s\nwant      %s", got, want)
	}
	second.conflicts("ConfigMap a with app")
	first.conflicts("ConfigMap a with second")
	return first, second, commit
}

func TestAConflictIsToldOnBothAndEndsWithAHandOver(t *testing.T) {
	t.Parallel()
	first, second, commit := contest(t, "contest")
	app, err := first.read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	conflicted := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionConflicted)
	want := `Application contest/second declares what this one owns: ConfigMap "a" in namespace "contest": remove it from one of the two Applications`
	if conflicted == nil || conflicted.Reason != v1alpha1.ReasonObjectConflict || conflicted.Message != want {
		t.Errorf("Conflicted = %+v, want %s", conflicted, want)
	}
	if !meta.IsStatusConditionTrue(app.Status.Conditions, v1alpha1.ConditionReady) {
		t.Errorf("conditions %+v, want the owner to stay Ready", app.Status.Conditions)
	}
	if err := second.absent("b"); err != nil {
		t.Errorf("although the revision is refused: %v", err)
	}
	second.wantConfig("a", "first")
	before, err := get(t.Context(), first, "a", &corev1.ConfigMap{})
	if err != nil {
		t.Fatal(err)
	}

	first.write(map[string]string{"a.yaml": ""})
	dropped := first.push("drops a")
	first.gitseal("sync", "app", "--namespace", first.ns)
	second.waitReady(commit)
	first.waitReady(dropped)
	first.conflicts()
	second.conflicts()
	after, err := get(t.Context(), first, "a", &corev1.ConfigMap{})
	if err != nil || after.UID != before.UID || after.Data["key"] != "second" {
		t.Errorf("ConfigMap a: %v, uid %s, data %v, want the same object (%s) with what the second says", err, after.UID, after.Data, before.UID)
	}
}

// A revision that is refused for a conflict leaves the last good state in
// place, and drift from that is still put back.
func TestAConflictLeavesTheLastGoodStateInPlace(t *testing.T) {
	t.Parallel()
	first := newStory(t, "contest-later")
	second := first.rival("second")
	first.write(map[string]string{"a.yaml": configMap("a", "first")})
	begun := first.push("first")
	first.create()
	first.waitReady(begun)
	second.write(map[string]string{"b.yaml": configMap("b", "1"), "c.yaml": configMap("c", "1")})
	begun = second.push("second")
	second.create()
	second.waitReady(begun)
	second.write(map[string]string{"a.yaml": configMap("a", "second"), "b.yaml": configMap("b", "2"), "c.yaml": "", "d.yaml": configMap("d", "1")})
	second.push("wants a")
	second.waitRefused(v1alpha1.ReasonObjectConflict)
	first.conflicts("ConfigMap a with second")
	second.by("somebody", "configmap", "b", `{"data":{"key":"by hand"}}`)
	eventually(t, "drift put back", func(ctx context.Context) error {
		b, err := get(ctx, second, "b", &corev1.ConfigMap{})
		if err == nil && b.Data["key"] != "1" {
			return fmt.Errorf("data %v, want that of the revision before", b.Data)
		}
		return err
	})
	second.wantConfig("c", "1")
	second.wantConfig("a", "first")
	if err := second.absent("d"); err != nil {
		t.Errorf("although the revision is refused: %v", err)
	}
	second.write(map[string]string{"a.yaml": ""})
	second.waitReady(second.push("gives a up"))
	first.conflicts()
	first.wantConfig("a", "first")
}

func TestAConflictEndsWithTheOtherApplication(t *testing.T) {
	t.Parallel()
	first, second, _ := contest(t, "contest-withdrawn")
	if err := sandbox.Client.Delete(t.Context(), second.app); err != nil {
		t.Fatal(err)
	}
	second.waitGone()
	first.conflicts()
	first.wantConfig("a", "first")
}

func TestAConflictEndsWithTheOwner(t *testing.T) {
	t.Parallel()
	first, second, commit := contest(t, "contest-left")
	before, err := get(t.Context(), first, "a", &corev1.ConfigMap{})
	if err != nil {
		t.Fatal(err)
	}
	if err := sandbox.Client.Delete(t.Context(), first.app); err != nil {
		t.Fatal(err)
	}
	first.waitGone()
	second.waitReady(commit)
	after, err := get(t.Context(), first, "a", &corev1.ConfigMap{})
	if err != nil || after.UID != before.UID {
		t.Errorf("ConfigMap a: %v, uid %s, want the same object (%s)", err, after.UID, before.UID)
	}
}

const races = 12

// Two Applications that begin at the same instant, under two operators that
// both look after both: each object gets one owner and keeps it.
func TestARaceForAnObjectHasOneWinner(t *testing.T) {
	second, err := sandbox.StartOperator(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = second.Stop() }()
	s := newStory(t, "race")
	owners := s.followOwners()
	for round := range races {
		a, b := s.rival(fmt.Sprintf("a%d", round)), s.rival(fmt.Sprintf("b%d", round))
		object := fmt.Sprintf("wanted%d", round)
		for _, x := range []*story{a, b} {
			x.write(map[string]string{"wanted.yaml": configMap(object, x.app.Name)})
			x.push("both")
		}
		var both sync.WaitGroup
		for _, x := range []*story{a, b} {
			both.Go(func() {
				if err := sandbox.Client.Create(t.Context(), x.app); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
		s.wantOneWinner(object, a, b)
	}
	for object, sets := range owners() {
		if len(sets) != 1 {
			t.Errorf("ConfigMap %s had the owners %v, want one for ever", object, sets)
		}
	}
}

func (s *story) wantOneWinner(object string, a, b *story) {
	s.t.Helper()
	eventually(s.t, "one winner of "+object, func(ctx context.Context) error {
		ready := map[bool]int{}
		for _, x := range []*story{a, b} {
			app, err := x.read(ctx)
			if err != nil {
				return err
			}
			r := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionReady)
			switch {
			case r == nil || r.Status == "Unknown":
				return errors.New("not decided yet")
			case r.Status == "False" && r.Reason != v1alpha1.ReasonObjectConflict:
				return fmt.Errorf("Application %s: %+v", app.Name, r)
			}
			ready[r.Status == "True"]++
			if got := len(app.Status.Conflicts); got != 1 {
				return fmt.Errorf("Application %s: %d conflicts, want 1 on both", app.Name, got)
			}
		}
		if ready[true] != 1 {
			return fmt.Errorf("%d are ready, want 1", ready[true])
		}
		return nil
	})
}

// followOwners watches whose ConfigMaps of the namespace are. What it returns
// ends the watch and gives, by object, the ApplySets in the order they came.
func (s *story) followOwners() func() map[string][]string {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	events, err := sandbox.Client.Watch(ctx, &corev1.ConfigMapList{}, client.InNamespace(s.ns))
	if err != nil {
		s.t.Fatal(err)
	}
	owners := map[string][]string{}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for event := range events.ResultChan() {
			o, ok := event.Object.(*corev1.ConfigMap)
			if !ok || o.Labels[v1alpha1.ApplySetPartOfLabel] == "" {
				continue
			}
			set := o.Labels[v1alpha1.ApplySetPartOfLabel]
			if seen := owners[o.Name]; len(seen) == 0 || seen[len(seen)-1] != set {
				owners[o.Name] = append(seen, set)
			}
		}
	}()
	return func() map[string][]string {
		cancel()
		events.Stop()
		<-ended
		return owners
	}
}
