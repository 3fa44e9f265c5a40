// Package plugin speaks to provider plugins: programs that were shipped apart
// from the operator and listen on Unix sockets in a directory of its own. It
// must believe nothing that a plugin says beyond what the protocol bounds
// (pluginpb/plugin.proto), and it starts no program.
package plugin

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
	"github.com/gitseal/gitseal/providers/plugin/pluginpb"
)

// Backend reads from the plugins whose sockets are in directory. With "" every
// store is refused. The values of a plugin are text: its dialect would have to
// be known before it was asked.
func Backend(directory string) providers.Backend {
	return providers.Backend{Dialect: providers.Text, Batch: pluginpb.MaxBatch, Open: func(s providers.Store) (providers.Provider, error) {
		return open(directory, s)
	}}
}

// store is a store at a plugin.
type store struct {
	name     string
	settings *pluginpb.OpenRequest
	loggedIn func()
	conn     *grpc.ClientConn
	client   pluginpb.ProviderClient
	// turn is held by who reads or replaces the handle; a channel, so that
	// waiting for another one's Open ends with the caller's own deadline.
	turn    chan struct{}
	current *pluginpb.OpenResponse
}

var nameOf = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

func open(directory string, s providers.Store) (providers.Provider, error) {
	spec := s.Spec.Plugin
	switch {
	case spec == nil:
		return nil, providers.Invalidf("the store has no plugin settings")
	case directory == "":
		return nil, providers.Invalidf("the operator has no directory of plugins (its flag --plugins)")
	case !nameOf.MatchString(spec.Name):
		return nil, providers.Invalidf("plugin.name is lower case letters, digits and '-'")
	}
	st := &store{name: spec.Name, loggedIn: s.LoggedIn, turn: make(chan struct{}, 1)}
	st.settings = &pluginpb.OpenRequest{Config: spec.Config, Ambient: s.Ambient, Credentials: map[string][]byte{}}
	for _, c := range spec.Credentials {
		value, err := s.Credentials.Secret(c.SecretRef)
		if err != nil {
			return nil, err
		}
		st.settings.Credentials[c.Name] = value.Reveal()
	}
	return st, st.connect(filepath.Join(directory, spec.Name+".sock"))
}

// connect makes the connection, which begins with the first call.
func (s *store) connect(socket string) error {
	pauses := backoff.DefaultConfig
	pauses.MaxDelay = 10 * time.Second
	conn, err := grpc.NewClient("passthrough:///plugin",
		grpc.WithTransportCredentials(insecure.NewCredentials()), // a socket of this machine
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx, socket) }),
		grpc.WithNoProxy(), grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: pauses, MinConnectTimeout: 5 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(pluginpb.MaxMessage), grpc.MaxCallSendMsgSize(pluginpb.MaxMessage)),
	)
	if err != nil {
		return providers.Invalidf("the plugin's socket cannot be used")
	}
	s.conn, s.client = conn, pluginpb.NewProviderClient(conn)
	return nil
}

var errNoSocket = errors.New("it is no socket")

// dial connects to a socket, and to nothing that a link leads to.
func dial(ctx context.Context, socket string) (net.Conn, error) {
	info, err := os.Lstat(socket)
	if err != nil {
		return nil, err
	}
	if info.Mode().Type() != os.ModeSocket {
		return nil, errNoSocket
	}
	return (&net.Dialer{}).DialContext(ctx, "unix", socket)
}

// Close ends the connection.
func (s *store) Close() error { return s.conn.Close() }

// session returns what the plugin calls the store.
func (s *store) session(ctx context.Context) (*pluginpb.OpenResponse, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, s.unavailable(ctx)
	}
	if s.current != nil {
		return s.current, nil
	}
	answer, err := s.client.Open(ctx, s.settings)
	switch {
	case err != nil:
		return nil, err
	case answer.GetError() != nil:
		return nil, s.errorOf(answer.GetError())
	case answer.GetHandle() == "" || len(answer.GetHandle()) > pluginpb.MaxWord:
		return nil, s.broken()
	}
	answer.Batch = min(max(answer.GetBatch(), 1), pluginpb.MaxBatch)
	s.current = answer
	if s.loggedIn != nil {
		s.loggedIn()
	}
	return answer, nil
}

// drop forgets a session, unless another call has replaced it.
func (s *store) drop(session *pluginpb.OpenResponse) {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	if s.current == session {
		s.current = nil
	}
}

// call asks within a session. It asks once more where the plugin does not know
// the session, or was restarted meanwhile: there is nothing that a second read
// could spoil. ask returns the answer's error, or gRPC's.
func (s *store) call(ctx context.Context, ask func(*pluginpb.OpenResponse) (*pluginpb.Error, error)) error {
	for again := false; ; again = true {
		s.awaitConnection(ctx)
		session, err := s.session(ctx)
		var refused *pluginpb.Error
		if err == nil {
			refused, err = ask(session)
		}
		forgotten := refused.GetKind() == pluginpb.Kind_KIND_UNKNOWN_HANDLE
		if forgotten {
			s.drop(session)
		}
		switch {
		case (forgotten || lost(err)) && !again && ctx.Err() == nil:
			continue
		case err != nil:
			return s.transport(ctx, err)
		case refused != nil:
			return s.errorOf(refused)
		}
		return nil
	}
}

// awaitConnection gives a lost connection another chance before the call, not
// only after a pause.
func (s *store) awaitConnection(ctx context.Context) {
	if s.conn.GetState() != connectivity.TransientFailure {
		return
	}
	s.conn.ResetConnectBackoff()
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	s.conn.WaitForStateChange(ctx, connectivity.TransientFailure)
}

// Get implements providers.Provider.
func (s *store) Get(ctx context.Context, refs []providers.Ref) ([]providers.Result, error) {
	results := make([]providers.Result, len(refs))
	var asked []int // the refs that can be asked for
	for i, ref := range refs {
		if ref.Key == "" || len(ref.Key) > pluginpb.MaxKey || len(ref.Version) > pluginpb.MaxWord || !utf8.ValidString(ref.Key+ref.Version) {
			results[i].Err = providers.Invalidf("a key is a text of 1 to 2048 bytes, and a version one of up to 256")
			continue
		}
		asked = append(asked, i)
	}
	for len(asked) > 0 {
		answers, err := s.get(ctx, refs, asked)
		if err != nil {
			return nil, err
		}
		for i, answer := range answers {
			results[asked[i]] = s.result(answer)
		}
		asked = asked[len(answers):]
	}
	return results, nil
}

// get asks for as many of the refs as the plugin takes at once.
func (s *store) get(ctx context.Context, refs []providers.Ref, asked []int) ([]*pluginpb.Result, error) {
	var answer *pluginpb.GetResponse
	var r *pluginpb.GetRequest
	err := s.call(ctx, func(session *pluginpb.OpenResponse) (*pluginpb.Error, error) {
		r = &pluginpb.GetRequest{Handle: session.GetHandle()}
		for _, i := range asked[:min(len(asked), int(session.GetBatch()))] {
			r.Refs = append(r.Refs, &pluginpb.Ref{Key: refs[i].Key, Version: refs[i].Version, Metadata: refs[i].Metadata})
		}
		var err error
		answer, err = s.client.Get(ctx, r)
		return answer.GetError(), err
	})
	if err == nil && len(answer.GetResults()) != len(r.GetRefs()) {
		err = s.broken()
	}
	return answer.GetResults(), err
}

func (s *store) result(r *pluginpb.Result) providers.Result {
	switch {
	case r.GetError() != nil:
		return providers.Result{Err: s.errorOf(r.GetError())}
	case len(r.GetVersion()) > pluginpb.MaxWord:
		return providers.Result{Err: s.broken()}
	case len(r.GetValue()) > pluginpb.MaxValue:
		return providers.Result{Err: providers.Invalidf("the value is larger than 1 MiB")}
	}
	return providers.Result{Value: secret.NewValue(r.GetValue()), Version: r.GetVersion()}
}

// Find implements providers.Finder.
func (s *store) Find(ctx context.Context, q providers.Query) ([]string, error) {
	if _, err := regexp.Compile(q.Name); err != nil {
		return nil, providers.Invalidf("find.name.regexp is no regular expression (RE2)")
	}
	var answer *pluginpb.FindResponse
	err := s.call(ctx, func(session *pluginpb.OpenResponse) (*pluginpb.Error, error) {
		if !session.GetFinds() {
			return &pluginpb.Error{Kind: pluginpb.Kind_KIND_INVALID}, nil
		}
		var err error
		answer, err = s.client.Find(ctx, &pluginpb.FindRequest{Handle: session.GetHandle(), Path: q.Path, Name: q.Name, Tags: q.Tags})
		return answer.GetError(), err
	})
	if err != nil {
		return nil, err
	}
	keys := answer.GetKeys()
	tooLong := func(key string) bool { return key == "" || len(key) > pluginpb.MaxKey }
	if len(keys) > pluginpb.MaxKeys || slices.ContainsFunc(keys, tooLong) {
		return nil, s.broken()
	}
	slices.Sort(keys)
	return slices.Compact(keys), nil
}

// identities that a plugin may claim: they are shown to people.
var identities = regexp.MustCompile(`^[A-Za-z0-9 @._:/+-]{1,128}$`)

// Check implements providers.Checker.
func (s *store) Check(ctx context.Context) (string, error) {
	identity := "plugin " + s.name
	err := s.call(ctx, func(session *pluginpb.OpenResponse) (*pluginpb.Error, error) {
		if !session.GetChecks() {
			return nil, nil
		}
		answer, err := s.client.Check(ctx, &pluginpb.CheckRequest{Handle: session.GetHandle()})
		if claimed := answer.GetIdentity(); identities.MatchString(claimed) {
			identity = "plugin " + s.name + ": " + claimed
		}
		return answer.GetError(), err
	})
	return identity, err
}
