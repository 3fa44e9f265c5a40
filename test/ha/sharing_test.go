package ha

import (
	"testing"
	"time"
)

// Three replicas share sixty Applications. One is killed in the midst of the
// first sync, one is added, one is frozen until all it had is somebody else's
// and goes on, and one leaves.
func TestReplicasShareAndNoApplicationIsWorkedOnByTwo(t *testing.T) {
	f := newFleet(t, "shared", 60)
	commit := f.push("one")
	a, b, c := start(t, "a", "--share"), start(t, "b", "--share"), start(t, "c", "--share")
	f.create(2 * time.Second)
	f.wait(commit, 1)
	must(t, a.Kill())
	killed := time.Now()
	d := start(t, "d", "--share")
	f.wait(commit, f.size)
	t.Logf("all are ready %s after a replica was killed", time.Since(killed).Round(time.Millisecond))

	must(t, b.Freeze())
	frozen := time.Now()
	commit = f.push("two")
	f.wait(commit, f.size)
	t.Logf("all are ready %s after a replica was frozen", time.Since(frozen).Round(time.Millisecond))
	must(t, b.Thaw())
	commit = f.push("three")
	f.wait(commit, f.size)

	commit = f.push("four")
	f.wait(commit, 1)
	must(t, c.Stop())
	stopped := time.Now()
	f.wait(commit, f.size)
	t.Logf("all are ready %s after a replica left", time.Since(stopped).Round(time.Millisecond))

	f.audit(a, b, c, d)
	by := map[string]map[string]bool{}
	for name, list := range f.writes(a, b, c, d) {
		for _, w := range list {
			if by[w.by] == nil {
				by[w.by] = map[string]bool{}
			}
			by[w.by][name] = true
		}
	}
	for _, r := range []*replica{b, c, d} {
		if n := len(by[r.name]); n < f.size/10 {
			t.Errorf("%s worked on %d of %d Applications, want a share", r.name, n, f.size)
		}
	}
}
