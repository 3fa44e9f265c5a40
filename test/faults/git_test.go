package faults

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// gitServer passes on to the sandbox's Git server, as long as it works.
type gitServer struct {
	url string

	mu    sync.Mutex
	fault http.HandlerFunc
}

func newGitServer(t *testing.T) *gitServer {
	t.Helper()
	target, err := url.Parse(sandbox.Sandbox.Git.URL)
	if err != nil {
		t.Fatal(err)
	}
	g := &gitServer{}
	onward := &httputil.ReverseProxy{Rewrite: func(pr *httputil.ProxyRequest) {
		pr.SetURL(target)
		// The first part of the path makes one repository look like several.
		_, path, _ := strings.Cut(strings.TrimPrefix(pr.In.URL.Path, "/"), "/")
		pr.Out.URL.Path = "/" + path
	}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		g.mu.Lock()
		fault := g.fault
		g.mu.Unlock()
		if fault == nil {
			fault = onward.ServeHTTP
		}
		fault(w, request)
	}))
	g.url = server.URL
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return g
}

func (g *gitServer) breaks(fault http.HandlerFunc) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fault = fault
}

// drip sends a byte now and then, and never ends.
func drip(hung *hanging) http.HandlerFunc {
	return func(w http.ResponseWriter, request *http.Request) {
		defer hung.enter(request.URL.Path)()
		w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
		_, _ = io.Copy(io.Discard, request.Body)
		for line := 0; ; line++ {
			text := "001e# service=git-upload-pack\n0000"
			if _, err := w.Write([]byte{text[line%len(text)]}); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
			select {
			case <-request.Context().Done():
				return
			case <-time.After(200 * time.Millisecond):
			}
		}
	}
}

// A Git server that fails costs its Applications new revisions and nothing
// else: what is in place stays and is guarded, the message says what ails it,
// and the next revision comes by itself when it works again.
func TestAGitServerFails(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fault http.HandlerFunc
		words string
	}{
		"it answers with an error": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "down", http.StatusBadGateway) }, "HTTP status 502"},
		"it hangs up":              {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "closed the connection"},
		"it sends something else":  {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, "does not answer as a Git server"},
	} {
		s, g := newStory(t, "git"), newGitServer(t)
		s.app.Spec.Source.Git.URL = g.url + "/one/" + s.ns + ".git"
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.t = t
			commit := s.begin(3)
			s.waitReady(commit)
			before := s.configs()
			g.breaks(tt.fault)
			commit = s.push(map[string]string{"c00.yaml": configMap("c00", "2"), "c01.yaml": ""})
			eventually(t, "it says so", func(ctx context.Context) error {
				app, err := s.read(ctx)
				if err == nil {
					err = refusedWith(app, v1alpha1.ReasonSourceUnavailable, tt.words)
				}
				if err != nil {
					err = refusedWith(app, v1alpha1.ReasonSourceInvalid, tt.words)
				}
				return err
			})
			s.kubectl("", "-n", s.ns, "patch", "configmap", "c01", "--type=merge", "-p", `{"data":{"key":"by hand"}}`)
			s.waitValue("c01", "1")
			if after := s.configs(); !maps.Equal(before, after) {
				t.Errorf("objects are %v, were %v", after, before)
			}
			g.breaks(nil)
			s.waitReady(commit)
		})
	}
}

// A server that sends a byte now and then keeps its own Applications waiting,
// more of them than there are workers, and nobody else.
func TestAGitServerDrips(t *testing.T) {
	t.Parallel()
	s, other, g := newStory(t, "dripping"), newStory(t, "flowing"), newGitServer(t)
	other.waitReady(other.begin(2))
	s.push(someConfigs(1, "1"))
	hung := &hanging{}
	g.breaks(drip(hung))
	for i := range hungApplications {
		one := *s
		one.app = newApplication(s.ns, fmt.Sprintf("app%d", i), fmt.Sprintf("%s/%d/%s.git", g.url, i, s.ns))
		one.app.Spec.Source.Path = "."
		one.create()
	}
	other.goesOnBeside(t, hung)
	g.breaks(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
}
