package source

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/plumbing/transport"
)

// session is one conversation with git-upload-pack: first refs, then at most
// one upload.
type session interface {
	refs(context.Context) (io.ReadCloser, error)
	upload(context.Context, *packp.UploadPackRequest) (io.ReadCloser, error)
	Close() error
}

var (
	// errQuota: the server sent more than the limit.
	errQuota = errors.New("more was sent than the limit allows")
	// errProtocol: what came back is not Git's protocol.
	errProtocol = errors.New("the answer is not Git's protocol")
	// errServer: the server said, inside the protocol, that it will not.
	errServer = errors.New("the server refused the request")
	// errStalled: the server stopped sending without an end.
	errStalled = errors.New("the server stopped sending")
)

// patient is a stream that is given up when it brings nothing for a while.
type patient struct {
	io.ReadCloser
	limit   time.Duration
	abandon func() // must make a Read return that waits
	stalled atomic.Bool
}

func (p *patient) Read(b []byte) (int, error) {
	timer := time.AfterFunc(p.limit, func() {
		p.stalled.Store(true)
		p.abandon()
	})
	n, err := p.ReadCloser.Read(b)
	timer.Stop()
	if err != nil && p.stalled.Load() {
		return n, errStalled
	}
	return n, err
}

// Close ends the stream, and what was waited for.
func (p *patient) Close() error {
	err := p.ReadCloser.Close()
	p.abandon()
	return err
}

// quotaReader ends a stream that is longer than allowed and remembers why a
// stream ended: the parsers above it do not keep the chain of errors.
type quotaReader struct {
	r    io.Reader
	left int64
	read int64
	err  error
}

func (q *quotaReader) Read(p []byte) (int, error) {
	if q.left <= 0 {
		// Whether the stream ended exactly at the limit takes one more byte.
		var b [1]byte
		n, err := q.r.Read(b[:])
		switch {
		case n > 0:
			q.err = errQuota
		case err != nil:
			q.err = err
		default:
			return 0, nil
		}
		return 0, q.err
	}
	n, err := q.r.Read(p[:min(int64(len(p)), q.left)])
	q.left -= int64(n)
	q.read += int64(n)
	if err != nil {
		q.err = err
	}
	return n, err
}

// explain names the cause of a parser's error.
func (q *quotaReader) explain(err error) error {
	var line *pktline.ErrorLine
	switch {
	case err == nil:
		return nil
	case q.err != nil && !errors.Is(q.err, io.EOF):
		return q.err
	case errors.As(err, &line):
		return errServer
	case errors.Is(err, packp.ErrEmptyInput):
		return io.ErrUnexpectedEOF
	}
	return errProtocol
}

// advertise asks the server for its branches, tags and abilities.
func advertise(ctx context.Context, s session, limit int64) (*packp.AdvRefs, error) {
	body, err := s.refs(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	q := &quotaReader{r: body, left: limit}
	refs := packp.NewAdvRefs()
	err = refs.Decode(q)
	if errors.Is(err, packp.ErrEmptyAdvRefs) || (err == nil && refs.IsEmpty()) {
		return nil, transport.ErrEmptyRemoteRepository
	}
	return refs, q.explain(err)
}

// want is what to download.
type want struct {
	hashes   []plumbing.Hash
	have     []plumbing.Hash // commits at hand, without their parents
	shallow  bool            // without the parents
	history  bool            // commits alone, and none that a commit at hand leads to
	maxBytes int64           // of one file, where the server can leave out larger ones
}

func (w want) request(able *capability.List) (*packp.UploadPackRequest, error) {
	req := packp.NewUploadPackRequest()
	// Not asked for on purpose: multi_ack, without which one answer ends the
	// negotiation.
	wish := []capability.Capability{capability.OFSDelta, capability.NoProgress, capability.Sideband64k}
	if w.shallow && able.Supports(capability.Shallow) {
		wish = append(wish, capability.Shallow)
		req.Depth = packp.DepthCommits(1)
		req.Shallows, req.Haves = w.have, w.have
		if len(w.have) > 0 {
			// Without thin packs Git sends everything again: it leaves out what
			// is in a commit at hand only where it may build upon it.
			wish = append(wish, capability.ThinPack)
		}
	}
	if w.history {
		req.Haves = w.have
	}
	if able.Supports(capability.Filter) {
		wish = append(wish, capability.Filter)
		req.Filter = packp.FilterBlobLimit(uint64(w.maxBytes)+1, packp.BlobLimitPrefixNone)
		if w.history {
			req.Filter = packp.FilterTreeDepth(0)
		}
	}
	for _, c := range wish {
		if able.Supports(c) {
			if err := req.Capabilities.Set(c); err != nil {
				return nil, err
			}
		}
	}
	if err := req.Capabilities.Set(capability.Agent, "gitseal"); err != nil {
		return nil, err
	}
	req.Wants = w.hashes
	return req, req.Validate()
}

// encode writes the request as one message, done included.
func encode(w io.Writer, req *packp.UploadPackRequest) error {
	if err := req.UploadRequest.Encode(w); err != nil {
		return err
	}
	if err := req.UploadHaves.Encode(w, false); err != nil {
		return err
	}
	return pktline.NewEncoder(w).EncodeString("done\n")
}

// download hands the pack that answers w to use.
func download(ctx context.Context, s session, able *capability.List, w want, limit int64, use func(io.Reader) error) error {
	req, err := w.request(able)
	if err != nil {
		return errProtocol
	}
	body, err := s.upload(ctx, req)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	q := &quotaReader{r: body, left: limit}
	res := packp.NewUploadPackResponse(req)
	if err := res.Decode(io.NopCloser(q)); err != nil {
		return q.explain(err)
	}
	var pack io.Reader = res
	if req.Capabilities.Supports(capability.Sideband64k) {
		pack = sideband.NewDemuxer(sideband.Sideband64k, res)
	}
	err = use(pack)
	if q.err != nil && !errors.Is(q.err, io.EOF) {
		return q.err
	}
	return err
}
