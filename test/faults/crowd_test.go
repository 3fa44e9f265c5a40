package faults

import (
	"fmt"
	"maps"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/test/rig"
)

// Two operators that were started by mistake, neither a leader, do the same
// work twice and no harm: they agree on every object, end in the same state,
// and then both rest.
func TestTwoOperatorsAreStartedByMistake(t *testing.T) {
	const apps = 3
	second, err := sandbox.Proxy()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(second.Close)
	another, err := sandbox.StartOperatorAs(t.Context(), rig.Launch{Through: second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = another.Stop() })
	s := newStory(t, "twice")
	files := map[string]string{}
	for i := range apps {
		files[fmt.Sprintf("a%d/c.yaml", i)] = configMap(fmt.Sprintf("c%d", i), "1")
		files[fmt.Sprintf("a%d/d.yaml", i)] = configMap(fmt.Sprintf("d%d", i), "1")
	}
	commit := s.push(files)
	each := make([]*story, apps)
	for i := range each {
		one := *s
		one.app = newApplication(s.ns, fmt.Sprintf("app%d", i), s.repo.URL)
		one.app.Spec.Source.Path = fmt.Sprintf("a%d", i)
		one.create()
		each[i] = &one
	}
	writes := func() int { return s.written() + second.Count(writesIn(s.ns)) }
	var want map[string]string
	rest := func() {
		t.Helper()
		s.rest(writes, func() error {
			if now := s.configs(); !maps.Equal(now, want) {
				return fmt.Errorf("objects are %v, want %v", now, want)
			}
			return nil
		})
	}
	for _, one := range each {
		one.waitReady(commit)
	}
	want = s.waitConfigs(func(now map[string]string) bool { return len(now) == 2*apps })
	rest()
	t.Logf("%d writes for the first sync", writes())

	commit = s.push(map[string]string{"a0/c.yaml": configMap("c0", "2"), "a0/d.yaml": ""})
	each[0].waitReady(commit)
	s.kubectl("", "-n", s.ns, "patch", "configmap", "c1", "--type=merge", "-p", `{"data":{"key":"by hand"}}`)
	s.waitValue("c1", "1")
	delete(want, "d0")
	want["c0"] = strings.Replace(want["c0"], "=1", "=2", 1)
	rest()
	t.Logf("%d writes with a change, a prune and drift", writes())
	if n := writes(); n > 80*apps {
		t.Errorf("%d writes for %d Applications of 2 objects", n, apps)
	}
	var told corev1.EventList
	if err := sandbox.Client.List(t.Context(), &told, client.InNamespace(s.ns)); err != nil || len(told.Items) > 12*apps {
		t.Errorf("%d events, %v", len(told.Items), err)
	}
	t.Logf("%d events", len(told.Items))
	for _, e := range told.Items {
		if e.InvolvedObject.Kind == "Application" && e.Type != corev1.EventTypeNormal {
			t.Errorf("event %s: %s", e.Reason, e.Message)
		}
	}
}

// A thousand Applications that come at once all get ready, in little memory, and
// none waits for all others.
func TestAThousandApplicationsAreCreatedAtOnce(t *testing.T) {
	const apps, memory = 1000, 300 << 20
	s := newStory(t, "crowd")
	files := map[string]string{}
	for i := range apps {
		files[fmt.Sprintf("a%03d/c.yaml", i)] = configMap(fmt.Sprintf("c%03d", i), "1")
	}
	commit := s.push(files)
	begun := time.Now()
	atOnce(t, apps, func(i int) error {
		app := newApplication(s.ns, fmt.Sprintf("app%03d", i), s.repo.URL)
		app.Spec.Source.Path = fmt.Sprintf("a%03d", i)
		app.Spec.Source.Git.Interval.Duration = time.Minute
		return sandbox.Client.Create(t.Context(), app)
	})
	t.Logf("created after %s", time.Since(begun))
	dwindle(t, "Applications that are not ready", func() (left int, last error) {
		all := s.applications()
		for i := range all {
			if err := readyAt(&all[i], commit); err != nil {
				left, last = left+1, fmt.Errorf("%s: %w", all[i].Name, err)
			}
		}
		return left, last
	})
	rss := peakMemory(t, operator.Pid())
	t.Logf("all ready after %s, peak memory %d MiB", time.Since(begun), rss>>20)
	if rss > memory {
		t.Errorf("peak memory is %d MiB", rss>>20)
	}
	if n := len(s.configs()); n != apps {
		t.Errorf("%d ConfigMaps, want %d", n, apps)
	}
	atOnce(t, apps, func(i int) error {
		return sandbox.Client.Delete(t.Context(), newApplication(s.ns, fmt.Sprintf("app%03d", i), ""))
	})
	dwindle(t, "Applications and ConfigMaps that are left", func() (left int, last error) {
		return len(s.applications()) + len(s.configs()), nil
	})
}

// atOnce does something many times, as fast as the API server lets it.
func atOnce(t *testing.T, times int, do func(i int) error) {
	t.Helper()
	var g errgroup.Group
	g.SetLimit(32)
	for i := range times {
		g.Go(func() error { return do(i) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

// dwindle waits until nothing is left, as long as it takes: what a machine does
// in which time is for `make bench` to say. There has to be less again and again.
func dwindle(t *testing.T, what string, left func() (n int, last error)) {
	t.Helper()
	least, since := math.MaxInt, time.Now()
	for {
		n, last := left()
		if n == 0 {
			return
		}
		if n < least {
			least, since = n, time.Now()
		}
		if time.Since(since) > patience {
			t.Fatalf("%s: %d, and not less for %s; %v", what, n, patience, last)
		}
		<-time.After(500 * time.Millisecond)
	}
}

// applications are all of the story's namespace.
func (s *story) applications() []v1alpha1.Application {
	s.t.Helper()
	var all v1alpha1.ApplicationList
	if err := sandbox.Client.List(s.t.Context(), &all, client.InNamespace(s.ns)); err != nil {
		s.t.Fatal(err)
	}
	return all.Items
}

// peakMemory is the most resident memory that a process had, in bytes.
func peakMemory(t *testing.T, pid int) int {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}
