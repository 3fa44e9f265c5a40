// Package vault reads values from the KV engines, version 1 and 2, of
// HashiCorp Vault and of OpenBao, whose API is the same. It owns the way from a
// key to a path, the login and its token, and what Vault's answers mean; what
// is asked how often is not its matter. No word of Vault's answers but values
// and names of roles must leave it.
package vault

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
)

// Backend reads from Vault. Vault has no call that reads several values, and no
// quota but those that its administrators set.
func Backend() providers.Backend {
	return providers.Backend{Open: open, Dialect: providers.Document, Ordered: true, Batch: 1}
}

func open(s providers.Store) (providers.Provider, error) {
	spec := s.Spec.Vault
	if spec == nil {
		return nil, providers.Invalidf("the store has no vault settings")
	}
	engine, err := engineOf(spec)
	if err != nil {
		return nil, err
	}
	method, err := methodOf(s)
	if err != nil {
		return nil, err
	}
	client, idle, err := connect(s, method.certificate)
	if err != nil {
		return nil, err
	}
	return &vault{engine: engine, sessions: newSessions(s, client, method), idle: idle}, nil
}

// vault implements providers.Provider, Finder, Checker and io.Closer.
type vault struct {
	engine   engine
	sessions *sessions
	idle     func() // closes connections that nobody uses
}

// Close ends the login; Vault is asked to forget its token.
func (v *vault) Close() error {
	v.sessions.close()
	v.idle()
	return nil
}

// Get implements providers.Provider.
func (v *vault) Get(ctx context.Context, refs []providers.Ref) ([]providers.Result, error) {
	results := make([]providers.Result, len(refs))
	for i, ref := range refs {
		if ref.Metadata {
			results[i] = v.metadata(ctx, ref)
		} else {
			results[i] = v.value(ctx, ref)
		}
	}
	return results, nil
}

// value reads a secret as https://developer.hashicorp.com/vault/api-docs/secret/kv
// has it.
func (v *vault) value(ctx context.Context, ref providers.Ref) providers.Result {
	path, err := v.engine.data(ref.Key)
	if err != nil {
		return providers.Result{Err: err}
	}
	params, err := v.engine.version(ref.Version)
	if err != nil {
		return providers.Result{Err: err}
	}
	a, err := v.read(ctx, path, params)
	if err != nil {
		return providers.Result{Err: err}
	}
	return v.engine.valueOf(a)
}

// valueOf takes the secret out of an answer.
func (e engine) valueOf(a answer) providers.Result {
	if !e.v2 {
		return document(a.Data, "")
	}
	var versioned struct {
		Data     json.RawMessage `json:"data"`
		Metadata struct {
			Version int64 `json:"version"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(a.Data, &versioned); err != nil || versioned.Metadata.Version == 0 {
		return providers.Result{Err: providers.Invalidf("Vault's answer is not one of KV version 2: see vault.version of the store")}
	}
	return document(versioned.Data, strconv.FormatInt(versioned.Metadata.Version, 10))
}

// document is a JSON object as Vault sent it, so that numbers keep their digits.
func document(data json.RawMessage, version string) providers.Result {
	if len(data) == 0 || data[0] != '{' {
		return providers.Result{Err: providers.Invalidf("what Vault keeps there is no secret of a KV engine")}
	}
	return providers.Result{Value: secret.NewValue(data), Version: version}
}

// read asks for something of an engine. What comes back is a 200.
func (v *vault) read(ctx context.Context, path string, params url.Values) (answer, error) {
	a, err := v.sessions.ask(ctx, func(t *session) (answer, error) { return get(ctx, t.reads, path, params) })
	switch {
	case err != nil:
		return answer{}, err
	case a.status == http.StatusOK:
		return a, nil
	case a.status == http.StatusNotFound:
		return answer{}, missing(a)
	case a.status == http.StatusForbidden:
		return answer{}, &providers.Error{Kind: providers.ErrDenied, Detail: "Vault's policies deny it"}
	case a.status == http.StatusBadRequest:
		return answer{}, providers.Invalidf("Vault takes the request for invalid")
	default:
		return answer{}, a.failed()
	}
}

// missing tells what is not there from what cannot be there: Vault says 404 to
// both, and the first may delete what lives of it. So does whatever stands in
// Vault's place while it is away, an ingress for instance, but not in its words.
func missing(a answer) error {
	var versioned struct {
		Metadata *struct {
			Destroyed bool `json:"destroyed"`
		} `json:"metadata"`
	}
	switch {
	case a.Errors == nil && a.Data == nil && a.Warnings == nil:
		return unreadable()
	case len(a.Errors) > 0: // no engine has this path
		return providers.Invalidf("no secrets engine is mounted at that path of Vault")
	case json.Unmarshal(a.Data, &versioned) == nil && versioned.Metadata != nil && versioned.Metadata.Destroyed:
		return &providers.Error{Kind: providers.ErrNotFound, Detail: "this version was destroyed"}
	case versioned.Metadata != nil:
		return &providers.Error{Kind: providers.ErrNotFound, Detail: "this version was deleted"}
	case len(a.Warnings) > 0: // an engine that warns of the path does not know it
		return providers.Invalidf("that path of Vault is not one of the KV version of the store: see vault.version")
	}
	return &providers.Error{Kind: providers.ErrNotFound}
}

// metadata is the custom metadata of a secret, and three fields of Vault's own
// that it may hide.
func (v *vault) metadata(ctx context.Context, ref providers.Ref) providers.Result {
	if ref.Version != "" {
		return providers.Result{Err: providers.Invalidf("metadata has no versions")}
	}
	custom, own, err := v.describe(ctx, ref.Key)
	if err != nil {
		return providers.Result{Err: err}
	}
	object := map[string]any{
		"created_time": own.CreatedTime, "current_version": own.CurrentVersion, "delete_version_after": own.DeleteVersionAfter,
	}
	for name, value := range custom {
		object[name] = value
	}
	raw, err := json.Marshal(object)
	if err != nil {
		return providers.Result{Err: unreadable()}
	}
	return providers.Result{Value: secret.NewValue(raw), Version: strconv.FormatInt(own.CurrentVersion, 10)}
}

type description struct {
	Custom             map[string]string `json:"custom_metadata"`
	CreatedTime        string            `json:"created_time"`
	CurrentVersion     int64             `json:"current_version"`
	DeleteVersionAfter string            `json:"delete_version_after"`
}

// describe reads the metadata of a key.
func (v *vault) describe(ctx context.Context, key string) (custom map[string]string, own description, err error) {
	if !v.engine.v2 {
		return nil, own, providers.Invalidf("KV version 1 keeps no metadata")
	}
	path, err := v.engine.metadata(key)
	if err != nil {
		return nil, own, err
	}
	a, err := v.read(ctx, path, nil)
	if err != nil {
		return nil, own, err
	}
	if err := json.Unmarshal(a.Data, &own); err != nil {
		return nil, own, unreadable()
	}
	return own.Custom, own, nil
}
