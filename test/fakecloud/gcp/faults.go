package gcp

import (
	"context"
	"path"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Outage is a way to be gone.
type Outage int

const (
	// Up is no outage.
	Up Outage = iota
	// Unavailable: every call is answered with Unavailable, and 503.
	Unavailable
	// Reset: every connection is cut.
	Reset
)

// Forever is a count that does not end.
const Forever = -1

type faults struct {
	throttled  int
	retryAfter time.Duration
	latency    time.Duration
	outage     Outage
	denied     map[string]bool
	text       string
	disabled   bool
	corrupt    bool
	tokens     bool // an outage of the token services alone
}

// Throttle answers the next n calls of Secret Manager with ResourceExhausted;
// with RetryInfo where retryAfter is not 0.
func (s *Server) Throttle(n int, retryAfter time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.throttled, s.faults.retryAfter = n, retryAfter
}

// SetLatency lets every call wait, or until its caller gives up.
func (s *Server) SetLatency(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.latency = d
}

// SetOutage begins or ends an outage of everything.
func (s *Server) SetOutage(o Outage) {
	s.mu.Lock()
	s.faults.outage = o
	s.mu.Unlock()
	for _, p := range s.ports {
		p.cut(o == Reset)
	}
}

// Deny lets nobody read a secret, by its id; Allow does again. "*" is the
// listing of secrets.
func (s *Server) Deny(id string) { s.setDenied(id, true) }

// Allow takes back what Deny did.
func (s *Server) Allow(id string) { s.setDenied(id, false) }

func (s *Server) setDenied(id string, denied bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.faults.denied == nil {
		s.faults.denied = map[string]bool{}
	}
	s.faults.denied[id] = denied
}

// DisableAPI answers as for a project in which the API was never enabled.
func (s *Server) DisableAPI(disabled bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.disabled = disabled
}

// TokenOutage begins or ends an outage of the token services alone.
func (s *Server) TokenOutage(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.tokens = down
}

// Corrupt flips a bit of every payload on its way out, but not of its checksum.
func (s *Server) Corrupt(corrupt bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.corrupt = corrupt
}

// SetErrorText is said in every error besides, as by a server that quotes what
// it was given.
func (s *Server) SetErrorText(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.text = text
}

// intercept counts a call, plays the faults and asks for a token, in this
// order.
func (s *Server) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	s.mu.Lock()
	s.calls[path.Base(info.FullMethod)]++
	latency := s.faults.latency
	s.mu.Unlock()
	if err := wait(ctx, latency); err != nil {
		return nil, status.FromContextError(err).Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refusal(ctx); err != nil {
		return nil, err
	}
	return next(ctx, req)
}

func wait(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func (s *Server) refusal(ctx context.Context) error {
	if s.faults.outage == Unavailable {
		return s.fail(codes.Unavailable, "The service is currently unavailable.")
	}
	md, _ := metadata.FromIncomingContext(ctx)
	if _, ok := s.iam.holder(strings.Join(md.Get("authorization"), ","), s.clock.Now()); !ok {
		return s.fail(codes.Unauthenticated, "Request had invalid authentication credentials.",
			&errdetails.ErrorInfo{Reason: "ACCESS_TOKEN_EXPIRED", Domain: "googleapis.com"})
	}
	if s.faults.disabled {
		return s.fail(codes.PermissionDenied, "Secret Manager API has not been used in project before or it is disabled.",
			&errdetails.ErrorInfo{Reason: "SERVICE_DISABLED", Domain: "googleapis.com"})
	}
	if s.faults.throttled == 0 {
		return nil
	}
	if s.faults.throttled > 0 {
		s.faults.throttled--
	}
	info := []protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: "RATE_LIMIT_EXCEEDED", Domain: "googleapis.com"}}
	if s.faults.retryAfter > 0 {
		info = append(info, &errdetails.RetryInfo{RetryDelay: durationpb.New(s.faults.retryAfter)})
	}
	return s.fail(codes.ResourceExhausted, "Quota exceeded for quota metric.", info...)
}

// denied is what IAM says.
func (s *Server) denied(id, permission string) error {
	if !s.faults.denied[id] {
		return nil
	}
	return s.fail(codes.PermissionDenied, "Permission '"+permission+"' denied on resource (or it may not exist).",
		&errdetails.ErrorInfo{Reason: "IAM_PERMISSION_DENIED", Domain: "iam.googleapis.com"})
}

func (s *Server) fail(code codes.Code, message string, details ...protoadapt.MessageV1) error {
	st := status.New(code, strings.TrimSpace(message+" "+s.faults.text))
	if with, err := st.WithDetails(details...); err == nil {
		st = with
	}
	return st.Err()
}
