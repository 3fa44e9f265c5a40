package source

import (
	"context"
	"io"

	"github.com/go-git/go-git/v5/plumbing/protocol/packp"

	"github.com/gitseal/gitseal/internal/seam"
)

// gated passes the two questions that Git asks of a server through the gate,
// whatever carries them.
type gated struct {
	session
	gate seam.Gate
	url  string // without credentials
}

func (g gated) refs(ctx context.Context) (io.ReadCloser, error) {
	return g.pass("refs", func() (io.ReadCloser, error) { return g.session.refs(ctx) })
}

func (g gated) upload(ctx context.Context, r *packp.UploadPackRequest) (io.ReadCloser, error) {
	return g.pass("upload", func() (io.ReadCloser, error) { return g.session.upload(ctx, r) })
}

func (g gated) pass(what string, ask func() (io.ReadCloser, error)) (body io.ReadCloser, err error) {
	err = seam.Do(g.gate, seam.Call{Kind: seam.Git, Name: what + " " + g.url}, func() error {
		body, err = ask()
		return err
	})
	if err != nil && body != nil {
		_ = body.Close()
		body = nil
	}
	return body, err
}
