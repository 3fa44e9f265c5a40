package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/seam"
)

// sent is a request whose body can be looked at and changed.
type sent struct {
	*http.Request
	body []byte
	next http.RoundTripper
}

// is reports whether the request stores something at a path.
func (s sent) is(method, suffix string) bool {
	return s.Method == method && strings.HasSuffix(s.URL.Path, suffix) && s.URL.Query().Get("dryRun") == ""
}

// send sends the request with a body.
func (s sent) send(body []byte) (*http.Response, error) {
	r := s.Clone(s.Context())
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return s.next.RoundTrip(r)
}

// alsoSend sends something besides.
func (s sent) alsoSend(change func(r *http.Request), body []byte) error {
	r := s.Clone(s.Context())
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	change(r)
	response, err := s.next.RoundTrip(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		text, _ := io.ReadAll(response.Body)
		return errors.New("the bug could not be planted: " + string(text))
	}
	return nil
}

// tell creates an event about the Application.
func (s sent) tell(reason string) error {
	path, _, _ := strings.Cut(strings.TrimSuffix(s.URL.Path, "/events"), "/applications/")
	namespace := path[strings.LastIndex(path, "/")+1:]
	raw := fmt.Appendf(nil, `{"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"generateName": "told-"}, "type": "Normal", "reason": %q, "action": "Tell",
		"reportingController": "test", "reportingInstance": "test", "eventTime": "2026-01-01T00:00:00.000000Z",
		"regarding": {"apiVersion": "gitseal.dev/v1alpha1", "kind": "Application", "name": "app", "namespace": %q}}`, reason, namespace)
	return s.alsoSend(func(r *http.Request) {
		r.Method, r.URL.Path = http.MethodPost, "/apis/events.k8s.io/v1/namespaces/"+namespace+"/events"
		r.Header.Set("Content-Type", "application/json")
	}, raw)
}

// edited is the body with a change.
func (s sent) edited(change func(map[string]any)) []byte {
	var object map[string]any
	if err := json.Unmarshal(s.body, &object); err != nil {
		return s.body
	}
	change(object)
	raw, err := json.Marshal(object)
	if err != nil {
		return s.body
	}
	return raw
}

// bug makes a tamper of what is to be done to a request.
func bug(do func(s sent) (*http.Response, error)) tamper {
	return func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
		s := sent{Request: r, next: next}
		if r.Body != nil {
			var err error
			if s.body, err = io.ReadAll(r.Body); err != nil {
				return nil, err
			}
		}
		return do(s)
	}
}

func field(object map[string]any, path ...string) map[string]any {
	for _, p := range path {
		object, _ = object[p].(map[string]any)
	}
	return object
}

// TestEveryInvariantCanFail plants a bug for each and looks whether it is found.
func TestEveryInvariantCanFail(t *testing.T) {
	var touched atomic.Int32
	tests := map[string]struct {
		scenario string
		breaks   string
		bug      tamper
	}{
		"an object that is not what Git says": {"first-sync", "(a:", bug(func(s sent) (*http.Response, error) {
			if s.is(http.MethodPatch, "/configmaps/flags") {
				return s.send(s.edited(func(o map[string]any) { field(o, "data")["value"] = "wrong" }))
			}
			return s.send(s.body)
		})},
		"an ApplySet that does not record its members": {"first-sync", "(b: no orphan", bug(func(s sent) (*http.Response, error) {
			if s.is(http.MethodPatch, "/applications/app") {
				return s.send(s.edited(func(o map[string]any) {
					delete(field(o, "metadata", "annotations"), v1alpha1.AnnotationPlaces)
				}))
			}
			return s.send(s.body)
		})},
		"a wanted object that is deleted": {"change", "(c:", deletesWanted()},
		"an object that is made anew":     {"change", "(b: nothing is created twice", deletesWanted()},
		"an event that is told twice": {"change", "(e:", bug(func(s sent) (*http.Response, error) {
			if s.is(http.MethodPost, "/events") {
				for range 2 {
					if err := s.tell("Told"); err != nil {
						return nil, err
					}
				}
			}
			return s.send(s.body)
		})},
		"a migration that runs twice": {"run-once", "(d:", runsTwice()},
		"a Secret that is written in two halves": {"change", "(f:", bug(func(s sent) (*http.Response, error) {
			if s.is(http.MethodPatch, "/secrets/login") {
				half := s.edited(func(o map[string]any) { delete(field(o, "data"), "token") })
				if err := s.alsoSend(func(*http.Request) {}, half); err != nil {
					return nil, err
				}
			}
			return s.send(s.body)
		})},
		"a workload that restarts twice": {"change", "(g:", bug(func(s sent) (*http.Response, error) {
			if s.is(http.MethodPatch, "/deployments/web") && touched.Add(1) > 1 {
				once := s.edited(func(o map[string]any) {
					field(o, "spec", "template", "metadata", "annotations")["version"] = "in between"
				})
				if err := s.alsoSend(func(*http.Request) {}, once); err != nil {
					return nil, err
				}
			}
			return s.send(s.body)
		})},
		"a value in an object that is no Secret": {"first-sync", "(h:", bug(func(s sent) (*http.Response, error) {
			if s.is(http.MethodPatch, "/configmaps/flags") {
				return s.send(s.edited(func(o map[string]any) { field(o, "data")["value"] = canaryOne }))
			}
			return s.send(s.body)
		})},
		"a value on disk": {"first-sync", "(h:", bug(func(s sent) (*http.Response, error) {
			if s.is(http.MethodPatch, "/secrets/login") {
				name := filepath.Join(os.TempDir(), "leak")
				if err := os.WriteFile(name, []byte(canaryOne), 0o600); err != nil {
					return nil, err
				}
				t.Cleanup(func() { _ = os.Remove(name) })
			}
			return s.send(s.body)
		})},
		"a sync of nothing that writes": {"first-sync", "(i:", bug(func(s sent) (*http.Response, error) {
			if s.is(http.MethodPatch, "/applications/app/status") {
				if err := s.tell("Busy"); err != nil {
					return nil, err
				}
			}
			return s.send(s.body)
		})},
	}
	wants := map[string]record{}
	for _, s := range scenarios {
		if slices.Contains([]string{"first-sync", "change", "run-once"}, s.name) {
			want, _, err := shared.learn(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			wants[s.name] = want
		}
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := slices.IndexFunc(scenarios, func(s scenario) bool { return s.name == tt.scenario })
			r := shared.do(t.Context(), job{scenario: scenarios[at], want: wants[tt.scenario], variant: variant{tamper: tt.bug}, result: result{Scenario: tt.scenario}})
			if !slices.ContainsFunc(r.Broken, func(b string) bool { return strings.HasPrefix(b, tt.breaks) }) {
				t.Errorf("found %q, want something of %s", r.Broken, tt.breaks)
			}
		})
	}
}

// deletesWanted deletes an object right after it was changed.
func deletesWanted() tamper {
	var done atomic.Int32
	return bug(func(s sent) (*http.Response, error) {
		response, err := s.send(s.body)
		if err == nil && s.is(http.MethodPatch, "/configmaps/settings") && done.Add(1) == 2 {
			err = s.alsoSend(func(r *http.Request) {
				r.Method, r.URL.RawQuery = http.MethodDelete, ""
				r.Header.Del("Content-Type")
			}, nil)
		}
		return response, err
	})
}

// runsTwice creates a Job, deletes it and creates it again.
func runsTwice() tamper {
	var done atomic.Int32
	return bug(func(s sent) (*http.Response, error) {
		if s.is(http.MethodPatch, "/jobs/migrate") && done.Add(1) == 1 {
			if err := s.alsoSend(func(*http.Request) {}, s.body); err != nil {
				return nil, err
			}
			if err := s.alsoSend(func(r *http.Request) {
				r.Method, r.URL.RawQuery = http.MethodDelete, "propagationPolicy=Background"
				r.Header.Del("Content-Type")
			}, nil); err != nil {
				return nil, err
			}
		}
		return s.send(s.body)
	})
}

func TestNothingGetsOutAfterAKill(t *testing.T) {
	secret := seam.Call{Kind: seam.API, Name: "PATCH /api/v1/namespaces/x/secrets/login"}
	other := seam.Call{Kind: seam.API, Name: "GET /api/v1/namespaces/x/configmaps"}
	for mode, happens := range map[Mode]bool{Before: false, After: true, Error: true, Timeout: false} {
		t.Run(string(mode), func(t *testing.T) {
			g := newGate("x", &Fault{Mode: mode, Point: Point{Name: "api PATCH /api/v1/namespaces/CELL/secrets/login", Count: 2}})
			g.arm()
			effects := 0
			call := func(c seam.Call) error { return seam.Do(g, c, func() error { effects++; return nil }) }
			if err := errors.Join(call(other), call(secret)); err != nil || effects != 2 {
				t.Fatalf("before its point a fault is not there: %v after %d effects", err, effects)
			}
			err := call(secret)
			if err == nil || (effects == 3) != happens {
				t.Errorf("at its point: error %v, happened %v, want an error and %v", err, effects == 3, happens)
			}
			lives := mode == Error || mode == Timeout
			effects = 0
			if err := call(other); (err == nil) != lives || (effects == 1) != lives {
				t.Errorf("after its point: %v, %d effects, want it to live: %v", err, effects, lives)
			}
		})
	}
}

func TestASampleIsSpread(t *testing.T) {
	jobs := make([]job, 40)
	for i := range jobs {
		jobs[i].result.K = i
	}
	got := sample(newRandom(1), jobs, 4)
	for i, j := range got {
		if j.result.K < i*10 || j.result.K >= i*10+10 {
			t.Errorf("the %d. of 4 samples of 40 is %d", i, j.result.K)
		}
	}
	if len(got) != 4 {
		t.Errorf("sample() gave %d of 40, want 4", len(got))
	}
}
