package rig

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Cables lead to a server of TLS and HTTP/2 without a network, also in a bubble
// of synctest. Their ends hear nothing of it when they are cut, as when a node
// or a NAT on the way goes away.
type Cables struct {
	server *http.Server
	calls  chan net.Conn
	closed chan struct{}
	end    func()

	mu   sync.Mutex
	laid []*cable
}

// LayCables starts the server behind them.
func LayCables(handler http.Handler, certificates []tls.Certificate) *Cables {
	c := &Cables{calls: make(chan net.Conn, 16), closed: make(chan struct{})}
	c.end = sync.OnceFunc(func() { close(c.closed) })
	c.server = &http.Server{Handler: handler, TLSConfig: &tls.Config{Certificates: certificates, MinVersion: tls.VersionTLS12}}
	go func() { _ = c.server.ServeTLS(exchange{c}, "", "") }()
	return c
}

// Dial lays a cable.
func (c *Cables) Dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	laid := &cable{Conn: near}
	c.mu.Lock()
	c.laid = append(c.laid, laid)
	c.mu.Unlock()
	c.calls <- far
	return laid, nil
}

// Laid is how many cables there are.
func (c *Cables) Laid() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.laid)
}

// Cut cuts those that there are.
func (c *Cables) Cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, laid := range c.laid {
		laid.cut.Store(true)
	}
}

// Silence cuts the cable over which ask was answered, and demands that it is
// answered over another one within a minute. Told judges what it says before.
func (c *Cables) Silence(t testing.TB, ask func(context.Context) error, told func(error)) {
	t.Helper()
	try := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		return ask(ctx)
	}
	if err := try(); err != nil {
		t.Fatal(err)
	}
	c.Cut()
	begin := time.Now()
	told(try())
	for try() != nil && time.Since(begin) < 10*time.Minute {
		continue
	}
	if took := time.Since(begin); took > time.Minute || c.Laid() != 2 {
		t.Errorf("%d connections after %v, want another one within a minute", c.Laid(), took)
	}
}

// SilenceHTTP is Silence for a client of what answers to anything.
func (c *Cables) SilenceHTTP(t testing.TB, client *http.Client) {
	t.Helper()
	c.Silence(t, func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://127.0.0.1", nil) // which no proxy is asked for
		if err != nil {
			return err
		}
		answer, err := client.Do(request)
		if err != nil {
			return err
		}
		return answer.Body.Close()
	}, func(err error) {
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a call over a cut cable ended with %v", err)
		}
	})
}

// Close ends the server and all connections.
func (c *Cables) Close() {
	_ = c.server.Close()
	c.end()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, laid := range c.laid {
		_ = laid.Close()
	}
}

type cable struct {
	net.Conn
	cut atomic.Bool
}

// Write implements net.Conn.
func (c *cable) Write(p []byte) (int, error) {
	if c.cut.Load() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// exchange is the server's side.
type exchange struct{ *Cables }

// Accept implements net.Listener.
func (e exchange) Accept() (net.Conn, error) {
	select {
	case c := <-e.calls:
		return c, nil
	case <-e.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (e exchange) Close() error { e.end(); return nil }

// Addr implements net.Listener.
func (exchange) Addr() net.Addr { return &net.TCPAddr{} }
