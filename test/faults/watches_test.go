package faults

import (
	"net/http"
	"strings"
	"testing"

	"github.com/gitseal/gitseal/test/rig"
)

// A watch that is lost, and one that is told that its version is too old, miss
// nothing: what happened meanwhile is put back. It cuts every connection, so it
// runs alone.
func TestALostWatchMissesNothing(t *testing.T) {
	s := newStory(t, "lost-watch")
	commit := s.push(map[string]string{"a.yaml": configMap("a", "1"), "b.yaml": configMap("b", "1")})
	s.create()
	s.waitReady(commit)
	// A watch that goes on from a version, not one that begins with a list.
	resumed := func(a rig.Asked) bool {
		return in(s.ns)(a) && a.Method == http.MethodGet && strings.HasSuffix(a.Path, "/configmaps") &&
			strings.Contains(a.Query, "watch=") && !strings.Contains(a.Query, "sendInitialEvents")
	}
	proxy.Cut()
	s.kubectl("", "-n", s.ns, "patch", "configmap", "a", "--type=merge", "-p", `{"data":{"key":"by hand"}}`)
	s.kubectl("", "-n", s.ns, "delete", "configmap", "b")
	s.waitValue("a", "1")
	s.waitValue("b", "1")

	expired := proxy.Break(resumed, refuse(http.StatusGone, "Expired", ""))
	defer expired.End()
	proxy.Cut()
	s.kubectl("", "-n", s.ns, "patch", "configmap", "a", "--type=merge", "-p", `{"data":{"key":"by hand"}}`)
	s.kubectl("", "-n", s.ns, "delete", "configmap", "b")
	s.waitValue("a", "1")
	s.waitValue("b", "1")
	if expired.Hits() == 0 {
		t.Error("no watch was told that its version is too old")
	}
	expired.End()
	s.kubectl("", "-n", s.ns, "patch", "configmap", "a", "--type=merge", "-p", `{"data":{"key":"once more"}}`)
	s.waitValue("a", "1")
	s.waitReady(commit)
}
