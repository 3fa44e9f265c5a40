package apply

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/health"
	"github.com/gitseal/gitseal/internal/live"
	"github.com/gitseal/gitseal/internal/render"
	"github.com/gitseal/gitseal/internal/secret"
)

// Build turns rendered objects into items. A kind that neither the API server
// nor a CustomResourceDefinition among the objects knows is a Wait.
func (e *Engine) Build(t Target, objects []render.Object) ([]Item, error) {
	return e.BuildBeside(t, nil, objects)
}

// BuildBeside is Build where some items are there already and stay as they are.
// They come first in what it returns.
func (e *Engine) BuildBeside(t Target, there []Item, objects []render.Object) ([]Item, error) {
	b := builder{target: t, mapper: e.mapper, applySet: t.ApplySet(), digest: e.digest, defined: definedKinds(objects), created: map[string]bool{}}
	for _, o := range objects {
		if o.GroupVersionKind().GroupKind() == kindNamespace {
			b.created[o.GetName()] = true
		}
	}
	items := append(make([]Item, 0, len(there)+len(objects)), there...)
	seen := make(map[ID]render.Origin, cap(items))
	for _, item := range there {
		seen[item.ID] = item.Origin
		if item.ID.GroupKind == kindNamespace {
			b.created[item.ID.Name] = true
		}
	}
	for _, o := range objects {
		item, err := b.item(o)
		if err != nil {
			return nil, err
		}
		if first, dup := seen[item.ID]; dup {
			return nil, failure.Stallf(v1alpha1.ReasonObjectInvalid, "%s: %s is already defined at %s", item.Origin, item.ID, first).
				WithHint("remove one of the two")
		}
		seen[item.ID] = item.Origin
		items = append(items, item)
	}
	if err := checkWaves(items); err != nil {
		return nil, err
	}
	return items, checkRuns(items)
}

type builder struct {
	target   Target
	mapper   meta.RESTMapper
	applySet string
	digest   func([]byte) string
	defined  map[schema.GroupVersionKind]definition
	created  map[string]bool // namespaces that the objects create
	asked    bool            // the API server was asked anew for its kinds
}

// definition is a kind that a CustomResourceDefinition among the objects
// brings along.
type definition struct {
	plural     string
	namespaced bool
}

func definedKinds(objects []render.Object) map[schema.GroupVersionKind]definition {
	defined := map[schema.GroupVersionKind]definition{}
	for _, o := range objects {
		if o.GroupVersionKind().GroupKind() != kindCRD {
			continue
		}
		brought := brings(o)
		plural, _, _ := unstructured.NestedString(o.Object, "spec", "names", "plural")
		scope, _, _ := unstructured.NestedString(o.Object, "spec", "scope")
		versions, _, _ := unstructured.NestedSlice(o.Object, "spec", "versions")
		for _, v := range versions {
			version, _ := v.(map[string]any)
			name, _ := version["name"].(string)
			defined[brought.WithVersion(name)] =
				definition{plural: plural, namespaced: scope == "Namespaced"}
		}
	}
	return defined
}

func (b *builder) item(o render.Object) (Item, error) {
	gvk := o.GroupVersionKind()
	resource, namespaced, brought, err := b.resource(o, gvk)
	if err != nil {
		return Item{}, err
	}
	if err := b.address(o, resource); err != nil {
		return Item{}, err
	}
	wave, err := syncWave(o)
	if err != nil {
		return Item{}, err
	}
	run, err := runPhase(o)
	if err != nil {
		return Item{}, err
	}
	once, err := appliedOnce(o)
	if err != nil {
		return Item{}, err
	}
	merged, awaited, err := mergedInto(o)
	if err != nil {
		return Item{}, err
	}
	own := b.member(o, namespaced)
	id := ID{GroupKind: gvk.GroupKind(), Namespace: own.GetNamespace(), Name: own.GetName()}
	ignored := rulesFor(b.target.Ignore, id)
	if run != "" {
		keepEnded(own.Object)
		ignored = nil // it is never put back, and a rule must not run it again
	}
	body, digest, err := b.encode(own, ignored)
	if err != nil {
		return Item{}, failure.Stallf(v1alpha1.ReasonObjectInvalid, "%s: encode %s %q: %w", o.Origin, gvk.Kind, o.GetName(), err)
	}
	return Item{
		ID:        id,
		Origin:    o.Origin,
		Scope:     live.Scope{Identity: b.target.Identity, Resource: resource, Namespace: own.GetNamespace()},
		SyncWave:  wave,
		Wave:      waveOf(gvk.GroupKind()),
		Run:       run,
		Once:      once,
		Hollow:    o.Hollow,
		Merged:    merged,
		Awaited:   awaited,
		HasStatus: health.HasStatus(gvk.GroupKind()),
		HasTokens: holdsTokens(own.Object),
		Brought:   brought,
		Defined:   b.defines(gvk),
		Brings:    brings(o),
		Housed:    b.created[own.GetNamespace()],
		path:      objectPath(resource, own.GetNamespace(), own.GetName()),
		body:      body,
		digest:    digest,
		ignored:   ignored,
	}, nil
}

// member is an object as it is to be in the cluster: in its namespace, and a
// member of the ApplySet.
func (b *builder) member(o render.Object, namespaced bool) *unstructured.Unstructured {
	own := o.DeepCopy()
	switch {
	case !namespaced:
		own.SetNamespace("")
	case own.GetNamespace() == "":
		own.SetNamespace(b.target.Namespace)
	}
	labels := own.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[v1alpha1.ApplySetPartOfLabel] = b.applySet
	own.SetLabels(labels)
	if o.GroupVersionKind().GroupKind() == kindSecret {
		foldStringData(own.Object)
	}
	return own
}

// address refuses names that would lead a request to another path.
func (b *builder) address(o render.Object, r schema.GroupVersionResource) error {
	for _, part := range []string{o.GetName(), o.GetNamespace(), b.target.Namespace, r.Group, r.Version, r.Resource} {
		if problems := content.IsPathSegmentName(part); len(problems) > 0 {
			return failure.Stallf(v1alpha1.ReasonObjectInvalid, "%s: %s %q: %q %s", o.Origin, o.GetKind(), o.GetName(), part, problems[0]).
				WithHint("rename it")
		}
	}
	return nil
}

func (b *builder) defines(gvk schema.GroupVersionKind) bool {
	_, ok := b.defined[gvk]
	return ok
}

func (b *builder) resource(o render.Object, gvk schema.GroupVersionKind) (r schema.GroupVersionResource, namespaced, brought bool, err error) {
	mapping, err := b.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if meta.IsNoMatchError(err) && !b.asked {
		b.asked = true
		meta.MaybeResetRESTMapper(b.mapper)
		mapping, err = b.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	}
	if err == nil {
		return mapping.Resource, mapping.Scope.Name() == meta.RESTScopeNameNamespace, false, nil
	}
	if !meta.IsNoMatchError(err) {
		return r, false, false, failure.Failf(v1alpha1.ReasonApplyFailed, "ask the API server for its kinds: %w", err)
	}
	if d, ok := b.defined[gvk]; ok {
		return gvk.GroupVersion().WithResource(d.plural), d.namespaced, true, nil
	}
	return r, false, false, failure.Waitf(v1alpha1.ReasonKindUnknown, "%s: the cluster does not know kind %s of %s", o.Origin, gvk.Kind, gvk.GroupVersion()).
		WithHint("install its CustomResourceDefinition, or correct apiVersion and kind; nothing is applied until then")
}

func objectPath(r schema.GroupVersionResource, namespace, name string) string {
	return path.Join(resourcePath(r, namespace), name)
}

func resourcePath(r schema.GroupVersionResource, namespace string) string {
	base := path.Join("/apis", r.Group, r.Version)
	if r.Group == "" {
		base = path.Join("/api", r.Version)
	}
	if namespace != "" {
		base = path.Join(base, "namespaces", namespace)
	}
	return path.Join(base, r.Resource)
}

// foldStringData moves a Secret's stringData into data, as the API server
// would. Server-side apply keeps book of what was sent: a key sent under
// stringData would stay in data for ever once it is gone from Git.
func foldStringData(secret map[string]any) {
	text, ok := secret["stringData"].(map[string]any)
	if !ok {
		return
	}
	data, ok := secret["data"].(map[string]any)
	if !ok {
		data = map[string]any{}
	}
	for k, v := range text {
		if s, ok := v.(string); ok {
			data[k] = base64.StdEncoding.EncodeToString([]byte(s))
		}
	}
	secret["data"] = data
	delete(secret, "stringData")
}

// holdsTokens looks for tokens in strings, and in the base64 of a Secret.
func holdsTokens(v any) bool {
	switch v := v.(type) {
	case string:
		return secret.HasToken(v) || secret.HasToken(decoded(v))
	case map[string]any:
		for _, e := range v {
			if holdsTokens(e) {
				return true
			}
		}
	case []any:
		for _, e := range v {
			if holdsTokens(e) {
				return true
			}
		}
	}
	return false
}

func decoded(s string) string {
	// The base64 of text with a token is longer than the token itself.
	// Kustomize's generators break it into lines, which the decoder skips.
	if len(s) < len(secret.TokenPrefix) || strings.ContainsAny(s, " .") {
		return ""
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return ""
	}
	return string(b)
}

// Place is where members of an ApplySet may be: a kind and a namespace, which
// is "" for cluster-scoped kinds.
type Place struct {
	schema.GroupKind
	Namespace string
}

// String is KIND[.GROUP]/NAMESPACE.
func (p Place) String() string { return p.GroupKind.String() + "/" + p.Namespace }

// ParsePlace reads what String writes.
func ParsePlace(s string) Place {
	kind, namespace, _ := strings.Cut(s, "/")
	return Place{GroupKind: schema.ParseGroupKind(kind), Namespace: namespace}
}

// Places lists where items are, each once and in order.
func Places(items []Item) []Place {
	seen := map[Place]bool{}
	for _, i := range items {
		seen[Place{i.ID.GroupKind, i.ID.Namespace}] = true
	}
	return slices.SortedFunc(maps.Keys(seen), func(a, b Place) int { return cmp.Compare(a.String(), b.String()) })
}

// MemberScopes returns the watches over the places that an ApplySet's parent
// records, and the places whose kind the API server does not serve. Those have
// no members if it is gone for good, but an aggregated API may only be away.
// Where no object of a kind can be, in a namespace or out of one, there is none.
func (e *Engine) MemberScopes(t Target, places []Place) (scopes []live.Scope, unserved []Place, err error) {
	for _, p := range places {
		mapping, err := e.mapper.RESTMapping(p.GroupKind)
		if meta.IsNoMatchError(err) {
			unserved = append(unserved, p)
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("ask the API server for kind %s: %w", p.GroupKind, err)
		}
		if namespaced := mapping.Scope.Name() == meta.RESTScopeNameNamespace; namespaced != (p.Namespace != "") {
			continue
		}
		scopes = append(scopes, live.Scope{Identity: t.Identity, Resource: mapping.Resource, Namespace: p.Namespace})
	}
	return scopes, unserved, nil
}

// Away reports whether kinds of places that are not served may come back by themselves:
// an API that is registered but does not answer may still hold members.
func (e *Engine) Away(ctx context.Context, places []Place) (bool, error) {
	client, err := e.clients.REST(live.Identity{})
	if err != nil {
		return false, err
	}
	for _, p := range places {
		raw, err := client.Get().AbsPath("/apis", p.Group).Do(ctx).Raw()
		if apierrors.IsNotFound(err) {
			continue
		}
		var group metav1.APIGroup
		if err != nil || json.Unmarshal(raw, &group) != nil {
			return true, nil
		}
		for _, v := range group.Versions {
			if err := client.Get().AbsPath("/apis", v.GroupVersion).Do(ctx).Error(); err != nil && !apierrors.IsNotFound(err) {
				return true, nil
			}
		}
	}
	return false, nil
}
