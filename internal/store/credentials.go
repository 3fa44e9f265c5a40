package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"maps"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
)

// Content is what was read of an object that a spec names.
type Content struct {
	// Version is the object's resource version.
	Version string
	// Entries of a Secret or ConfigMap.
	Entries map[string]secret.Value
	// Annotations of a ServiceAccount.
	Annotations map[string]string
	// Key: it is a Secret with which Applications are decrypted.
	Key bool
}

// Objects reads what stores name, as the operator. Its errors are those of the
// API server.
type Objects interface {
	// Read returns the content of one object.
	Read(ctx context.Context, n Named) (Content, error)
	// Token asks for a token of a ServiceAccount.
	Token(ctx context.Context, serviceAccount types.NamespacedName, audiences []string, expiry time.Duration) (providers.Token, error)
}

// defaultCAKey is the entry of a CAProvider that names none.
const defaultCAKey = "ca.crt"

// credentials implements providers.Credentials with what was read when the
// store was opened. What changes later opens the store anew.
type credentials struct {
	store    Store
	named    []Named
	contents map[Named]Content // by thing and name alone
	objects  Objects
	operator string // namespace
}

// read reads everything that a store's spec names.
func (o *Opener) read(ctx context.Context, s Store) (*credentials, error) {
	named, err := s.Named()
	if err != nil {
		return nil, err
	}
	c := &credentials{store: s, named: named, contents: map[Named]Content{}, objects: o.Objects, operator: o.OperatorNamespace}
	for _, n := range named {
		if n.bare() == o.self() {
			return nil, judged(providers.ErrInvalid, s.invalid("%s is the operator's own, and its token is given to no provider", n).
				WithHint("make a ServiceAccount for the store, and let it in at the provider"))
		}
		if n.Thing == ThingServiceAccount && !n.Annotated {
			continue
		}
		content, err := o.Objects.Read(ctx, n)
		if err != nil {
			return nil, c.refusal(n, "read", err)
		}
		if content.Key {
			return nil, judged(providers.ErrInvalid, s.invalid("%s is a key that opens what is in Git, and is given to no provider", n).
				WithHint("keep the credentials of the store in a Secret of their own"))
		}
		c.contents[n.bare()] = content
	}
	return c, nil
}

// self is the ServiceAccount that the operator runs as: its token would let
// whoever gets it do all that the operator may.
func (o *Opener) self() Named {
	return Named{Thing: ThingServiceAccount, Namespace: o.OperatorNamespace, Name: v1alpha1.OperatorServiceAccount}
}

// bare is the object without how it is used.
func (n Named) bare() Named { return Named{Thing: n.Thing, Namespace: n.Namespace, Name: n.Name} }

// refusal says what to do about an object that cannot be read.
func (c *credentials) refusal(n Named, verb string, err error) error {
	switch {
	case apierrors.IsNotFound(err):
		return judged(providers.ErrInvalid, c.store.invalid("%s does not exist", n).
			WithHint("create it; the store is opened by itself then"))
	case apierrors.IsForbidden(err):
		return judged(providers.ErrDenied, c.forbidden(n, verb))
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return judged(providers.ErrInvalid, c.store.invalid("the API server refuses to %s %s", verb, n).
			WithHint("look at the audiences that the store asks for"))
	}
	return judged(providers.ErrUnavailable, failure.Waitf(v1alpha1.ReasonStoreUnavailable, "%s: %s %s: the API server does not answer", c.store, verb, n))
}

// judgement is an error of which it is known already what it means, for the way
// through a backend and the fetch layer, which know kinds only.
type judgement struct {
	kind    error
	failure *failure.Error
}

func (j judgement) Error() string { return j.failure.Error() }

// Unwrap gives both.
func (j judgement) Unwrap() []error { return []error{j.kind, j.failure} }

func judged(kind error, f *failure.Error) error {
	return &providers.Error{Kind: judgement{kind, f}, Detail: f.Error()}
}

// forbidden: the namespace has not let the operator in.
func (c *credentials) forbidden(n Named, verb string) *failure.Error {
	rights := "get and watch on it by name"
	if verb == verbToken {
		rights = "create on its token (serviceaccounts/token) by name"
	}
	return failure.Failf(v1alpha1.ReasonAccessDenied, "%s: namespace %q has not let gitseal %s %s %q", c.store, n.Namespace, verb, n.Thing, n.Name).
		WithHint("grant %s to ServiceAccount %s of namespace %s, as `kubectl gitseal init` does", rights, v1alpha1.OperatorServiceAccount, c.operator)
}

// of finds what was read of an object.
func (c *credentials) of(thing Thing, name string) (Content, error) {
	content, ok := c.contents[Named{Thing: thing, Namespace: c.store.Home, Name: name}]
	if !ok {
		return Content{}, c.store.unreadable("%s %q is not one that the spec names", thing, name)
	}
	return content, nil
}

func (s Store) unreadable(format string, args ...any) error {
	return judged(providers.ErrInvalid, s.invalid(format, args...).WithHint("correct the spec, or put it there; the store is opened by itself then"))
}

func (c *credentials) entry(thing Thing, name, key string) (secret.Value, error) {
	content, err := c.of(thing, name)
	if err != nil {
		return secret.Value{}, err
	}
	v, ok := content.Entries[key]
	if !ok || v.IsZero() {
		return secret.Value{}, c.store.unreadable("%s %q in namespace %q has no entry %q", thing, name, c.store.Home, key)
	}
	return v, nil
}

// Secret implements providers.Credentials.
func (c *credentials) Secret(s v1alpha1.SecretKeySelector) (secret.Value, error) {
	return c.entry(ThingSecret, s.Name, s.Key)
}

// CA implements providers.Credentials.
func (c *credentials) CA(p v1alpha1.CAProvider) ([]byte, error) {
	key := p.Key
	if key == "" {
		key = defaultCAKey
	}
	v, err := c.entry(Thing(p.Type), p.Name, key)
	return v.Reveal(), err
}

// ConfigMap implements providers.Credentials.
func (c *credentials) ConfigMap(s v1alpha1.ConfigMapKeySelector) (string, error) {
	v, err := c.entry(ThingConfigMap, s.Name, s.Key)
	return string(v.Reveal()), err
}

const (
	verbToken = "ask for a token of"
	// minTokenExpiry is the least that an API server takes.
	minTokenExpiry = 10 * time.Minute
)

// Token implements providers.Credentials.
func (c *credentials) Token(ctx context.Context, sa v1alpha1.ServiceAccountSelector, audiences []string, expiry time.Duration) (providers.Token, error) {
	n := Named{Thing: ThingServiceAccount, Namespace: c.store.Home, Name: sa.Name}
	if !slices.ContainsFunc(c.named, func(have Named) bool { return have.bare() == n }) {
		return providers.Token{}, c.store.unreadable("ServiceAccount %q is not one that the spec names", sa.Name)
	}
	token, err := c.objects.Token(ctx, n.Key(), slices.Concat(audiences, sa.Audiences), max(expiry, minTokenExpiry))
	switch {
	case err == nil:
		return token, nil
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return providers.Token{}, &providers.Error{Kind: providers.ErrUnavailable, Detail: fmt.Sprintf("the API server gave no token of ServiceAccount %q in time", sa.Name)}
	}
	return providers.Token{}, c.refusal(n, verbToken, err)
}

// Annotations implements providers.Credentials.
func (c *credentials) Annotations(_ context.Context, sa v1alpha1.ServiceAccountSelector) (map[string]string, error) {
	content, err := c.of(ThingServiceAccount, sa.Name)
	return content.Annotations, err
}

// identity covers everything by which a provider could tell two stores apart:
// what kind it is, how it is configured, and as whom we come. Stores and
// Applications that agree in all of it share one client. It is only ever
// compared under the install key.
func (c *credentials) identity() ([]byte, error) {
	h := sha256.New()
	spec, err := json.Marshal([]any{c.store.Provider(), c.store.Spec.Provider, c.store.ambient()})
	if err != nil {
		return nil, fmt.Errorf("describe the spec of %s: %w", c.store, err)
	}
	add(h, spec)
	for _, n := range c.named {
		add(h, []byte(n.Thing), []byte(n.Name))
		if n.Thing == ThingServiceAccount {
			add(h, []byte(n.Namespace))
		}
		content := c.contents[n.bare()]
		for _, key := range slices.Sorted(maps.Keys(content.Entries)) {
			add(h, []byte(key), content.Entries[key].Reveal())
		}
		for _, key := range slices.Sorted(maps.Keys(content.Annotations)) {
			add(h, []byte(key), []byte(content.Annotations[key]))
		}
	}
	return h.Sum(nil), nil
}

// add writes parts so that no two lists of them look alike.
func add(h hash.Hash, parts ...[]byte) {
	for _, p := range parts {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(p)))
		_, _ = h.Write(size[:])
		_, _ = h.Write(p)
	}
}
