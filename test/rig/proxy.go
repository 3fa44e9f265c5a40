package rig

import (
	"bytes"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"
	"time"

	"k8s.io/client-go/rest"
)

// Proxy stands between an operator and the API server, or a Vault, and passes
// everything on, but for what a test tells it to do instead. It remembers what
// was asked.
type Proxy struct {
	server *httptest.Server
	onward *httputil.ReverseProxy

	mu     sync.Mutex
	faults []*Fault
	seen   []Asked
}

// Asked is one request that the operator made.
type Asked struct {
	Method string
	Path   string
	Query  string
	// Begun and Ended are when it came, and when it was answered; the zero time
	// if it was not.
	Begun, Ended time.Time
}

// Writes reports whether the request was to change something, for good.
func (a Asked) Writes() bool {
	query, err := url.ParseQuery(a.Query)
	return err == nil && a.Method != http.MethodGet && !query.Has("dryRun")
}

// Fault is what a Proxy does instead of passing a request on.
type Fault struct {
	match  func(Asked) bool
	answer http.Handler

	proxy *Proxy
	hits  int
}

// Proxy starts a proxy before the sandbox's API server.
func (r *Rig) Proxy() (*Proxy, error) {
	target, err := url.Parse(r.Config.Host)
	if err != nil {
		return nil, err
	}
	transport, err := rest.TransportFor(rest.AnonymousClientConfig(r.Config))
	if err != nil {
		return nil, err
	}
	return newProxy(target, transport), nil
}

// newProxy starts a proxy before any server.
func newProxy(target *url.URL, transport http.RoundTripper) *Proxy {
	p := &Proxy{}
	quiet := log.New(io.Discard, "", 0)
	p.onward = &httputil.ReverseProxy{
		Rewrite:       func(pr *httputil.ProxyRequest) { pr.SetURL(target); pr.Out.Host = target.Host },
		Transport:     transport,
		FlushInterval: -1, // watches
		ErrorLog:      quiet,
		// Who asks a server that is gone gets no answer, not one of a proxy.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	p.server = httptest.NewUnstartedServer(p)
	p.server.EnableHTTP2 = true
	p.server.Config.ErrorLog = quiet
	p.server.StartTLS()
	return p
}

// URL is where the server is reached through the proxy.
func (p *Proxy) URL() string { return p.server.URL }

// CA is the certificate by which the proxy is known.
func (p *Proxy) CA() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.server.Certificate().Raw})
}

// Cut ends every connection through the proxy, watches among them.
func (p *Proxy) Cut() { p.server.CloseClientConnections() }

// Close ends the proxy and every connection through it.
func (p *Proxy) Close() {
	p.server.CloseClientConnections()
	p.server.Close()
}

func (p *Proxy) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	number, fault := p.note(Asked{Method: request.Method, Path: request.URL.Path, Query: request.URL.RawQuery, Begun: time.Now()})
	defer p.answered(number)
	if fault != nil {
		fault.answer.ServeHTTP(w, request)
		return
	}
	p.Pass(w, request)
}

func (p *Proxy) answered(number int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen[number].Ended = time.Now()
}

// Asked lists the requests that match, in the order in which they came.
func (p *Proxy) Asked(match func(Asked) bool) (asked []Asked) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.seen {
		if match(a) {
			asked = append(asked, a)
		}
	}
	return asked
}

func (p *Proxy) note(a Asked) (number int, fault *Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, a)
	for _, f := range p.faults {
		if f.match(a) {
			f.hits++
			return len(p.seen) - 1, f
		}
	}
	return len(p.seen) - 1, nil
}

// Break lets a handler answer the requests that match, until the fault ends.
func (p *Proxy) Break(match func(Asked) bool, answer http.HandlerFunc) *Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := &Fault{match: match, answer: answer, proxy: p}
	p.faults = append(p.faults, f)
	return f
}

// End mends what was broken.
func (f *Fault) End() {
	f.proxy.mu.Lock()
	defer f.proxy.mu.Unlock()
	f.proxy.faults = slices.DeleteFunc(f.proxy.faults, func(g *Fault) bool { return g == f })
}

// Hits is how many requests met the fault.
func (f *Fault) Hits() int {
	f.proxy.mu.Lock()
	defer f.proxy.mu.Unlock()
	return f.hits
}

// Count is how many requests were made that match.
func (p *Proxy) Count(match func(Asked) bool) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, a := range p.seen {
		if match(a) {
			n++
		}
	}
	return n
}

// Pass sends a request on after all; a handler may take its time before.
func (p *Proxy) Pass(w http.ResponseWriter, request *http.Request) {
	// All of it is read first: who is refused early sends no more of a request,
	// and would wait for an answer that ends once the request has.
	body, err := io.ReadAll(request.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	request.Body = io.NopCloser(bytes.NewReader(body))
	p.onward.ServeHTTP(w, request)
}

// Hang keeps a request open until the client gives up.
func Hang(_ http.ResponseWriter, request *http.Request) {
	_, _ = io.Copy(io.Discard, request.Body) // the end of a request is noticed only once it was read
	<-request.Context().Done()
}
