package faults

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/test/rig"
)

// waitServing waits until the API server answers, and the controllers of the
// control plane are at work again.
func waitServing(t *testing.T) {
	t.Helper()
	eventually(t, "the API server answers", func(ctx context.Context) error {
		_, err := sandbox.Kubectl(ctx, "", "--request-timeout=2s", "get", "--raw", "/readyz")
		return err
	})
}

func anything(rig.Asked) bool { return true }

// While the API server is gone, killed or without its store, the operator stays
// up and does not storm; what was pushed meanwhile is applied when it is back,
// what was in place is what it was, and nobody restarts anything.
func TestTheControlPlaneIsGoneForAWhile(t *testing.T) {
	for _, program := range []string{"kube-apiserver", "etcd"} {
		t.Run(program, func(t *testing.T) {
			s := newStory(t, "gone")
			s.app.Spec.Source.Git.Interval.Duration = time.Second
			commit := s.push(someConfigs(5, "1"))
			s.create()
			s.waitReady(commit)
			before := s.configs()

			if err := sandbox.Halt(t.Context(), program); err != nil {
				t.Fatal(err)
			}
			asked := proxy.Count(anything)
			const gone = 12 * time.Second
			begun := time.Now()
			commit = s.push(map[string]string{"c00.yaml": configMap("c00", "2"), "c04.yaml": "", "c05.yaml": configMap("c05", "2")})
			throughout(t, gone, func() error {
				if err := unix.Kill(operator.Pid(), 0); err != nil {
					return fmt.Errorf("the operator ended: %w", err)
				}
				return nil
			})
			asked, took := proxy.Count(anything)-asked, time.Since(begun)
			t.Logf("%d requests in %s without %s", asked, took, program)
			if limit := int(20 * took.Seconds()); asked > limit {
				t.Errorf("the operator asked %d times in %s, want at most %d", asked, took, limit)
			}
			if err := sandbox.Resume(t.Context(), program); err != nil {
				t.Fatal(err)
			}
			waitServing(t)

			app := s.waitReady(commit)
			after := s.configs()
			for _, changed := range []string{"c00", "c04", "c05"} {
				delete(before, changed)
			}
			kept := maps.Clone(after)
			for _, changed := range []string{"c00", "c05"} {
				if !strings.HasSuffix(after[changed], "=2") {
					t.Errorf("ConfigMap %s is %q, want the new value", changed, after[changed])
				}
				delete(kept, changed)
			}
			if !maps.Equal(before, kept) {
				t.Errorf("what did not change in Git is %v, was %v", kept, before)
			}
			if n := len(app.Status.History); n != 2 {
				t.Errorf("history has %d entries, want the two revisions: %+v", n, app.Status.History)
			}
		})
	}
}

// Nothing more can be written to scratch space, whatever the reason that the
// kernel gives: no new revision comes, the last one stays and is still guarded,
// and the message names the volume.
func TestTheScratchVolumeIsFull(t *testing.T) {
	s := newStory(t, "full")
	commit := s.push(someConfigs(3, "1"))
	s.create()
	s.waitReady(commit)
	before := s.configs()
	limitFiles(t, 16)

	commit = s.push(someConfigs(2, "2"))
	s.waitRefused(v1alpha1.ReasonSourceUnavailable, "scratch", "has room")
	if err := s.sees(v1alpha1.ReasonSourceUnavailable, "scratch"); err != nil {
		t.Error(err)
	}
	if after := s.configs(); !maps.Equal(before, after) {
		t.Errorf("objects are %v, were %v", after, before)
	}
	s.kubectl("", "-n", s.ns, "patch", "configmap", "c02", "--type=merge", "-p", `{"data":{"key":"by hand"}}`)
	s.waitValue("c02", "1")

	limitFiles(t, unix.RLIM_INFINITY)
	s.waitReady(commit)
	s.waitValue("c01", "2")
	if _, err := get(t.Context(), s, "c02", &corev1.ConfigMap{}); err != nil {
		t.Errorf("ConfigMap c02: %v", err)
	}
}

// limitFiles bounds the files that the operator may write, until the test ends.
func limitFiles(t *testing.T, size uint64) {
	t.Helper()
	set := func(size uint64) error {
		return unix.Prlimit(operator.Pid(), unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: size, Max: unix.RLIM_INFINITY}, nil)
	}
	if err := set(size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = set(unix.RLIM_INFINITY) })
}
