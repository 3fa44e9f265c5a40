// Package kubernetes reads the Secrets of one namespace of this or another
// cluster. It speaks to the API server with three requests (read a Secret, list
// metadata, ask as whom it is known), each bounded, and repeats none of them by
// itself. It must never use the operator's own identity.
package kubernetes

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
)

// Home is the API server that the operator talks to, for stores that name
// none. It holds no identity.
type Home struct {
	// URL of the API server.
	URL string
	// CA holds PEM certificates of its authorities; empty: those of the system.
	CA []byte
}

const (
	maxBody = 4 << 20 // a Secret holds 1 MiB, written in base64 and with its metadata
	maxKeys = 10_000  // that a Find gives
	maxPage = 64 << 20
	page    = 500
)

// Backend reads Secrets. A value is a JSON object of the Secret's entries, in
// base64.
func Backend(home Home) providers.Backend {
	return providers.Backend{Dialect: providers.Entries, Open: func(s providers.Store) (providers.Provider, error) {
		return open(home, s)
	}}
}

type store struct {
	api      *api
	settings v1alpha1.KubernetesProvider
}

func open(home Home, s providers.Store) (*store, error) {
	if s.Spec.Kubernetes == nil {
		return nil, providers.Invalidf("the store has no kubernetes settings")
	}
	settings := *s.Spec.Kubernetes
	if settings.RemoteNamespace == "" {
		settings.RemoteNamespace = "default"
	}
	if len(validation.IsDNS1123Label(settings.RemoteNamespace)) > 0 {
		return nil, providers.Invalidf("kubernetes.remoteNamespace is no name of a namespace")
	}
	a, err := connect(home, settings, s)
	if err != nil {
		return nil, err
	}
	return &store{api: a, settings: settings}, nil
}

// Close implements io.Closer.
func (s *store) Close() error {
	s.api.close()
	return nil
}

func (s *store) secrets() string {
	return "/api/v1/namespaces/" + s.settings.RemoteNamespace + "/secrets"
}

// Get implements providers.Provider, for one ref.
func (s *store) Get(ctx context.Context, refs []providers.Ref) ([]providers.Result, error) {
	results := make([]providers.Result, len(refs))
	for i, ref := range refs {
		results[i] = s.read(ctx, ref)
	}
	return results, nil
}

func (s *store) read(ctx context.Context, ref providers.Ref) providers.Result {
	if len(validation.IsDNS1123Subdomain(ref.Key)) > 0 {
		return providers.Result{Err: providers.Invalidf("the key is no name of a Secret")}
	}
	var found corev1.Secret
	if err := s.api.do(ctx, request{method: http.MethodGet, path: s.secrets() + "/" + ref.Key, limit: maxBody}, &found); err != nil {
		return providers.Result{Err: s.missing(err)}
	}
	if err := s.complete(&found); err != nil {
		return providers.Result{Err: err}
	}
	value, err := encode(&found, ref.Metadata)
	if err != nil {
		return providers.Result{Err: err}
	}
	return providers.Result{Value: value, Version: found.ResourceVersion}
}

// encode writes the entries, or what describes the Secret.
func encode(found *corev1.Secret, metadata bool) (secret.Value, error) {
	var content any = found.Data
	switch {
	case metadata:
		content = map[string]map[string]string{"labels": orEmpty(found.Labels), "annotations": orEmpty(found.Annotations)}
	case found.Data == nil:
		content = map[string][]byte{}
	}
	raw, err := json.Marshal(content)
	if err != nil {
		return secret.Value{}, providers.Invalidf("the Secret cannot be written as JSON")
	}
	return secret.NewValue(raw), nil
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// missing tells a Secret that something else is to write, which may come, from
// one that is simply not there.
func (s *store) missing(err error) error {
	if isNotFound(err) && (s.settings.RequireOwner != nil || len(s.settings.ExpectedKeys) > 0) {
		return &providers.Error{Kind: providers.ErrNotReady, Detail: "the Secret is not there yet"}
	}
	return err
}

// complete reports what a Secret lacks that something else writes, often in
// several steps.
func (s *store) complete(found *corev1.Secret) error {
	if o := s.settings.RequireOwner; o != nil && !slices.ContainsFunc(found.OwnerReferences, func(r metav1.OwnerReference) bool { return owns(o, r) }) {
		return &providers.Error{Kind: providers.ErrNotReady, Detail: fmt.Sprintf("the Secret is not owned by %s yet, as kubernetes.requireOwner demands", describe(o))}
	}
	for _, key := range s.settings.ExpectedKeys {
		if len(found.Data[key]) == 0 {
			return &providers.Error{Kind: providers.ErrNotReady, Detail: fmt.Sprintf("the Secret has no entry %q yet, which kubernetes.expectedKeys demands", key)}
		}
	}
	return nil
}

func owns(want *v1alpha1.KubernetesOwner, r metav1.OwnerReference) bool {
	group, _, found := strings.Cut(r.APIVersion, "/")
	if !found {
		group = "" // the core group
	}
	return r.Kind == want.Kind && group == want.APIGroup && (want.Name == "" || want.Name == r.Name)
}

func describe(o *v1alpha1.KubernetesOwner) string {
	kind := o.Kind
	if o.APIGroup != "" {
		kind += "." + o.APIGroup
	}
	if o.Name == "" {
		return "any " + kind
	}
	return fmt.Sprintf("%s %q", kind, o.Name)
}

// Find implements providers.Finder: by name, by labels, or both. Only metadata
// is asked for.
func (s *store) Find(ctx context.Context, q providers.Query) ([]string, error) {
	name, err := regexp.Compile(q.Name)
	switch {
	case err != nil:
		return nil, providers.Invalidf("find.name.regexp is no regular expression (RE2)")
	case q.Path != "":
		return nil, providers.Invalidf("Secrets have no path to find them by")
	}
	selector, err := labels.ValidatedSelectorFromSet(q.Tags)
	if err != nil {
		return nil, providers.Invalidf("find.tags are no labels")
	}
	keys := []string{}
	query := url.Values{"limit": {fmt.Sprint(page)}, "labelSelector": {selector.String()}}
	for {
		var list metav1.PartialObjectMetadataList
		err := s.api.do(ctx, request{method: http.MethodGet, path: s.secrets(), query: query, accept: asMetadata, limit: maxPage}, &list)
		if err != nil {
			return nil, err
		}
		for _, o := range list.Items {
			if name.MatchString(o.Name) {
				keys = append(keys, o.Name)
			}
		}
		if len(keys) > maxKeys {
			return nil, providers.Invalidf("more than %d Secrets match", maxKeys)
		}
		if list.Continue == "" {
			slices.Sort(keys)
			return keys, nil
		}
		query.Set("continue", list.Continue)
	}
}

// asMetadata asks for lists without a body.
const asMetadata = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

// Check implements providers.Checker with a SelfSubjectReview, which everybody
// may make who is let in.
func (s *store) Check(ctx context.Context) (string, error) {
	review := authenticationv1.SelfSubjectReview{TypeMeta: metav1.TypeMeta{APIVersion: authenticationv1.SchemeGroupVersion.String(), Kind: "SelfSubjectReview"}}
	body, err := json.Marshal(review)
	if err != nil {
		return "", providers.Invalidf("the question cannot be written")
	}
	err = s.api.do(ctx, request{method: http.MethodPost, path: "/apis/authentication.k8s.io/v1/selfsubjectreviews", body: body, limit: maxBody}, &review)
	return review.Status.UserInfo.Username, err
}
