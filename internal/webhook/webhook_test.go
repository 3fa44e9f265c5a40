package webhook

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"
)

const (
	oldSecret = "an-old-shared-secret"
	newSecret = "a-new-shared-secret"

	githubPush = `{"ref":"refs/heads/main","before":"a","after":"b","repository":{"id":1,"url":"https://git.example.com/shop/deploy",
"clone_url":"https://git.example.com/shop/deploy.git","ssh_url":"git@git.example.com:shop/deploy.git","created_at":1}}`
	gitlabPush = `{"object_kind":"push","ref":"refs/heads/main","project":{"git_http_url":"https://git.example.com/shop/deploy.git"},
"repository":{"git_ssh_url":"git@git.example.com:shop/deploy.git"}}`
	genericPush = `{"repository":"https://git.example.com/shop/deploy.git","ref":"refs/heads/main"}`
)

// receiver is a Receiver, and what it did.
type receiver struct {
	*Receiver
	clock    *clocktesting.FakePassiveClock
	pushes   []Push
	outcomes []Outcome
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	secrets, unusable := ParseSecrets(map[string][]byte{
		"github": []byte(oldSecret + "\n" + newSecret + "\n"), "gitlab": []byte(oldSecret), "gitea": []byte(oldSecret), "generic": []byte(oldSecret),
	})
	if len(unusable) > 0 {
		t.Fatalf("unusable entries %v", unusable)
	}
	r := &receiver{clock: clocktesting.NewFakePassiveClock(time.Unix(1_000_000, 0))}
	r.Receiver = New(Options{
		Secrets: func(context.Context) (Secrets, error) { return secrets, nil },
		Poll:    func(p Push) { r.pushes = append(r.pushes, p) },
		Observe: func(_ Provider, o Outcome) { r.outcomes = append(r.outcomes, o) },
		Clock:   r.clock,
	})
	return r
}

func (r *receiver) post(path, body string, header ...string) int {
	request := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	r.ServeHTTP(w, request)
	return w.Code
}

func sign(secret, body string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	_, _ = mac.Write([]byte(body))
	return hex.EncodeToString(mac.Sum(nil))
}

func TestOnlyWhoKnowsASecretIsHeard(t *testing.T) {
	form := url.Values{"payload": {githubPush}}.Encode()
	tests := map[string]struct {
		path, body string
		header     []string
		want       int
	}{
		"GitHub":                          {"/github", githubPush, []string{"X-GitHub-Event", "push", "X-Hub-Signature-256", "sha256=" + sign(oldSecret, githubPush)}, 202},
		"GitHub, the other secret":        {"/github", githubPush, []string{"X-GitHub-Event", "push", "X-Hub-Signature-256", "sha256=" + sign(newSecret, githubPush)}, 202},
		"GitHub, as a form":               {"/github", form, []string{"Content-Type", "application/x-www-form-urlencoded", "X-GitHub-Event", "push", "X-Hub-Signature-256", "sha256=" + sign(oldSecret, form)}, 202},
		"GitHub, a ping":                  {"/github", "{}", []string{"X-GitHub-Event", "ping", "X-Hub-Signature-256", "sha256=" + sign(oldSecret, "{}")}, 200},
		"GitHub, no kind of event":        {"/github", githubPush, []string{"X-Hub-Signature-256", "sha256=" + sign(oldSecret, githubPush)}, 400},
		"GitHub, unsigned":                {"/github", githubPush, []string{"X-GitHub-Event", "push"}, 401},
		"GitHub, another secret":          {"/github", githubPush, []string{"X-GitHub-Event", "push", "X-Hub-Signature-256", "sha256=" + sign("a-guessed-secret-of-no-use", githubPush)}, 401},
		"GitHub, another body":            {"/github", githubPush + " ", []string{"X-GitHub-Event", "push", "X-Hub-Signature-256", "sha256=" + sign(oldSecret, githubPush)}, 401},
		"GitHub, the older digest only":   {"/github", githubPush, []string{"X-GitHub-Event", "push", "X-Hub-Signature", "sha1=00"}, 401},
		"GitHub, a digest that is no hex": {"/github", githubPush, []string{"X-GitHub-Event", "push", "X-Hub-Signature-256", "sha256=zz"}, 401},
		"GitHub, an empty digest":         {"/github", githubPush, []string{"X-GitHub-Event", "push", "X-Hub-Signature-256", "sha256="}, 401},
		"GitLab":                          {"/gitlab", gitlabPush, []string{"X-Gitlab-Token", oldSecret}, 202},
		"GitLab, another token":           {"/gitlab", gitlabPush, []string{"X-Gitlab-Token", newSecret}, 401},
		"GitLab, no token":                {"/gitlab", gitlabPush, nil, 401},
		"GitLab, an issue":                {"/gitlab", `{"object_kind":"issue"}`, []string{"X-Gitlab-Token", oldSecret}, 200},
		"Gitea":                           {"/gitea", githubPush, []string{"X-Gitea-Event", "push", "X-Gitea-Signature", sign(oldSecret, githubPush)}, 202},
		"Forgejo":                         {"/gitea", githubPush, []string{"X-Forgejo-Event", "push", "X-Forgejo-Signature", sign(oldSecret, githubPush)}, 202},
		"Gitea in GitHub's way":           {"/gitea", githubPush, []string{"X-GitHub-Event", "push", "X-Hub-Signature-256", "sha256=" + sign(oldSecret, githubPush)}, 202},
		"generic":                         {"/generic", genericPush, []string{"X-Signature", "sha256=" + sign(oldSecret, genericPush)}, 202},
		"generic, unsigned":               {"/generic", genericPush, nil, 401},
		"malformed":                       {"/generic", "{", []string{"X-Signature", "sha256=" + sign(oldSecret, "{")}, 400},
		"no object":                       {"/generic", `"x"`, []string{"X-Signature", "sha256=" + sign(oldSecret, `"x"`)}, 400},
		"no repository":                   {"/generic", "{}", []string{"X-Signature", "sha256=" + sign(oldSecret, "{}")}, 400},
		"a path of nobody":                {"/bitbucket", genericPush, nil, 404},
		"a path below one":                {"/github/x", githubPush, nil, 404},
		"no path":                         {"/", githubPush, nil, 404},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(t)
			if got := r.post(tt.path, tt.body, tt.header...); got != tt.want {
				t.Fatalf("answer %d, want %d", got, tt.want)
			}
			if tt.want != http.StatusAccepted {
				if len(r.pushes) > 0 {
					t.Errorf("pushes %v, want none", r.pushes)
				}
				return
			}
			if len(r.pushes) != 1 || r.pushes[0].Ref != "refs/heads/main" || !strings.Contains(strings.Join(r.pushes[0].URLs, " "), "https://git.example.com/shop/deploy.git") {
				t.Errorf("pushes %v, want one of the repository's main", r.pushes)
			}
		})
	}
}

func TestARepeatedDeliveryDoesNothingNew(t *testing.T) {
	r := newReceiver(t)
	header := func(id string) []string {
		return []string{"X-GitHub-Event", "push", "X-GitHub-Delivery", id, "X-Hub-Signature-256", "sha256=" + sign(oldSecret, githubPush)}
	}
	r.post("/github", githubPush, header("one")...)
	r.post("/github", githubPush, header("one")...)
	r.post("/github", githubPush, header("two")...) // a branch can move back and forth
	r.clock.SetTime(r.clock.Now().Add(memory))
	r.post("/github", githubPush, header("one")...)
	want := []Outcome{Accepted, Duplicate, Accepted, Accepted}
	if diff := cmp.Diff(want, r.outcomes); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	if len(r.pushes) != 3 {
		t.Errorf("%d pushes, want 3", len(r.pushes))
	}
}

func TestAnIDInAGenericBodyIsOfTheDelivery(t *testing.T) {
	r := newReceiver(t)
	for _, body := range []string{genericPush, genericPush, `{"repository":"https://h/p","id":"1"}`, `{"repository":"https://h/p","id":"1"}`} {
		r.post("/generic", body, "X-Signature", "sha256="+sign(oldSecret, body))
	}
	if diff := cmp.Diff([]Outcome{Accepted, Accepted, Accepted, Duplicate}, r.outcomes); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	d := newDeliveries(clocktesting.NewFakePassiveClock(time.Unix(1, 0)))
	for i := range 3 * maxRemembered {
		if d.seen(GitHub, string(rune(i+1)), nil) {
			t.Fatalf("delivery %d was seen before", i)
		}
	}
	if len(d.at) != maxRemembered || len(d.order) != maxRemembered {
		t.Errorf("%d and %d deliveries are remembered, want %d", len(d.at), len(d.order), maxRemembered)
	}
}

// endless counts how much of a body was read.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	e.read += len(p)
	return len(p), nil
}

func TestALongBodyIsNotRead(t *testing.T) {
	for name, length := range map[string]int64{"said before": 100 << 20, "not said": -1} {
		t.Run(name, func(t *testing.T) {
			r, body := newReceiver(t), &endless{}
			request := httptest.NewRequest(http.MethodPost, "/github", body)
			request.ContentLength = length
			request.Header.Set("X-Hub-Signature-256", "sha256=00")
			w := httptest.NewRecorder()
			r.ServeHTTP(w, request)
			if w.Code != http.StatusRequestEntityTooLarge || body.read > 2*maxBody || (length > 0 && body.read > 0) {
				t.Errorf("answer %d after %d bytes, want %d after at most %d", w.Code, body.read, http.StatusRequestEntityTooLarge, maxBody)
			}
		})
	}
}

func TestABodyThatDoesNotArriveIsNoDelivery(t *testing.T) {
	r := newReceiver(t)
	request := httptest.NewRequest(http.MethodPost, "/github", io.MultiReader(strings.NewReader("{"), brokenBody{}))
	request.Header.Set("X-Hub-Signature-256", "sha256=00")
	w := httptest.NewRecorder()
	r.ServeHTTP(w, request)
	if w.Code != http.StatusBadRequest {
		t.Errorf("answer %d, want %d", w.Code, http.StatusBadRequest)
	}
}

type brokenBody struct{}

func (brokenBody) Read([]byte) (int, error) { return 0, errors.New("reset") }

func TestManyAtOnceAreSentAway(t *testing.T) {
	r := newReceiver(t)
	for range maxConcurrent {
		r.slots <- struct{}{}
	}
	if got := r.post("/gitlab", gitlabPush, "X-Gitlab-Token", oldSecret); got != http.StatusServiceUnavailable {
		t.Errorf("answer %d, want %d", got, http.StatusServiceUnavailable)
	}
	<-r.slots
	if got := r.post("/gitlab", gitlabPush, "X-Gitlab-Token", oldSecret); got != http.StatusAccepted {
		t.Errorf("answer %d, want %d", got, http.StatusAccepted)
	}
}

func TestOnlyPostIsAllowed(t *testing.T) {
	r := newReceiver(t)
	w := httptest.NewRecorder()
	r.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/github", nil))
	if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != http.MethodPost {
		t.Errorf("answer %d, Allow %q", w.Code, w.Header().Get("Allow"))
	}
}

func TestWithoutASecretNothingIsAccepted(t *testing.T) {
	tests := map[string]struct {
		secrets Secrets
		err     error
		want    int
	}{
		"no Secret":           {nil, nil, http.StatusNotFound},
		"no entry":            {Secrets{GitLab: nil}, nil, http.StatusNotFound},
		"not known right now": {nil, errors.New("no answer"), http.StatusServiceUnavailable},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(t)
			r.options.Secrets = func(context.Context) (Secrets, error) { return tt.secrets, tt.err }
			if got := r.post("/gitlab", gitlabPush, "X-Gitlab-Token", ""); got != tt.want {
				t.Errorf("answer %d, want %d", got, tt.want)
			}
		})
	}
}

func TestParseSecretsLeavesOutWhatCouldBeGuessed(t *testing.T) {
	many := strings.Repeat(oldSecret+"\n", maxSecrets+1)
	secrets, unusable := ParseSecrets(map[string][]byte{
		"github": []byte("\n  " + oldSecret + "\r\n\n" + newSecret), "gitlab": []byte("short"), "gitea": []byte(many), "other": []byte("x"),
	})
	if diff := cmp.Diff([]string{"gitea", "gitlab"}, unusable); diff != "" {
		t.Errorf("unusable (-want +got):\n%s", diff)
	}
	if len(secrets[GitHub]) != 2 || string(secrets[GitHub][0].Reveal()) != oldSecret || len(secrets[GitLab]) != 0 || len(secrets[Gitea]) != maxSecrets {
		t.Errorf("%d secrets of github, %d of gitlab, %d of gitea", len(secrets[GitHub]), len(secrets[GitLab]), len(secrets[Gitea]))
	}
}

func FuzzPayloads(f *testing.F) {
	for _, seed := range []string{githubPush, gitlabPush, genericPush, "{}", "[", "payload=%7B%7D", `{"repository":{"url":5}}`, "null"} {
		f.Add(seed, "application/json", "push")
		f.Add(seed, "application/x-www-form-urlencoded", "")
	}
	f.Fuzz(func(t *testing.T, body, kind, event string) {
		header := http.Header{"Content-Type": {kind}, "X-Github-Event": {event}, "X-Gitea-Event": {event}}
		for name, p := range providers {
			d, err := p.parse(header, []byte(body))
			if err != nil {
				continue
			}
			if len(d.push.URLs) == 0 || len(d.push.URLs) > 16 || len(d.push.Ref) > maxText {
				t.Errorf("%s: push %q of %q", name, d.push, body)
			}
		}
	})
}
