package source

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/secret"
)

func credentials(t testing.TB, data map[string]string) *Credentials {
	t.Helper()
	raw := map[string][]byte{}
	for k, v := range data {
		raw[k] = []byte(v)
	}
	c, err := ParseCredentials("git", raw)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// protect asks for what ok accepts before it lets a request through.
func protect(next http.Handler, ok func(*http.Request) bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !ok(r) {
			http.Error(w, "canary-body: you are not welcome", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func TestHTTPCredentials(t *testing.T) {
	r := newRepo(t)
	r.commit("refs/heads/main", map[string]file{"v": text("1")})
	b := &backend{root: filepath.Dir(r.dir)}
	basic := httptest.NewServer(protect(b, func(r *http.Request) bool {
		u, p, _ := r.BasicAuth()
		return u == "bot" && p == "canary-password"
	}))
	defer basic.Close()
	bearer := httptest.NewServer(protect(b, func(r *http.Request) bool {
		return r.Header.Get("Authorization") == "Bearer canary-token"
	}))
	defer bearer.Close()
	secure := httptest.NewUnstartedServer(b)
	secure.Config.ErrorLog = quietLog()
	secure.StartTLS()
	defer secure.Close()
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}))
	key, _ := newKey(t, "")
	tests := map[string]struct {
		url   string
		with  map[string]string
		texts []string // of the failure, if there is one
	}{
		"username and password":          {url: basic.URL, with: map[string]string{"username": "bot", "password": "canary-password\n"}},
		"wrong password":                 {url: basic.URL, with: map[string]string{"username": "bot", "password": "canary-wrong"}, texts: []string{"does not accept the credentials (HTTP status 401)", "username and password"}},
		"no credentials":                 {url: basic.URL, texts: []string{"asks for credentials", "spec.source.git.secretRef"}},
		"bearer token":                   {url: bearer.URL, with: map[string]string{"bearerToken": "canary-token"}},
		"wrong bearer token":             {url: bearer.URL, with: map[string]string{"bearerToken": "canary-wrong"}, texts: []string{"does not accept"}},
		"authority from ca.crt":          {url: secure.URL, with: map[string]string{"ca.crt": ca}},
		"unknown authority":              {url: secure.URL, texts: []string{"unknown authority", "ca.crt"}},
		"an SSH key for https":           {url: secure.URL, with: map[string]string{"identity": string(key), "known_hosts": "h " + testHostKey}, texts: []string{"holds an SSH key"}},
		"no key for ssh":                 {url: "ssh://git@127.0.0.1:1", texts: []string{"identity and known_hosts"}},
		"bearer token does not help ssh": {url: "ssh://git@127.0.0.1:1", with: map[string]string{"bearerToken": "x"}, texts: []string{"opened with an SSH key"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			req := Request{URL: test.url + "/repo.git"}
			if test.with != nil {
				req.Credentials = credentials(t, test.with)
			}
			_, err := newStore(t, nil).Fetch(t.Context(), req)
			if test.texts == nil {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			checkFailure(t, err, failure.Stall, v1alpha1.ReasonCredentialsInvalid, test.texts...)
			if strings.Contains(err.Error(), "canary") {
				t.Errorf("message shows a secret or the server's text: %v", err)
			}
		})
	}
}

const testHostKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"

func TestCustomCANeedsATransport(t *testing.T) {
	s := newStore(t, func(o *Options) { o.Transport = roundTripper(nil) })
	block := httptest.NewTLSServer(http.NotFoundHandler())
	defer block.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: block.Certificate().Raw})
	_, err := s.Fetch(t.Context(), Request{URL: "https://example.org/r", Credentials: &Credentials{CA: ca}})
	if err == nil || !strings.Contains(err.Error(), errNoCA.Error()) {
		t.Errorf("error = %v, want %v", err, errNoCA)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestRedirects(t *testing.T) {
	r := newRepo(t)
	r.commit("refs/heads/main", map[string]file{"v": text("1")})
	b := &backend{root: filepath.Dir(r.dir)}
	var leaked atomic.Bool
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		leaked.Store(true)
		b.ServeHTTP(w, r)
	}))
	defer other.Close()
	secure := httptest.NewTLSServer(b)
	defer secure.Close()
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}))
	tests := map[string]struct {
		to   func(self string, r *http.Request) string
		post bool
		fine bool
	}{
		"same host": {fine: true, to: func(_ string, r *http.Request) string {
			return strings.Replace(r.URL.String(), "/old", "/repo.git", 1)
		}},
		"same name, from http to https": {fine: true, to: func(_ string, r *http.Request) string {
			return secure.URL + "/repo.git" + infoRefs + "?" + r.URL.RawQuery
		}},
		"another host": {to: func(_ string, r *http.Request) string {
			return other.URL + "/repo.git" + infoRefs + "?" + r.URL.RawQuery
		}},
		"metadata service": {to: func(string, *http.Request) string { return "http://169.254.169.254/latest" + infoRefs }},
		"userinfo": {to: func(self string, _ *http.Request) string {
			return strings.Replace(self, "://", "://u:p@", 1) + infoRefs
		}},
		"another kind of URL": {to: func(string, *http.Request) string { return "file:///etc/passwd" + infoRefs }},
		"for ever":            {to: func(self string, _ *http.Request) string { return self + "/old" + infoRefs }},
		"of the download":     {post: true, to: func(self string, _ *http.Request) string { return self + "/repo.git/git-upload-pack" }},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var self string
			front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost && test.post || !test.post && strings.HasPrefix(r.URL.Path, "/old") {
					http.Redirect(w, r, test.to(self, r), http.StatusTemporaryRedirect)
					return
				}
				r.URL.Path = strings.Replace(r.URL.Path, "/old", "/repo.git", 1)
				b.ServeHTTP(w, r)
			}))
			defer front.Close()
			self = front.URL
			c := credentials(t, map[string]string{"username": "u", "password": "p", "ca.crt": ca})
			_, err := newStore(t, nil).Fetch(t.Context(), Request{URL: front.URL + "/old", Credentials: c})
			if test.fine {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			checkFailure(t, err, failure.Stall, v1alpha1.ReasonSourceInvalid, "redirects to", "spec.source.git.url")
		})
	}
	if leaked.Load() {
		t.Error("a request reached the host of the redirect")
	}
}

func TestHTTPFailures(t *testing.T) {
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "canary-body", code) }
	}
	empty := newRepo(t)
	full := newRepo(t)
	full.commit("refs/heads/main", map[string]file{"v": text(strings.Repeat("x", 100))})
	cut := func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte("0008NAK\n"))
			return
		}
		(&backend{root: filepath.Dir(full.dir)}).ServeHTTP(w, r)
	}
	tests := map[string]struct {
		handler http.Handler
		class   failure.Class
		reason  string
		texts   []string
	}{
		"not found":                {status(404), failure.Stall, v1alpha1.ReasonSourceInvalid, []string{"is not found"}},
		"forbidden":                {status(403), failure.Stall, v1alpha1.ReasonCredentialsInvalid, []string{"asks for credentials"}},
		"server error":             {status(503), failure.Fail, v1alpha1.ReasonSourceUnavailable, []string{"HTTP status 503"}},
		"too many requests":        {status(429), failure.Fail, v1alpha1.ReasonSourceUnavailable, []string{"HTTP status 429"}},
		"a web page":               {status(200), failure.Stall, v1alpha1.ReasonSourceInvalid, []string{"does not answer as a Git server"}},
		"empty repository":         {&backend{root: filepath.Dir(empty.dir)}, failure.Stall, v1alpha1.ReasonSourceInvalid, []string{"is empty", "push a commit"}},
		"connection cut in a pack": {http.HandlerFunc(cut), failure.Fail, v1alpha1.ReasonSourceUnavailable, []string{"closed the connection"}},
		"endless list of refs": {http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
			_, _ = w.Write([]byte("001e# service=git-upload-pack\n0000003f" + strings.Repeat("a", 40) + " refs/heads/main\x00\n"))
			for i := range 1 << 20 {
				name := []byte("00000000")
				for j := range 8 {
					name[j] = 'a' + byte(i>>(4*j))&15
				}
				if _, err := w.Write([]byte("0040" + strings.Repeat("a", 40) + " refs/" + string(name) + "xxxxx\n")); err != nil {
					return
				}
			}
		}), failure.Stall, v1alpha1.ReasonSourceInvalid, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(test.handler)
			defer srv.Close()
			_, err := newStore(t, func(o *Options) { o.Limits.RefBytes = 1 << 20 }).Fetch(t.Context(), Request{URL: srv.URL + "/repo.git"})
			checkFailure(t, err, test.class, test.reason, test.texts...)
			if strings.Contains(err.Error(), "canary") {
				t.Errorf("message has the server's text: %v", err)
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	const addr = "127.0.0.1:1" // of no server
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	private, _ := newKey(t, "")
	ssh := &Credentials{Identity: secret.NewValue(private), KnownHosts: []byte(knownhosts.Normalize(silent.Addr().String()) + ",[127.0.0.1]:* " + testHostKey + "\n")}
	tests := map[string]struct {
		url    string
		with   *Credentials
		class  failure.Class
		reason string
		text   string
	}{
		"nobody listens":               {"http://" + addr + "/r", nil, failure.Fail, v1alpha1.ReasonSourceUnavailable, "connection refused"},
		"nobody listens to ssh":        {"ssh://" + addr + "/r", ssh, failure.Fail, v1alpha1.ReasonSourceUnavailable, "connection refused"},
		"nobody answers":               {"http://" + silent.Addr().String() + "/r", nil, failure.Fail, v1alpha1.ReasonSourceUnavailable, "no answer in time"},
		"nobody answers ssh":           {"ssh://" + silent.Addr().String() + "/r", ssh, failure.Fail, v1alpha1.ReasonSourceUnavailable, "no answer in time"},
		"unknown name":                 {"http://no-such-host.invalid/r", nil, failure.Fail, v1alpha1.ReasonSourceUnavailable, "host name"},
		"metadata service":             {"http://169.254.169.254/r", nil, failure.Stall, v1alpha1.ReasonSourceInvalid, "link-local"},
		"metadata service, ssh":        {"ssh://169.254.169.254/r", ssh, failure.Stall, v1alpha1.ReasonSourceInvalid, "link-local"},
		"metadata service, another":    {"http://100.100.100.200/r", nil, failure.Stall, v1alpha1.ReasonSourceInvalid, "metadata"},
		"metadata service, IPv6":       {"http://[fd00:ec2::254]/r", nil, failure.Stall, v1alpha1.ReasonSourceInvalid, "metadata"},
		"metadata service, mapped":     {"http://[::ffff:169.254.169.254]/r", nil, failure.Stall, v1alpha1.ReasonSourceInvalid, "link-local"},
		"metadata service, as decimal": {"ssh://2852039166/r", ssh, failure.Fail, v1alpha1.ReasonSourceUnavailable, "host name"},
		"no address":                   {"http://0.0.0.0:80/r", nil, failure.Stall, v1alpha1.ReasonSourceInvalid, "unspecified"},
		"password in the URL":          {"https://u:canary@example.org/r", nil, failure.Stall, v1alpha1.ReasonInvalidSpec, "holds credentials"},
		"token in the URL":             {"https://canary@example.org/r", nil, failure.Stall, v1alpha1.ReasonInvalidSpec, "holds credentials"},
		"query in the URL":             {"https://example.org/r?token=canary", nil, failure.Stall, v1alpha1.ReasonInvalidSpec, "query"},
		"a file":                       {"file:///etc", nil, failure.Stall, v1alpha1.ReasonInvalidSpec, "is none of"},
		"git's own protocol":           {"git://example.org/r", nil, failure.Stall, v1alpha1.ReasonInvalidSpec, "is none of"},
		"no URL":                       {"https://u:canary%zz@h/%zz", nil, failure.Stall, v1alpha1.ReasonInvalidSpec, "malformed"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			patience := time.Minute
			if strings.HasPrefix(name, "nobody answers") || test.text == "host name" {
				patience = 500 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			_, err := newStore(t, nil).Fetch(ctx, Request{URL: test.url, Credentials: test.with})
			if test.text == "host name" {
				var f *failure.Error // what a resolver makes of it differs
				if !errors.As(err, &f) || f.Class == failure.Wait {
					t.Fatalf("error = %v", err)
				}
				return
			}
			checkFailure(t, err, test.class, test.reason, test.text)
			if strings.Contains(err.Error(), "canary") {
				t.Errorf("message shows a secret: %v", err)
			}
		})
	}
}

func TestServersThatGoSilentAreGivenUp(t *testing.T) {
	r := newRepo(t)
	r.commit("refs/heads/main", map[string]file{"v": text("1")})
	b := &backend{root: filepath.Dir(r.dir)}
	const start = "001e# service=git-upload-pack\n0000"
	tests := map[string]http.HandlerFunc{
		"in the list of refs": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
			_, _ = w.Write([]byte(start))
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		},
		"in the pack": func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				b.ServeHTTP(w, r)
				return
			}
			_, _ = io.Copy(io.Discard, r.Body) // or the end of the connection is not seen
			w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
			_, _ = w.Write([]byte("0008NAK\n"))
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		},
	}
	for name, handler := range tests {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(handler)
			defer srv.Close()
			checkStall(t, Request{URL: srv.URL + "/repo.git"})
		})
	}
	t.Run("over SSH", func(t *testing.T) {
		private, signer := newKey(t, "")
		s := serveSSH(t, filepath.Dir(r.dir), signer.PublicKey())
		s.program = "cat >/dev/null;" // says nothing for as long as it is listened to
		c := credentials(t, map[string]string{"identity": string(private), "known_hosts": string(s.knownHosts())})
		checkStall(t, Request{URL: s.url(), Credentials: c})
	})
}

func checkStall(t *testing.T, r Request) {
	t.Helper()
	_, err := newStore(t, func(o *Options) { o.Limits.Stall = 50 * time.Millisecond; o.Limits.Time = 20 * time.Second }).Fetch(t.Context(), r)
	checkFailure(t, err, failure.Fail, v1alpha1.ReasonSourceUnavailable, "stopped sending before its answer was complete")
}

func TestAServerThatDripsIsBoundedAsAWhole(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
		_, _ = w.Write([]byte("001e# service=git-upload-pack\n0000fff0"))
		for range time.Tick(5 * time.Millisecond) {
			_, err := w.Write([]byte("a"))
			if err != nil || http.NewResponseController(w).Flush() != nil || r.Context().Err() != nil {
				return
			}
		}
	}))
	defer srv.Close()
	_, err := newStore(t, func(o *Options) { o.Limits.Stall = 10 * time.Second; o.Limits.Time = 100 * time.Millisecond }).Fetch(t.Context(), Request{URL: srv.URL + "/repo.git"})
	checkFailure(t, err, failure.Fail, v1alpha1.ReasonSourceUnavailable)
}

func TestSSH(t *testing.T) {
	r := newRepo(t)
	c := r.commit("refs/heads/main", map[string]file{"v": text("1")})
	private, signer := newKey(t, "")
	locked, lockedSigner := newKey(t, "canary-passphrase")
	stranger, _ := newKey(t, "")
	s := serveSSH(t, filepath.Dir(r.dir), signer.PublicKey())
	sLocked := serveSSH(t, filepath.Dir(r.dir), lockedSigner.PublicKey())
	_, wrongHost := newKey(t, "")
	hosts := func(k ssh.PublicKey) string {
		return strings.Replace(string(s.knownHosts()), string(ssh.MarshalAuthorizedKey(s.hostKey.PublicKey())), string(ssh.MarshalAuthorizedKey(k)), 1)
	}
	known := string(s.knownHosts())
	tests := map[string]struct {
		url   string
		with  map[string]string
		class failure.Class
		reas  string
		text  string
	}{
		"a key":                   {url: s.url(), with: map[string]string{"identity": string(private), "known_hosts": known}},
		"a key with a passphrase": {url: sLocked.url(), with: map[string]string{"identity": string(locked), "known_hosts": string(sLocked.knownHosts()), "password": "canary-passphrase\n"}},
		"a key nobody knows":      {url: s.url(), with: map[string]string{"identity": string(stranger), "known_hosts": known}, reas: v1alpha1.ReasonCredentialsInvalid, text: "does not accept the SSH key"},
		"a host nobody knows":     {url: s.url(), with: map[string]string{"identity": string(private), "known_hosts": "example.org " + testHostKey}, reas: v1alpha1.ReasonCredentialsInvalid, text: "known_hosts has no key of the server"},
		"another host key":        {url: s.url(), with: map[string]string{"identity": string(private), "known_hosts": hosts(wrongHost.PublicKey())}, reas: v1alpha1.ReasonCredentialsInvalid, text: "is not the one in known_hosts"},
		"a revoked host key":      {url: s.url(), with: map[string]string{"identity": string(private), "known_hosts": "@revoked " + known + known}, reas: v1alpha1.ReasonCredentialsInvalid, text: "revoked"},
		"no such repository":      {url: strings.Replace(s.url(), "repo.git", "other.git", 1), with: map[string]string{"identity": string(private), "known_hosts": known}, reas: v1alpha1.ReasonSourceInvalid, text: "is not found"},
		"a quoting attack":        {url: strings.Replace(s.url(), "repo.git", "x';touch%20pwned;'", 1), with: map[string]string{"identity": string(private), "known_hosts": known}, reas: v1alpha1.ReasonSourceInvalid, text: "is not found"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			store := newStore(t, nil)
			req := Request{URL: test.url, Credentials: credentials(t, test.with)}
			snap, err := store.Fetch(t.Context(), req)
			if test.reas != "" {
				checkFailure(t, err, failure.Stall, test.reas, test.text)
				return
			}
			if err != nil || snap.Commit != c || readText(t, snap, "v") != "1" {
				t.Fatalf("Fetch = %v, %v", snap, err)
			}
			mustFetch(t, store, req)
		})
	}
	r.git("", "-C", r.dir, "-c", "user.name=a", "-c", "user.email=a@b", "tag", "-a", "-m", "x", "v1", c)
	r.amend("refs/heads/main", map[string]file{"w": text("2")})
	for name, ref := range map[string]v1alpha1.GitRef{"tag": {Tag: "v1"}, "commit": {Commit: c}} {
		t.Run("an annotated tag that is at no tip, by "+name, func(t *testing.T) {
			req := Request{URL: s.url(), Ref: ref, Credentials: credentials(t, tests["a key"].with)}
			if snap := mustFetch(t, newStore(t, nil), req); snap.Commit != c {
				t.Errorf("commit = %s, want %s", snap.Commit, c)
			}
		})
	}
	store := newStore(t, nil)
	req := Request{URL: s.url(), Credentials: credentials(t, tests["a key"].with)}
	mustFetch(t, store, req)
	r.amend("refs/heads/main", map[string]file{"w": text("3")})
	if got := readText(t, mustFetch(t, store, req), "w"); got != "3" {
		t.Errorf("w = %q, want 3", got)
	}
}

func FuzzScrub(f *testing.F) {
	for _, s := range []string{"https://u:canary@h/p?x=canary#canary", "//canary@h", "u:canary@h:p", "https://u:canary%zz@h/%zz", "\x7f"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := scrub(s)
		if strings.ContainsAny(got, "\n\r\x00") || strings.Contains(got, "?") {
			t.Errorf("scrub(%q) = %q", s, got)
		}
		for _, u := range []string{"https://user:canary@h" + s, "https://canary@h/" + s, "https://h/?canary" + s} {
			if v, err := url.Parse(u); err == nil && (v.User != nil || v.RawQuery != "") && !strings.Contains(s, "canary") &&
				!strings.Contains(v.Host+v.Path, "canary") && strings.Contains(scrub(u), "canary") {
				t.Errorf("scrub(%q) = %q", u, scrub(u))
			}
		}
		if a, err := parseAddress(s); err == nil && strings.Contains(a.String(), "@") && !strings.Contains(a.path+a.host, "@") {
			t.Errorf("parseAddress(%q) = %v", s, a)
		}
	})
}
