package controllers

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/util/workqueue"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/source"
	"github.com/gitseal/gitseal/internal/webhook"
)

func following(name, url string, ref v1alpha1.GitRef) (app v1alpha1.Application) {
	app.Name = name
	app.Spec.Source.Git.URL, app.Spec.Source.Git.Ref = url, ref
	return app
}

// queued notes what is added to a queue.
type queued struct {
	workqueue.TypedRateLimitingInterface[reconcile.Request]
	mu    sync.Mutex
	names []string
}

func (q *queued) Add(r reconcile.Request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.names = append(q.names, r.Name)
}

func (q *queued) take() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	names := q.names
	q.names = nil
	slices.Sort(names)
	return names
}

func startPolls(t *testing.T, applications ...v1alpha1.Application) (*polls, *queued, *clocktesting.FakeClock) {
	t.Helper()
	clk, q, signals := clocktesting.NewFakeClock(time.Unix(1000, 0)), &queued{}, NewSignals()
	if err := signals.Start(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	followers := func(key string) []v1alpha1.Application {
		return slices.DeleteFunc(slices.Clone(applications), func(a v1alpha1.Application) bool {
			return source.RepositoryKey(a.Spec.Source.Git.URL) != key
		})
	}
	return newPolls(followers, signals, clk), q, clk
}

func TestAPushIsForThoseWhoFollowTheRef(t *testing.T) {
	const url = "https://git.example.com/shop/deploy.git"
	everybody := []v1alpha1.Application{
		following("default", url, v1alpha1.GitRef{}),
		following("main", "ssh://git@git.example.com/shop/deploy", v1alpha1.GitRef{Branch: "main"}),
		following("release", url, v1alpha1.GitRef{Branch: "release"}),
		following("tag", url, v1alpha1.GitRef{Tag: "v1"}),
		following("range", url, v1alpha1.GitRef{SemVer: "1.x"}),
		following("pinned", url, v1alpha1.GitRef{Commit: "0123456789012345678901234567890123456789"}),
		following("other", "https://git.example.com/shop/other.git", v1alpha1.GitRef{}),
	}
	tests := map[string]struct {
		url, ref string
		want     []string
	}{
		"main":          {url, "refs/heads/main", []string{"default", "main"}},
		"by scp's form": {"git@git.example.com:shop/deploy.git", "refs/heads/release", []string{"release"}},
		"a tag":         {url, "refs/tags/v1", []string{"range", "tag"}},
		"another tag":   {url, "refs/tags/v2", []string{"range"}},
		"any ref":       {url, "", []string{"default", "main", "pinned", "range", "release", "tag"}},
		"a short ref":   {url, "main", []string{"default", "main"}},
		"nobody's ref":  {url, "refs/heads/topic", nil},
		"nobody's repo": {"https://elsewhere.example.com/x/y", "refs/heads/main", nil},
		"no URL":        {"::", "refs/heads/main", nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p, q, _ := startPolls(t, everybody...)
			p.Poll(webhook.Push{URLs: []string{tt.url, tt.url}, Ref: tt.ref})
			if diff := cmp.Diff(tt.want, q.take()); diff != "" {
				t.Errorf("told (-want +got):\n%s", diff)
			}
		})
	}
}

func TestManyPushesAreOneLookPerPauseAndTheLastCounts(t *testing.T) {
	const url = "https://git.example.com/shop/deploy.git"
	p, q, clk := startPolls(t, following("main", url, v1alpha1.GitRef{Branch: "main"}), following("release", url, v1alpha1.GitRef{Branch: "release"}))
	for range 100 {
		p.Poll(webhook.Push{URLs: []string{url}, Ref: "refs/heads/main"})
	}
	p.Poll(webhook.Push{URLs: []string{url}, Ref: "refs/heads/release"})
	if diff := cmp.Diff([]string{"main"}, q.take()); diff != "" {
		t.Fatalf("told at once (-want +got):\n%s", diff)
	}
	clk.Step(pollPause)
	if diff := cmp.Diff([]string{"main", "release"}, await(t, q, 2)); diff != "" {
		t.Fatalf("told after the pause (-want +got):\n%s", diff)
	}
	clk.Step(pollPause)
	awaitIdle(t, p)
	if got := q.take(); got != nil {
		t.Errorf("told %v though nothing was pushed", got)
	}
	p.Poll(webhook.Push{URLs: []string{url}, Ref: "refs/heads/main"})
	if diff := cmp.Diff([]string{"main"}, q.take()); diff != "" {
		t.Errorf("told at once again (-want +got):\n%s", diff)
	}
}

// await polls until n names were queued.
func await(t *testing.T, q *queued, n int) (names []string) {
	t.Helper()
	soon(t, func() bool {
		names = append(names, q.take()...)
		return len(names) >= n
	})
	slices.Sort(names)
	return names
}

func awaitIdle(t *testing.T, p *polls) {
	t.Helper()
	soon(t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.resting) == 0
	})
}

func soon(t *testing.T, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not after a minute")
		}
	}
}

func TestWhatNobodyFollowsIsNotRemembered(t *testing.T) {
	p, _, _ := startPolls(t)
	p.Poll(webhook.Push{URLs: []string{"https://git.example.com/shop/deploy.git"}})
	if len(p.resting) != 0 {
		t.Errorf("%d repositories are remembered, want none", len(p.resting))
	}
}
