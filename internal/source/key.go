package source

import (
	"net/url"
	"strings"
)

// RepositoryKey is the same for URLs that name one repository in different
// ways: over HTTPS or SSH, as host:path, with or without a user, a port and
// .git, in upper or lower case. Two repositories may share a key; it says
// whom to tell that something changed, never who may read what. It is empty
// for what names no repository.
func RepositoryKey(raw string) string {
	host, path, ok := splitRepository(raw)
	path = strings.ToLower(strings.Trim(path, "/"))
	path = strings.Trim(strings.TrimSuffix(path, ".git"), "/")
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if !ok || host == "" || path == "" {
		return ""
	}
	return host + "/" + path
}

func splitRepository(raw string) (host, path string, ok bool) {
	if strings.Contains(raw, "://") {
		u, err := url.Parse(raw)
		if err != nil {
			return "", "", false
		}
		return u.Hostname(), u.Path, true
	}
	at, path, ok := strings.Cut(raw, ":")
	return at[strings.LastIndexByte(at, '@')+1:], path, ok && !strings.Contains(at, "/")
}
