// Package gcp is Google Cloud for tests: Secret Manager over real gRPC, on the
// interface that Google generates for servers, and the token services over
// HTTP, both on loopback. It keeps what it is given in memory, hands out tokens
// only to whom proves who he is, and breaks in the ways that the real one does
// when it is told to. Nothing but tests may use it.
//
// Its rules are those of the documentation of Secret Manager
// (cloud.google.com/secret-manager/docs) and of the token services (RFC 7523,
// RFC 8693, AIP-4117). What could not be tried on the real one is marked so.
package gcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	secretmanager "cloud.google.com/go/secretmanager/apiv1"
	"cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/utils/clock"
)

// Server is one Google Cloud. Its methods may be called at any time.
type Server struct {
	secretmanagerpb.UnimplementedSecretManagerServiceServer

	clock clock.PassiveClock
	rpc   *grpc.Server
	http  *http.Server
	// ports closes connections where an outage wants it.
	ports []*port

	mu      sync.Mutex
	secrets map[string]*stored
	iam     identities
	faults  faults
	calls   map[string]int
}

// Start listens on two free ports of loopback. The clock decides when tokens
// end; nil is the real one.
func Start(c clock.PassiveClock) (*Server, error) {
	if c == nil {
		c = clock.RealClock{}
	}
	s := &Server{clock: c, secrets: map[string]*stored{}, calls: map[string]int{}, iam: newIdentities()}
	for range 2 {
		p, err := listen()
		if err != nil {
			return nil, errors.Join(err, s.closePorts())
		}
		s.ports = append(s.ports, p)
	}
	s.rpc = grpc.NewServer(grpc.UnaryInterceptor(s.intercept))
	secretmanagerpb.RegisterSecretManagerServiceServer(s.rpc, s)
	s.http = &http.Server{Handler: s.tokenServices(), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.rpc.Serve(s.ports[0]) }()
	go func() { _ = s.http.Serve(s.ports[1]) }()
	return s, nil
}

// Close stops the server and cuts its connections.
func (s *Server) Close() error {
	s.rpc.Stop()
	return errors.Join(s.http.Close(), s.closePorts())
}

func (s *Server) closePorts() error {
	var errs []error
	for _, p := range s.ports {
		if err := p.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Endpoint of Secret Manager, as spec.provider.gcpsm.endpoint takes it.
func (s *Server) Endpoint() string { return "http://" + s.ports[0].Addr().String() }

// Client is Google's own client of the Server. Its calls need a Token in their
// metadata.
func (s *Server) Client(ctx context.Context) (*secretmanager.Client, error) {
	cc, err := grpc.NewClient("passthrough:///"+s.ports[0].Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", s.Endpoint(), err)
	}
	return secretmanager.NewClient(ctx, option.WithGRPCConn(cc))
}

// TokenURL is the base of the token services, as spec.provider.gcpsm.stsEndpoint
// takes it.
func (s *Server) TokenURL() string { return "http://" + s.ports[1].Addr().String() }

// Calls says how often a method was called: an RPC such as
// "AccessSecretVersion", or "key", "exchange", "impersonate".
func (s *Server) Calls(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[method]
}

// Logins says how many tokens were handed out.
func (s *Server) Logins() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.iam.issued
}

// ResetCounters starts to count anew.
func (s *Server) ResetCounters() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.calls)
	s.iam.issued = 0
}

// port is a listener on loopback that can cut what it accepted, as a network
// does: with a reset.
type port struct {
	net.Listener
	mu    sync.Mutex
	down  bool
	conns map[net.Conn]bool
}

func listen() (*port, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen on loopback: %w", err)
	}
	return &port{Listener: l, conns: map[net.Conn]bool{}}, nil
}

// Accept implements net.Listener.
func (p *port) Accept() (net.Conn, error) {
	for {
		c, err := p.Listener.Accept()
		if err != nil {
			return nil, err
		}
		p.mu.Lock()
		down := p.down
		if !down {
			p.conns[c] = true
		}
		p.mu.Unlock()
		if !down {
			return &conn{Conn: c, port: p}, nil
		}
		reset(c)
	}
}

// cut resets all connections and, while down, those to come.
func (p *port) cut(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
	if !down {
		return
	}
	for c := range p.conns {
		reset(c)
	}
	clear(p.conns)
}

func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}

// conn forgets itself when it is closed.
type conn struct {
	net.Conn
	port *port
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.port.mu.Lock()
	delete(c.port.conns, c.Conn)
	c.port.mu.Unlock()
	return c.Conn.Close()
}
