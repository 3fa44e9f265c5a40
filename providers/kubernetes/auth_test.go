package kubernetes_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/providers"
	"github.com/gitseal/gitseal/providers/kubernetes"
)

// certificateOf makes a client certificate and its key, in PEM.
func certificateOf(t *testing.T, name string) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	rawKey, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: rawKey}))
}

// asking is a server that asks for client certificates.
func asking(t *testing.T) *server {
	t.Helper()
	s := newServer(t)
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12}
	return s.start(t)
}

func TestHowAStoreIsLetIn(t *testing.T) {
	s := asking(t)
	certificate, key := certificateOf(t, "ada")
	_, otherKey := certificateOf(t, "eve")
	credentials := objects{
		"kept/token": " t\n", "kept/none": " \n", "kept/odd": "quoted\r\nX-Quoted: y", "reader/token": "of-the-account",
		"pair/crt": certificate, "pair/key": key, "pair/other": otherKey,
	}
	pair := func(key string) *v1alpha1.KubernetesAuth {
		return &v1alpha1.KubernetesAuth{Cert: &v1alpha1.KubernetesCertAuth{ClientCert: ref("pair", "crt"), ClientKey: ref("pair", key)}}
	}
	token := func(key string) *v1alpha1.KubernetesAuth {
		return &v1alpha1.KubernetesAuth{Token: &v1alpha1.KubernetesTokenAuth{BearerToken: ref("kept", key)}}
	}
	tests := map[string]struct {
		auth *v1alpha1.KubernetesAuth
		want string // as whom
		kind error
		part string // of the error
	}{
		"a token":                            {auth: token("token"), want: "Bearer t"},
		"a token that is absent":             {auth: token("absent"), kind: providers.ErrInvalid, part: "no such entry"},
		"a token that is empty":              {auth: token("none"), kind: providers.ErrUnauthenticated, part: "is no token"},
		"a token that would be more headers": {auth: token("odd"), kind: providers.ErrUnauthenticated, part: "is no token"},
		"a ServiceAccount":                   {auth: &v1alpha1.KubernetesAuth{ServiceAccount: &v1alpha1.ServiceAccountSelector{Name: "reader"}}, want: "Bearer of-the-account"},
		"a certificate":                      {auth: pair("key"), want: "certificate of ada"},
		"a certificate and another's key":    {auth: pair("other"), kind: providers.ErrUnauthenticated, part: "do not belong together"},
		"a certificate for a key":            {auth: pair("crt"), kind: providers.ErrUnauthenticated, part: "are no PEM"},
		"a certificate without a key":        {auth: pair("absent"), kind: providers.ErrInvalid, part: "no such entry"},
		"nothing":                            {kind: providers.ErrInvalid, part: "the operator's own identity reads no Secrets"},
		"nothing of what there is":           {auth: &v1alpha1.KubernetesAuth{}, kind: providers.ErrInvalid, part: "one of cert, token and serviceAccount"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			settings := s.settings()
			settings.Auth = tt.auth
			if tt.kind != nil {
				_, err := kubernetes.Backend(kubernetes.Home{URL: s.URL}).Open(storeOf(settings, credentials))
				refused(t, err, tt.kind, tt.part)
			} else if got := whoAmI(t, opened(t, kubernetes.Home{}, storeOf(settings, credentials))); got != tt.want {
				t.Errorf("the server knows us as %q, want %q", got, tt.want)
			}
		})
	}
}

func TestWhomAStoreTrusts(t *testing.T) {
	s := asking(t)
	stranger, _ := certificateOf(t, "stranger")
	own := kubernetes.Home{URL: s.URL, CA: s.ca()}
	kept := objects{"kept/token": "t", "ca/ca": string(s.ca()), "ca/other": stranger}
	from := func(key string) *v1alpha1.CAProvider {
		return &v1alpha1.CAProvider{Type: "Secret", Name: "ca", Key: key}
	}
	tests := map[string]struct {
		home   kubernetes.Home
		server v1alpha1.KubernetesServer
		kind   error // nil is trusted
		part   string
	}{
		"caBundle":                              {server: v1alpha1.KubernetesServer{URL: s.URL, CABundle: s.ca()}},
		"caProvider":                            {server: v1alpha1.KubernetesServer{URL: s.URL, CAProvider: from("ca")}},
		"caBundle before caProvider":            {server: v1alpha1.KubernetesServer{URL: s.URL, CABundle: s.ca(), CAProvider: from("other")}},
		"a caProvider that is absent":           {server: v1alpha1.KubernetesServer{URL: s.URL, CAProvider: from("absent")}, kind: providers.ErrInvalid, part: "no such entry"},
		"a caBundle of another":                 {server: v1alpha1.KubernetesServer{URL: s.URL, CABundle: []byte(stranger)}, kind: providers.ErrUnavailable, part: "is not trusted: see kubernetes.server.caBundle"},
		"no caBundle for a private one":         {server: v1alpha1.KubernetesServer{URL: s.URL}, kind: providers.ErrUnavailable, part: "is not trusted"},
		"a caBundle that is none":               {server: v1alpha1.KubernetesServer{URL: s.URL, CABundle: []byte("quoted")}, kind: providers.ErrInvalid, part: "no PEM certificates"},
		"no scheme means https":                 {server: v1alpha1.KubernetesServer{URL: strings.TrimPrefix(s.URL, "https://"), CABundle: s.ca()}},
		"the operator's own":                    {home: own},
		"the operator's own, by name":           {home: own, server: v1alpha1.KubernetesServer{URL: "https://kubernetes.default.svc"}},
		"no home":                               {kind: providers.ErrInvalid, part: "kubernetes.server.url is missing"},
		"the home's authority is not another's": {home: own, server: v1alpha1.KubernetesServer{URL: s.URL}, kind: providers.ErrUnavailable, part: "is not trusted"},
		"http":                                  {server: v1alpha1.KubernetesServer{URL: "http://quoted"}, kind: providers.ErrInvalid, part: "must begin with https://"},
		"a user in the URL":                     {server: v1alpha1.KubernetesServer{URL: "https://quoted:quoted@x"}, kind: providers.ErrInvalid, part: "name no user"},
		"no URL":                                {server: v1alpha1.KubernetesServer{URL: "https://quoted\x7f"}, kind: providers.ErrInvalid, part: "is no URL"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			settings := s.settings()
			settings.Server = tt.server
			p, err := kubernetes.Backend(tt.home).Open(storeOf(settings, kept))
			if err == nil {
				_, err = p.(providers.Checker).Check(t.Context())
			}
			if tt.kind != nil {
				refused(t, err, tt.kind, tt.part)
			} else if err != nil {
				t.Errorf("Check: %v", err)
			}
		})
	}
}

// kubeconfig with the lines of a cluster and a user.
func kubeconfig(cluster, user string) string {
	return `{apiVersion: v1, kind: Config, current-context: c,
  contexts: [{name: c, context: {cluster: k, user: u}}, {name: other, context: {cluster: absent, user: u}}],
  clusters: [{name: k, cluster: {` + cluster + `}}], users: [{name: u, user: {` + user + `}}]}`
}

func TestKubeconfigs(t *testing.T) {
	s := asking(t)
	encoded := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	certificate, key := certificateOf(t, "ada")
	own := `server: "` + s.URL + `", certificate-authority-data: ` + encoded(string(s.ca()))
	pair := `client-certificate-data: ` + encoded(certificate) + `, client-key-data: ` + encoded(key)
	at := func(server string) string { return strings.Replace(own, s.URL, server, 1) }
	tests := map[string]struct {
		text string
		want string // as whom
		kind error
		part string
	}{
		"a token":                {text: kubeconfig(own, "token: t"), want: "Bearer t"},
		"a certificate":          {text: kubeconfig(own, pair), want: "certificate of ada"},
		"a token before a pair":  {text: kubeconfig(own, "token: t, "+pair), want: "Bearer t"},
		"an exec plugin":         {text: kubeconfig(own, "token: t, exec: {apiVersion: client.authentication.k8s.io/v1, command: quoted, interactiveMode: Never}"), kind: providers.ErrInvalid, part: "uses an exec plugin"},
		"an auth provider":       {text: kubeconfig(own, "token: t, auth-provider: {name: quoted}"), kind: providers.ErrInvalid, part: "uses an auth provider"},
		"a file of authorities":  {text: kubeconfig(own+`, certificate-authority: /quoted`, "token: t"), kind: providers.ErrInvalid, part: "uses the path of a file"},
		"a file of a pair":       {text: kubeconfig(own, "client-certificate: /quoted, client-key: /quoted"), kind: providers.ErrInvalid, part: "uses the path of a file"},
		"a file of a key":        {text: kubeconfig(own, pair+", client-key: /quoted"), kind: providers.ErrInvalid, part: "uses the path of a file"},
		"a file of a token":      {text: kubeconfig(own, "tokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token"), kind: providers.ErrInvalid, part: "uses the path of a file"},
		"a token and its file":   {text: kubeconfig(own, "token: t, tokenFile: /quoted"), kind: providers.ErrInvalid, part: "uses the path of a file"},
		"no check of the server": {text: kubeconfig(`server: "`+s.URL+`", insecure-skip-tls-verify: true`, "token: t"), kind: providers.ErrInvalid, part: "uses insecure-skip-tls-verify"},
		"a proxy":                {text: kubeconfig(own+`, proxy-url: "http://quoted"`, "token: t"), kind: providers.ErrInvalid, part: "uses a proxy"},
		"another server's name":  {text: kubeconfig(own+`, tls-server-name: quoted`, "token: t"), kind: providers.ErrInvalid, part: "uses a tls-server-name"},
		"a password":             {text: kubeconfig(own, "username: quoted, password: quoted"), kind: providers.ErrInvalid, part: "uses a user name and password"},
		"another user":           {text: kubeconfig(own, "token: t, as: quoted"), kind: providers.ErrInvalid, part: "uses impersonation"},
		"another group":          {text: kubeconfig(own, "token: t, as-groups: ['system:masters']"), kind: providers.ErrInvalid, part: "uses impersonation"},
		"another user's extra":   {text: kubeconfig(own, "token: t, as-user-extra: {quoted: [quoted]}"), kind: providers.ErrInvalid, part: "uses impersonation"},
		"nobody":                 {text: kubeconfig(own, ""), kind: providers.ErrUnauthenticated, part: "no PEM"},
		"a token of two lines":   {text: kubeconfig(own, `token: "quoted\nquoted"`), kind: providers.ErrUnauthenticated, part: "is no token"},
		"http":                   {text: kubeconfig(at("http://quoted"), "token: t"), kind: providers.ErrInvalid, part: "must begin with https://"},
		"no server":              {text: kubeconfig(at(""), "token: t"), kind: providers.ErrInvalid, part: "the kubeconfig names no server"},
		"the operator's own":     {text: kubeconfig(at("https://kubernetes.default.svc"), "token: t"), want: "Bearer t"},
		"no current context":     {text: strings.Replace(kubeconfig(own, "token: t"), "current-context: c", "current-context: absent", 1), kind: providers.ErrInvalid, part: "no current-context"},
		"a context of no cluster": {text: strings.Replace(kubeconfig(own, "token: t"), "current-context: c", "current-context: other", 1),
			kind: providers.ErrInvalid, part: "names a cluster or user that it does not hold"},
		"no kubeconfig": {text: "quoted: [", kind: providers.ErrInvalid, part: "cannot be read"},
		"too large":     {text: strings.Repeat("#quoted\n", 1<<17+1), kind: providers.ErrInvalid, part: "larger than 1 MiB"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			selector := ref("config", "kubeconfig")
			settings := v1alpha1.KubernetesProvider{AuthRef: &selector, RemoteNamespace: "team"}
			store, home := storeOf(settings, objects{"config/kubeconfig": tt.text}), kubernetes.Home{URL: s.URL}
			if tt.kind != nil {
				_, err := kubernetes.Backend(home).Open(store)
				refused(t, err, tt.kind, tt.part)
			} else if got := whoAmI(t, opened(t, home, store)); got != tt.want {
				t.Errorf("the server knows us as %q, want %q", got, tt.want)
			}
		})
	}
}

func TestNamespacesThatAreNone(t *testing.T) {
	s := newServer(t).start(t)
	for _, namespace := range []string{"../kube-system", "a/b", "A", "team?watch=true", strings.Repeat("a", 64)} {
		settings := s.settings()
		settings.RemoteNamespace = namespace
		_, err := kubernetes.Backend(kubernetes.Home{}).Open(storeOf(settings, nil))
		refused(t, err, providers.ErrInvalid, "remoteNamespace is no name of a namespace")
	}
}
