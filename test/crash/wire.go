package main

import (
	"io"
	"net/http"
	"strings"
	"time"
)

// wire lies between an operator and the API server, below the seam. It shows
// the operator the Applications and the store of its own cell only, so that cells can share
// a cluster; it can delay what watches tell; and it is where the bugs are
// planted that prove that the invariants can fail.
type wire struct {
	next   http.RoundTripper
	cell   string
	lag    time.Duration
	tamper tamper
}

// tamper plants a bug: it may change what is sent, or do more than that.
type tamper func(r *http.Request, next http.RoundTripper) (*http.Response, error)

const (
	allApplications  = "/apis/gitseal.dev/v1alpha1/applications"
	allClusterStores = "/apis/gitseal.dev/v1alpha1/clustersecretstores"
)

// RoundTrip implements http.RoundTripper.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path == allApplications {
		r = r.Clone(r.Context())
		r.URL.Path = strings.Replace(allApplications, "/applications", "/namespaces/"+w.cell+"/applications", 1)
	}
	if r.URL.Path == allClusterStores {
		r = r.Clone(r.Context())
		query := r.URL.Query()
		query.Set("fieldSelector", "metadata.name="+w.cell)
		r.URL.RawQuery = query.Encode()
	}
	send := w.next.RoundTrip
	if w.tamper != nil {
		send = func(r *http.Request) (*http.Response, error) { return w.tamper(r, w.next) }
	}
	response, err := send(r)
	if err == nil && w.lag > 0 && r.URL.Query().Get("watch") != "" {
		response.Body = delay(response.Body, w.lag)
	}
	return response, err
}

// delayed hands out what it reads some time after it has read it.
type delayed struct {
	io.Closer
	chunks <-chan chunk
	rest   chunk
	lag    time.Duration
}

type chunk struct {
	bytes []byte
	err   error
	at    time.Time
}

func delay(body io.ReadCloser, lag time.Duration) io.ReadCloser {
	chunks := make(chan chunk, 1024)
	go func() {
		defer close(chunks)
		for {
			b := make([]byte, 16<<10)
			n, err := body.Read(b)
			chunks <- chunk{bytes: b[:n], err: err, at: time.Now()}
			if err != nil {
				return
			}
		}
	}()
	return &delayed{Closer: body, chunks: chunks, lag: lag}
}

// Read implements io.Reader.
func (d *delayed) Read(p []byte) (int, error) {
	if len(d.rest.bytes) == 0 {
		c, ok := <-d.chunks
		if !ok {
			return 0, io.EOF
		}
		<-time.After(time.Until(c.at.Add(d.lag))) // the delay itself
		d.rest = c
	}
	n := copy(p, d.rest.bytes)
	d.rest.bytes = d.rest.bytes[n:]
	if len(d.rest.bytes) > 0 {
		return n, nil
	}
	return n, d.rest.err
}
