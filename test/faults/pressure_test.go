package faults

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/test/rig"
)

// refuse answers as the API server does when it refuses.
func refuse(code int, reason, retryAfter string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if retryAfter != "" {
			w.Header().Set("Retry-After", retryAfter)
		}
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"a storm","reason":%q,"code":%d}`, reason, code)
	}
}

// A storm of refusals is waited for, not answered in kind; when it is over
// everything is in place, and what was in place is what it was.
func TestStormsOfRefusals(t *testing.T) {
	t.Parallel()
	const objects, storm, spare = 5, 8 * time.Second, 4
	ofObjects := func(a rig.Asked) bool { return strings.Contains(a.Path, "/configmaps/") }
	ofStatus := func(a rig.Asked) bool { return strings.HasSuffix(a.Path, "/status") }
	ofParent := func(a rig.Asked) bool { return strings.HasSuffix(a.Path, "/applications/app") }
	for name, tt := range map[string]struct {
		match  func(rig.Asked) bool
		answer http.HandlerFunc
		// each is how many requests one try sends, of an Application that retries
		// each second.
		each int
		told string
	}{
		"429 for objects":    {ofObjects, refuse(http.StatusTooManyRequests, "TooManyRequests", "1"), objects, ""},
		"429 for all":        {func(rig.Asked) bool { return true }, refuse(http.StatusTooManyRequests, "TooManyRequests", "1"), objects + 2, ""},
		"429 without a time": {ofObjects, refuse(http.StatusTooManyRequests, "TooManyRequests", ""), objects, v1alpha1.ReasonApplyFailed},
		"409 for objects":    {ofObjects, refuse(http.StatusConflict, "Conflict", ""), objects, v1alpha1.ReasonApplyFailed},
		"409 for the parent": {ofParent, refuse(http.StatusConflict, "Conflict", ""), 2, ""},
		"409 for the status": {ofStatus, refuse(http.StatusConflict, "Conflict", ""), 2, ""},
		"500 for the status": {ofStatus, refuse(http.StatusInternalServerError, "InternalError", ""), 2, ""},
	} {
		s := newStory(t, "storm")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.t = t
			commit := s.push(someConfigs(objects, "1"))
			s.create()
			s.waitReady(commit)
			before := s.configs()

			fault := proxy.Break(func(a rig.Asked) bool { return writesIn(s.ns)(a) && tt.match(a) }, tt.answer)
			t.Cleanup(fault.End)
			begun := time.Now()
			files := someConfigs(objects, "2")
			files["more.yaml"] = "apiVersion: v1\nkind: Service\nmetadata: {name: more}\nspec: {ports: [{port: 80}]}\n" // a new kind concerns the parent
			commit = s.push(files)
			eventually(t, "the storm", func(context.Context) error {
				if fault.Hits() == 0 {
					return fmt.Errorf("nothing met it")
				}
				return nil
			})
			if tt.told != "" {
				s.waitRefused(tt.told)
			}
			throughout(t, storm, func() error {
				for name, value := range s.configs() {
					if strings.Split(value, "=")[0] != strings.Split(before[name], "=")[0] {
						return fmt.Errorf("ConfigMap %s is %s, was %s", name, value, before[name])
					}
				}
				return nil
			})
			hits, took := fault.Hits(), time.Since(begun)
			t.Logf("%d requests met the storm in %s", hits, took)
			if most := tt.each * int(took.Seconds()+spare); hits > most {
				t.Errorf("%d requests met the storm in %s, want at most %d", hits, took, most)
			}
			fault.End()
			s.waitReady(commit)
			if after := s.configs(); len(after) != objects || maps.Equal(before, after) {
				t.Errorf("objects are %v", after)
			}
		})
	}
}
