package kubernetes_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/egress"
	"github.com/gitseal/gitseal/internal/fetch"
	"github.com/gitseal/gitseal/providers"
	"github.com/gitseal/gitseal/providers/kubernetes"
)

func isKind(err, kind error) bool {
	var e *providers.Error
	return errors.As(err, &e) && errors.Is(err, kind)
}

func TestSecretsAreReadWhole(t *testing.T) {
	labelled := func(s *corev1.Secret) {
		s.Labels, s.Annotations = map[string]string{"tier": "db"}, map[string]string{"note": "n"}
	}
	s := newServer(t, secretOf("db", map[string]string{"user": "ada", "cert": "\xff\x00"}, labelled), secretOf("empty", nil)).start(t)
	p := opened(t, kubernetes.Home{}, storeOf(s.settings(), nil))
	tests := map[string]struct {
		ref  providers.Ref
		want string
	}{
		"entries, in base64":        {providers.Ref{Key: "db"}, `{"cert":"/wA=","user":"YWRh"}`},
		"a Secret without entries":  {providers.Ref{Key: "empty"}, `{}`},
		"what describes it":         {providers.Ref{Key: "db", Metadata: true}, `{"annotations":{"note":"n"},"labels":{"tier":"db"}}`},
		"nothing that describes it": {providers.Ref{Key: "empty", Metadata: true}, `{"annotations":{},"labels":{}}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got, err := get(t, p, tt.ref); err != nil || got != tt.want {
				t.Errorf("Get = %s, %v, want %s", got, err, tt.want)
			}
		})
	}
	if results, err := p.Get(t.Context(), []providers.Ref{{Key: "db"}}); err != nil || results[0].Version != "7" {
		t.Errorf("version %q, %v, want the resourceVersion", results[0].Version, err)
	}
}

func ownedBy(apiVersion, kind, name string) func(*corev1.Secret) {
	return func(s *corev1.Secret) {
		s.OwnerReferences = append(s.OwnerReferences, metav1.OwnerReference{APIVersion: apiVersion, Kind: kind, Name: name})
	}
}

// Secrets that something else writes are waited for, until it is done.
func TestWhatIsNotReadyIsWaitedFor(t *testing.T) {
	s := newServer(t,
		secretOf("orphan", map[string]string{"user": "ada", "password": "p"}),
		secretOf("tls", map[string]string{"user": "ada", "password": "p"}, ownedBy("v1", "ConfigMap", "x"), ownedBy("cert-manager.io/v1", "Certificate", "web")),
		secretOf("half", map[string]string{"user": "ada", "password": ""}, ownedBy("v1", "ConfigMap", "x")),
	).start(t)
	certificate := func(name string) *v1alpha1.KubernetesOwner {
		return &v1alpha1.KubernetesOwner{APIGroup: "cert-manager.io", Kind: "Certificate", Name: name}
	}
	both := []string{"user", "password"}
	tests := map[string]struct {
		key   string
		owner *v1alpha1.KubernetesOwner
		keys  []string
		want  string // part of the error; "" is ready
	}{
		"nothing is demanded":                  {key: "orphan"},
		"no owner":                             {key: "orphan", owner: certificate("web"), want: `is not owned by Certificate.cert-manager.io "web" yet`},
		"no owner of any name":                 {key: "orphan", owner: certificate(""), want: `is not owned by any Certificate.cert-manager.io yet`},
		"the owner, second of two":             {key: "tls", owner: certificate("web")},
		"any owner of the kind":                {key: "tls", owner: certificate("")},
		"an owner of another name":             {key: "tls", owner: certificate("api"), want: "is not owned"},
		"an owner of another group":            {key: "tls", owner: &v1alpha1.KubernetesOwner{APIGroup: "example.com", Kind: "Certificate"}, want: "is not owned"},
		"an owner of the core group":           {key: "tls", owner: &v1alpha1.KubernetesOwner{Kind: "ConfigMap", Name: "x"}},
		"a kind of another group, as a core's": {key: "tls", owner: &v1alpha1.KubernetesOwner{Kind: "Certificate"}, want: "is not owned by any Certificate yet"},
		"all entries":                          {key: "orphan", keys: both},
		"an entry that is empty":               {key: "half", keys: both, want: `has no entry "password" yet`},
		"an entry that is absent":              {key: "orphan", keys: append(both, "host"), want: `has no entry "host" yet`},
		"the owner and not the entries":        {key: "half", owner: &v1alpha1.KubernetesOwner{Kind: "ConfigMap"}, keys: both, want: `has no entry "password" yet`},
		"absent, and to be owned":              {key: "absent", owner: certificate("web"), want: "is not there yet"},
		"absent, and to have entries":          {key: "absent", keys: both, want: "is not there yet"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			settings := s.settings()
			settings.RequireOwner, settings.ExpectedKeys = tt.owner, tt.keys
			got, err := get(t, opened(t, kubernetes.Home{}, storeOf(settings, nil)), providers.Ref{Key: tt.key})
			if tt.want == "" {
				if err != nil || got == "" {
					t.Errorf("Get = %q, %v", got, err)
				}
				return
			}
			refused(t, err, providers.ErrNotReady, tt.want)
		})
	}
	if _, err := get(t, opened(t, kubernetes.Home{}, storeOf(s.settings(), nil)), providers.Ref{Key: "absent"}); !isKind(err, providers.ErrNotFound) {
		t.Errorf("%v of what is absent and not waited for, want %v", err, providers.ErrNotFound)
	}
}

// Secrets that are not ready yet are no outage: those that are can be read.
func TestWhatIsNotReadyHoldsUpNothingElse(t *testing.T) {
	s := newServer(t, secretOf("ready", map[string]string{"password": "p"}), secretOf("half", nil)).start(t)
	settings := s.settings()
	settings.ExpectedKeys = []string{"password"}
	store := storeOf(settings, nil)
	client, err := fetch.New(fetch.Options{Clock: store.Clock}).Client("id", fetch.Opening{
		Limits: fetch.Limits{Batch: 1, Concurrency: 1},
		Open:   func(func()) (providers.Provider, error) { return kubernetes.Backend(kubernetes.Home{}).Open(store) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(key string) fetch.Outcome {
		return client.Get(t.Context(), []fetch.Request{{Ref: providers.Ref{Key: key}}}, time.Hour)[0]
	}
	for range 5 {
		refused(t, ask("half").Err, providers.ErrNotReady, `has no entry "password" yet`)
		refused(t, ask("absent").Err, providers.ErrNotReady, "is not there yet")
	}
	if o := ask("ready"); o.Err != nil || o.Stale {
		t.Errorf("Get of what is ready, after others were not: %v, stale: %v", o.Err, o.Stale)
	}
	s.secrets = nil
	if o := ask("ready"); o.Stale || !errors.Is(o.Err, providers.ErrNotReady) {
		t.Errorf("Get of what is made anew: %v, stale: %v, want %v", o.Err, o.Stale, providers.ErrNotReady)
	}
	if stats := client.Stats(); stats.Calls.Failed != 0 || stats.LastError != nil {
		t.Errorf("%d calls count as failed, the last with %v", stats.Calls.Failed, stats.LastError)
	}
}

func TestSearches(t *testing.T) {
	s := newServer(t, secretOf("web-2", nil), secretOf("db", nil), secretOf("web-1", nil), secretOf("api", nil), secretOf("web-3", nil)).start(t)
	tests := map[string]struct {
		query  providers.Query
		want   []string
		labels string // that the server is asked for
	}{
		"everything, over all pages": {providers.Query{}, []string{"api", "db", "web-1", "web-2", "web-3"}, ""},
		"by name":                    {providers.Query{Name: "^web-"}, []string{"web-1", "web-2", "web-3"}, ""},
		"nothing":                    {providers.Query{Name: "^x"}, []string{}, ""},
		"by labels, at the server":   {providers.Query{Name: "b", Tags: map[string]string{"tier": "db", "app": "shop"}}, []string{"db", "web-1", "web-2", "web-3"}, "app=shop,tier=db"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s.asked = nil
			got, err := opened(t, kubernetes.Home{}, storeOf(s.settings(), nil)).(providers.Finder).Find(t.Context(), tt.query)
			if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
				t.Errorf("Find: %v (-want +got):\n%s", err, diff)
			}
			if len(s.asked) != 3 {
				t.Errorf("%d requests, want one for each of three pages", len(s.asked))
			}
			for _, r := range s.asked {
				if !strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadataList") {
					t.Errorf("asked for %q, which has the values, too", r.Header.Get("Accept"))
				}
				if labels := r.URL.Query().Get("labelSelector"); labels != tt.labels {
					t.Errorf("asked for labels %q, want %q", labels, tt.labels)
				}
			}
		})
	}
}

func TestSearchesThatAreNone(t *testing.T) {
	s := newServer(t).start(t)
	for range 10_001 {
		s.secrets = append(s.secrets, secretOf("s", nil))
	}
	s.page = 500
	tests := map[string]struct {
		query providers.Query
		want  string
	}{
		"a path":                    {providers.Query{Path: "/quoted"}, "Secrets have no path"},
		"no regular expression":     {providers.Query{Name: "quoted("}, "find.name.regexp is no regular expression"},
		"a label that is none":      {providers.Query{Tags: map[string]string{"quoted quoted": "x"}}, "find.tags are no labels"},
		"a label's value":           {providers.Query{Tags: map[string]string{"a": "quoted quoted"}}, "find.tags are no labels"},
		"more than anybody can use": {providers.Query{}, "more than 10000 Secrets match"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := opened(t, kubernetes.Home{}, storeOf(s.settings(), nil)).(providers.Finder).Find(t.Context(), tt.query)
			refused(t, err, providers.ErrInvalid, tt.want)
		})
	}
}

// Whatever a server says, it is bounded, and nothing of it is quoted.
func TestWhatServersAnswer(t *testing.T) {
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "quoted-by-the-server", code) }
	}
	text := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
	}
	tests := map[string]struct {
		answer http.HandlerFunc
		kind   error
		want   string
	}{
		"not let in":     {status(401), providers.ErrUnauthenticated, "does not accept the credentials"},
		"not allowed":    {status(403), providers.ErrDenied, "does not let the store's identity do this"},
		"too fast":       {status(429), providers.ErrThrottled, "asks to slow down"},
		"a bad question": {status(400), providers.ErrInvalid, "does not accept the question"},
		"a failure":      {status(500), providers.ErrUnavailable, "answers with status 500"},
		"another place": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://quoted.example", http.StatusFound)
		}, providers.ErrUnavailable, "answers with status 302"},
		"no JSON":           {text("quoted"), providers.ErrUnavailable, "answers something else than expected"},
		"JSON of no Secret": {text(`{"data": ["quoted"]}`), providers.ErrUnavailable, "answers something else than expected"},
		"without end": {func(w http.ResponseWriter, _ *http.Request) {
			block := strings.Repeat("x", 1<<20)
			for range 64 {
				if _, err := io.WriteString(w, block); err != nil {
					return
				}
			}
		}, providers.ErrInvalid, "is too large"},
		"half of an answer": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"quoted":`)
		}, providers.ErrUnavailable, "does not answer"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := &server{Server: httptest.NewTLSServer(tt.answer)}
			t.Cleanup(s.Close)
			_, err := get(t, opened(t, kubernetes.Home{}, storeOf(s.settings(), nil)), providers.Ref{Key: "db"})
			refused(t, err, tt.kind, tt.want)
		})
	}
}

func TestTimesToWaitAreTaken(t *testing.T) {
	for header, want := range map[string]time.Duration{"7": 7 * time.Second, "999999": time.Hour, "-1": 0, "soon": 0} {
		s := &server{Server: httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", header)
			w.WriteHeader(http.StatusTooManyRequests)
		}))}
		t.Cleanup(s.Close)
		_, err := get(t, opened(t, kubernetes.Home{}, storeOf(s.settings(), nil)), providers.Ref{Key: "db"})
		if got := providers.RetryAfter(err); got != want {
			t.Errorf("Retry-After: %s is taken for %s, want %s", header, got, want)
		}
	}
}

// A Secret of the size that an API server stores can be read, in full.
func TestTheLargestSecretCanBeRead(t *testing.T) {
	data, labels := map[string]string{}, map[string]string{}
	for i := range 1000 {
		data[fmt.Sprint(i)] = strings.Repeat("x", 1<<20/1000)
	}
	s := newServer(t, secretOf("large", data, func(s *corev1.Secret) {
		s.Labels, s.Annotations = labels, map[string]string{"a": strings.Repeat("y", 256<<10)}
	})).start(t)
	got, err := get(t, opened(t, kubernetes.Home{}, storeOf(s.settings(), nil)), providers.Ref{Key: "large"})
	if err != nil || len(got) < 1<<20 {
		t.Errorf("Get = %d bytes, %v", len(got), err)
	}
}

func TestOnlyAnAPIServerSaysThatASecretIsNotThere(t *testing.T) {
	tests := map[string]struct {
		body string
		kind error
		want string
	}{
		"an API server": {`{"kind":"Status","apiVersion":"v1","status":"Failure","message":"quoted","reason":"NotFound","details":{"name":"db","kind":"secrets"},"code":404}`,
			providers.ErrNotFound, "there is no such Secret"},
		"an API server of a path": {`{"kind":"Status","apiVersion":"v1","status":"Failure","message":"quoted","reason":"NotFound","details":{},"code":404}`,
			providers.ErrUnavailable, "not do so as an API server"},
		"another reason":  {`{"kind":"Status","apiVersion":"v1","reason":"Gone"}`, providers.ErrUnavailable, "not do so as an API server"},
		"a page":          {`<html>404</html>`, providers.ErrUnavailable, "not do so as an API server"},
		"nothing":         {``, providers.ErrUnavailable, "not do so as an API server"},
		"some other JSON": {`{"reason":"NotFound"}`, providers.ErrUnavailable, "not do so as an API server"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := &server{Server: httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusNotFound)
				_, _ = io.WriteString(w, tt.body)
			}))}
			t.Cleanup(s.Close)
			_, err := get(t, opened(t, kubernetes.Home{}, storeOf(s.settings(), nil)), providers.Ref{Key: "db"})
			refused(t, err, tt.kind, tt.want)
		})
	}
}

func TestAnAddressThatTheGuardRefusesIsToldOf(t *testing.T) {
	settings := v1alpha1.KubernetesProvider{Server: v1alpha1.KubernetesServer{URL: "https://169.254.169.254"}, Auth: kept()}
	store := storeOf(settings, nil)
	store.Dial = egress.Guard{}.Dial
	_, err := get(t, opened(t, kubernetes.Home{}, store), providers.Ref{Key: "db"})
	refused(t, err, providers.ErrInvalid, "--allow-egress")
}
