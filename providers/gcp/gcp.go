// Package gcp reads Google Cloud Secret Manager over gRPC with Google's own
// client: one connection and one token for all calls of a store. It must leave
// what is tried again, when, and what is kept to internal/fetch: the retries of
// the library are off.
//
// Rules of the service: cloud.google.com/secret-manager/docs/reference/rpc.
package gcp

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"hash/crc32"
	"log/slog"
	"net"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	secretmanager "cloud.google.com/go/secretmanager/apiv1"
	"cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/egress"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
)

const (
	// maxAnswer is more than the largest page: 1,000 secrets of at most 16 KiB of
	// annotations and 64 labels each.
	maxAnswer = 32 << 20
	// reconnect is how long a call waits for a connection that was lost. gRPC
	// would fail it at once, until the pause after a failed attempt is over.
	reconnect = time.Second
)

// Backend reads Secret Manager. A call is for one version: there is no batch.
// The rate is half of what a project has for reading values (90,000 a minute).
func Backend() providers.Backend {
	return providers.Backend{Dialect: providers.Text, Ordered: true, Batch: 1, Rate: 750, Open: open}
}

// store is one project, or one location of it, as one identity.
type store struct {
	parent  string // projects/P or projects/P/locations/L
	fetch   bool   // LatestOrFetch
	login   *login
	session *session
	conn    *grpc.ClientConn
	client  *secretmanager.Client
	refused atomic.Bool // the guard refused the last address that was dialled
}

func open(s providers.Store) (providers.Provider, error) {
	spec := s.Spec.GCPSM
	if spec == nil {
		return nil, providers.Invalidf("the store has no gcpsm settings")
	}
	login, err := newLogin(s)
	if err != nil {
		return nil, err
	}
	parent, err := parentOf(spec, login.project)
	if err != nil {
		return nil, err
	}
	st := &store{parent: parent, fetch: spec.SecretVersionSelectionPolicy == "LatestOrFetch", login: login}
	st.session = newSession(s.Clock, login.token)
	if st.conn, err = st.connect(spec, s.Dial); err != nil {
		return nil, err
	}
	// Its logger would write payloads where an environment variable says so.
	st.client, err = secretmanager.NewClient(context.Background(), option.WithGRPCConn(st.conn), option.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		_ = st.conn.Close()
		return nil, providers.Invalidf("the client of Secret Manager cannot be made")
	}
	st.client.CallOptions = &secretmanager.CallOptions{} // no retries
	return st, nil
}

var (
	project  = regexp.MustCompile(`^[a-z0-9][a-z0-9.:-]{0,127}$`) // also "example.com:name", and numbers
	location = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)
)

func parentOf(spec *v1alpha1.GCPSMProvider, fallback string) (string, error) {
	id := spec.ProjectID
	if id == "" {
		id = fallback
	}
	switch {
	case id == "":
		return "", providers.Invalidf("gcpsm.projectID is needed: the credentials name no project")
	case !project.MatchString(id):
		return "", providers.Invalidf("gcpsm.projectID is no id of a project")
	case spec.Location == "":
		return "projects/" + id, nil
	case !location.MatchString(spec.Location):
		return "", providers.Invalidf("gcpsm.location is no name of a location")
	}
	return "projects/" + id + "/locations/" + spec.Location, nil
}

// connect makes the connection, which begins with the first call.
func (s *store) connect(spec *v1alpha1.GCPSMProvider, dial func(context.Context, string, string) (net.Conn, error)) (*grpc.ClientConn, error) {
	address, plain, err := addressOf(spec)
	if err != nil {
		return nil, err
	}
	transport := credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12})
	if plain {
		transport = insecure.NewCredentials()
	}
	pauses := backoff.DefaultConfig
	pauses.MaxDelay = 30 * time.Second
	// Names are resolved where it is dialled, so that the guard sees what comes
	// of them; no proxy and no TXT record has a say.
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(transport),
		grpc.WithContextDialer(func(ctx context.Context, a string) (net.Conn, error) {
			c, err := dial(ctx, "tcp", a)
			s.refused.Store(errors.Is(err, egress.ErrRefused)) // gRPC keeps the text of an error only
			return c, err
		}),
		grpc.WithNoProxy(), grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: pauses, MinConnectTimeout: 15 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)),
		grpc.WithUserAgent("gitseal"),
		grpc.WithChainUnaryInterceptor(s.authorize),
	)
	if err != nil {
		return nil, providers.Invalidf("gcpsm.endpoint is no address")
	}
	return conn, nil
}

var hostPort = regexp.MustCompile(`^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?$`)

// addressOf is host:port, and whether it is spoken to without TLS.
func addressOf(spec *v1alpha1.GCPSMProvider) (address string, plain bool, err error) {
	switch {
	case spec.Endpoint == "" && spec.Location == "":
		return "secretmanager.googleapis.com:443", false, nil
	case spec.Endpoint == "":
		return "secretmanager." + spec.Location + ".rep.googleapis.com:443", false, nil
	}
	address, plain = strings.CutPrefix(spec.Endpoint, "http://")
	address = strings.TrimSuffix(strings.TrimPrefix(address, "https://"), "/")
	m := hostPort.FindStringSubmatch(address)
	switch {
	case m == nil:
		return "", false, providers.Invalidf("gcpsm.endpoint must be HOST:PORT, with http:// in front for none of TLS")
	case m[2] != "":
		return address, plain, nil
	case plain:
		return address + ":80", true, nil
	}
	return address + ":443", false, nil
}

// authorize gives a call the token. Where the service takes it for ended, it
// logs in anew, once.
func (s *store) authorize(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	for again := false; ; again = true {
		token, fresh, err := s.session.token(ctx)
		if err != nil {
			return err
		}
		awaitConnection(ctx, cc)
		err = invoke(bearer(ctx, token), method, req, reply, cc, opts...)
		if err != nil && s.refused.Load() {
			return refusedAddress("gcpsm.endpoint")
		}
		if again || fresh || !unauthenticated(err) {
			return err
		}
		s.session.drop(token)
	}
}

// awaitConnection gives a lost connection another chance before the call, not
// only after a pause.
func awaitConnection(ctx context.Context, cc *grpc.ClientConn) {
	if cc.GetState() != connectivity.TransientFailure {
		return
	}
	cc.ResetConnectBackoff()
	ctx, cancel := context.WithTimeout(ctx, reconnect)
	defer cancel()
	cc.WaitForStateChange(ctx, connectivity.TransientFailure)
}

// Close ends the connection.
func (s *store) Close() error { return s.client.Close() }

// Get implements providers.Provider.
func (s *store) Get(ctx context.Context, refs []providers.Ref) ([]providers.Result, error) {
	results := make([]providers.Result, len(refs))
	for i, ref := range refs {
		results[i] = s.get(ctx, ref)
	}
	return results, nil
}

var (
	secretID  = regexp.MustCompile(`^[A-Za-z0-9_-]{1,255}$`)
	versionID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,63}$`)
)

func (s *store) get(ctx context.Context, ref providers.Ref) providers.Result {
	name := s.parent + "/secrets/" + ref.Key
	switch {
	case !secretID.MatchString(ref.Key):
		return failed(providers.Invalidf("a key is the id of a secret: letters, digits, '-' and '_', without a project before it"))
	case ref.Metadata:
		return s.describe(ctx, name)
	case ref.Version == "":
		return s.latest(ctx, name)
	case !versionID.MatchString(ref.Version):
		return failed(providers.Invalidf("a version is a number or an alias"))
	}
	return s.access(ctx, name+"/versions/"+ref.Version)
}

// latest reads the newest version, or the newest one that is enabled.
func (s *store) latest(ctx context.Context, name string) providers.Result {
	r, err := s.client.AccessSecretVersion(ctx, &secretmanagerpb.AccessSecretVersionRequest{Name: name + "/versions/latest"})
	if s.fetch && isPrecondition(err) {
		// The newest comes first, and there may be thousands.
		v, err := s.client.ListSecretVersions(ctx, &secretmanagerpb.ListSecretVersionsRequest{Parent: name, Filter: "state:ENABLED", PageSize: 1}).Next()
		if err != nil {
			return failed(listed(err, "no version of the secret is enabled"))
		}
		return s.access(ctx, name+"/versions/"+last(v.GetName()))
	}
	return s.opened(ctx, name+"/versions/latest", r, err)
}

func (s *store) access(ctx context.Context, name string) providers.Result {
	r, err := s.client.AccessSecretVersion(ctx, &secretmanagerpb.AccessSecretVersionRequest{Name: name})
	return s.opened(ctx, name, r, err)
}

// opened makes a Result of an answer. A version that is not enabled is not
// found, once its state has been seen: the same code is answered for a KMS key
// that is away.
func (s *store) opened(ctx context.Context, name string, r *secretmanagerpb.AccessSecretVersionResponse, err error) providers.Result {
	switch {
	case isPrecondition(err):
		v, err := s.client.GetSecretVersion(ctx, &secretmanagerpb.GetSecretVersionRequest{Name: name})
		return failed(notOpened(v.GetState(), err))
	case err != nil:
		return failed(kindOf(err))
	case r.GetPayload().DataCrc32C == nil || *r.Payload.DataCrc32C != int64(crc32.Checksum(r.Payload.GetData(), crc32.MakeTable(crc32.Castagnoli))):
		return failed(&providers.Error{Kind: providers.ErrUnavailable, Detail: "the value does not have its checksum: it was damaged on its way"})
	}
	return providers.Result{Value: secret.NewValue(r.Payload.GetData()), Version: last(r.GetName())}
}

// describe gives {"annotations": {...}, "labels": {...}}.
func (s *store) describe(ctx context.Context, name string) providers.Result {
	r, err := s.client.GetSecret(ctx, &secretmanagerpb.GetSecretRequest{Name: name})
	if err != nil {
		return failed(kindOf(err))
	}
	raw, err := json.Marshal(map[string]map[string]string{"annotations": r.GetAnnotations(), "labels": r.GetLabels()})
	if err != nil {
		return failed(providers.Invalidf("the metadata cannot be written as JSON"))
	}
	return providers.Result{Value: secret.NewValue(raw), Version: strings.Trim(r.GetEtag(), `"`)}
}

// last is the last part of a resource's name.
func last(name string) string { return name[strings.LastIndex(name, "/")+1:] }

func failed(err error) providers.Result { return providers.Result{Err: err} }
