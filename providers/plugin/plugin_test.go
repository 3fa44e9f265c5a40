package plugin_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/providers"
	"github.com/gitseal/gitseal/providers/plugin"
	"github.com/gitseal/gitseal/providers/plugin/pluginpb"
	"github.com/gitseal/gitseal/providers/plugin/serve"
)

func open(t *testing.T, dir string, s providers.Store) providers.Provider {
	t.Helper()
	p, err := plugin.Backend(dir).Open(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.(io.Closer).Close() })
	return p
}

func get(ctx context.Context, p providers.Provider, key string) (string, error) {
	r, err := p.Get(ctx, []providers.Ref{{Key: key}})
	if err != nil {
		return "", err
	}
	return string(r[0].Value.Reveal()), r[0].Err
}

func TestAPluginThatHangsEndsWithTheDeadline(t *testing.T) {
	dir := shortDir(t)
	server, stuck := startPlugin(t, dir)
	server.Put("db", []byte("value"))
	p := open(t, dir, server.Store)
	for _, begin := range []string{"before the first call", "after it"} {
		goOn := stuck.stop()
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		_, err := get(ctx, p, "db")
		cancel()
		goOn()
		if !errors.Is(err, providers.ErrUnavailable) || !strings.Contains(err.Error(), "in time") {
			t.Errorf("Get from a plugin that hangs %s: %v", begin, err)
		}
		if value, err := get(t.Context(), p, "db"); err != nil || value != "value" {
			t.Errorf("Get afterwards = %q, %v", value, err)
		}
	}
}

func TestOnlySocketsOfTheDirectoryAreConnectedTo(t *testing.T) {
	dir, elsewhere := shortDir(t), shortDir(t)
	server := newServer(t, elsewhere)
	server.Put("db", []byte("value"))
	name := server.Store.Spec.Plugin.Name
	if err := os.Symlink(filepath.Join(elsewhere, name+".sock"), filepath.Join(dir, "link.sock")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file.sock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"link", "file", "missing"} {
		s := server.Store
		s.Spec = v1alpha1.StoreProvider{Plugin: &v1alpha1.PluginProvider{Name: name}}
		if _, err := get(t.Context(), open(t, dir, s), "db"); !errors.Is(err, providers.ErrUnavailable) {
			t.Errorf("Get from plugin %q: %v, want %v", name, err, providers.ErrUnavailable)
		}
	}
	for _, name := range []string{"", "..", "../" + filepath.Base(elsewhere) + "/" + name, "/etc/x", "a.b", "A", "-a", "a\x00", strings.Repeat("a", 64)} {
		s := server.Store
		s.Spec = v1alpha1.StoreProvider{Plugin: &v1alpha1.PluginProvider{Name: name}}
		if _, err := plugin.Backend(dir).Open(s); !errors.Is(err, providers.ErrInvalid) {
			t.Errorf("Open of plugin %q: %v, want %v", name, err, providers.ErrInvalid)
		}
	}
	if _, err := plugin.Backend("").Open(server.Store); !errors.Is(err, providers.ErrInvalid) || !strings.Contains(err.Error(), "--plugins") {
		t.Errorf("Open without a directory: %v", err)
	}
}

// rogue answers what the protocol does not allow.
type rogue struct {
	pluginpb.UnimplementedProviderServer
	open  *pluginpb.OpenResponse
	get   *pluginpb.GetResponse
	find  *pluginpb.FindResponse
	check *pluginpb.CheckResponse
	err   error
	asked int
}

func (r *rogue) Open(context.Context, *pluginpb.OpenRequest) (*pluginpb.OpenResponse, error) {
	return r.open, nil
}

func (r *rogue) Get(context.Context, *pluginpb.GetRequest) (*pluginpb.GetResponse, error) {
	r.asked++
	return r.get, r.err
}

func (r *rogue) Find(context.Context, *pluginpb.FindRequest) (*pluginpb.FindResponse, error) {
	return r.find, r.err
}

func (r *rogue) Check(context.Context, *pluginpb.CheckRequest) (*pluginpb.CheckResponse, error) {
	return r.check, r.err
}

// serveRaw listens without the library that keeps to the bounds.
func serveRaw(t *testing.T, dir, name string, register func(*grpc.Server)) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(dir, name+".sock"))
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.MaxSendMsgSize(64 << 20))
	register(s)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
}

func TestAnswersThatTheProtocolDoesNotAllow(t *testing.T) {
	good := &pluginpb.OpenResponse{Handle: "h", Finds: true, Checks: true}
	one := func(r *pluginpb.Result) *pluginpb.GetResponse {
		return &pluginpb.GetResponse{Results: []*pluginpb.Result{r}}
	}
	tests := map[string]struct {
		rogue rogue
		err   error
	}{
		"no handle":               {rogue{open: &pluginpb.OpenResponse{}}, providers.ErrUnavailable},
		"a handle without end":    {rogue{open: &pluginpb.OpenResponse{Handle: strings.Repeat("h", 1000)}}, providers.ErrUnavailable},
		"too few results":         {rogue{open: good, get: &pluginpb.GetResponse{}}, providers.ErrUnavailable},
		"too many results":        {rogue{open: good, get: &pluginpb.GetResponse{Results: []*pluginpb.Result{{}, {}}}}, providers.ErrUnavailable},
		"a value over 1 MiB":      {rogue{open: good, get: one(&pluginpb.Result{Value: make([]byte, 1<<20+1)})}, providers.ErrInvalid},
		"a message over 24 MiB":   {rogue{open: good, get: one(&pluginpb.Result{Value: make([]byte, 25<<20)})}, providers.ErrUnavailable},
		"a version without end":   {rogue{open: good, get: one(&pluginpb.Result{Version: strings.Repeat("v", 1000)})}, providers.ErrUnavailable},
		"an error of no kind":     {rogue{open: good, get: one(&pluginpb.Result{Error: &pluginpb.Error{Kind: 99}})}, providers.ErrUnavailable},
		"a handle that is denied": {rogue{open: good, get: &pluginpb.GetResponse{Error: &pluginpb.Error{Kind: pluginpb.Kind_KIND_UNKNOWN_HANDLE}}}, providers.ErrUnavailable},
		"a text in an error":      {rogue{open: good, err: status.Error(codes.Internal, "hunter2")}, providers.ErrUnavailable},
		"another program":         {rogue{open: good, err: status.Error(codes.Unimplemented, "hunter2")}, providers.ErrInvalid},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := shortDir(t)
			serveRaw(t, dir, "rogue", func(s *grpc.Server) { pluginpb.RegisterProviderServer(s, &tt.rogue) })
			p := open(t, dir, providers.Store{Spec: v1alpha1.StoreProvider{Plugin: &v1alpha1.PluginProvider{Name: "rogue"}}})
			_, err := get(t.Context(), p, "db")
			if !errors.Is(err, tt.err) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("Get: %v, want %v", err, tt.err)
			}
			if tt.rogue.asked > 2 {
				t.Errorf("the plugin was asked %d times", tt.rogue.asked)
			}
		})
	}
}

func TestWhatAPluginClaimsIsBounded(t *testing.T) {
	dir := shortDir(t)
	r := &rogue{
		open:  &pluginpb.OpenResponse{Handle: "h", Finds: true, Checks: true, Batch: 1 << 30},
		find:  &pluginpb.FindResponse{Keys: make([]string, 10_001)},
		check: &pluginpb.CheckResponse{Identity: "me\x1b[2J {{hunter2}}"},
	}
	serveRaw(t, dir, "rogue", func(s *grpc.Server) { pluginpb.RegisterProviderServer(s, r) })
	p := open(t, dir, providers.Store{Spec: v1alpha1.StoreProvider{Plugin: &v1alpha1.PluginProvider{Name: "rogue"}}})
	if identity, err := p.(providers.Checker).Check(t.Context()); err != nil || identity != "plugin rogue" {
		t.Errorf("Check = %q, %v", identity, err)
	}
	if _, err := p.(providers.Finder).Find(t.Context(), providers.Query{}); !errors.Is(err, providers.ErrUnavailable) {
		t.Errorf("Find of 10,001 keys: %v", err)
	}
	r.open = &pluginpb.OpenResponse{Handle: "h"}
	silent := open(t, dir, providers.Store{Spec: v1alpha1.StoreProvider{Plugin: &v1alpha1.PluginProvider{Name: "rogue", Config: map[string]string{"a": "b"}}}})
	if _, err := silent.(providers.Finder).Find(t.Context(), providers.Query{}); !errors.Is(err, providers.ErrInvalid) {
		t.Errorf("Find at a plugin that does not find: %v", err)
	}
	if identity, err := silent.(providers.Checker).Check(t.Context()); err != nil || identity != "plugin rogue" {
		t.Errorf("Check of a plugin that has none = %q, %v", identity, err)
	}
}

// single is a Store that takes one ref at a time.
type single struct{}

func (single) Get(_ context.Context, refs []providers.Ref) ([]serve.Result, error) {
	return []serve.Result{{Data: []byte("value of " + refs[0].Key)}}, nil
}

func TestBatchesAreCutToWhatThePluginTakes(t *testing.T) {
	dir := shortDir(t)
	socket := filepath.Join(dir, "one.sock")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- serve.Run(ctx, socket, serve.Plugin{Open: func(context.Context, serve.Settings) (serve.Store, error) { return single{}, nil }})
	}()
	p := open(t, dir, providers.Store{Spec: v1alpha1.StoreProvider{Plugin: &v1alpha1.PluginProvider{Name: "one"}}})
	refs := []providers.Ref{{Key: "a"}, {Key: ""}, {Key: "b"}, {Key: "c"}}
	var results []providers.Result
	eventually(t, func() (err error) {
		results, err = p.Get(t.Context(), refs)
		return err
	})
	for i, want := range []string{"value of a", "", "value of b", "value of c"} {
		if got := string(results[i].Value.Reveal()); got != want || (results[i].Err == nil) == (want == "") {
			t.Errorf("result %d = %q, %v, want %q", i, got, results[i].Err, want)
		}
	}
	if err := serve.Run(t.Context(), socket, serve.Plugin{}); err == nil || !strings.Contains(err.Error(), "another program") {
		t.Errorf("a second plugin on the same socket: %v", err)
	}
	for _, socket := range []string{"", "one.sock"} {
		if err := serve.Run(t.Context(), socket, serve.Plugin{}); err == nil || !strings.Contains(err.Error(), "absolute") {
			t.Errorf("a plugin on socket %q: %v", socket, err)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run ended with %v", err)
	}
}

func TestTheSamplePlugin(t *testing.T) {
	dir := shortDir(t)
	program, file := filepath.Join(dir, "envfile"), filepath.Join(dir, "app.env")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", program, "../../test/plugins/envfile").CombinedOutput(); err != nil {
		t.Fatalf("build the sample: %v\n%s", err, out)
	}
	if err := os.WriteFile(file, []byte("# of the shop\nSHOP_DB=secret=1\nSHOP_API=key\nOTHER=x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-socket", filepath.Join(dir, "envfile.sock"), "-file", file)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the sample ended with %v", err)
		}
	})
	spec := v1alpha1.StoreProvider{Plugin: &v1alpha1.PluginProvider{Name: "envfile", Config: map[string]string{"prefix": "SHOP_"}}}
	p := open(t, dir, providers.Store{Spec: spec, Ambient: true})
	var value string
	eventually(t, func() (err error) {
		value, err = get(t.Context(), p, "DB")
		return err
	})
	keys, err := p.(providers.Finder).Find(t.Context(), providers.Query{})
	if value != "secret=1" || err != nil || !slices.Equal(keys, []string{"API", "DB"}) {
		t.Errorf("the sample gave %q and the keys %q, %v", value, keys, err)
	}
	if _, err := get(t.Context(), p, "OTHER"); !errors.Is(err, providers.ErrNotFound) {
		t.Errorf("Get of a name without the prefix: %v", err)
	}
	if _, err := get(t.Context(), open(t, dir, providers.Store{Spec: spec}), "DB"); !errors.Is(err, providers.ErrDenied) {
		t.Errorf("Get for a store of a namespace: %v", err)
	}
}

// failing is a plugin's store that answers each key with the error of that name.
type failing map[string]error

func (f failing) Get(_ context.Context, refs []providers.Ref) ([]serve.Result, error) {
	results := make([]serve.Result, len(refs))
	for i, ref := range refs {
		results[i].Err = f[ref.Key]
	}
	return results, nil
}

func TestEachKindOfErrorComesThrough(t *testing.T) {
	kinds := failing{}
	for _, kind := range []error{providers.ErrNotFound, providers.ErrNotReady, providers.ErrDenied, providers.ErrUnauthenticated,
		providers.ErrThrottled, providers.ErrUnavailable, providers.ErrInvalid} {
		kinds[kind.Error()] = kind
	}
	dir := shortDir(t)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- serve.Run(ctx, filepath.Join(dir, "kinds.sock"), serve.Plugin{Batch: 1, Open: func(context.Context, serve.Settings) (serve.Store, error) { return kinds, nil }})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	p := open(t, dir, providers.Store{Spec: v1alpha1.StoreProvider{Plugin: &v1alpha1.PluginProvider{Name: "kinds"}}})
	eventually(t, func() error {
		_, err := get(t.Context(), p, providers.ErrNotFound.Error())
		if errors.Is(err, providers.ErrNotFound) {
			err = nil
		}
		return err
	})
	for key, kind := range kinds {
		if _, err := get(t.Context(), p, key); !errors.Is(err, kind) {
			t.Errorf("Get = %v, want %v", err, kind)
		}
	}
}
