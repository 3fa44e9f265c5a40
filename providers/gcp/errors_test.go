package gcp

import (
	"errors"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/gitseal/gitseal/providers"
)

func TestEveryCodeHasAKind(t *testing.T) {
	want := map[codes.Code]error{
		codes.Canceled: providers.ErrUnavailable, codes.Unknown: providers.ErrUnavailable, codes.InvalidArgument: providers.ErrInvalid,
		codes.DeadlineExceeded: providers.ErrUnavailable, codes.NotFound: providers.ErrNotFound, codes.AlreadyExists: providers.ErrUnavailable,
		codes.PermissionDenied: providers.ErrDenied, codes.ResourceExhausted: providers.ErrThrottled, codes.FailedPrecondition: providers.ErrUnavailable,
		codes.Aborted: providers.ErrUnavailable, codes.OutOfRange: providers.ErrInvalid, codes.Unimplemented: providers.ErrInvalid,
		codes.Internal: providers.ErrUnavailable, codes.Unavailable: providers.ErrUnavailable, codes.DataLoss: providers.ErrUnavailable,
		codes.Unauthenticated: providers.ErrUnauthenticated,
	}
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		st, err := status.New(code, "hunter2").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(3 * time.Second)})
		if err != nil {
			t.Fatal(err)
		}
		got := kindOf(st.Err())
		if !errors.Is(got, want[code]) || strings.Contains(got.Error(), "hunter2") || providers.RetryAfter(got) != 3*time.Second {
			t.Errorf("kindOf(%v) = %v after %v, want %v", code, got, providers.RetryAfter(got), want[code])
		}
	}
	if got := kindOf(errors.New("hunter2")); !errors.Is(got, providers.ErrUnavailable) || strings.Contains(got.Error(), "hunter2") {
		t.Errorf("kindOf of an error of the library = %v", got)
	}
}

// A Secret may be deleted for what is not found: only a state that was seen
// makes a version so.
func TestWhatCannotBeOpenedIsNotFoundOnlyByItsState(t *testing.T) {
	tests := map[string]struct {
		state secretmanagerpb.SecretVersion_State
		err   error
		want  error
	}{
		"disabled":           {secretmanagerpb.SecretVersion_DISABLED, nil, providers.ErrNotFound},
		"destroyed":          {secretmanagerpb.SecretVersion_DESTROYED, nil, providers.ErrNotFound},
		"without its key":    {secretmanagerpb.SecretVersion_ENABLED, nil, providers.ErrUnavailable},
		"not to be seen":     {0, status.Error(codes.PermissionDenied, "hunter2"), providers.ErrInvalid},
		"of an unclear fate": {0, status.Error(codes.Unavailable, "hunter2"), providers.ErrUnavailable},
	}
	for name, tt := range tests {
		if got := notOpened(tt.state, tt.err); !errors.Is(got, tt.want) || strings.Contains(got.Error(), "hunter2") {
			t.Errorf("a version %s: %v, want %v", name, got, tt.want)
		}
	}
}
