package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"strings"

	"github.com/gitseal/gitseal/internal/secret"
)

// Provider is who sends; it is also the path, and the entry of the Secret.
type Provider string

// Providers. Gitea stands for Forgejo, too.
const (
	GitHub  Provider = "github"
	GitLab  Provider = "gitlab"
	Gitea   Provider = "gitea"
	Generic Provider = "generic"
)

// provider is how one sender proves itself and what its deliveries look like.
type provider struct {
	name Provider
	// proofs are the headers that can prove a delivery; the first that is
	// there counts.
	proofs []string
	// ids are the headers that number deliveries.
	ids   []string
	check func(secret secret.Value, proof string, body []byte) bool
	read  func(header http.Header, body []byte) (delivery, error)
}

var providers = map[Provider]provider{
	GitHub: {
		name: GitHub, proofs: []string{"X-Hub-Signature-256"}, ids: []string{"X-GitHub-Delivery"},
		check: signed, read: readGitHub,
	},
	GitLab: {
		name: GitLab, proofs: []string{"X-Gitlab-Token"}, ids: []string{"Idempotency-Key", "X-Gitlab-Event-UUID"},
		check: sameToken, read: readGitLab,
	},
	Gitea: {
		name: Gitea, proofs: []string{"X-Gitea-Signature", "X-Forgejo-Signature", "X-Hub-Signature-256"},
		ids:   []string{"X-Gitea-Delivery", "X-Forgejo-Delivery", "X-GitHub-Delivery"},
		check: signed, read: readGitea,
	},
	Generic: {
		name: Generic, proofs: []string{"X-Signature"},
		check: signed, read: readGeneric,
	},
}

func (p provider) proof(header http.Header) string { return first(header, p.proofs) }

// authentic reports whether the sender knows one of the secrets. It tries all
// of them, so that the time it takes does not say which.
func (p provider) authentic(header http.Header, body []byte, secrets []secret.Value) bool {
	proof, ok := p.proof(header), false
	for _, s := range secrets {
		ok = p.check(s, proof, body) || ok
	}
	return ok
}

// parse reads an authentic delivery.
func (p provider) parse(header http.Header, body []byte) (delivery, error) {
	d, err := p.read(header, body)
	if err == nil && d.id == "" {
		d.id = first(header, p.ids)
	}
	return d, err
}

// signed checks an HMAC-SHA256 of the raw body in hex; GitHub writes its name
// before it, and Gitea does not.
func signed(s secret.Value, proof string, body []byte) bool {
	given, err := hex.DecodeString(strings.TrimPrefix(proof, "sha256="))
	if err != nil {
		return false
	}
	mac := hmac.New(sha256.New, s.Reveal())
	_, _ = mac.Write(body)
	return hmac.Equal(given, mac.Sum(nil))
}

// sameToken compares digests, so that not even the length can be learned.
func sameToken(s secret.Value, proof string, _ []byte) bool {
	want, given := sha256.Sum256(s.Reveal()), sha256.Sum256([]byte(proof))
	return subtle.ConstantTimeCompare(want[:], given[:]) == 1
}

func first(header http.Header, names []string) string {
	for _, name := range names {
		if v := header.Get(name); v != "" {
			return v
		}
	}
	return ""
}
