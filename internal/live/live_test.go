package live_test

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/gitseal/gitseal/internal/live"
)

func members(resource string) live.Scope {
	return live.Scope{
		Identity: live.Identity{Namespace: "ns", ServiceAccount: "sa"}, Namespace: "ns",
		Resource: schema.GroupVersionResource{Version: "v1", Resource: resource},
	}
}

func named(name string) live.Scope {
	return live.Scope{Namespace: "ns", Name: name, Resource: schema.GroupVersionResource{Version: "v1", Resource: "secrets"}}
}

func key(name string) live.Key { return live.Key{Namespace: "ns", Name: name} }

// told counts notifications by owner.
type told struct {
	mu sync.Mutex
	by map[string]int
}

func (n *told) notify(owner string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.by[owner]++
}

func (n *told) times(owner string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.by[owner]
}

type fixture struct {
	*server
	*told
	watches *live.Watches
	clock   *clocktesting.FakeClock
}

func setUp(t *testing.T) fixture {
	t.Helper()
	f := fixture{server: newServer(t), told: &told{by: map[string]int{}}, clock: clocktesting.NewFakeClock(time.Unix(1e9, 0))}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	f.watches = live.New(ctx, f.server, f.clock, f.notify)
	return f
}

func (f fixture) ensure(t *testing.T, owner string, scopes ...live.Scope) {
	t.Helper()
	if err := f.watches.Ensure(t.Context(), owner, scopes); err != nil {
		t.Fatalf("Ensure(%s) = %v", owner, err)
	}
}

// until polls, and steps the clock where it is waited on.
func (f fixture) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	f.soon(t, what, func() bool {
		if ok() {
			return true
		}
		if f.clock.HasWaiters() {
			f.clock.Step(time.Second)
		}
		return false
	})
}

// soon polls, while the clock stands still.
func (f fixture) soon(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within a minute; the server saw %s", what, f.server)
		}
	}
}

func (f fixture) presence(s live.Scope, name string, written uint64) live.Presence {
	_, p := f.watches.Find(s, key(name), written)
	return p
}

func TestOwnersShareAWatchAndTheLastOneClosesIt(t *testing.T) {
	f := setUp(t)
	s := members("configmaps")
	f.ensure(t, "one", s, s)
	f.ensure(t, "two", s, members("secrets"))
	f.ensure(t, "two", s, members("secrets"))
	if n := f.watches.Len(); n != 2 {
		t.Errorf("Len() = %d with two owners of one scope and one more, want 2", n)
	}
	f.until(t, "watches open", func() bool { return f.watching("configmaps") == 1 && f.watching("secrets") == 1 })
	if n := f.count("list configmaps"); n != 1 {
		t.Errorf("%d lists for a shared scope, want 1", n)
	}

	f.watches.Release("one")
	if n := f.watches.Len(); n != 2 {
		t.Errorf("Len() = %d after one of two owners left, want 2", n)
	}
	f.ensure(t, "two", s) // narrows
	if n := f.watches.Len(); n != 1 {
		t.Errorf("Len() = %d after the only owner narrowed, want 1", n)
	}
	f.watches.Release("two")
	if n := f.watches.Len(); n != 0 {
		t.Errorf("Len() = %d after the last owner left, want 0", n)
	}
	f.until(t, "watches closed", func() bool { return f.watching("configmaps")+f.watching("secrets") == 0 })
}

func TestFindComparesWithWhatWasWritten(t *testing.T) {
	f := setUp(t)
	s := members("configmaps")
	if p := f.presence(s, "a", 0); p != live.Unknown {
		t.Errorf("Find without a watch = %v, want Unknown", p)
	}
	first := f.put("configmaps", "a", "set")
	f.ensure(t, "set", s)

	tests := map[string]struct {
		name    string
		written uint64
		want    live.Presence
	}{
		"an object as it was written is present":            {"a", first, live.Present},
		"an object never written by the caller is present":  {"a", 0, live.Present},
		"an older object than was written tells nothing":    {"a", first + 1, live.Unknown},
		"an object that a full list lacks is absent":        {"b", 0, live.Absent},
		"an object created after the list is not known yet": {"b", first + 1, live.Unknown},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := f.presence(s, tt.name, tt.written); got != tt.want {
				t.Errorf("Find(%s, %d) = %v, want %v", tt.name, tt.written, got, tt.want)
			}
		})
	}

	f.until(t, "watch open", func() bool { return f.watching("configmaps") == 1 })
	second := f.put("configmaps", "a", "set")
	f.until(t, "the change is seen", func() bool { return f.presence(s, "a", second) == live.Present })
	f.remove("configmaps", "a")
	f.until(t, "the deletion is seen", func() bool { return f.presence(s, "a", second) == live.Absent })
	if got := f.watches.Members(s, "set"); len(got) != 0 {
		t.Errorf("Members() = %v after the deletion, want none", got)
	}
	f.put("configmaps", "a", "set")
	f.until(t, "the object is back", func() bool { return f.presence(s, "a", 0) == live.Present })
}

func TestABookmarkSaysThatNothingHappened(t *testing.T) {
	f := setUp(t)
	s := members("configmaps")
	f.ensure(t, "set", s)
	f.until(t, "watch open", func() bool { return f.watching("configmaps") == 1 })
	version := f.bookmark("configmaps")
	f.until(t, "absence is certain", func() bool { return f.presence(s, "a", version) == live.Absent })
}

func TestAnExpiredVersionListsAnew(t *testing.T) {
	f := setUp(t)
	s := members("configmaps")
	written := f.put("configmaps", "a", "set")
	f.ensure(t, "set", s)
	f.until(t, "watch open", func() bool { return f.watching("configmaps") == 1 })
	f.server.forget("configmaps", "a")
	before := f.times("set")
	f.expire("configmaps")
	f.until(t, "the loss is seen", func() bool { return f.presence(s, "a", written) == live.Absent })
	f.until(t, "the owner is told", func() bool { return f.times("set") > before })
	if err := f.watches.Ensure(t.Context(), "set", []live.Scope{s}); err != nil {
		t.Errorf("Ensure after a relist = %v, want nil", err)
	}
}

func TestAWatchThatEndsAtOnceIsNotOpenedInABusyLoop(t *testing.T) {
	f := setUp(t)
	s := members("configmaps")
	f.ensure(t, "set", s)
	f.until(t, "watch open", func() bool { return f.watching("configmaps") == 1 })
	for range 3 {
		lists := f.count("list configmaps")
		f.expire("configmaps") // the fake clock stands still: the watch lasted no time at all
		f.soon(t, "the watch waits before it starts again", f.clock.HasWaiters)
		if n := f.count("list configmaps"); n != lists {
			t.Fatalf("%d lists before any time has passed, want %d", n, lists)
		}
		f.until(t, "watch reopened", func() bool { return f.count("list configmaps") > lists && f.watching("configmaps") == 1 })
	}
}

func TestOnlyTheConcernedApplySetIsTold(t *testing.T) {
	f := setUp(t)
	s := members("configmaps")
	f.ensure(t, "one", s)
	f.ensure(t, "two", s)
	f.until(t, "watch open", func() bool { return f.watching("configmaps") == 1 })
	one, two := f.times("one"), f.times("two")
	f.put("configmaps", "a", "one")
	f.until(t, "one told", func() bool { return f.times("one") > one })
	if n := f.times("two"); n != two {
		t.Errorf("two was told %d times of what belongs to one", n-two)
	}
	one = f.times("one")
	f.put("configmaps", "a", "two") // taken over: both are concerned
	f.until(t, "both told", func() bool { return f.times("one") > one && f.times("two") > two })
	if got := f.watches.Members(s, "one"); len(got) != 0 {
		t.Errorf("Members(one) = %v after two took it, want none", got)
	}
	if got := f.watches.Members(s, "two"); len(got) != 1 {
		t.Errorf("Members(two) = %v, want the object", got)
	}
	two = f.times("two")
	f.remove("configmaps", "a")
	f.until(t, "two told that it is gone", func() bool { return f.times("two") > two })
}

// Who waits for an object of somebody else is told of its next change, once.
func TestWhoAwaitsAnObjectIsToldOnce(t *testing.T) {
	f := setUp(t)
	f.put("configmaps", "a", "one")
	f.ensure(t, "one", members("configmaps"))
	f.ensure(t, "two", members("configmaps"))
	f.until(t, "watch open", func() bool { return f.watching("configmaps") == 1 })
	before := f.times("two")
	f.watches.Await("two", members("configmaps"), key("a"))
	f.watches.Await("two", members("configmaps"), key("a"))
	gone := f.remove("configmaps", "a")
	f.until(t, "the other one told", func() bool { return f.times("two") == before+1 })
	again := f.put("configmaps", "a", "one")
	f.until(t, "it is back", func() bool { return f.presence(members("configmaps"), "a", again) == live.Present })
	if got := f.times("two"); got != before+1 || gone == 0 {
		t.Errorf("told %d times, want once", got-before)
	}
	f.watches.Await("two", members("secrets"), key("a")) // which nobody watches
}

func TestARefusedWatchSaysSoAndRecovers(t *testing.T) {
	for name, verb := range map[string]string{"the list is refused": "list", "the watch is refused": "watch"} {
		t.Run(name, func(t *testing.T) {
			f := setUp(t)
			s := members("configmaps")
			f.set(verb, status(http.StatusForbidden, metav1.StatusReasonForbidden))
			var refusal *live.WatchError
			f.soon(t, "refused, and the next try is waited for", func() bool {
				return errors.As(f.watches.Ensure(t.Context(), "set", []live.Scope{s}), &refusal) && f.clock.HasWaiters()
			})
			if refusal.Scope != s || !apierrors.IsForbidden(refusal) {
				t.Errorf("Ensure() = %v, want the scope and the API server's refusal", refusal)
			}
			before := f.times("set")
			f.set(verb, nil)
			f.until(t, "recovered", func() bool {
				return f.watching("configmaps") == 1 && f.watches.Ensure(t.Context(), "set", []live.Scope{s}) == nil
			})
			f.until(t, "the owner is told", func() bool { return f.times("set") > before })
		})
	}
}

func TestARefusalIsToldOnceNotAtEveryRetry(t *testing.T) {
	f := setUp(t)
	f.set("list", status(http.StatusForbidden, metav1.StatusReasonForbidden))
	_ = f.watches.Ensure(t.Context(), "set", []live.Scope{members("configmaps")})
	f.until(t, "five tries", func() bool { return f.count("list configmaps") >= 5 })
	f.until(t, "the owner is told", func() bool { return f.times("set") > 0 })
	if n := f.times("set"); n != 1 {
		t.Errorf("the owner was told %d times of one lasting refusal, want once", n)
	}
}

func TestAWatchThatNeverAnswersIsNotWaitedForForEver(t *testing.T) {
	f := setUp(t)
	f.hang["list"] = true
	scopes := []live.Scope{members("configmaps"), members("secrets")}
	answered := make(chan error, 1)
	go func() { answered <- f.watches.Ensure(context.Background(), "set", scopes) }()
	var err error
	f.until(t, "given up", func() bool {
		select {
		case err = <-answered:
			return true
		default:
			return false
		}
	})
	if !errors.Is(err, live.ErrNotSynced) {
		t.Errorf("Ensure() = %v, want ErrNotSynced", err)
	}
	// The patience is spent: a retry holds up nobody.
	if err := f.watches.Ensure(t.Context(), "set", scopes); !errors.Is(err, live.ErrNotSynced) {
		t.Errorf("second Ensure() = %v, want ErrNotSynced at once", err)
	}
}

func TestTheCallersContextEndsTheWait(t *testing.T) {
	f := setUp(t)
	f.hang["list"] = true
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.watches.Ensure(ctx, "set", []live.Scope{members("configmaps")}); !errors.Is(err, live.ErrNotSynced) {
		t.Errorf("Ensure(ended context) = %v, want ErrNotSynced", err)
	}
	if n := f.watches.Len(); n != 1 {
		t.Errorf("Len() = %d, want the watch to outlive the call that opened it", n)
	}
}

func TestANamedSecretNeedsGetAndWatchOnly(t *testing.T) {
	f := setUp(t)
	s := named("key")
	f.ensure(t, "set", s)
	if p := f.presence(s, "key", 0); p != live.Absent {
		t.Errorf("Find of a Secret that is not there = %v, want Absent", p)
	}
	f.until(t, "watch open", func() bool { return f.watching("secrets") == 1 })
	before := f.times("set")
	version := f.put("secrets", "key", "")
	f.until(t, "its creation is seen", func() bool { return f.presence(s, "key", version) == live.Present && f.times("set") > before })
	if n := f.count("list secrets"); n != 0 {
		t.Errorf("%d lists of Secrets, want none: the namespace grants get and watch by name", n)
	}
}

func TestClosingEndsEveryGoroutine(t *testing.T) {
	f := setUp(t)
	before := runtime.NumGoroutine()
	for range 20 {
		f.ensure(t, "set", members("configmaps"), members("secrets"))
		f.watches.Release("set")
	}
	f.until(t, "goroutines gone", func() bool { return runtime.NumGoroutine() <= before })
}

func TestManyOwnersAtOnce(t *testing.T) {
	f := setUp(t)
	var group sync.WaitGroup
	for _, owner := range []string{"a", "b", "c", "d", "e", "f"} {
		group.Go(func() {
			for range 10 {
				if err := f.watches.Ensure(t.Context(), owner, []live.Scope{members("configmaps")}); err != nil {
					t.Errorf("Ensure() = %v", err)
				}
				f.put("configmaps", owner, owner)
				f.watches.Find(members("configmaps"), key(owner), 0)
				f.watches.Members(members("configmaps"), owner)
				f.watches.Release(owner)
			}
		})
	}
	group.Wait()
	if n := f.watches.Len(); n != 0 {
		t.Errorf("Len() = %d after everybody left, want 0", n)
	}
}
