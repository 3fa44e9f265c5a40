package live_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"github.com/gitseal/gitseal/internal/live"
)

// server is an API server that lists, gets and watches ConfigMaps and Secrets
// of one namespace, as metadata. It does not speak streaming lists, as older
// ones do not.
type server struct {
	t    *testing.T
	http *httptest.Server

	mu       sync.Mutex
	version  int
	objects  map[string]metav1.PartialObjectMetadata // by resource/name
	watchers map[chan watchEvent]string              // resource
	refuse   map[string]*metav1.Status               // by verb
	hang     map[string]bool                         // by verb
	seen     []string                                // verb resource
}

type watchEvent struct {
	Type   string `json:"type"`
	Object any    `json:"object"`
}

func newServer(t *testing.T) *server {
	s := &server{
		t: t, version: 10, objects: map[string]metav1.PartialObjectMetadata{}, watchers: map[chan watchEvent]string{},
		refuse: map[string]*metav1.Status{}, hang: map[string]bool{},
	}
	s.http = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(func() {
		s.http.CloseClientConnections()
		s.http.Close()
	})
	return s
}

// Metadata implements live.Clients. No connection outlives its request.
func (s *server) Metadata(live.Identity) (metadata.Interface, error) {
	return metadata.NewForConfig(&rest.Config{
		Host: s.http.URL, QPS: -1, ContentConfig: rest.ContentConfig{ContentType: "application/json"}, Transport: &http.Transport{DisableKeepAlives: true},
	})
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/api/v1/namespaces/ns/"), "/")
	resource, verb := parts[0], "list"
	switch {
	case r.URL.Query().Get("watch") != "":
		verb = "watch"
	case len(parts) > 1:
		verb = "get"
	}
	if r.URL.Query().Get("sendInitialEvents") != "" {
		reply(w, status(http.StatusUnprocessableEntity, metav1.StatusReasonInvalid))
		return
	}
	s.mu.Lock()
	s.seen = append(s.seen, verb+" "+resource)
	refusal, hang := s.refuse[verb], s.hang[verb]
	s.mu.Unlock()
	switch {
	case hang:
		<-r.Context().Done()
	case refusal != nil:
		reply(w, refusal)
	case verb == "watch":
		s.watch(w, r, resource)
	case verb == "get":
		s.get(w, resource, parts[1])
	default:
		s.list(w, resource)
	}
}

func status(code int32, reason metav1.StatusReason) *metav1.Status {
	return &metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Code: code, Reason: reason,
	}
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if s, ok := v.(*metav1.Status); ok {
		w.WriteHeader(int(s.Code))
	}
	_ = json.NewEncoder(w).Encode(v)
}

func (s *server) list(w http.ResponseWriter, resource string) {
	s.mu.Lock()
	list := &metav1.PartialObjectMetadataList{TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadataList"}}
	list.ResourceVersion = strconv.Itoa(s.version)
	for key, o := range s.objects {
		if strings.HasPrefix(key, resource+"/") {
			list.Items = append(list.Items, o)
		}
	}
	s.mu.Unlock()
	reply(w, list)
}

func (s *server) get(w http.ResponseWriter, resource, name string) {
	s.mu.Lock()
	o, ok := s.objects[resource+"/"+name]
	s.mu.Unlock()
	if !ok {
		reply(w, status(http.StatusNotFound, metav1.StatusReasonNotFound))
		return
	}
	reply(w, o)
}

func (s *server) watch(w http.ResponseWriter, r *http.Request, resource string) {
	events := make(chan watchEvent, 100)
	since, _ := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	s.mu.Lock()
	missed := map[int]metav1.PartialObjectMetadata{}
	for key, o := range s.objects {
		if version, _ := strconv.Atoi(o.ResourceVersion); version > since && strings.HasPrefix(key, resource+"/") {
			missed[version] = o
		}
	}
	for _, version := range slices.Sorted(maps.Keys(missed)) {
		events <- watchEvent{"ADDED", missed[version]}
	}
	s.watchers[events] = resource
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.watchers, events)
		s.mu.Unlock()
	}()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	for {
		select {
		case e := <-events:
			_ = json.NewEncoder(w).Encode(e)
			w.(http.Flusher).Flush()
			if e.Type == "ERROR" {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}

// put stores an object and tells the watchers. It returns its resource version.
func (s *server) put(resource, name, applySet string, more ...func(*metav1.PartialObjectMetadata)) uint64 {
	o := metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadata"}}
	o.Namespace, o.Name = "ns", name
	o.Labels = map[string]string{"applyset.kubernetes.io/part-of": applySet}
	for _, change := range more {
		change(&o)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	o.ResourceVersion = strconv.Itoa(s.version)
	event := "MODIFIED"
	if _, ok := s.objects[resource+"/"+name]; !ok {
		event = "ADDED"
	}
	s.objects[resource+"/"+name] = o
	s.send(resource, watchEvent{event, o})
	return uint64(s.version)
}

func (s *server) remove(resource, name string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.objects[resource+"/"+name]
	delete(s.objects, resource+"/"+name)
	s.version++
	o.ResourceVersion = strconv.Itoa(s.version)
	s.send(resource, watchEvent{"DELETED", o})
	return uint64(s.version)
}

// forget removes an object of which no watcher hears.
func (s *server) forget(resource, name string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, resource+"/"+name)
	s.version++
	return uint64(s.version)
}

func (s *server) bookmark(resource string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	o := metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadata"}}
	o.ResourceVersion = strconv.Itoa(s.version)
	s.send(resource, watchEvent{"BOOKMARK", o})
	return uint64(s.version)
}

func (s *server) expire(resource string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.send(resource, watchEvent{"ERROR", status(http.StatusGone, metav1.StatusReasonExpired)})
}

// send needs s.mu. An error is the last that a watcher hears.
func (s *server) send(resource string, e watchEvent) {
	for events, of := range s.watchers {
		if of != resource {
			continue
		}
		events <- e
		if e.Type == "ERROR" {
			delete(s.watchers, events)
		}
	}
}

func (s *server) set(verb string, refusal *metav1.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse[verb] = refusal
}

// count is how often a verb was used on a resource.
func (s *server) count(call string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(slices.DeleteFunc(slices.Clone(s.seen), func(c string) bool { return c != call }))
}

func (s *server) watching(resource string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, of := range s.watchers {
		if of == resource {
			n++
		}
	}
	return n
}

func (s *server) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprint(s.seen)
}
