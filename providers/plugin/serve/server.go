package serve

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/gitseal/gitseal/providers"
	"github.com/gitseal/gitseal/providers/plugin/pluginpb"
)

// maxStores bounds how many are kept open. Whoever is forgotten is opened anew.
const maxStores = 1024

type server struct {
	pluginpb.UnimplementedProviderServer
	plugin Plugin

	mu     sync.Mutex
	stores []*opened // the one used last is the last
}

// opened is a store; its handle tells nothing, and nobody guesses it.
type opened struct {
	handle   string
	settings [sha256.Size]byte
	Store
}

func newServer(p Plugin) *server {
	p.Batch = min(max(p.Batch, 1), pluginpb.MaxBatch)
	return &server{plugin: p}
}

// Open implements pluginpb.ProviderServer.
func (s *server) Open(ctx context.Context, r *pluginpb.OpenRequest) (*pluginpb.OpenResponse, error) {
	settings := Settings{Config: r.GetConfig(), Credentials: r.GetCredentials(), Ambient: r.GetAmbient()}
	raw, err := json.Marshal(settings) // maps are sorted
	if err != nil {
		return &pluginpb.OpenResponse{Error: errorOf(providers.ErrInvalid)}, nil
	}
	digest := sha256.Sum256(raw)
	o := s.take(func(o *opened) bool { return o.settings == digest })
	if o == nil {
		store, err := s.plugin.Open(ctx, settings)
		if err != nil {
			return &pluginpb.OpenResponse{Error: errorOf(err)}, nil
		}
		o = s.keep(&opened{handle: rand.Text(), settings: digest, Store: store})
	}
	_, finds := o.Store.(providers.Finder)
	_, checks := o.Store.(providers.Checker)
	return &pluginpb.OpenResponse{Handle: o.handle, Batch: int32(s.plugin.Batch), Finds: finds, Checks: checks}, nil
}

// take finds a store, and makes it the one used last.
func (s *server) take(is func(*opened) bool) *opened {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.stores, is)
	if i < 0 {
		return nil
	}
	o := s.stores[i]
	s.stores = append(slices.Delete(s.stores, i, i+1), o)
	return o
}

// keep adds a store, unless another call was faster, and closes the one that
// was not used for longest where there are too many.
func (s *server) keep(o *opened) *opened {
	if other := s.take(func(p *opened) bool { return p.settings == o.settings }); other != nil {
		o.close()
		return other
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stores = append(s.stores, o)
	if len(s.stores) > maxStores {
		s.stores[0].close()
		s.stores = slices.Delete(s.stores, 0, 1)
	}
	return o
}

func (o *opened) close() {
	if c, ok := o.Store.(io.Closer); ok {
		_ = c.Close() // nobody is left to be told
	}
}

func (s *server) store(handle string) Store {
	if o := s.take(func(o *opened) bool { return o.handle == handle }); o != nil {
		return o.Store
	}
	return nil
}

func unknown() *pluginpb.Error { return &pluginpb.Error{Kind: pluginpb.Kind_KIND_UNKNOWN_HANDLE} }

// Get implements pluginpb.ProviderServer.
func (s *server) Get(ctx context.Context, r *pluginpb.GetRequest) (*pluginpb.GetResponse, error) {
	store := s.store(r.GetHandle())
	switch {
	case store == nil:
		return &pluginpb.GetResponse{Error: unknown()}, nil
	case len(r.GetRefs()) > s.plugin.Batch:
		return &pluginpb.GetResponse{Error: errorOf(providers.ErrInvalid)}, nil
	}
	refs := make([]providers.Ref, len(r.GetRefs()))
	for i, ref := range r.GetRefs() {
		refs[i] = providers.Ref{Key: ref.GetKey(), Version: ref.GetVersion(), Metadata: ref.GetMetadata()}
	}
	results, err := store.Get(ctx, refs)
	if err == nil && len(results) != len(refs) {
		err = providers.ErrUnavailable // a mistake of the plugin
	}
	if err != nil {
		return &pluginpb.GetResponse{Error: errorOf(err)}, nil
	}
	answer := &pluginpb.GetResponse{Results: make([]*pluginpb.Result, len(results))}
	for i, one := range results {
		answer.Results[i] = resultOf(one)
	}
	return answer, nil
}

func resultOf(r Result) *pluginpb.Result {
	if r.Err == nil && len(r.Data) > pluginpb.MaxValue {
		r.Err = providers.ErrInvalid
	}
	if r.Err != nil {
		return &pluginpb.Result{Error: errorOf(r.Err)}
	}
	return &pluginpb.Result{Value: r.Data, Version: r.Version}
}

// Find implements pluginpb.ProviderServer.
func (s *server) Find(ctx context.Context, r *pluginpb.FindRequest) (*pluginpb.FindResponse, error) {
	store := s.store(r.GetHandle())
	if store == nil {
		return &pluginpb.FindResponse{Error: unknown()}, nil
	}
	finder, ok := store.(providers.Finder)
	if !ok {
		return &pluginpb.FindResponse{Error: errorOf(providers.ErrInvalid)}, nil
	}
	keys, err := finder.Find(ctx, providers.Query{Path: r.GetPath(), Name: r.GetName(), Tags: r.GetTags()})
	if err == nil && len(keys) > pluginpb.MaxKeys {
		err = providers.ErrInvalid
	}
	if err != nil {
		return &pluginpb.FindResponse{Error: errorOf(err)}, nil
	}
	return &pluginpb.FindResponse{Keys: keys}, nil
}

// Check implements pluginpb.ProviderServer.
func (s *server) Check(ctx context.Context, r *pluginpb.CheckRequest) (*pluginpb.CheckResponse, error) {
	store := s.store(r.GetHandle())
	if store == nil {
		return &pluginpb.CheckResponse{Error: unknown()}, nil
	}
	checker, ok := store.(providers.Checker)
	if !ok {
		return &pluginpb.CheckResponse{}, nil
	}
	identity, err := checker.Check(ctx)
	if err != nil {
		return &pluginpb.CheckResponse{Error: errorOf(err)}, nil
	}
	return &pluginpb.CheckResponse{Identity: identity}, nil
}

// errorOf keeps the kind of an error.
func errorOf(err error) *pluginpb.Error {
	e := &pluginpb.Error{Kind: pluginpb.Kind_KIND_UNAVAILABLE, RetryAfterMs: int64(providers.RetryAfter(err) / time.Millisecond)}
	for kind, sentinel := range map[pluginpb.Kind]error{
		pluginpb.Kind_KIND_NOT_FOUND:       providers.ErrNotFound,
		pluginpb.Kind_KIND_NOT_READY:       providers.ErrNotReady,
		pluginpb.Kind_KIND_DENIED:          providers.ErrDenied,
		pluginpb.Kind_KIND_UNAUTHENTICATED: providers.ErrUnauthenticated,
		pluginpb.Kind_KIND_THROTTLED:       providers.ErrThrottled,
		pluginpb.Kind_KIND_INVALID:         providers.ErrInvalid,
	} {
		if errors.Is(err, sentinel) {
			e.Kind = kind
		}
	}
	return e
}
