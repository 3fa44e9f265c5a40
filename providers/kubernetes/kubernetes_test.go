package kubernetes_test

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/egress"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
	"github.com/gitseal/gitseal/providers/kubernetes"
)

// The suite for all backends runs on a real API server, in test/e2e. Here is
// what a store can ask for besides, and what no API server says.

// credentials has one entry under every name.
type credentials string

func (c credentials) Secret(v1alpha1.SecretKeySelector) (secret.Value, error) {
	return secret.NewValue([]byte(c)), nil
}

func (credentials) CA(v1alpha1.CAProvider) ([]byte, error) { return nil, nil }

func (credentials) ConfigMap(v1alpha1.ConfigMapKeySelector) (string, error) { return "", nil }

func (credentials) Token(context.Context, v1alpha1.ServiceAccountSelector, []string, time.Duration) (providers.Token, error) {
	return providers.Token{}, errors.New("not asked for here")
}

func (credentials) Annotations(context.Context, v1alpha1.ServiceAccountSelector) (map[string]string, error) {
	return nil, nil
}

// answering is a server that gives the same answer to everything.
func answering(t *testing.T, status int, body string) (url string, ca []byte) {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(server.Close)
	return server.URL, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
}

func open(settings v1alpha1.KubernetesProvider, c credentials) (providers.Provider, error) {
	return kubernetes.Backend(kubernetes.Home{}).Open(providers.Store{
		Spec: v1alpha1.StoreProvider{Kubernetes: &settings}, Credentials: c, Dial: egress.Guard{}.Dial, Clock: clock.RealClock{},
	})
}

// read reads a Secret "db" of a server with a token that is kept.
func read(t *testing.T, url string, ca []byte, change func(*v1alpha1.KubernetesProvider)) providers.Result {
	t.Helper()
	settings := v1alpha1.KubernetesProvider{
		Server: v1alpha1.KubernetesServer{URL: url, CABundle: ca},
		Auth:   &v1alpha1.KubernetesAuth{Token: &v1alpha1.KubernetesTokenAuth{}},
	}
	if change != nil {
		change(&settings)
	}
	p, err := open(settings, "token")
	if err != nil {
		t.Fatal(err)
	}
	results, err := p.Get(t.Context(), []providers.Ref{{Key: "db"}})
	if err != nil {
		t.Fatal(err)
	}
	return results[0]
}

// judge compares a Result with the value that is wanted, or with the kind of
// error and a part of its text.
func judge(t *testing.T, got providers.Result, kind error, want string) {
	t.Helper()
	switch {
	case kind == nil && (got.Err != nil || string(got.Value.Reveal()) != want):
		t.Errorf("Get = %s, %v, want %s", got.Value.Reveal(), got.Err, want)
	case kind != nil && (!errors.Is(got.Err, kind) || !strings.Contains(got.Err.Error(), want)):
		t.Errorf("Get: %v, want %v: %s", got.Err, kind, want)
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
			url, ca := answering(t, http.StatusNotFound, tt.body)
			judge(t, read(t, url, ca, nil), tt.kind, tt.want)
		})
	}
}

func TestASecretThatSomethingElseWritesIsWaitedFor(t *testing.T) {
	const (
		absent = `{"kind":"Status","reason":"NotFound","details":{"kind":"secrets"}}`
		bare   = `{"data":{"a":"eA==","b":""}}`
		owned  = `{"metadata":{"ownerReferences":[{"apiVersion":"cert-manager.io/v1","kind":"Certificate","name":"web"}]},"data":{"a":"eA=="}}`
	)
	owner := func(group, kind, name string) func(*v1alpha1.KubernetesProvider) {
		return func(p *v1alpha1.KubernetesProvider) {
			p.RequireOwner = &v1alpha1.KubernetesOwner{APIGroup: group, Kind: kind, Name: name}
		}
	}
	keys := func(keys ...string) func(*v1alpha1.KubernetesProvider) {
		return func(p *v1alpha1.KubernetesProvider) { p.ExpectedKeys = keys }
	}
	tests := map[string]struct {
		status int
		body   string
		change func(*v1alpha1.KubernetesProvider)
		kind   error
		want   string
	}{
		"it is not there yet":     {404, absent, keys("a"), providers.ErrUnavailable, "not there yet"},
		"it lacks an entry":       {200, bare, keys("a", "c"), providers.ErrUnavailable, `no entry "c" yet`},
		"an entry is empty":       {200, bare, keys("a", "b"), providers.ErrUnavailable, `no entry "b" yet`},
		"all entries are there":   {200, bare, keys("a"), nil, `{"a":"eA==","b":""}`},
		"nobody owns it":          {200, bare, owner("cert-manager.io", "Certificate", ""), providers.ErrUnavailable, "not owned by any Certificate.cert-manager.io yet"},
		"any such owner":          {200, owned, owner("cert-manager.io", "Certificate", ""), nil, `{"a":"eA=="}`},
		"that owner":              {200, owned, owner("cert-manager.io", "Certificate", "web"), nil, `{"a":"eA=="}`},
		"an owner of other name":  {200, owned, owner("cert-manager.io", "Certificate", "api"), providers.ErrUnavailable, `not owned by Certificate.cert-manager.io "api" yet`},
		"an owner of other group": {200, owned, owner("", "Certificate", "web"), providers.ErrUnavailable, `not owned by Certificate "web" yet`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			url, ca := answering(t, tt.status, tt.body)
			judge(t, read(t, url, ca, tt.change), tt.kind, tt.want)
		})
	}
}

func TestAnAddressThatTheGuardRefusesIsToldOf(t *testing.T) {
	judge(t, read(t, "https://169.254.169.254", nil, nil), providers.ErrInvalid, "--allow-egress")
}

func TestKubeconfigs(t *testing.T) {
	url, ca := answering(t, http.StatusOK, `{"data":{"a":"eA=="}}`)
	kubeconfig := func(cluster, user string) credentials {
		authority := base64.StdEncoding.EncodeToString(ca)
		return credentials(`{"kind":"Config","apiVersion":"v1","current-context":"c","contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],
			"clusters":[{"name":"c","cluster":{"server":"` + url + `","certificate-authority-data":"` + authority + `"` + cluster + `}}],
			"users":[{"name":"u","user":{` + user + `}}]}`)
	}
	token := `"token":"t"`
	tests := map[string]struct {
		kubeconfig credentials
		want       string // "": it is taken
	}{
		"a token":               {kubeconfig("", token), ""},
		"a program":             {kubeconfig("", `"exec":{"apiVersion":"client.authentication.k8s.io/v1","command":"/bin/true"}`), "exec plugin"},
		"an auth provider":      {kubeconfig("", `"auth-provider":{"name":"gcp"}`), "auth provider"},
		"a file with a token":   {kubeconfig("", `"tokenFile":"/etc/passwd"`), "path of a file"},
		"a file with a CA":      {kubeconfig(`,"certificate-authority":"/etc/passwd"`, token), "path of a file"},
		"no verification":       {kubeconfig(`,"insecure-skip-tls-verify":true`, token), "insecure-skip-tls-verify"},
		"a proxy":               {kubeconfig(`,"proxy-url":"http://proxy"`, token), "a proxy"},
		"a password":            {kubeconfig("", `"username":"u","password":"hunter2"`), "a user name and password"},
		"somebody else":         {kubeconfig("", token+`,"as":"system:admin"`), "impersonation"},
		"nobody":                {kubeconfig("", ""), "client certificate and its key"},
		"no such context":       {`{"kind":"Config","apiVersion":"v1","current-context":"c"}`, "no current-context"},
		"something else":        {"hunter2", "cannot be read"},
		"a token with a line":   {kubeconfig("", `"token":"a\nb"`), "is no token"},
		"a server without TLS":  {credentials(strings.ReplaceAll(string(kubeconfig("", token)), "https://", "http://")), "must begin with https://"},
		"larger than a Secret":  {credentials(strings.Repeat(" ", 1<<20+1)), "larger than 1 MiB"},
		"a server name for TLS": {kubeconfig(`,"tls-server-name":"other"`, token), "tls-server-name"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p, err := open(v1alpha1.KubernetesProvider{AuthRef: &v1alpha1.SecretKeySelector{Name: "k", Key: "k"}}, tt.kubeconfig)
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") {
					t.Errorf("open: %v, want %s", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			results, err := p.Get(t.Context(), []providers.Ref{{Key: "db"}})
			if err != nil {
				t.Fatal(err)
			}
			judge(t, results[0], nil, `{"a":"eA=="}`)
		})
	}
}
