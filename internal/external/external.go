// Package external owns the meaning of ExternalSecret manifests
// (external-secrets.io/v1 and v1beta1, and the generators Password, UUID and
// Fake): their defaults, what they ask of which store, and how the answers
// become the keys of a Secret. It must not know a provider's SDK, and reads
// nothing but through the Resolver that it is given.
package external

import (
	"context"
	"time"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
)

// Request asks a store for one value.
type Request struct {
	// Namespace of the ExternalSecret, in which a store of the same revision is
	// looked for first.
	Namespace string
	Store     v1alpha1.StoreReference
	Ref       providers.Ref
	// Properties that will be taken out of it, for access rules; "" is the
	// whole value.
	Properties []string
	// MaxAge is how old the answer may be; negative: any age will do.
	MaxAge time.Duration
	// Optional: where the key is not there, what lived of it is to be deleted,
	// which takes two proofs apart in time.
	Optional bool
	// Held is the answer that is in use, and stays so if the store may still be
	// used; nil: there is none.
	Held *Answer
}

// Answer is what a store says to a Request.
type Answer struct {
	Value   secret.Value
	Version string
	Dialect providers.Dialect
	// Read is when the value was read from the provider.
	Read time.Time
	// Kept says why this is what the provider said last, in words for people: it
	// does not answer, or takes something back that is not proven. "": it is not.
	Kept string
	// Err is a *failure.Error naming store and key. For an Optional request a
	// missing key is no error, once it is proven.
	Err     error
	Missing bool
}

// FindRequest asks a store for keys. What lived of those that do not match any
// more is to go, which takes two proofs apart in time: until then they are found
// all the same, or the answer is an error where nobody knows what was there.
type FindRequest struct {
	Namespace string // as that of a Request
	Store     v1alpha1.StoreReference
	Query     providers.Query
	MaxAge    time.Duration
	Held      *Found // as of a Request
}

// Found is what a store holds of what a FindRequest asks for.
type Found struct {
	Keys []string
	// Read is when they were listed at the provider, which is longer ago than
	// MaxAge where it does not answer. Kept is as of an Answer.
	Read time.Time
	Kept string
}

// Resolver answers what manifests ask for. Answers come in the order of the
// requests; requests for the same value cost one call.
type Resolver interface {
	Resolve(ctx context.Context, requests []Request) []Answer
	Find(ctx context.Context, request FindRequest) (Found, error)
}
