package faults

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/test/rig"
)

// waitServing waits until the API server answers.
func waitServing(t *testing.T) {
	t.Helper()
	eventually(t, "the API server answers", func(ctx context.Context) error {
		_, err := sandbox.Kubectl(ctx, "", "--request-timeout=10s", "get", "--raw", "/readyz")
		return err
	})
}

func anything(rig.Asked) bool { return true }

// While the API server is gone, killed or without its store, the operator stays
// up and does not storm; what was pushed meanwhile is applied when it is back,
// what was in place is what it was, and nobody restarts anything.
func TestTheControlPlaneIsGoneForAWhile(t *testing.T) {
	for program, gone := range map[string]time.Duration{"kube-apiserver": time.Minute, "etcd": 12 * time.Second} {
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
			after := s.waitConfigs(func(now map[string]string) bool { return now["c04"] == "" })
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
	t.Run("no room is left", func(t *testing.T) { fullScratch(t, "full", fillVolume(t)) })
	t.Run("no file may grow", func(t *testing.T) { fullScratch(t, "limited", limitFiles) })
}

// fullScratch tells the story; fill lets nothing more be written until the
// function that it returns is called.
func fullScratch(t *testing.T, name string, fill func(*testing.T) (empty func())) {
	s := newStory(t, name)
	commit := s.push(someConfigs(3, "1"))
	s.create()
	s.waitReady(commit)
	before := s.configs()
	empty := fill(t)

	commit = s.push(someConfigs(2, "2"))
	s.waitRefused(v1alpha1.ReasonSourceUnavailable, "scratch", "has room")
	s.sees(v1alpha1.ReasonSourceUnavailable, "scratch")
	if after := s.configs(); !maps.Equal(before, after) {
		t.Errorf("objects are %v, were %v", after, before)
	}
	s.kubectl("", "-n", s.ns, "patch", "configmap", "c02", "--type=merge", "-p", `{"data":{"key":"by hand"}}`)
	s.waitValue("c02", "1")

	empty()
	s.waitReady(commit)
	s.waitValue("c01", "2")
	if _, err := get(t.Context(), s, "c02", &corev1.ConfigMap{}); err != nil {
		t.Errorf("ConfigMap c02: %v", err)
	}
}

// fillVolume runs an operator whose scratch space is a small volume of its own,
// which only that process sees. It is filled and emptied through /proc.
func fillVolume(t *testing.T) func(*testing.T) (empty func()) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "on-a-small-volume")
	script := `#!/bin/sh
# The arguments begin with --kubeconfig FILE --scratch DIR.
exec unshare --user --map-root-user --mount sh -c 'mount -t tmpfs -o size=8m scratch "$4" && exec "$0" "$@"' '` + sandbox.Bin("gitseal-controller") + `' "$@"
`
	if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	another := replaced(t, rig.Launch{Program: program, Through: proxy})
	ballast := filepath.Join(fmt.Sprintf("/proc/%d/root", another.Pid()), another.Scratch, "ballast")
	return func(t *testing.T) (empty func()) {
		t.Helper()
		err := os.WriteFile(ballast, make([]byte, 16<<20), 0o600)
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("fill the volume: %v, want that there is no room", err)
		}
		return func() { _ = os.Remove(ballast) }
	}
}

// limitFiles bounds the files that the operator may write.
func limitFiles(t *testing.T) (empty func()) {
	t.Helper()
	set := func(size uint64) error {
		return unix.Prlimit(operator.Pid(), unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: size, Max: unix.RLIM_INFINITY}, nil)
	}
	if err := set(16); err != nil {
		t.Fatal(err)
	}
	unlimited := func() { _ = set(unix.RLIM_INFINITY) }
	t.Cleanup(unlimited)
	return unlimited
}
