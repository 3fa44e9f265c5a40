package providertest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/gitseal/gitseal/providers"
)

func denied(_ *testing.T, tr *trial) {
	if !tr.subject.has(Denial) {
		return
	}
	key, other := tr.key("denied"), tr.key("open")
	tr.put(key)
	content, _ := tr.put(other)
	tr.server.Deny(key)
	p := tr.open()
	_, err := tr.get(p, providers.Ref{Key: key})
	tr.wantKind(err, providers.ErrDenied)
	r, _ := tr.get(p, providers.Ref{Key: other})
	tr.want(r, content)
}

func partial(t *testing.T, tr *trial) {
	refs := make([]providers.Ref, 6)
	want := make([][]byte, len(refs))
	for i := range refs {
		refs[i].Key = tr.key(fmt.Sprintf("part%d", i))
		if i != 1 {
			want[i], _ = tr.put(refs[i].Key)
		}
	}
	if tr.subject.has(Denial) {
		tr.server.Deny(refs[4].Key)
	}
	for i, r := range tr.getMany(t.Context(), tr.open(), refs) {
		switch {
		case i == 1:
			tr.wantKind(r.Err, providers.ErrNotFound)
		case i == 4 && tr.subject.has(Denial):
			tr.wantKind(r.Err, providers.ErrDenied)
		default:
			tr.want(r, want[i])
		}
	}
}

func fullBatch(t *testing.T, tr *trial) {
	size := max(tr.subject.Backend.Batch, 1)
	refs, want := make([]providers.Ref, size), make([][]byte, size)
	for i := range refs {
		refs[i].Key = tr.key(fmt.Sprintf("full%d", i))
		want[i], _ = tr.put(refs[i].Key)
	}
	// One that stands there twice is no error.
	if size > 1 {
		refs[size-1], want[size-1] = refs[0], want[0]
	}
	before := tr.requests()
	for i, r := range tr.getMany(t.Context(), tr.open(), refs) {
		tr.want(r, want[i])
	}
	if made := tr.requests() - before; tr.subject.has(Network) && made != 1 {
		t.Errorf("a Get of %d refs made %d requests, want 1", size, made)
	}
}

func wrongCredentials(_ *testing.T, tr *trial) {
	if !tr.subject.has(Credentials) {
		return
	}
	tr.put(tr.key("locked"))
	p := tr.openStore(*tr.server.Wrong)
	_, err := tr.get(p, providers.Ref{Key: tr.key("locked")})
	tr.wantKind(err, providers.ErrUnauthenticated)
	if checker, ok := p.(providers.Checker); ok {
		_, err = tr.check(checker)
		tr.wantKind(err, providers.ErrUnauthenticated)
	}
}

func throttled(t *testing.T, tr *trial) {
	if !tr.subject.has(Throttling) {
		return
	}
	content, _ := tr.put(tr.key("busy"))
	p, ref := tr.open(), providers.Ref{Key: tr.key("busy")}
	r, _ := tr.get(p, ref) // logged in
	tr.want(r, content)
	for _, after := range []time.Duration{0, 7 * time.Second} {
		tr.server.Throttle(after)
		before := tr.requests()
		_, err := tr.get(p, ref)
		tr.wantKind(err, providers.ErrThrottled)
		if got := providers.RetryAfter(err); tr.subject.has(RetryAfter) && got != after {
			t.Errorf("RetryAfter = %v, want %v", got, after)
		}
		if made := tr.requests() - before; tr.server.Requests != nil && made != 1 {
			t.Errorf("a throttled Get made %d requests, want 1: others decide what is tried again", made)
		}
		tr.server.Recover()
	}
	r, _ = tr.get(p, ref)
	tr.want(r, content)
}

func outage(_ *testing.T, tr *trial) {
	if !tr.subject.has(Outages) {
		return
	}
	content, _ := tr.put(tr.key("away"))
	ref := providers.Ref{Key: tr.key("away")}
	used, fresh := tr.open(), tr.open()
	r, _ := tr.get(used, ref)
	tr.want(r, content)
	tr.server.Outage()
	for _, p := range []providers.Provider{used, fresh} {
		_, err := tr.get(p, ref)
		tr.wantKind(err, providers.ErrUnavailable)
	}
	tr.server.Recover()
	for _, p := range []providers.Provider{used, fresh} {
		r, _ := tr.get(p, ref)
		tr.want(r, content)
	}
}

func deadline(t *testing.T, tr *trial) {
	if !tr.subject.has(Network) {
		return
	}
	content, _ := tr.put(tr.key("slow"))
	p, ref := tr.open(), providers.Ref{Key: tr.key("slow")}
	r, _ := tr.get(p, ref)
	tr.want(r, content)
	tr.server.Hang()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	begin := time.Now()
	_, err := tr.getWithin(ctx, p, ref)
	tr.wantKind(err, providers.ErrUnavailable)
	if took := time.Since(begin); took > patience/2 {
		t.Errorf("Get took %v, with a deadline after 300ms", took)
	}
	tr.server.Recover()
	r, _ = tr.get(p, ref)
	tr.want(r, content)
}

func cancelled(t *testing.T, tr *trial) {
	content, _ := tr.put(tr.key("cancelled"))
	p, ref := tr.open(), providers.Ref{Key: tr.key("cancelled")}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := tr.getWithin(ctx, p, ref)
	tr.wantKind(err, context.Canceled, providers.ErrUnavailable)
	if tr.subject.has(Network) {
		r, _ := tr.get(p, ref)
		tr.want(r, content)
		tr.server.Hang()
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(200*time.Millisecond, cancel)
		begin := time.Now()
		_, err := tr.getWithin(ctx, p, ref)
		tr.wantKind(err, context.Canceled, providers.ErrUnavailable)
		if took := time.Since(begin); took > patience/2 {
			t.Errorf("Get took %v after it was cancelled", took)
		}
		tr.server.Recover()
	}
	r, _ := tr.get(p, ref) // the provider is as good as new
	tr.want(r, content)
}

const many = 50

// atOnce reads a key many times at the same time.
func (tr *trial) atOnce(p providers.Provider, key string, content []byte) {
	var wg sync.WaitGroup
	results := make([]providers.Result, many)
	for i := range results {
		wg.Go(func() { results[i], _ = tr.get(p, providers.Ref{Key: key}) })
	}
	wg.Wait()
	for _, r := range results {
		tr.want(r, content)
	}
}

// wantLogins demands a number of logins since the server had before, as the
// server and Store.LoggedIn count them.
func (tr *trial) wantLogins(before int, told int64, want int) {
	tr.t.Helper()
	if !tr.subject.has(Sessions) {
		want = 0
	}
	if got := tr.serverLogins() - before; got != want {
		tr.t.Errorf("the server saw %d logins, want %d", got, want)
	}
	if got := tr.logins.Load() - told; got != int64(want) {
		tr.t.Errorf("LoggedIn was called %d times, want %d", got, want)
	}
}

func concurrent(_ *testing.T, tr *trial) {
	content, _ := tr.put(tr.key("crowd"))
	p, before, told := tr.open(), tr.serverLogins(), tr.logins.Load()
	tr.atOnce(p, tr.key("crowd"), content)
	tr.wantLogins(before, told, 1)
}

func revoked(t *testing.T, tr *trial) {
	if !tr.subject.has(Sessions) {
		return
	}
	refs, want := make([]providers.Ref, 6), make([][]byte, 6)
	for i := range refs {
		refs[i].Key = tr.key(fmt.Sprintf("again%d", i))
		want[i], _ = tr.put(refs[i].Key)
	}
	p, before, told := tr.open(), tr.serverLogins(), tr.logins.Load()
	first := tr.getMany(t.Context(), p, refs[:3])
	tr.wantLogins(before, told, 1)
	tr.server.Revoke()
	for i, r := range append(first, tr.getMany(t.Context(), p, refs[3:])...) {
		tr.want(r, want[i])
	}
	tr.wantLogins(before, told, 2)
}

func revokedForMany(_ *testing.T, tr *trial) {
	if !tr.subject.has(Sessions) {
		return
	}
	content, _ := tr.put(tr.key("all"))
	p, before, told := tr.open(), tr.serverLogins(), tr.logins.Load()
	r, _ := tr.get(p, providers.Ref{Key: tr.key("all")})
	tr.want(r, content)
	tr.server.Revoke()
	tr.atOnce(p, tr.key("all"), content)
	tr.wantLogins(before, told, 2)
}

func dialled(t *testing.T, tr *trial) {
	if !tr.subject.has(Network) {
		return
	}
	content, _ := tr.put(tr.key("guarded"))
	store := tr.server.Store
	var mu sync.Mutex
	closed := true
	store.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		if closed {
			return nil, errors.New("the guard lets nothing pass")
		}
		return (&net.Dialer{Timeout: patience}).DialContext(ctx, network, address)
	}
	p, requests, logins := tr.openStore(store), tr.requests(), tr.serverLogins()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err := tr.getWithin(ctx, p, providers.Ref{Key: tr.key("guarded")})
	tr.wantKind(err, providers.ErrUnavailable, providers.ErrInvalid)
	if tr.requests() != requests || tr.serverLogins() != logins {
		t.Error("the provider was reached without Store.Dial")
	}
	mu.Lock()
	closed = false
	mu.Unlock()
	r, _ := tr.get(p, providers.Ref{Key: tr.key("guarded")})
	tr.want(r, content)
}
