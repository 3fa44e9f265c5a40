// Package serve is the other end of providers/plugin: with it a program becomes
// a provider plugin. Its author writes a Store; sockets, bounds, handles and
// errors are handled here. It must know nothing of the operator.
//
// The example is test/plugins/envfile.
package serve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"

	"github.com/gitseal/gitseal/providers"
	"github.com/gitseal/gitseal/providers/plugin/pluginpb"
)

// Settings are those of one store.
type Settings struct {
	// Config as the store has it.
	Config map[string]string
	// Credentials by the names that the store gives them.
	Credentials map[string][]byte
	// Ambient: the plugin's own identity, and what lies on its disk, may be used.
	// It is false for stores of namespaces: serve them by their credentials
	// alone, or not at all.
	Ambient bool
}

// Result answers one ref: data, or an error. What errors.Is says of it by the
// sentinels of package providers is passed on, and the time to wait of a
// *providers.Error; its text is not. An error of no kind is ErrUnavailable.
type Result struct {
	Data    []byte
	Version string
	Err     error
}

// Store reads values. It is safe for concurrent use.
type Store interface {
	// Get returns one Result per ref, in their order. The error is of the call
	// as a whole. There are never more refs than Plugin.Batch.
	Get(ctx context.Context, refs []providers.Ref) ([]Result, error)
}

// A Store that is a providers.Finder can list what it holds, one that is a
// providers.Checker can tell whether it would be let in, and one that is an
// io.Closer is told when it is not used any more.

// Plugin is what a program serves.
type Plugin struct {
	// Open makes a Store. Stores with the same settings share one.
	Open func(ctx context.Context, s Settings) (Store, error)
	// Batch is how many refs one Get takes: 0 is 1, and more than 20 is 20.
	Batch int
}

// Run listens on a socket until the context ends, and then finishes the calls
// that are under way, for a few seconds. The socket is readable for its owner
// alone. One that nobody listens on any more is replaced.
func Run(ctx context.Context, socket string, p Plugin) error {
	l, err := listen(ctx, socket)
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(pluginpb.MaxMessage), grpc.MaxSendMsgSize(pluginpb.MaxMessage))
	pluginpb.RegisterProviderServer(server, newServer(p))
	done := context.AfterFunc(ctx, func() {
		force := time.AfterFunc(5*time.Second, server.Stop)
		defer force.Stop()
		server.GracefulStop()
	})
	defer done()
	if err := server.Serve(l); err != nil && ctx.Err() == nil {
		return fmt.Errorf("serve on %q: %w", socket, err)
	}
	return nil
}

func listen(ctx context.Context, socket string) (net.Listener, error) {
	if !filepath.IsAbs(socket) { // "" would be a socket without a file
		return nil, fmt.Errorf("socket %q is no absolute path", socket)
	}
	info, err := os.Lstat(socket)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("look at socket %q: %w", socket, err)
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("%q is there and is no socket", socket)
	default:
		if c, err := (&net.Dialer{}).DialContext(ctx, "unix", socket); err == nil {
			_ = c.Close()
			return nil, fmt.Errorf("another program listens on %q", socket)
		}
		if err := os.Remove(socket); err != nil {
			return nil, fmt.Errorf("replace socket %q: %w", socket, err)
		}
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", socket, err)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("protect socket %q: %w", socket, err), l.Close())
	}
	return l, nil
}
