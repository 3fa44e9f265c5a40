package apply

import (
	"fmt"
	"net/http"
	"sync"

	metainternal "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"github.com/gitseal/gitseal/internal/live"
)

// Clients makes one set of clients per identity. They share connections, and
// no client-side rate limit stands in the way: API Priority and Fairness is
// the limiter.
type Clients struct {
	base *rest.Config

	mu   sync.Mutex
	made map[live.Identity]clients
}

type clients struct {
	metadata metadata.Interface
	rest     rest.Interface
}

// NewClients derives clients from the operator's own configuration.
func NewClients(base *rest.Config) *Clients {
	return &Clients{base: base, made: map[live.Identity]clients{}}
}

// Metadata returns the metadata client of an identity.
func (c *Clients) Metadata(id live.Identity) (metadata.Interface, error) {
	made, err := c.get(id)
	return made.metadata, err
}

// REST returns a client of an identity for raw requests.
func (c *Clients) REST(id live.Identity) (rest.Interface, error) {
	made, err := c.get(id)
	return made.rest, err
}

func (c *Clients) get(id live.Identity) (clients, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if made, ok := c.made[id]; ok {
		return made, nil
	}
	made, err := c.make(id)
	if err != nil {
		return clients{}, fmt.Errorf("make clients for %s: %w", id.User(), err)
	}
	c.made[id] = made
	return made, nil
}

func (c *Clients) make(id live.Identity) (clients, error) {
	cfg := rest.CopyConfig(c.base)
	cfg.QPS = -1
	// A warning is text of an admission webhook, which may quote what it was
	// sent; client-go would log it.
	cfg.WarningHandler = rest.NoWarnings{}
	if !id.IsOperator() {
		cfg.Impersonate = rest.ImpersonationConfig{UserName: id.User()}
	}
	httpClient, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return clients{}, err
	}
	md, err := metadata.NewForConfigAndClient(metadata.ConfigFor(cfg), httpClient)
	if err != nil {
		return clients{}, err
	}
	raw, err := newREST(cfg, httpClient)
	if err != nil {
		return clients{}, err
	}
	return clients{metadata: md, rest: raw}, nil
}

func newREST(cfg *rest.Config, httpClient *http.Client) (rest.Interface, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.ContentType = "application/json"
	cfg.AcceptContentTypes = "application/json"
	cfg.NegotiatedSerializer = metainternal.Codecs.WithoutConversion()
	return rest.UnversionedRESTClientForConfigAndClient(cfg, httpClient)
}
