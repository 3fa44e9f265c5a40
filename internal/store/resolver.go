package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/external"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/fetch"
	"github.com/gitseal/gitseal/providers"
)

// Stores finds and opens the stores that an Application may ask. It is the
// controllers', who watch what was read.
type Stores interface {
	// Cluster returns a store of the cluster, as it is now, a SecretStore in the
	// namespace of the Application that asks; a *failure.Error with reason
	// StoreMissing where there is none.
	Cluster(ctx context.Context, application types.NamespacedName, ref v1alpha1.StoreReference) (Store, error)
	// Open opens a store, or returns it as it was opened where nothing that it
	// was made of has changed. Application is who asks.
	Open(ctx context.Context, application types.NamespacedName, s Store) (*Opened, error)
}

// Resolver answers for one run of one Application. It is not safe for
// concurrent use.
type Resolver struct {
	Application types.NamespacedName
	// Git holds the stores of the revision, as FromGit made them.
	Git        []Store
	Stores     Stores
	Namespaces Namespaces
	// MaxStaleness is how old an answer may be while a provider does not answer.
	MaxStaleness time.Duration
	Clock        clock.PassiveClock

	opened map[use]*access
}

var _ external.Resolver = (*Resolver)(nil)

// use is a store as an ExternalSecret of a namespace names it.
type use struct {
	namespace string
	ref       v1alpha1.StoreReference
}

// access is a store that was opened for the Application, or why it was not.
type access struct {
	store  Store
	opened *Opened
	grant  grant
	err    error
}

// anyAge is asked of the fetch layer, so that it is told here how old the last
// good value is.
const anyAge = time.Duration(1<<63 - 1)

// access opens a store once in a run.
func (r *Resolver) access(ctx context.Context, namespace string, ref v1alpha1.StoreReference) *access {
	ref.Kind = cmp.Or(ref.Kind, v1alpha1.KindSecretStore)
	u := use{namespace, ref}
	if r.opened == nil {
		r.opened = map[use]*access{}
	}
	if r.opened[u] == nil {
		a := &access{}
		a.err = r.open(ctx, u, a)
		r.opened[u] = a
	}
	return r.opened[u]
}

func (r *Resolver) open(ctx context.Context, u use, a *access) (err error) {
	if a.store, err = r.find(ctx, u); err != nil {
		return err
	}
	if a.grant, err = a.store.grantOf(ctx, r.Application, r.Namespaces); err != nil {
		return err
	}
	a.opened, err = r.Stores.Open(ctx, r.Application, a.store)
	return err
}

// find prefers a store of the same revision over one of the cluster.
func (r *Resolver) find(ctx context.Context, u use) (Store, error) {
	for _, s := range r.Git {
		if s.Kind == u.ref.Kind && s.Name == u.ref.Name && (s.Kind == v1alpha1.KindClusterSecretStore || s.Namespace == u.namespace) {
			return s, nil
		}
	}
	return r.Stores.Cluster(ctx, r.Application, u.ref)
}

// Resolve implements external.Resolver. All values of a store are asked for at
// once, so that they go into as few calls as they can, and all stores at the
// same time.
func (r *Resolver) Resolve(ctx context.Context, requests []external.Request) []external.Answer {
	answers := make([]external.Answer, len(requests))
	asked := map[*Opened][]int{}
	for i, q := range requests {
		a := r.access(ctx, q.Namespace, q.Store)
		err := a.err
		if err == nil {
			err = a.grant.allows(q.Ref.Key, q.Properties)
		}
		if err != nil {
			answers[i].Err = err
			continue
		}
		if q.Held != nil {
			answers[i] = *q.Held
			continue
		}
		asked[a.opened] = append(asked[a.opened], i)
	}
	var all sync.WaitGroup
	for opened, which := range asked {
		all.Go(func() { r.ask(ctx, opened, requests, which, answers) })
	}
	all.Wait()
	return answers
}

// ask answers those of the requests that go to one store.
func (r *Resolver) ask(ctx context.Context, o *Opened, requests []external.Request, which []int, answers []external.Answer) {
	c, err := o.client()
	if err != nil {
		for _, i := range which {
			answers[i].Err = err
		}
		return
	}
	wanted := make([]fetch.Request, len(which))
	for n, i := range which {
		wanted[n] = fetch.Request{Ref: requests[i].Ref, MaxAge: requests[i].MaxAge}
	}
	for n, outcome := range c.Get(ctx, wanted, anyAge) {
		answers[which[n]] = r.answer(o, requests[which[n]], outcome)
	}
}

func (r *Resolver) answer(o *Opened, q external.Request, outcome fetch.Outcome) external.Answer {
	if outcome.Err == nil {
		outcome.Err = r.tooOld(o.Store, fmt.Sprintf("key %q", shown(q.Ref.Key)), outcome)
	}
	switch {
	case outcome.Err == nil:
		return external.Answer{Value: outcome.Value, Version: outcome.Version, Dialect: o.dialect, Read: outcome.Read, Kept: kept(outcome)}
	case q.Optional && errors.Is(outcome.Err, providers.ErrNotFound):
		if outcome.Missing.Proven() {
			return external.Answer{Missing: true, Dialect: o.dialect, Read: outcome.Missing.Last}
		}
		return external.Answer{Err: o.Store.unproven(fmt.Sprintf("key %q is not there", shown(q.Ref.Key)))}
	}
	return external.Answer{Err: o.Store.refused(q.Ref, outcome.Err)}
}

// unproven waits for the second proof.
func (s Store) unproven(what string) error {
	return failure.Waitf(v1alpha1.ReasonSecretMissing, "%s: %s", s, what).
		WithHint("what lives of it is deleted once the provider has said so twice, %s apart", fetch.Proof)
}

// kept says why an outcome is the last good one, where it is.
func kept(outcome fetch.Outcome) string {
	if !outcome.Stale {
		return ""
	}
	_, text := verdictOf(outcome.Cause)
	return text
}

// tooOld refuses last good values that are older than the Application bears.
func (r *Resolver) tooOld(s Store, what string, outcome fetch.Outcome) error {
	if !outcome.Stale || r.Clock.Since(outcome.Read) <= r.MaxStaleness {
		return nil
	}
	return failure.Waitf(v1alpha1.ReasonValuesStale, "%s: %s was last read longer ago than spec.secrets.external.maxStaleness allows: %s", s, what, kept(outcome)).
		WithHint("what runs keeps running; it goes on by itself once the provider answers")
}

// Find implements external.Resolver. That something or all is found no more is
// believed once it is proven, whatever is to become of what lives of it: beside
// other values it would leave a Secret without these.
func (r *Resolver) Find(ctx context.Context, q external.FindRequest) (external.Found, error) {
	a := r.access(ctx, q.Namespace, q.Store)
	if a.err != nil {
		return external.Found{}, a.err
	}
	if err := a.grant.plain(q.Query.Path); err != nil {
		return external.Found{}, err
	}
	if q.Held != nil {
		return a.granted(*q.Held, q.Query.Path)
	}
	outcome, err := r.findKeys(ctx, a.opened, q)
	if err != nil {
		return external.Found{}, err
	}
	found := external.Found{Read: outcome.Read, Kept: kept(outcome)}
	switch {
	case len(outcome.Keys) > 0:
		found.Keys, err = a.allowed(outcome.Keys)
		// What is lost of what others have is not told.
		if lost, _ := a.allowed(outcome.Lost); len(lost) > 0 && found.Kept == "" {
			found.Kept = "it finds fewer keys than before, " + fetch.Unproven
		}
	case !a.grant.covers(q.Query.Path):
		err = a.unseen()
	case !outcome.Missing.Proven():
		err = a.store.unproven("nothing is found")
	}
	return found, err
}

// granted leaves of what was found what may still be read.
func (a *access) granted(f external.Found, path string) (external.Found, error) {
	if len(f.Keys) == 0 && a.grant.covers(path) {
		return f, nil
	}
	var err error
	f.Keys, err = a.allowed(f.Keys)
	return f, err
}

// allowed leaves the keys that may be read. That none may is a refusal: what
// lives of them must not pass for gone.
func (a *access) allowed(found []string) ([]string, error) {
	var keys []string
	for _, k := range found {
		if a.grant.allows(k, nil) == nil {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return nil, a.unseen()
	}
	return keys, nil
}

// unseen refuses a search that finds nothing that may be read. It is the same
// whether there is something, or an Application could ask for the names of what
// others have, letter by letter.
func (a *access) unseen() error {
	return a.grant.deny("lets Application %q of namespace %q use none of the keys that are found, if there are any", a.grant.app.Name, a.grant.app.Namespace).
		WithHint("search below a path that spec.access allows, with the slash at its end, or have whoever owns the store allow more")
}

func (r *Resolver) findKeys(ctx context.Context, o *Opened, q external.FindRequest) (fetch.Outcome, error) {
	c, err := o.client()
	if err != nil {
		return fetch.Outcome{}, err
	}
	outcome := c.Find(ctx, q.Query, q.MaxAge, anyAge)
	if outcome.Err != nil {
		return outcome, o.Store.unlisted(outcome.Err)
	}
	return outcome, r.tooOld(o.Store, "what it holds", outcome)
}

// unlisted says what an error means for a search.
func (s Store) unlisted(err error) *failure.Error {
	f := s.failed(err)
	if errors.Is(err, providers.ErrInvalid) && f.Reason == v1alpha1.ReasonStoreInvalid {
		return build(f.Class, v1alpha1.ReasonSecretInvalid, "%s", f.Error()).WithHint("change dataFrom.find in Git")
	}
	return f
}
