package gcp

import (
	"context"
	"errors"
	"time"

	"cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"google.golang.org/api/iterator"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/gitseal/gitseal/providers"
)

// refusedAddress is for what Store.Dial does not connect to.
func refusedAddress(who string) error {
	return providers.Invalidf("%s has an address that the egress guard refuses (the operator's flag --allow-egress)", who)
}

func bearer(ctx context.Context, token string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
}

func unauthenticated(err error) bool { return status.Code(err) == codes.Unauthenticated }

func isPrecondition(err error) bool { return status.Code(err) == codes.FailedPrecondition }

// answers are the codes of google.rpc.Code that say more than "not now".
var answers = map[codes.Code]providers.Error{
	codes.NotFound:          {Kind: providers.ErrNotFound, Detail: "there is no such secret or version in the project"},
	codes.PermissionDenied:  {Kind: providers.ErrDenied, Detail: "IAM does not let the identity read it (roles/secretmanager.secretAccessor)"},
	codes.Unauthenticated:   {Kind: providers.ErrUnauthenticated, Detail: "Secret Manager does not accept the token"},
	codes.ResourceExhausted: {Kind: providers.ErrThrottled, Detail: "the project's quota of Secret Manager is used up"},
	codes.InvalidArgument:   {Kind: providers.ErrInvalid, Detail: "Secret Manager does not understand the name of the secret, project or location"},
	codes.OutOfRange:        {Kind: providers.ErrInvalid, Detail: "Secret Manager does not understand the request"},
	codes.Unimplemented:     {Kind: providers.ErrInvalid, Detail: "gcpsm.endpoint is no Secret Manager"},
	codes.DeadlineExceeded:  {Kind: providers.ErrUnavailable, Detail: "Secret Manager did not answer in time"},
	codes.Canceled:          {Kind: providers.ErrUnavailable, Detail: "the call was ended"},
}

// kindOf maps an error by its code; the text of the server and of the library
// is dropped. An error of a login is one of ours already.
func kindOf(err error) error {
	var own *providers.Error
	if errors.As(err, &own) {
		return own
	}
	st, ok := status.FromError(err)
	if !ok {
		return &providers.Error{Kind: providers.ErrUnavailable, Detail: "Secret Manager cannot be reached"}
	}
	answer, ok := answers[st.Code()]
	if !ok {
		answer = providers.Error{Kind: providers.ErrUnavailable, Detail: "Secret Manager is not available"}
	}
	for _, d := range st.Details() {
		switch d := d.(type) {
		case *errdetails.RetryInfo:
			answer.RetryAfter = min(max(d.GetRetryDelay().AsDuration(), 0), time.Hour)
		case *errdetails.ErrorInfo:
			if st.Code() == codes.PermissionDenied && d.GetReason() == "SERVICE_DISABLED" {
				answer = providers.Error{Kind: providers.ErrDenied, Detail: "the API of Secret Manager is not enabled in the project"}
			}
		}
	}
	return &answer
}

// refusedByIAM tells an identity that is known and may not, from a project
// that is not there or has the API disabled.
func refusedByIAM(err error) bool {
	st, ok := status.FromError(err)
	if !ok || st.Code() != codes.PermissionDenied {
		return false
	}
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.GetReason() == "IAM_PERMISSION_DENIED"
		}
	}
	return true
}

// notOpened says why a version could not be opened, from its state. An
// unproven state counts as an answer that may change, not as "not found":
// a Secret may be deleted for that.
func notOpened(state secretmanagerpb.SecretVersion_State, err error) error {
	answer := &providers.Error{Kind: providers.ErrNotFound}
	switch {
	case err == nil && state == secretmanagerpb.SecretVersion_DISABLED:
		answer.Detail = "the version is disabled"
	case err == nil && state == secretmanagerpb.SecretVersion_DESTROYED:
		answer.Detail = "the version is destroyed"
	case err == nil:
		return &providers.Error{Kind: providers.ErrUnavailable, Detail: "the version is enabled and cannot be opened: look at the KMS key of the secret"}
	case status.Code(err) == codes.PermissionDenied:
		answer.Kind = providers.ErrInvalid
		answer.Detail = "the version is disabled, destroyed or without its KMS key; the identity may not see which (secretmanager.versions.get)"
	default:
		return kindOf(err)
	}
	return answer
}

// listed is the error of a list of which one was wanted.
func listed(err error, empty string) error {
	if errors.Is(err, iterator.Done) {
		return &providers.Error{Kind: providers.ErrNotFound, Detail: empty}
	}
	return kindOf(err)
}
