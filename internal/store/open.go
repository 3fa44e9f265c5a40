package store

import (
	"context"
	"net"
	"time"

	"k8s.io/utils/clock"

	"github.com/gitseal/gitseal/internal/fetch"
	"github.com/gitseal/gitseal/providers"
)

// Opener opens stores.
type Opener struct {
	Registry providers.Registry
	Objects  Objects
	Fetcher  *fetch.Fetcher
	// Dial is the egress guard's.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// DialAllowed also connects to what the guard was told to allow, behind which
	// the operator's own identity is had. It is for stores that may come with
	// that; nil means Dial.
	DialAllowed func(ctx context.Context, network, address string) (net.Conn, error)
	Clock       clock.WithTicker
	// Digest is a keyed digest, by which stores of the same identity find one
	// another.
	Digest func([]byte) string
	// OperatorNamespace is told to people who have to let the operator in.
	OperatorNamespace string
}

// Opened is a store whose values can be read. It holds what the credentials
// held when it was opened.
type Opened struct {
	Store Store
	// Identity is a keyed digest of the store's spec and of what its credentials
	// held. Stores with the same one share client, login and cache.
	Identity string
	// Versions are the resource versions of what was read, by which it is known
	// whether it has changed since.
	Versions map[Named]string

	fetcher *fetch.Fetcher
	opening fetch.Opening
	dialect providers.Dialect
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
		return nil, s.failed(err)
	}
	identity, err := c.identity()
	if err != nil {
		return nil, s.failed(err)
	}
	limits, err := fetch.LimitsOf(backend, s.Spec)
	if err != nil {
		return nil, s.invalid("%v", err)
	}
	dial := o.Dial
	if s.ambient() && o.DialAllowed != nil {
		dial = o.DialAllowed
	}
	opened := &Opened{
		Store: s, Identity: o.Digest(identity), Versions: c.versions(), fetcher: o.Fetcher, dialect: backend.Dialect,
		opening: fetch.Opening{Provider: s.Provider(), Ordered: backend.Ordered, Limits: limits, Open: func(loggedIn func()) (providers.Provider, error) {
			return backend.Open(providers.Store{
				Spec: s.Spec.Provider, Ambient: s.ambient(), Credentials: c, Dial: dial, Clock: o.Clock, LoggedIn: loggedIn,
			})
		}},
	}
	if _, err := opened.client(); err != nil {
		return nil, err
	}
	return opened, nil
}

// client is the one of the store's identity, opened again where nobody used it
// for long.
func (o *Opened) client() (*fetch.Client, error) {
	c, err := o.fetcher.Client(o.Identity, o.opening)
	if err != nil {
		return nil, o.Store.failed(err)
	}
	return c, nil
}

// Check logs in and asks the provider a real question, unless that was asked
// less than maxAge ago. It returns as whom the provider knows the operator;
// errors are *failure.Error.
func (o *Opened) Check(ctx context.Context, maxAge time.Duration) (string, error) {
	c, err := o.client()
	if err != nil {
		return "", err
	}
	outcome := c.Check(ctx, maxAge)
	if outcome.Err != nil {
		return "", o.Store.failed(outcome.Err)
	}
	return outcome.Identity, nil
}

// Stats counts the calls of the store's identity.
func (o *Opened) Stats() fetch.Stats {
	stats, _ := o.fetcher.Stats(o.Identity)
	return stats
}

// Failed says what an error of the store's provider means for it.
func (o *Opened) Failed(err error) error { return o.Store.failed(err) }

func (c *credentials) versions() map[Named]string {
	versions := map[Named]string{}
	for n, content := range c.contents {
		versions[n] = content.Version
	}
	return versions
}
