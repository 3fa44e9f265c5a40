package source

import (
	"net"
	"net/url"
	"strings"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
)

// address is a repository's URL in parts, without a password or query.
type address struct {
	scheme string // http, https or ssh
	user   string // of ssh only
	host   string // with the port, where the URL has one
	path   string
}

func parseAddress(raw string) (address, error) {
	u, err := url.Parse(raw)
	if err != nil { // url.Error repeats the input; it may hold a password
		return address{}, failure.Stallf(v1alpha1.ReasonInvalidSpec, "the repository's URL is malformed").
			WithHint("write it as https://host/path or ssh://user@host/path")
	}
	a := address{scheme: u.Scheme, host: u.Host, path: u.Path}
	if reason := a.reject(u); reason != "" {
		return address{}, failure.Stallf(v1alpha1.ReasonInvalidSpec, "repository URL %q %s", scrub(raw), reason).
			WithHint("write it as https://host/path or ssh://user@host/path, with credentials in a Secret that spec.source.git.secretRef names")
	}
	if a.scheme == "ssh" {
		a.user = u.User.Username()
		if a.user == "" {
			a.user = "git"
		}
	}
	return a, nil
}

func (a address) reject(u *url.URL) string {
	_, password := u.User.Password()
	switch {
	case a.scheme != "http" && a.scheme != "https" && a.scheme != "ssh":
		return "is none of http, https and ssh"
	case u.Hostname() == "" || strings.Trim(a.path, "/") == "":
		return "names no host or no repository"
	case password || (u.User != nil && a.scheme != "ssh"):
		return "holds credentials"
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "has a query or fragment"
	case strings.ContainsFunc(u.Path+u.User.Username(), func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "has a control character"
	}
	return ""
}

// String is the URL as messages show it.
func (a address) String() string {
	u := url.URL{Scheme: a.scheme, Host: a.host, Path: a.path}
	return u.String()
}

// dialAddress is host and port to connect to with SSH.
func (a address) dialAddress() string {
	u := url.URL{Host: a.host}
	port := u.Port()
	if port == "" {
		port = "22"
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// scrub returns a URL without userinfo, query and fragment, also when it does
// not parse; what cannot be told apart is dropped.
func scrub(raw string) string {
	if u, err := url.Parse(raw); err == nil && u.Host != "" {
		return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
	}
	if i := strings.IndexAny(raw, "?#"); i >= 0 {
		raw = raw[:i]
	}
	if i := strings.LastIndexByte(raw, '@'); i >= 0 {
		raw = raw[i+1:]
	}
	return clean(raw, 256)
}
