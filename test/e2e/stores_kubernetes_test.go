package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
	"github.com/gitseal/gitseal/providers/kubernetes"
	"github.com/gitseal/gitseal/providers/providertest"
	"github.com/gitseal/gitseal/test/rig"
)

// The backend for Secrets passes the suite on the real API server. What a real
// one does only after a while (tokens that are revoked are remembered for ten
// seconds), or not at will, a proxy before it does.
func TestConformanceOfTheKubernetesBackend(t *testing.T) {
	t.Parallel()
	s := newStory(t, "conformance-kubernetes")
	namespace, _ := s.source()
	providertest.Run(t, providertest.Subject{
		Backend: kubernetes.Backend(kubernetes.Home{}),
		New:     func(t *testing.T) *providertest.Server { return newAPIServer(t, namespace) },
		Without: map[providertest.Feature]string{
			providertest.Pinning:    "an API server keeps no older version of a Secret",
			providertest.FindByPath: "Secrets have no paths",
		},
		Nest:    func(folder, name string) string { return folder + "." + name },
		OddKeys: []string{"0", "a.b-c.d", "1-1", strings.Repeat("a", 253)},
		BadKeys: []string{"A", "a/b", "../x", "..", "a b", "a_b", "-a", "a?watch=true", "a%2fb", strings.Repeat("a", 254)},
	})
}

// apiServer is one test's way to the API server.
type apiServer struct {
	t         *testing.T
	namespace string
	proxy     *rig.Proxy

	mu      sync.Mutex
	seen    map[string]bool // tokens that came
	revoked map[string]bool
	denied  map[string]bool // paths
	fault   *rig.Fault
}

func newAPIServer(t *testing.T, namespace string) *providertest.Server {
	t.Helper()
	proxy, err := sandbox.Proxy()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	a := &apiServer{t: t, namespace: namespace, proxy: proxy, seen: map[string]bool{}, revoked: map[string]bool{}, denied: map[string]bool{}}
	settings := v1alpha1.KubernetesProvider{
		RemoteNamespace: namespace,
		Server:          v1alpha1.KubernetesServer{URL: proxy.URL(), CABundle: proxy.CA()},
		Auth:            &v1alpha1.KubernetesAuth{ServiceAccount: &v1alpha1.ServiceAccountSelector{Name: "reader"}},
	}
	wrong := settings
	wrong.Auth = &v1alpha1.KubernetesAuth{Token: &v1alpha1.KubernetesTokenAuth{}}
	server := &providertest.Server{
		Store: providers.Store{Spec: v1alpha1.StoreProvider{Kubernetes: &settings}, Credentials: a},
		Wrong: &providers.Store{Spec: v1alpha1.StoreProvider{Kubernetes: &wrong}, Credentials: a},
		Put:   a.put, Tag: a.tag,
		Deny:     a.deny,
		Throttle: a.throttle,
		Outage: func() {
			a.disturb(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
			proxy.Cut()
		},
		Hang:    func() { a.disturb(rig.Hang) },
		Recover: a.recover,
		Revoke:  a.revoke,
		Logins:  func() int { a.mu.Lock(); defer a.mu.Unlock(); return len(a.seen) },
		Requests: func() int {
			return proxy.Count(func(q rig.Asked) bool { return strings.Contains(q.Path, "/secrets/") })
		},
		Confidential: []string{"wrong-token", "quoted-by-the-server"},
	}
	proxy.Break(func(rig.Asked) bool { return a.mayAnswer() }, a.answer)
	return server
}

// mayAnswer leaves requests to the fault that was asked for.
func (a *apiServer) mayAnswer() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.fault == nil
}

func (a *apiServer) answer(w http.ResponseWriter, request *http.Request) {
	token := strings.TrimPrefix(request.Header.Get("Authorization"), "Bearer ")
	a.mu.Lock()
	a.seen[token] = true
	revoked, denied := a.revoked[token], a.denied[request.URL.Path]
	a.mu.Unlock()
	switch {
	case revoked:
		http.Error(w, "quoted-by-the-server", http.StatusUnauthorized)
	case denied:
		http.Error(w, "quoted-by-the-server", http.StatusForbidden)
	default:
		a.proxy.Pass(w, request)
	}
}

func (a *apiServer) revoke() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for token := range a.seen {
		a.revoked[token] = true
	}
}

func (a *apiServer) deny(key string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.denied["/api/v1/namespaces/"+a.namespace+"/secrets/"+key] = true
}

func (a *apiServer) disturb(answer http.HandlerFunc) {
	a.mu.Lock()
	a.fault = &rig.Fault{}
	a.mu.Unlock()
	fault := a.proxy.Break(func(rig.Asked) bool { return true }, answer)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fault = fault
}

func (a *apiServer) recover() {
	a.mu.Lock()
	fault := a.fault
	a.mu.Unlock()
	if fault != nil {
		fault.End()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fault = nil
}

func (a *apiServer) throttle(after time.Duration) {
	a.disturb(func(w http.ResponseWriter, _ *http.Request) {
		if after > 0 {
			w.Header().Set("Retry-After", fmt.Sprint(int(after.Seconds())))
		}
		http.Error(w, "quoted-by-the-server", http.StatusTooManyRequests)
	})
}

func (a *apiServer) put(key string, content []byte) string {
	a.t.Helper()
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: key}, Data: map[string][]byte{"content": content}}
	err := sandbox.Client.Create(a.t.Context(), s)
	if apierrors.IsAlreadyExists(err) {
		err = sandbox.Client.Update(a.t.Context(), s)
	}
	if err != nil {
		a.t.Fatal(err)
	}
	return s.ResourceVersion
}

func (a *apiServer) tag(key string, tags map[string]string) {
	a.t.Helper()
	s := &corev1.Secret{}
	if err := sandbox.Client.Get(a.t.Context(), client.ObjectKey{Namespace: a.namespace, Name: key}, s); err != nil {
		a.t.Fatal(err)
	}
	s.Labels = tags
	if err := sandbox.Client.Update(a.t.Context(), s); err != nil {
		a.t.Fatal(err)
	}
}

var errNotNamed = errors.New("the store names no such thing")

// Secret implements providers.Credentials.
func (a *apiServer) Secret(v1alpha1.SecretKeySelector) (secret.Value, error) {
	return secret.NewValue([]byte("wrong-token")), nil
}

// CA implements providers.Credentials.
func (a *apiServer) CA(v1alpha1.CAProvider) ([]byte, error) { return nil, errNotNamed }

// ConfigMap implements providers.Credentials.
func (a *apiServer) ConfigMap(v1alpha1.ConfigMapKeySelector) (string, error) { return "", errNotNamed }

// Annotations implements providers.Credentials.
func (a *apiServer) Annotations(context.Context, v1alpha1.ServiceAccountSelector) (map[string]string, error) {
	return nil, errNotNamed
}

// Token implements providers.Credentials.
func (a *apiServer) Token(ctx context.Context, sa v1alpha1.ServiceAccountSelector, audiences []string, expiry time.Duration) (providers.Token, error) {
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences, ExpirationSeconds: ptr.To(int64(expiry.Seconds()))}}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: sa.Name}}
	if err := sandbox.Client.SubResource("token").Create(ctx, account, request); err != nil {
		return providers.Token{}, err
	}
	return providers.Token{Value: secret.NewValue([]byte(request.Status.Token)), Expires: request.Status.ExpirationTimestamp.Time}, nil
}
