package source

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"

	"github.com/go-git/go-git/v5/plumbing/transport"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/egress"
	"github.com/gitseal/gitseal/internal/failure"
)

// failed gives an error of the conversation its class, reason and next step.
// The text is ours throughout: what libraries and servers say holds ports,
// addresses and sometimes what they were sent.
func (r *repository) failed(ctx context.Context, err error) error {
	var done *failure.Error
	if errors.As(err, &done) {
		return done
	}
	if ended := ctx.Err(); ended != nil {
		return failure.Failf(v1alpha1.ReasonSourceUnavailable, "repository %s: no answer in time: %w", r.address, ended)
	}
	for _, sort := range []func(error) *failure.Error{r.refusedAccess, r.notThere, r.overLimit} {
		if f := sort(err); f != nil {
			return f
		}
	}
	return r.unreachable(err)
}

// refusedAccess is about credentials: ours, or the server's proof of itself.
func (r *repository) refusedAccess(err error) *failure.Error {
	var status statusError
	var authority x509.UnknownAuthorityError
	switch {
	case errors.As(err, &status) && (status == http.StatusUnauthorized || status == http.StatusForbidden):
		if !r.auth.opens() {
			return failure.Stallf(v1alpha1.ReasonCredentialsInvalid, "repository %s asks for credentials", r.address).
				WithHint("name a Secret with username and password, or bearerToken, in spec.source.git.secretRef; if the repository is public, check the URL")
		}
		return failure.Stallf(v1alpha1.ReasonCredentialsInvalid, "repository %s does not accept the credentials (HTTP status %d)", r.address, int(status)).
			WithHint("check username and password, or bearerToken, in the Secret and that they may read the repository")
	case errors.As(err, &authority):
		return failure.Stallf(v1alpha1.ReasonCredentialsInvalid, "repository %s has a certificate of an unknown authority", r.address).
			WithHint("add the authority's certificate as ca.crt to the Secret")
	case errors.Is(err, errNoCA):
		return failure.Stallf(v1alpha1.ReasonCredentialsInvalid, "repository %s: %w", r.address, errNoCA)
	case errors.Is(err, errKeyRefused):
		return failure.Stallf(v1alpha1.ReasonCredentialsInvalid, "repository %s does not accept the SSH key", r.address).
			WithHint("check identity in the Secret, the user in the URL, and that the key may read the repository")
	case errors.Is(err, errHostUnknown):
		return failure.Stallf(v1alpha1.ReasonCredentialsInvalid, "repository %s: known_hosts has no key of the server", r.address).
			WithHint("add the server's key to known_hosts in the Secret, after comparing its fingerprint")
	case errors.Is(err, errHostChanged), errors.Is(err, errHostRevoked):
		return failure.Stallf(v1alpha1.ReasonCredentialsInvalid, "repository %s: %w", r.address, cause(err, errHostChanged, errHostRevoked)).
			WithHint("find out whether the server changed its key or another answers in its place, then correct known_hosts in the Secret")
	}
	return nil
}

// opens reports whether there is anything to authenticate with.
func (c *Credentials) opens() bool {
	return c != nil && (!c.Password.IsZero() || !c.BearerToken.IsZero() || !c.Identity.IsZero())
}

func cause(err error, candidates ...error) error {
	for _, c := range candidates {
		if errors.Is(err, c) {
			return c
		}
	}
	return err
}

// notThere is about what was asked for.
func (r *repository) notThere(err error) *failure.Error {
	invalid := func(what string) *failure.Error {
		return failure.Stallf(v1alpha1.ReasonSourceInvalid, "repository %s %s", r.address, what)
	}
	var status statusError
	var redirect redirectError
	switch {
	case errors.Is(err, transport.ErrEmptyRemoteRepository):
		return invalid("is empty").WithHint("push a commit")
	case errors.As(err, &status) && (status == http.StatusNotFound || status == http.StatusGone):
		return invalid("is not found").WithHint("check spec.source.git.url; servers also say so of repositories that the credentials may not read")
	case errors.Is(err, errNoRepository):
		return invalid("is not found").WithHint("check spec.source.git.url and that the SSH key may read the repository")
	case errors.Is(err, errProtocol):
		return invalid("does not answer as a Git server").WithHint("check spec.source.git.url; dumb HTTP and SHA-256 repositories are not supported")
	case errors.As(err, &redirect):
		return invalid(redirect.Error()).WithHint("write the address it moved to in spec.source.git.url")
	case errors.Is(err, egress.ErrRefused):
		return invalid("is refused: " + egress.ErrRefused.Error()).WithHint("use an address that is a Git server's own")
	}
	return nil
}

// overLimit is about bounds.
func (r *repository) overLimit(err error) *failure.Error {
	l := r.store.limits
	invalid := func(format string, args ...any) *failure.Error {
		return failure.Stallf(v1alpha1.ReasonSourceInvalid, "repository %s %s", r.address, fmt.Sprintf(format, args...)).
			WithHint("keep large files and generated content out of the repository, or put the manifests in one of their own")
	}
	switch {
	case errors.Is(err, errQuota):
		return invalid("sends more than the limit of %s", bytesText(l.FetchBytes))
	case errors.Is(err, errInflated):
		return invalid("unpacks to more than the limit of %s", bytesText(maxInflation*l.FetchBytes))
	case errors.Is(err, errTooMany):
		return invalid("has more than the limit of %d objects", l.Objects)
	case errors.Is(err, errLeftOut), errors.Is(err, errTooLarge):
		return invalid("has a commit or root directory over the limit of %s", bytesText(l.ObjectBytes))
	}
	return nil
}

// unreachable is everything that may pass.
func (r *repository) unreachable(err error) *failure.Error {
	fail := func(what string) *failure.Error {
		return failure.Failf(v1alpha1.ReasonSourceUnavailable, "repository %s %s", r.address, what)
	}
	var status statusError
	var dns *net.DNSError
	var network net.Error
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &status):
		return failure.Failf(v1alpha1.ReasonSourceUnavailable, "repository %s answers with HTTP status %d", r.address, int(status))
	case errors.As(err, &dns) && dns.IsNotFound:
		return fail("is unreachable: its host name is not known")
	case errors.As(err, &dns):
		return fail("is unreachable: its host name could not be looked up")
	case errors.As(err, &certificate):
		return fail("has a certificate that is expired or for another name")
	case errors.As(err, &record):
		return fail("is unreachable: it does not speak TLS")
	case errors.Is(err, syscall.ECONNREFUSED):
		return fail("is unreachable: connection refused")
	case errors.As(err, &network) && network.Timeout():
		return fail("is unreachable: no answer in time")
	case errors.Is(err, errStalled):
		return fail("stopped sending before its answer was complete")
	case errors.Is(err, errScratch):
		return failure.Failf(v1alpha1.ReasonSourceUnavailable, "repository %s could not be stored on scratch space", r.address).
			WithHint("check that the operator's scratch volume is writable and has room")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, net.ErrClosed):
		return fail("closed the connection before its answer was complete")
	case errors.Is(err, errServer):
		return fail("refused to send the commit")
	case errors.Is(err, errCorrupt), errors.Is(err, errMissing):
		return fail("sent an answer that is damaged or not complete")
	}
	return fail("is unreachable")
}
