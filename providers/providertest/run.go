package providertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
)

// patience is how long one call may take that nothing holds up.
const patience = 20 * time.Second

// Run holds a backend to the contract. Everything is a subtest of its own.
func Run(t *testing.T, subject Subject) {
	features := []Feature{Versions, Pinning, Metadata, Binary, Denial, Credentials, Sessions, Throttling, RetryAfter,
		Outages, Network, FindByName, FindByPath, FindByTags, Check}
	known := map[Feature]bool{}
	for _, f := range features {
		known[f] = true
	}
	for f, reason := range subject.Without {
		if !known[f] || reason == "" {
			t.Fatalf("Without[%q] = %q: want a known feature and a reason", f, reason)
		}
		t.Logf("without %s: %s", f, reason)
	}
	if subject.Nest == nil {
		subject.Nest = func(folder, name string) string { return folder + "/" + name }
	}
	server := subject.New(t)
	for _, f := range features {
		if missing := server.lacking(subject, f); subject.has(f) && missing != nil {
			t.Fatalf("%s needs the controls %q, or a reason in Without", f, missing)
		}
	}
	for name, test := range tests() {
		t.Run(name, func(t *testing.T) { test(t, newTrial(t, subject)) })
	}
}

func (s Subject) has(f Feature) bool { return s.Without[f] == "" }

// tests by what they say.
func tests() map[string]func(*testing.T, *trial) {
	return map[string]func(*testing.T, *trial){
		"opening calls nobody":                        openingCallsNobody,
		"what is stored is found":                     found,
		"a key that is not there is not found":        notFound,
		"keys with odd characters":                    oddKeys,
		"impossible keys are invalid":                 badKeys,
		"contents come back byte by byte":             contents,
		"a new content is read at once":               newest,
		"a version can be pinned":                     pinned,
		"metadata in place of the value":              metadata,
		"a denied key":                                denied,
		"some of many are missing or denied":          partial,
		"a full batch is one request":                 fullBatch,
		"wrong credentials":                           wrongCredentials,
		"throttled":                                   throttled,
		"an outage passes":                            outage,
		"a deadline ends a call that hangs":           deadline,
		"a cancelled call ends":                       cancelled,
		"fifty calls at once have one login":          concurrent,
		"a revoked login is made anew once":           revoked,
		"a revoked login is made anew once for many":  revokedForMany,
		"whatever it connects to is dialled":          dialled,
		"find by name":                                findByName,
		"find by path":                                findByPath,
		"find by tags":                                findByTags,
		"what cannot be found by is invalid":          findInvalid,
		"a check says as whom, and fails as reads do": check,
	}
}

// trial is one test: a server, a provider, and what no error may say.
type trial struct {
	t       *testing.T
	subject Subject
	server  *Server
	name    string
	logins  atomic.Int64
	canary  canary
}

func newTrial(t *testing.T, subject Subject) *trial {
	tr := &trial{t: t, subject: subject, server: subject.New(t), name: randomName()}
	tr.canary.confidential(tr.server.Confidential...)
	return tr
}

// key is one of this trial's own.
func (tr *trial) key(name string) string { return name + "-" + tr.name }

// put stores a content that stands nowhere else, and returns it.
func (tr *trial) put(key string) (content []byte, version string) {
	content = []byte("canary-" + randomName() + randomName())
	return content, tr.putContent(key, content)
}

func (tr *trial) putContent(key string, content []byte) (version string) {
	tr.canary.content(content)
	version = tr.server.Put(key, content)
	if tr.subject.has(Versions) == (version == "") {
		tr.t.Errorf("Put(%q) gave the version %q, and versions are %v", key, version, tr.subject.has(Versions))
	}
	return version
}

func (tr *trial) open() providers.Provider { return tr.openStore(tr.server.Store) }

func (tr *trial) openStore(store providers.Store) providers.Provider {
	tr.t.Helper()
	if store.Dial == nil {
		store.Dial = (&net.Dialer{Timeout: patience}).DialContext
	}
	if store.Clock == nil {
		store.Clock = clock.RealClock{}
	}
	told := store.LoggedIn
	store.LoggedIn = func() {
		tr.logins.Add(1)
		if told != nil {
			told()
		}
	}
	p, err := tr.subject.Backend.Open(store)
	if err != nil {
		tr.t.Fatalf("Open: %v", err)
	}
	if closer, ok := p.(io.Closer); ok {
		tr.t.Cleanup(func() {
			if err := closer.Close(); err != nil {
				tr.t.Errorf("Close: %v", err)
			}
		})
	}
	return p
}

// get reads one ref.
func (tr *trial) get(p providers.Provider, ref providers.Ref) (providers.Result, error) {
	ctx, cancel := context.WithTimeout(tr.t.Context(), patience)
	defer cancel()
	return tr.getWithin(ctx, p, ref)
}

func (tr *trial) getWithin(ctx context.Context, p providers.Provider, ref providers.Ref) (providers.Result, error) {
	results := tr.getMany(ctx, p, []providers.Ref{ref})
	return results[0], results[0].Err
}

// getMany reads in batches. Every error is looked at for what it must not say.
func (tr *trial) getMany(ctx context.Context, p providers.Provider, refs []providers.Ref) []providers.Result {
	var all []providers.Result
	size := max(tr.subject.Backend.Batch, 1)
	for len(refs) > 0 {
		batch := refs[:min(size, len(refs))]
		refs = refs[len(batch):]
		results, err := p.Get(ctx, batch)
		if err != nil {
			tr.inspect(err)
			results = make([]providers.Result, len(batch))
			for i := range results {
				results[i].Err = err
			}
		}
		if len(results) != len(batch) {
			tr.t.Errorf("Get of %d refs gave %d results", len(batch), len(results))
			results = append(results, make([]providers.Result, len(batch))...)[:len(batch)]
		}
		for _, r := range results {
			if r.Err != nil {
				tr.inspect(r.Err)
			}
		}
		all = append(all, results...)
	}
	return all
}

// want demands a content.
func (tr *trial) want(r providers.Result, content []byte) {
	tr.t.Helper()
	if r.Err != nil {
		tr.t.Errorf("Get = error %v, want the content", r.Err)
		return
	}
	got, err := contentOf(tr.subject.Backend.Dialect, r.Value)
	if err != nil {
		tr.t.Errorf("Get gave a value that %v", err)
	} else if string(got) != string(content) {
		tr.t.Errorf("Get gave another content: %d bytes, want %d", len(got), len(content))
	}
}

// wantKind demands an error of one of the kinds.
func (tr *trial) wantKind(err error, kinds ...error) {
	tr.t.Helper()
	for _, kind := range kinds {
		if errors.Is(err, kind) {
			return
		}
	}
	tr.t.Errorf("error %v, want one that is %q", err, kinds)
}

// inspect demands that an error has one kind, and says nothing it must not.
func (tr *trial) inspect(err error) {
	kinds := 0
	for _, kind := range []error{providers.ErrNotFound, providers.ErrNotReady, providers.ErrDenied, providers.ErrUnauthenticated,
		providers.ErrThrottled, providers.ErrUnavailable, providers.ErrInvalid} {
		if errors.Is(err, kind) {
			kinds++
		}
	}
	if kinds != 1 && !errors.Is(err, context.Canceled) {
		tr.t.Errorf("the error %v has %d kinds, want 1", err, kinds)
	}
	if kinds == 1 && !errors.As(err, new(*providers.Error)) {
		tr.t.Errorf("the error %v is no *providers.Error", err)
	}
	for e := err; e != nil; e = errors.Unwrap(e) {
		for _, text := range []string{e.Error(), fmt.Sprintf("%+v", e), fmt.Sprintf("%#v", e)} {
			if what := tr.canary.in(text); what != "" {
				tr.t.Errorf("an error of kind %v holds %s", err, what)
			}
		}
	}
}

// contentOf takes what Server.Put was given out of a value.
func contentOf(dialect providers.Dialect, value secret.Value) ([]byte, error) {
	switch dialect {
	case providers.Document:
		var document struct{ Content string }
		if err := json.Unmarshal(value.Reveal(), &document); err != nil {
			return nil, errors.New("is no JSON object with a text as content")
		}
		return []byte(document.Content), nil
	case providers.Entries:
		var entries map[string][]byte
		if err := json.Unmarshal(value.Reveal(), &entries); err != nil {
			return nil, errors.New("is no JSON object of base64")
		}
		return entries["content"], nil
	default:
		return value.Reveal(), nil
	}
}
