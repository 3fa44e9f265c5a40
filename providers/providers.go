// Package providers owns the contract with the systems that own secret values
// (AWS Secrets Manager, GCP Secret Manager, Vault, Kubernetes, files, plugins):
// references in, values and versions out. Each backend is a package of its own
// below this one; what is asked of them, how often and what is kept, is
// internal/fetch's. This package must never name a backend.
package providers

import (
	"context"
	"net"
	"time"

	"k8s.io/utils/clock"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/secret"
)

// Ref names one value at a provider, whole: properties of it are taken out
// later, and cost no call.
type Ref struct {
	// Key as the ExternalSecret has it: a name, a path, an ARN.
	Key string
	// Version in the provider's own words; "" is the newest.
	Version string
	// Metadata asks for what describes the value (tags, labels) in its place: a
	// JSON object.
	Metadata bool
}

// Result is the answer to one Ref.
type Result struct {
	Value secret.Value
	// Version that was read, as the provider names it; "" where it has none.
	Version string
	// Err is why there is no value; errors.Is tells its kind by the sentinels.
	Err error
}

// Provider reads values. It is safe for concurrent use, and keeps one login for
// all its calls, renewed before it ends and made anew where it was taken away.
type Provider interface {
	// Get returns one Result per ref, in their order. The error is of the call
	// as a whole. There are never more refs than Backend.Batch.
	Get(ctx context.Context, refs []Ref) ([]Result, error)
}

// Query says which keys to find; all that is set must hold, and where nothing
// is, all are found.
type Query struct {
	// Path under which to look, in the provider's own words.
	Path string
	// Name is a regular expression (RE2), not anchored.
	Name string
	// Tags that a secret must carry.
	Tags map[string]string
}

// HasTags reports whether what a secret carries are all the tags asked for.
func (q Query) HasTags(carried map[string]string) bool {
	for name, value := range q.Tags {
		if have, ok := carried[name]; !ok || have != value {
			return false
		}
	}
	return true
}

// Finder is a Provider that can list what it holds.
type Finder interface {
	// Find returns the keys that match, sorted, each fit for a Ref.
	Find(ctx context.Context, q Query) ([]string, error)
}

// Checker is a Provider that can tell whether it would be let in. All are but
// those that cannot.
type Checker interface {
	// Check logs in and asks a real question that needs no right on any secret.
	// It returns as whom the provider knows us, for people to read.
	Check(ctx context.Context) (identity string, err error)
}

// A Provider that holds something open is an io.Closer.

// Dialect says what a value is made of, and so what a property of it is and
// what all of its properties are: users rely on the differences.
type Dialect int

const (
	// Text is bytes; a property is looked up in them as JSON.
	Text Dialect = iota
	// Document is a JSON object; without a property it stands for itself.
	Document
	// Entries is a JSON object of strings in base64: entries of a Kubernetes
	// Secret.
	Entries
)

// Backend is one kind of provider.
type Backend struct {
	// Open makes a Provider for a store. It does not call the provider.
	Open func(Store) (Provider, error)
	// Dialect of its values.
	Dialect Dialect
	// Ordered: versions that are numbers grow with each change, so that a lower
	// one is older.
	Ordered bool
	// Batch is how many refs one Get takes. 0 means 1.
	Batch int
	// Rate is how many calls a second its quota bears. 0 means any number.
	Rate float64
}

// Registry holds the backends by the field of v1alpha1.StoreProvider that
// configures each, for instance "vault".
type Registry map[string]Backend

// Store is what a backend gets to know of a store.
type Store struct {
	Spec v1alpha1.StoreProvider
	// Ambient: the operator's own identity at the provider may be used where the
	// spec names no other. Only for a ClusterSecretStore.
	Ambient     bool
	Credentials Credentials
	// Dial connects to addresses that the egress guard lets pass. Whatever a
	// backend connects to, it connects to with this.
	Dial  func(ctx context.Context, network, address string) (net.Conn, error)
	Clock clock.WithTicker
	// LoggedIn is called for each token or session that the provider gave out.
	LoggedIn func()
}

// Credentials are the objects that a store's spec names, and no others. They
// are read before the store is opened, but for tokens.
type Credentials interface {
	// Secret returns an entry of a Secret.
	Secret(v1alpha1.SecretKeySelector) (secret.Value, error)
	// CA returns PEM certificates.
	CA(v1alpha1.CAProvider) ([]byte, error)
	// ConfigMap returns an entry of a ConfigMap.
	ConfigMap(v1alpha1.ConfigMapKeySelector) (string, error)
	// Token asks for a ServiceAccount's token, for the audiences that the provider
	// needs and those of the selector besides; with none it is the API server's own.
	Token(ctx context.Context, sa v1alpha1.ServiceAccountSelector, audiences []string, expiry time.Duration) (Token, error)
	// Annotations returns those of a ServiceAccount.
	Annotations(ctx context.Context, sa v1alpha1.ServiceAccountSelector) (map[string]string, error)
}

// Token is a ServiceAccount's.
type Token struct {
	Value   secret.Value
	Expires time.Time
}
