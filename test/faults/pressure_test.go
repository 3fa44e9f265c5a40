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
	const objects, storm = 5, 8 * time.Second
	ofObjects := func(a rig.Asked) bool { return strings.Contains(a.Path, "/configmaps/") }
	ofStatus := func(a rig.Asked) bool { return strings.HasSuffix(a.Path, "/status") }
	ofParent := func(a rig.Asked) bool { return strings.HasSuffix(a.Path, "/applications/app") }
	for name, tt := range map[string]struct {
		match  func(rig.Asked) bool
		answer http.HandlerFunc
		// most is how many requests the storm may draw upon itself: tries of an
		// Application that retries each second, times what it sends.
		most int
		told string
	}{
		"429 for objects":    {ofObjects, refuse(http.StatusTooManyRequests, "TooManyRequests", "1"), 12 * objects, ""},
		"429 for all":        {func(rig.Asked) bool { return true }, refuse(http.StatusTooManyRequests, "TooManyRequests", "1"), 12 * (objects + 2), ""},
		"429 without a time": {ofObjects, refuse(http.StatusTooManyRequests, "TooManyRequests", ""), 12 * objects, v1alpha1.ReasonApplyFailed},
		"409 for objects":    {ofObjects, refuse(http.StatusConflict, "Conflict", ""), 12 * objects, v1alpha1.ReasonApplyFailed},
		"409 for the parent": {ofParent, refuse(http.StatusConflict, "Conflict", ""), 24, ""},
		"409 for the status": {ofStatus, refuse(http.StatusConflict, "Conflict", ""), 24, ""},
		"500 for the status": {ofStatus, refuse(http.StatusInternalServerError, "InternalError", ""), 24, ""},
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
			t.Logf("%d requests met the storm", fault.Hits())
			if fault.Hits() > tt.most {
				t.Errorf("%d requests met the storm, want at most %d", fault.Hits(), tt.most)
			}
			fault.End()
			s.waitReady(commit)
			if after := s.configs(); len(after) != objects || maps.Equal(before, after) {
				t.Errorf("objects are %v", after)
			}
		})
	}
}
