package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
)

// maxText bounds each text of a payload that is used.
const maxText = 2048

var (
	// errNoPush marks an authentic delivery of something that is no push.
	errNoPush = errors.New("the delivery is not of a push")
	// errMalformed is all that is said of a payload: its text is a stranger's.
	errMalformed = errors.New("the payload is malformed")
)

// delivery is a payload, and what its sender calls it.
type delivery struct {
	id   string
	push Push
}

// place is a repository as any of the providers describes it.
type place struct {
	CloneURL   string `json:"clone_url"`
	SSHURL     string `json:"ssh_url"`
	GitURL     string `json:"git_url"`
	HTMLURL    string `json:"html_url"`
	GitHTTPURL string `json:"git_http_url"`
	GitSSHURL  string `json:"git_ssh_url"`
	WebURL     string `json:"web_url"`
	URL        string `json:"url"`
}

func (p place) urls() []string {
	return []string{p.CloneURL, p.SSHURL, p.GitURL, p.HTMLURL, p.GitHTTPURL, p.GitSSHURL, p.WebURL, p.URL}
}

// payload is a push of GitHub, GitLab or Gitea, as far as it matters.
type payload struct {
	Kind       string `json:"object_kind"` // of GitLab
	Event      string `json:"event_name"`  // of GitLab's system hooks
	Ref        string `json:"ref"`
	Repository place  `json:"repository"`
	Project    place  `json:"project"`
}

func readGitHub(header http.Header, body []byte) (delivery, error) {
	return readPush(header, body, header.Get("X-GitHub-Event"))
}

func readGitea(header http.Header, body []byte) (delivery, error) {
	return readPush(header, body, first(header, []string{"X-Gitea-Event", "X-Forgejo-Event", "X-GitHub-Event"}))
}

// readPush reads a delivery whose kind is in a header. The header is not
// signed; whoever changes it gains nothing.
func readPush(header http.Header, body []byte, event string) (delivery, error) {
	if event != "push" {
		if event == "" {
			return delivery{}, errMalformed
		}
		return delivery{}, errNoPush
	}
	p, err := decode[payload](header, body)
	if err != nil {
		return delivery{}, err
	}
	return describe(p.Ref, p.Repository.urls()...)
}

func readGitLab(header http.Header, body []byte) (delivery, error) {
	p, err := decode[payload](header, body)
	if err != nil {
		return delivery{}, err
	}
	kind := p.Kind
	if kind == "" {
		kind = p.Event
	}
	if kind != "push" && kind != "tag_push" {
		return delivery{}, errNoPush
	}
	return describe(p.Ref, slices.Concat(p.Project.urls(), p.Repository.urls())...)
}

func readGeneric(header http.Header, body []byte) (delivery, error) {
	p, err := decode[struct {
		Repository string `json:"repository"`
		Ref        string `json:"ref"`
		ID         string `json:"id"`
	}](header, body)
	if err != nil {
		return delivery{}, err
	}
	d, err := describe(p.Ref, p.Repository)
	d.id = p.ID
	return d, err
}

// decode reads JSON, also where it comes as a form, which is GitHub's default.
func decode[T any](header http.Header, body []byte) (payload T, err error) {
	if kind, _, _ := mime.ParseMediaType(header.Get("Content-Type")); kind == "application/x-www-form-urlencoded" {
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return payload, errMalformed
		}
		body = []byte(form.Get("payload"))
	}
	if json.Unmarshal(body, &payload) != nil {
		return payload, errMalformed
	}
	return payload, nil
}

// describe keeps what can be a URL.
func describe(ref string, urls ...string) (delivery, error) {
	urls = slices.DeleteFunc(urls, func(u string) bool { return u == "" || len(u) > maxText })
	slices.Sort(urls)
	urls = slices.Compact(urls)
	if len(urls) == 0 || len(ref) > maxText {
		return delivery{}, fmt.Errorf("%w: it names no repository", errMalformed)
	}
	return delivery{push: Push{URLs: urls, Ref: ref}}, nil
}
