package aws

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/gitseal/gitseal/internal/egress"
	"github.com/gitseal/gitseal/providers"
)

// service is what was asked, for people to read.
type service string

const (
	serviceSecrets service = "Secrets Manager"
	serviceSTS     service = "STS"
)

// maxRetryAfter bounds how long AWS can silence a store.
const maxRetryAfter = 15 * time.Minute

// The codes that mean something here. They come from
// https://docs.aws.amazon.com/secretsmanager/latest/apireference/CommonErrors.html,
// from the operations' own lists, and from STS, which says the same in other
// words.
const codeInvalidRequest = "InvalidRequestException"

// meaning is what a code means.
type meaning struct {
	kind   error
	detail string // after the name of the service
}

func meaningOf(code string) (meaning, bool) {
	switch code {
	case "ResourceNotFoundException":
		return meaning{providers.ErrNotFound, "has no such secret or version"}, true
	case "AccessDeniedException", "AccessDenied", "NotAuthorized":
		return meaning{providers.ErrDenied, "denies access"}, true
	case "UnrecognizedClientException", "InvalidClientTokenId", "InvalidAccessKeyId", "MissingAuthenticationToken", "MissingAuthenticationTokenException":
		return meaning{providers.ErrUnauthenticated, "does not know the access key or session"}, true
	case "InvalidSignatureException", "SignatureDoesNotMatch", "IncompleteSignature", "IncompleteSignatureException", "RequestExpired":
		return meaning{providers.ErrUnauthenticated, "refuses the signature: the secret access key or the clock is wrong"}, true
	case "ExpiredTokenException", "ExpiredToken":
		return meaning{providers.ErrUnauthenticated, "says that the session has expired"}, true
	case "OptInRequired", "RegionDisabledException":
		return meaning{providers.ErrInvalid, "is not activated in this region"}, true
	case "ThrottlingException", "Throttling", "ThrottledException", "RequestThrottled", "RequestThrottledException", "TooManyRequestsException", "RequestLimitExceeded", "SlowDown":
		return meaning{providers.ErrThrottled, "asks to slow down"}, true
	case "InternalServiceError", "InternalServiceErrorException", "InternalFailure", "InternalServerError", "ServiceUnavailable", "ServiceUnavailableException", "RequestTimeout", "RequestTimeoutException", "IDPCommunicationError":
		return meaning{providers.ErrUnavailable, "is out of order"}, true
	case "DecryptionFailure":
		return meaning{providers.ErrInvalid, "cannot decrypt the secret with its KMS key"}, true
	case codeInvalidRequest:
		return meaning{providers.ErrInvalid, "cannot read the secret in its present state; it may be marked for deletion"}, true
	case "InvalidIdentityToken", "IDPRejectedClaim", "JWTPayloadSizeExceededException":
		return meaning{providers.ErrUnauthenticated, "refuses the token; look at its audience, its issuer and the role's trust policy"}, true
	case "InvalidParameterException", "InvalidParameterValue", "ValidationException", "ValidationError", "InvalidNextTokenException", "PackedPolicyTooLarge":
		return meaning{providers.ErrInvalid, "finds the request invalid"}, true
	}
	return meaning{}, false
}

// stateError says that a secret is there and cannot be read as it is.
type stateError struct{ public *providers.Error }

// Error implements error.
func (e stateError) Error() string { return e.public.Error() }

// Unwrap gives what everybody else sees of it.
func (e stateError) Unwrap() error { return e.public }

// byCode is the error of a code; ok says whether the code is known.
func byCode(at service, code string) (e *providers.Error, ok bool) {
	m, ok := meaningOf(code)
	if !ok {
		return nil, false
	}
	return &providers.Error{Kind: m.kind, Detail: string(at) + " " + m.detail}, true
}

// translate turns an error of the SDK into one of package providers. Nothing of
// its text is kept: it quotes who asked for what, and the id of the request.
func (p *provider) translate(at service, err error) error {
	return translate(at, err, p.clock.Now())
}

func translate(at service, err error, now time.Time) error {
	var own *providers.Error
	if errors.As(err, &own) {
		return own
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return ended(err)
	}
	if errors.Is(err, egress.ErrRefused) {
		return providers.Invalidf("%s has an address that the operator does not connect to, unless its flag --allow-egress allows it", at)
	}
	e := &providers.Error{Kind: providers.ErrUnavailable, Detail: string(at) + " cannot be reached"}
	var response *smithyhttp.ResponseError
	answered := errors.As(err, &response) && response.Response != nil && response.HTTPStatusCode() != 0 // the SDK makes one up where there is none
	if answered {
		e = byStatus(at, response.HTTPStatusCode())
	}
	var said smithy.APIError
	if errors.As(err, &said) {
		if known, ok := byCode(at, said.ErrorCode()); ok {
			e = known
		}
		if said.ErrorCode() == codeInvalidRequest {
			return stateError{e}
		}
	}
	if answered && errors.Is(e, providers.ErrThrottled) {
		e.RetryAfter = retryAfter(response.Response.Header, now)
	}
	return e
}

// byStatus is for answers with a code that nobody knows, or none.
func byStatus(at service, status int) *providers.Error {
	e := &providers.Error{Kind: providers.ErrInvalid, Detail: string(at) + " refuses the request with status " + strconv.Itoa(status)}
	switch {
	case status < http.StatusMultipleChoices, status == http.StatusNotFound: // AWS says 400 to what is not there
		e.Kind, e.Detail = providers.ErrUnavailable, "what answers in the place of "+string(at)+" does not speak its protocol"
	case status >= http.StatusInternalServerError:
		e.Kind = providers.ErrUnavailable
	case status == http.StatusTooManyRequests:
		e.Kind = providers.ErrThrottled
	case status == http.StatusForbidden:
		e.Kind = providers.ErrDenied
	case status == http.StatusUnauthorized:
		e.Kind = providers.ErrUnauthenticated
	}
	return e
}

// retryAfter reads the header of RFC 9110, section 10.2.3: seconds or a date.
func retryAfter(header http.Header, now time.Time) time.Duration {
	text := header.Get("Retry-After")
	wait := time.Duration(0)
	if seconds, err := strconv.ParseUint(text, 10, 16); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if date, err := http.ParseTime(text); err == nil {
		wait = date.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}

// refused is the error of a login. Who may not assume a role is not let in, and
// is told which step it was.
func (l *login) refused(err error, step string) error {
	err = translate(serviceSTS, err, l.store.Clock.Now())
	var e *providers.Error
	if !errors.As(err, &e) {
		return err
	}
	kind := e.Kind
	if errors.Is(kind, providers.ErrDenied) || errors.Is(kind, providers.ErrNotFound) {
		kind = providers.ErrUnauthenticated
	}
	return &providers.Error{Kind: kind, Detail: e.Detail + " (asked to " + step + ")", RetryAfter: e.RetryAfter}
}

// sessionRefused reports whether AWS knows the session no longer.
func sessionRefused(err error) bool {
	var said smithy.APIError
	if !errors.As(err, &said) {
		return false
	}
	switch said.ErrorCode() {
	case "ExpiredTokenException", "ExpiredToken", "UnrecognizedClientException", "InvalidClientTokenId":
		return true
	}
	return false
}
