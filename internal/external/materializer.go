package external

import (
	"context"
	"time"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/render"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
)

// Materializer turns ExternalSecrets into Secrets.
type Materializer struct {
	Resolver  Resolver
	Templates Templates
	Deriver   Deriver
	Defaults  Defaults
	// Held is that of the last Result in use; the zero value has all values read.
	Held Held
	// Values receives every value that is seen on the way, so that texts can be
	// cleaned of it; the Secrets hold its tokens.
	Values *secret.Set
	// Made tells whether the Secret of an ExternalSecret with refreshPolicy
	// CreatedOnce is in the cluster; nil: none is.
	Made func(ctx context.Context, o render.Object) (bool, error)
	// Now decides in which epoch generators are.
	Now time.Time
}

// Defaults are the Application's.
type Defaults struct {
	// Namespace of objects that name none.
	Namespace string
	// Home is the Application's own namespace, for which values are derived.
	Home string
	// StoreRef is the store of what names none; nil: there is no such store.
	StoreRef *v1alpha1.StoreReference
	// Interval is the refreshInterval of what has none. 0 means 1h.
	Interval time.Duration
}

// Result is what Materialize made.
type Result struct {
	// Secrets, in the order of their manifests, with base64 of tokens in data.
	// Their annotations say how they are to be applied: gitseal.dev/apply and
	// gitseal.dev/prune. Those that are made once and are there are hollow.
	Secrets []render.Object
	Uses    Uses
	Held    Held
}

// Templates runs templates of engine version v2.
type Templates interface {
	// Execute returns what a template makes of its data. What it draws at
	// random, it derives from the seed. An error holds no value and no text of
	// the template's output.
	Execute(ctx context.Context, t Template) (secret.Value, error)
}

// Template is one to execute.
type Template struct {
	// Name of the field that holds it, for instance `data["config.yaml"]`.
	Name string
	Text string
	// Private: the text comes out of a Secret, so that nothing of it may be
	// quoted either.
	Private bool
	// Data is what {{ .key }} gives.
	Data map[string]secret.Value
	Seed Seed
}

// Seed says for what values are derived: the same seed gives the same values.
type Seed struct {
	// Home is the namespace of the Application: what is derived in one can not be
	// derived in another, whatever namespace an ExternalSecret says it is for.
	Home string
	// Namespace and Name of the ExternalSecret.
	Namespace, Name string
	// Use counts the uses of one generator by one ExternalSecret, from 0.
	Use int
	// Epoch is the number of refresh intervals since the epoch of Unix time; 0
	// where the ExternalSecret is not refreshed by time.
	Epoch int64
	// Began is when that interval began, which is what templates take for now;
	// for Once it is the time of this sync, and zero where there is none.
	Began time.Time
	// Once: the Secret is made once and then left alone (refreshPolicy
	// CreatedOnce), so that what cannot be derived may be drawn.
	Once bool
}

// Deriver makes the values of generators.
type Deriver interface {
	// Derive returns the keys and values of a generator for a seed. An error
	// says what is wrong with the generator's spec.
	Derive(g Generator, seed Seed) (map[string]secret.Value, error)
}

// Generator is a manifest of group generators.external-secrets.io/v1alpha1.
type Generator struct {
	// Kind is Password, UUID or Fake.
	Kind            string
	Namespace, Name string
	Origin          render.Origin
	// Password is set where Kind is Password.
	Password *Password
	// Fake holds the keys and values of kind Fake.
	Fake map[string]string
}

// Password is the spec of a generator of that kind.
type Password struct {
	// Length in characters. Default: 24.
	Length int
	// Digits and Symbols say how many there are of them; nil is a quarter of
	// the length.
	Digits, Symbols *int
	// SymbolCharacters to choose from; nil is
	// ~!@#$%^&*()_+`-={}|[]\:"<>?,./
	SymbolCharacters *string
	NoUpper          bool
	AllowRepeat      bool
	// SecretKeys under which a password each is given. Default: password.
	SecretKeys []string
	// Encoding is raw (the default), base64, base64url, base32 or hex.
	Encoding string
}

// Uses are the values that Secrets were made of, but for those that are made
// once: they are in use nowhere, once that is done.
type Uses struct {
	// Values in the order of their manifests.
	Values []Use
	// Finds in the order of their manifests.
	Finds []FindUse
	// Epochs are the ends of the epochs that generators are in.
	Epochs []time.Time
	// Resolved counts the keys of Secrets that hold a value of a store or a
	// generator.
	Resolved int
}

// Use is one value of a store.
type Use struct {
	Namespace string // of the ExternalSecret
	Store     v1alpha1.StoreReference
	Ref       providers.Ref
	// Properties that are taken of it, sorted; none: all of it.
	Properties []string
	// Version in use, as the provider names it; "" where it has none.
	Version string
	// Read is when the value was read, MaxAge how old it may become; negative:
	// any age will do.
	Read   time.Time
	MaxAge time.Duration
	// Kept is that of the Answer.
	Kept string
	// Token of the whole value; "" where the key is proven to be missing.
	Token secret.Token
}

// FindUse is one search for keys.
type FindUse struct {
	Namespace string // of the ExternalSecret
	Store     v1alpha1.StoreReference
	Query     providers.Query
	Keys      []string
	// Read and MaxAge are those of a Use: when the keys were listed.
	Read   time.Time
	MaxAge time.Duration
	Kept   string // as of a Use
}
