package aws_test

import (
	"context"
	"net"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// overtaken is a connection that is done with writing the body of its request
// only once somebody reads on in the answer.
type overtaken struct {
	net.Conn
	writes, reads atomic.Int32
	readOn        chan struct{}
	release       func() // closes readOn
}

func (c *overtaken) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if c.writes.Add(1) == 2 { // after the headers
		<-c.readOn
	}
	return n, err
}

func (c *overtaken) Read(p []byte) (int, error) {
	if c.reads.Add(1) == 2 {
		c.release()
	}
	return c.Conn.Read(p)
}

func (c *overtaken) Close() error {
	c.release()
	return c.Conn.Close()
}

// On a busy machine an answer is being read while its request is not known to
// have been written. That must not cut it.
func TestAnAnswerMayOvertakeTheEndOfItsRequest(t *testing.T) {
	cloud := startCloud(t)
	large := strings.Repeat("x", 64<<10)
	cloud.Put("large", large, nil)
	store := storeOf(cloud, cloud.AddUser("alice"), nil)
	store.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, address)
		readOn := make(chan struct{})
		return &overtaken{Conn: c, readOn: readOn, release: sync.OnceFunc(func() { close(readOn) })}, err
	}
	p, wrote := open(t, store), make(chan error, 1)
	results, err := p.Get(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		WroteRequest: func(i httptrace.WroteRequestInfo) { wrote <- i.Err },
	}), refsOf("large"))
	if err != nil || results[0].Err != nil || string(results[0].Value.Reveal()) != large {
		t.Errorf("Get = %v, %v, want the value", err, results[0].Err)
	}
	if err := <-wrote; err != nil {
		t.Errorf("the request ended with %v, which cuts the answer", err)
	}
}
