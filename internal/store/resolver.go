package store

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/external"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/providers"
)

// Stores finds and opens the stores that an Application may ask. It is the
// controllers', who watch what was read.
type Stores interface {
	// Cluster returns a store of the cluster, as it is now; a *failure.Error with
	// reason StoreMissing where there is none.
	Cluster(ctx context.Context, namespace string, ref v1alpha1.StoreReference) (Store, error)
	// Open opens a store, or returns it as it was opened where nothing that it
	// was made of has changed. Application is who asks.
	Open(ctx context.Context, application types.NamespacedName, s Store) (*Opened, error)
}

// Resolver answers for one run of one Application.
type Resolver struct {
	Application types.NamespacedName
	// Git holds the stores of the revision, as FromGit made them.
	Git        []Store
	Stores     Stores
	Namespaces Namespaces
	// MaxStaleness is how old an answer may be while a provider does not answer.
	MaxStaleness time.Duration
	Now          func() time.Time

	opened map[string]*access
}

var _ external.Resolver = (*Resolver)(nil)

// access is a store that was opened for the Application, or why it was not.
type access struct {
	opened *Opened
	grant  grant
	err    error
}

// Resolve implements external.Resolver. All values of a store are asked for at
// once, so that they go into as few calls as they can.
func (r *Resolver) Resolve(ctx context.Context, requests []external.Request) []external.Answer {
	answers := make([]external.Answer, len(requests))
	return answers
}

// Find implements external.Resolver.
func (r *Resolver) Find(ctx context.Context, request external.FindRequest) ([]string, error) {
	return nil, failure.Stallf(v1alpha1.ReasonStoreMissing, "not there yet")
}

// Client reads values as one identity.
type Client interface {
	Check(ctx context.Context) (string, error)
}

// Clients opens clients.
type Clients interface {
	Open(identity string, backend providers.Backend, store providers.Store, s Store) (Client, error)
}
