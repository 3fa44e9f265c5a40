// Command envfile is a provider plugin, for people to start from: it serves the
// lines NAME=VALUE of a file.
//
//	envfile -socket /plugins/envfile.sock -file /etc/app.env
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/gitseal/gitseal/providers"
	"github.com/gitseal/gitseal/providers/plugin/serve"
)

func main() {
	socket := flag.String("socket", "", "socket to listen on: NAME.sock in the operator's directory of plugins")
	file := flag.String("file", "", "file with lines NAME=VALUE")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	open := func(_ context.Context, s serve.Settings) (serve.Store, error) {
		if !s.Ambient { // the file is ours, not the store's
			return nil, providers.ErrDenied
		}
		return store{file: *file, prefix: s.Config["prefix"]}, nil
	}
	if err := serve.Run(ctx, *socket, serve.Plugin{Open: open, Batch: 20}); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// store is the names of the file that begin with a prefix.
type store struct{ file, prefix string }

func (s store) Get(_ context.Context, refs []providers.Ref) ([]serve.Result, error) {
	values, err := s.read()
	if err != nil {
		return nil, err
	}
	results := make([]serve.Result, len(refs))
	for i, ref := range refs {
		value, ok := values[ref.Key]
		switch {
		case ref.Metadata || ref.Version != "":
			results[i].Err = providers.ErrInvalid
		case !ok:
			results[i].Err = providers.ErrNotFound
		default:
			results[i].Data = []byte(value)
		}
	}
	return results, nil
}

// Check makes the store a providers.Checker.
func (s store) Check(context.Context) (string, error) {
	_, err := s.read()
	return "a file of the plugin", err
}

func (s store) read() (map[string]string, error) {
	f, err := os.Open(s.file)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return nil, providers.ErrUnavailable
	}
	defer f.Close()
	values := map[string]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, value, ok := strings.Cut(lines.Text(), "=")
		if name, has := strings.CutPrefix(strings.TrimSpace(name), s.prefix); ok && has && !strings.HasPrefix(name, "#") {
			values[name] = value
		}
	}
	return values, nil
}

// Find makes the store a providers.Finder.
func (s store) Find(_ context.Context, q providers.Query) ([]string, error) {
	if q.Name != "" || len(q.Tags) > 0 {
		return nil, providers.ErrInvalid
	}
	values, err := s.read()
	var keys []string
	for name := range values {
		if strings.HasPrefix(name, q.Path) {
			keys = append(keys, name)
		}
	}
	slices.Sort(keys)
	return keys, err
}
