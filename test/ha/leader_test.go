package ha

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/test/rig"
)

// The leader that is told to stop hands over at once; the one that is killed is
// replaced when its lease is over.
func TestALeaderSharesNothingAndHandsOver(t *testing.T) {
	f := newFleet(t, "led", 20)
	commit := f.push("one")
	a := start(t, "a", "--leader-elect=true")
	f.create(time.Second)
	f.wait(commit, f.size)
	b := start(t, "b", "--leader-elect=true")

	commit = f.push("two")
	f.wait(commit, 1)
	a.leaves(t)
	stopped := time.Now()
	f.wait(commit, f.size)
	t.Logf("all are ready %s after the leader left", time.Since(stopped).Round(time.Millisecond))

	c := start(t, "c", "--leader-elect=true")
	commit = f.push("three")
	f.wait(commit, 1)
	must(t, b.Kill())
	killed := time.Now()
	commit = f.push("four")
	f.wait(commit, f.size)
	t.Logf("all are ready %s after the leader was killed", time.Since(killed).Round(time.Millisecond))
	f.audit(a, b, c)
}

// Two operators that know nothing of one another do the same: neither undoes
// what the other did, and once all is done, neither writes.
func TestTwoThatShareByMistakeCorruptNothing(t *testing.T) {
	f := newFleet(t, "mistaken", 20)
	commit := f.push("one")
	a, b := start(t, "a", "--leader-elect=false"), start(t, "b", "--leader-elect=false")
	f.create(time.Second)
	f.wait(commit, f.size)
	commit = f.push("two")
	f.wait(commit, f.size)

	// What both agree on is quiet.
	versions := func(ctx context.Context) (string, error) {
		var all corev1.ConfigMapList
		if err := sandbox.Client.List(ctx, &all, client.InNamespace(f.ns), client.HasLabels{"applyset.kubernetes.io/part-of"}); err != nil {
			return "", err
		}
		text := ""
		for _, c := range all.Items {
			if c.Data["key"] != "two" {
				return "", fmt.Errorf("ConfigMap %s holds %q", c.Name, c.Data["key"])
			}
			text += c.Name + "=" + c.ResourceVersion + " "
		}
		if len(all.Items) != 2*f.size {
			return "", fmt.Errorf("%d objects, want %d", len(all.Items), 2*f.size)
		}
		return text, nil
	}
	calm := time.Now()
	last := ""
	eventually(t, "nothing changes for 3s", func(ctx context.Context) error {
		now, err := versions(ctx)
		if err != nil || now != last {
			calm, last = time.Now(), now
		}
		if err == nil && time.Since(calm) < 3*time.Second {
			err = fmt.Errorf("it changed %s ago", time.Since(calm))
		}
		return err
	})
	if n := len(a.proxy.Asked(rig.Asked.Writes)) * len(b.proxy.Asked(rig.Asked.Writes)); n == 0 {
		t.Error("only one of them did anything")
	}
}
