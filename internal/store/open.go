package store

import (
	"context"

	"github.com/gitseal/gitseal/providers"
)

// Opener opens stores.
type Opener struct {
	Registry providers.Registry
	Objects  Objects
	Clients  Clients
	// Digest is a keyed digest, by which stores of the same identity find one
	// another.
	Digest func([]byte) string
	// OperatorNamespace is told to people who have to let the operator in.
	OperatorNamespace string
}

// Opened is a store whose values can be read.
type Opened struct {
	Store  Store
	Client Client
	// Identity is a keyed digest of the store's spec and of what its credentials
	// held. Stores with the same one share Client.
	Identity string
	// Versions are the resource versions of what was read, by which it is known
	// whether it has changed since.
	Versions map[Named]string
	dialect  providers.Dialect
}

// Open validates a store, reads what its spec names, and opens it. The provider
// is not called. Errors are *failure.Error.
func (o *Opener) Open(ctx context.Context, s Store) (*Opened, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	backend, ok := o.Registry[s.Provider()]
	if !ok {
		return nil, s.invalid("this operator was built without provider %s", s.Provider())
	}
	c, err := o.read(ctx, s)
	if err != nil {
		return nil, err
	}
	identity, err := c.identity()
	if err != nil {
		return nil, s.failed(err)
	}
	opened := &Opened{Store: s, Identity: o.Digest(identity), Versions: c.versions(), dialect: backend.Dialect}
	opened.Client, err = o.Clients.Open(opened.Identity, backend, providers.Store{Spec: s.Spec.Provider, Ambient: s.ambient(), Credentials: c}, s)
	if err != nil {
		return nil, s.failed(err)
	}
	return opened, nil
}

// Check logs in and asks the provider a real question. It returns as whom the
// provider knows the operator; errors are *failure.Error.
func (o *Opened) Check(ctx context.Context) (string, error) {
	identity, err := o.Client.Check(ctx)
	if err != nil {
		return "", o.Store.failed(err)
	}
	return identity, nil
}

func (c *credentials) versions() map[Named]string {
	versions := map[Named]string{}
	for n, content := range c.contents {
		versions[n] = content.Version
	}
	return versions
}
