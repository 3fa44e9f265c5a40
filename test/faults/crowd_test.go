package faults

import (
	"context"
	"fmt"
	"maps"
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
	writes := func() int { return proxy.Count(writesIn(s.ns)) + second.Count(writesIn(s.ns)) }
	rest := func() {
		t.Helper()
		last, since := -1, time.Now()
		eventually(t, "both rest", func(context.Context) error {
			if n := writes(); n != last {
				last, since = n, time.Now()
			}
			if rested := time.Since(since); rested < 5*time.Second {
				return fmt.Errorf("%d writes, the last %s ago", last, rested)
			}
			return nil
		})
	}
	for _, one := range each {
		one.waitReady(commit)
	}
	rest()
	t.Logf("%d writes for the first sync", writes())
	before := s.configs()

	commit = s.push(map[string]string{"a0/c.yaml": configMap("c0", "2"), "a0/d.yaml": ""})
	each[0].waitReady(commit)
	s.kubectl("", "-n", s.ns, "patch", "configmap", "c1", "--type=merge", "-p", `{"data":{"key":"by hand"}}`)
	s.waitValue("c1", "1")
	rest()
	t.Logf("%d writes with a change, a prune and drift", writes())
	if n := writes(); n > 40*apps {
		t.Errorf("%d writes for %d Applications of 2 objects", n, apps)
	}
	after := s.configs()
	delete(before, "d0")
	before["c0"] = strings.Replace(before["c0"], "=1", "=2", 1)
	if !maps.Equal(before, after) {
		t.Errorf("objects are %v, want %v", after, before)
	}
	var told corev1.EventList
	if err := sandbox.Client.List(t.Context(), &told, client.InNamespace(s.ns)); err != nil || len(told.Items) > 6*apps {
		t.Errorf("%d events, %v", len(told.Items), err)
	}
	for _, e := range told.Items {
		if e.InvolvedObject.Kind == "Application" && e.Type != corev1.EventTypeNormal {
			t.Errorf("event %s: %s", e.Reason, e.Message)
		}
	}
}

// A thousand Applications that come at once all get ready, in reasonable time
// and in little memory, and none waits for all others.
func TestAThousandApplicationsAreCreatedAtOnce(t *testing.T) {
	const apps, most, memory = 1000, 90 * time.Second, 300 << 20
	s := newStory(t, "crowd")
	files := map[string]string{}
	for i := range apps {
		files[fmt.Sprintf("a%03d/c.yaml", i)] = configMap(fmt.Sprintf("c%03d", i), "1")
	}
	commit := s.push(files)
	begun := time.Now()
	var creates errgroup.Group
	creates.SetLimit(32)
	for i := range apps {
		app := newApplication(s.ns, fmt.Sprintf("app%03d", i), s.repo.URL)
		app.Spec.Source.Path = fmt.Sprintf("a%03d", i)
		app.Spec.Source.Git.Interval.Duration = time.Minute
		creates.Go(func() error { return sandbox.Client.Create(t.Context(), app) })
	}
	if err := creates.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("created after %s", time.Since(begun))
	for ready := 0; ready < apps; {
		var all v1alpha1.ApplicationList
		if err := sandbox.Client.List(t.Context(), &all, client.InNamespace(s.ns)); err != nil {
			t.Fatal(err)
		}
		ready = 0
		var last error
		for i := range all.Items {
			if err := readyAt(&all.Items[i], commit); err != nil {
				last = fmt.Errorf("%s: %w", all.Items[i].Name, err)
				continue
			}
			ready++
		}
		if took := time.Since(begun); took > most {
			t.Fatalf("%d of %d ready after %s; %v", ready, apps, took, last)
		}
		<-time.After(500 * time.Millisecond)
	}
	rss := peakMemory(t, operator.Pid())
	t.Logf("all ready after %s, peak memory %d MiB", time.Since(begun), rss>>20)
	if rss > memory {
		t.Errorf("peak memory is %d MiB", rss>>20)
	}
	if n := len(s.configs()); n != apps {
		t.Errorf("%d ConfigMaps, want %d", n, apps)
	}
	var deletes errgroup.Group
	deletes.SetLimit(32)
	for i := range apps {
		app := newApplication(s.ns, fmt.Sprintf("app%03d", i), "")
		deletes.Go(func() error { return sandbox.Client.Delete(t.Context(), app) })
	}
	if err := deletes.Wait(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all gone", func(ctx context.Context) error {
		var all v1alpha1.ApplicationList
		err := sandbox.Client.List(ctx, &all, client.InNamespace(s.ns))
		if err == nil && len(all.Items)+len(s.configs()) > 0 {
			err = fmt.Errorf("%d Applications and %d ConfigMaps are left", len(all.Items), len(s.configs()))
		}
		return err
	})
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
