package plugin

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gitseal/gitseal/providers"
	"github.com/gitseal/gitseal/providers/plugin/pluginpb"
)

// errorOf gives a plugin's error words of our own.
func (s *store) errorOf(e *pluginpb.Error) error {
	answer := &providers.Error{RetryAfter: time.Duration(min(max(e.GetRetryAfterMs(), 0), pluginpb.MaxRetryAfter)) * time.Millisecond}
	var what string
	switch e.GetKind() {
	case pluginpb.Kind_KIND_NOT_FOUND:
		answer.Kind, what = providers.ErrNotFound, "has no such key or version"
	case pluginpb.Kind_KIND_NOT_READY:
		answer.Kind, what = providers.ErrNotReady, "has it not ready yet"
	case pluginpb.Kind_KIND_DENIED:
		answer.Kind, what = providers.ErrDenied, "may not read it"
	case pluginpb.Kind_KIND_UNAUTHENTICATED:
		answer.Kind, what = providers.ErrUnauthenticated, "is not let in with the store's credentials"
	case pluginpb.Kind_KIND_THROTTLED:
		answer.Kind, what = providers.ErrThrottled, "asks to slow down"
	case pluginpb.Kind_KIND_INVALID:
		answer.Kind, what = providers.ErrInvalid, "does not accept the store's config or the reference; its log may say more"
	default:
		answer.Kind, what = providers.ErrUnavailable, "cannot answer now; its log may say more"
	}
	answer.Detail = "plugin " + s.name + " " + what
	return answer
}

// lost reports whether the connection was.
func lost(err error) bool { return status.Code(err) == codes.Unavailable }

// transport is for an error of gRPC, whose text may quote what a plugin sent.
func (s *store) transport(ctx context.Context, err error) error {
	switch {
	case errors.As(err, new(*providers.Error)):
		return err
	case status.Code(err) == codes.Unimplemented:
		return providers.Invalidf("plugin %s does not speak the protocol of provider plugins", s.name)
	case status.Code(err) == codes.ResourceExhausted:
		return s.broken()
	}
	return s.unavailable(ctx)
}

func (s *store) unavailable(ctx context.Context) error {
	if ctx.Err() != nil {
		return &providers.Error{Kind: providers.ErrUnavailable, Detail: "plugin " + s.name + " did not answer in time"}
	}
	return &providers.Error{Kind: providers.ErrUnavailable, Detail: "plugin " + s.name + " does not listen on its socket"}
}

// broken is for an answer outside of what the protocol bounds.
func (s *store) broken() error {
	return &providers.Error{Kind: providers.ErrUnavailable, Detail: "plugin " + s.name + " answered with what the protocol does not allow"}
}
