package kubernetes_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
	"github.com/gitseal/gitseal/providers/kubernetes"
)

// The suite of providertest runs on a real API server, in test/e2e. Here is
// what stands in the way of the unexpected: whatever a spec, a kubeconfig or a
// server may say.

// server is an API server with the Secrets of namespace team.
type server struct {
	*httptest.Server
	secrets []corev1.Secret
	page    int // Secrets in a list

	mu    sync.Mutex
	asked []*http.Request
}

func newServer(t *testing.T, secrets ...corev1.Secret) *server {
	t.Helper()
	s := &server{secrets: secrets, page: 2}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/namespaces/team/secrets/{name}", s.get)
	mux.HandleFunc("GET /api/v1/namespaces/team/secrets", s.list)
	mux.HandleFunc("POST /apis/authentication.k8s.io/v1/selfsubjectreviews", s.review)
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked = append(s.asked, r)
		s.mu.Unlock()
		mux.ServeHTTP(w, r)
	}))
	s.Config.ErrorLog = nil
	return s
}

// start begins to serve with TLS.
func (s *server) start(t *testing.T) *server {
	t.Helper()
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (s *server) get(w http.ResponseWriter, r *http.Request) {
	for _, have := range s.secrets {
		if have.Name == r.PathValue("name") {
			answer(w, have)
			return
		}
	}
	w.WriteHeader(http.StatusNotFound)
	answer(w, metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Reason: metav1.StatusReasonNotFound, Details: &metav1.StatusDetails{Kind: "secrets"}, Message: "quoted-by-the-server"})
}

// list answers page by page; a name that is given twice shows that continue is
// followed.
func (s *server) list(w http.ResponseWriter, r *http.Request) {
	from := 0
	_, _ = fmt.Sscanf(r.URL.Query().Get("continue"), "after-%d", &from)
	to := min(from+s.page, len(s.secrets))
	list := metav1.PartialObjectMetadataList{}
	for _, have := range s.secrets[from:to] {
		list.Items = append(list.Items, metav1.PartialObjectMetadata{ObjectMeta: have.ObjectMeta})
	}
	if to < len(s.secrets) {
		list.Continue = fmt.Sprintf("after-%d", to)
	}
	answer(w, list)
}

func (s *server) review(w http.ResponseWriter, r *http.Request) {
	name := r.Header.Get("Authorization")
	if len(r.TLS.PeerCertificates) > 0 {
		name = "certificate of " + r.TLS.PeerCertificates[0].Subject.CommonName
	}
	answer(w, map[string]any{"status": map[string]any{"userInfo": map[string]string{"username": name}}})
}

func answer(w http.ResponseWriter, content any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(content)
}

// ca is the certificate by which the server is trusted, in PEM.
func (s *server) ca() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}

// objects are Credentials by "name/key".
type objects map[string]string

func (o objects) Secret(s v1alpha1.SecretKeySelector) (secret.Value, error) {
	value, ok := o[s.Name+"/"+s.Key]
	if !ok {
		return secret.Value{}, &providers.Error{Kind: providers.ErrInvalid, Detail: "there is no such entry"}
	}
	return secret.NewValue([]byte(value)), nil
}

func (o objects) CA(c v1alpha1.CAProvider) ([]byte, error) {
	value, err := o.Secret(v1alpha1.SecretKeySelector{Name: c.Name, Key: c.Key})
	return value.Reveal(), err
}

func (o objects) ConfigMap(v1alpha1.ConfigMapKeySelector) (string, error) { return "", nil }

func (o objects) Token(_ context.Context, sa v1alpha1.ServiceAccountSelector, _ []string, expiry time.Duration) (providers.Token, error) {
	value, err := o.Secret(v1alpha1.SecretKeySelector{Name: sa.Name, Key: "token"})
	return providers.Token{Value: value, Expires: time.Now().Add(expiry)}, err
}

func (o objects) Annotations(context.Context, v1alpha1.ServiceAccountSelector) (map[string]string, error) {
	return nil, nil
}

func ref(name, key string) v1alpha1.SecretKeySelector {
	return v1alpha1.SecretKeySelector{Name: name, Key: key}
}

// kept is to come with the token "t".
func kept() *v1alpha1.KubernetesAuth {
	return &v1alpha1.KubernetesAuth{Token: &v1alpha1.KubernetesTokenAuth{BearerToken: ref("kept", "token")}}
}

// settings are those of a store that is let in.
func (s *server) settings() v1alpha1.KubernetesProvider {
	return v1alpha1.KubernetesProvider{
		Server: v1alpha1.KubernetesServer{URL: s.URL, CABundle: s.ca()}, Auth: kept(), RemoteNamespace: "team",
	}
}

func storeOf(settings v1alpha1.KubernetesProvider, credentials objects) providers.Store {
	if credentials == nil {
		credentials = objects{"kept/token": "t\n"}
	}
	return providers.Store{
		Spec: v1alpha1.StoreProvider{Kubernetes: &settings}, Credentials: credentials,
		Dial: (&net.Dialer{Timeout: 10 * time.Second}).DialContext, Clock: clock.RealClock{},
	}
}

// opened is a provider that is closed when the test ends.
func opened(t *testing.T, home kubernetes.Home, store providers.Store) providers.Provider {
	t.Helper()
	p, err := kubernetes.Backend(home).Open(store)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.(io.Closer).Close() })
	return p
}

// get reads one Secret.
func get(t *testing.T, p providers.Provider, r providers.Ref) (string, error) {
	t.Helper()
	results, err := p.Get(t.Context(), []providers.Ref{r})
	if err != nil || len(results) != 1 {
		t.Fatalf("Get = %d results, %v", len(results), err)
	}
	return string(results[0].Value.Reveal()), results[0].Err
}

// whoAmI asks the server as whom it knows us.
func whoAmI(t *testing.T, p providers.Provider) string {
	t.Helper()
	name, err := p.(providers.Checker).Check(t.Context())
	if err != nil {
		t.Errorf("Check: %v", err)
	}
	return name
}

func secretOf(name string, data map[string]string, change ...func(*corev1.Secret)) corev1.Secret {
	s := corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "team", ResourceVersion: "7"}}
	for key, value := range data {
		if s.Data == nil {
			s.Data = map[string][]byte{}
		}
		s.Data[key] = []byte(value)
	}
	for _, c := range change {
		c(&s)
	}
	return s
}

// refused demands an error that says something, and quotes nothing.
func refused(t *testing.T, err, kind error, part string) {
	t.Helper()
	if !isKind(err, kind) || !strings.Contains(err.Error(), part) {
		t.Errorf("%v, want a *providers.Error of kind %v that says %q", err, kind, part)
	}
	if err != nil && strings.Contains(err.Error(), "quoted") {
		t.Errorf("%v quotes what it was given", err)
	}
}
