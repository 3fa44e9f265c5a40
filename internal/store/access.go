package store

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
)

// Namespaces gives the labels of namespaces, for selectors.
type Namespaces interface {
	// Labels of a namespace; an error where they cannot be read now.
	Labels(ctx context.Context, namespace string) (map[string]string, error)
}

// rule lets one Application use some values.
type rule struct {
	keys       []string // nil: all
	properties []string // nil: all, and whole values
}

// grant is what one Application may use of a store.
type grant struct {
	store Store
	app   types.NamespacedName
	rules []rule
}

// grantOf finds the rules that hold for an Application. It is asked before
// anything is read, and before anything that was read for others is looked at.
func (s Store) grantOf(ctx context.Context, app types.NamespacedName, namespaces Namespaces) (grant, error) {
	g := grant{store: s, app: app}
	if s.Kind == v1alpha1.KindSecretStore && !s.Private && s.Namespace != app.Namespace {
		return g, g.deny("serves namespace %q only", s.Namespace)
	}
	asked := &asking{namespace: app.Namespace, namespaces: namespaces}
	for _, a := range s.Spec.Access {
		if a.Applications != nil && !slices.Contains(a.Applications, app.Name) {
			continue
		}
		holds, err := s.serves(ctx, a, asked)
		if err != nil {
			return g, err
		}
		if holds {
			g.rules = append(g.rules, rule{keys: s.expand(a.Keys, app.Namespace), properties: a.Properties})
		}
	}
	all, err := s.servesAll(ctx, asked)
	if err != nil {
		return g, err
	}
	if all {
		g.rules = append(g.rules, rule{})
	}
	if len(g.rules) == 0 {
		return g, g.deny("does not serve Application %q of namespace %q", app.Name, app.Namespace)
	}
	return g, nil
}

// serves reports whether an entry of spec.access is for a namespace.
func (s Store) serves(ctx context.Context, a v1alpha1.StoreAccess, asked *asking) (bool, error) {
	if s.Kind == v1alpha1.KindSecretStore {
		return true, nil
	}
	if slices.Contains(a.Namespaces, "*") || slices.Contains(a.Namespaces, asked.namespace) {
		return true, nil
	}
	return asked.selected(ctx, a.NamespaceSelector)
}

// servesAll reports whether everything of the store may be used.
func (s Store) servesAll(ctx context.Context, asked *asking) (bool, error) {
	if s.Kind == v1alpha1.KindSecretStore {
		return len(s.Spec.Access) == 0, nil
	}
	for _, c := range s.Spec.Conditions {
		holds, err := asked.meets(ctx, c)
		if holds || err != nil {
			return holds, err
		}
	}
	return s.Private && len(s.Spec.Conditions) == 0, nil
}

// asking is for which namespace a store is asked.
type asking struct {
	namespace  string
	namespaces Namespaces
	labels     labels.Set
}

func (a *asking) meets(ctx context.Context, c v1alpha1.StoreCondition) (bool, error) {
	if slices.Contains(c.Namespaces, a.namespace) {
		return true, nil
	}
	for _, expression := range c.NamespaceRegexes {
		if re, err := regexp.Compile(expression); err == nil && re.MatchString(a.namespace) {
			return true, nil
		}
	}
	return a.selected(ctx, c.NamespaceSelector)
}

// selected reports whether a selector selects the namespace; an absent one
// selects nothing.
func (a *asking) selected(ctx context.Context, s *metav1.LabelSelector) (bool, error) {
	if s == nil {
		return false, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return false, nil //nolint:nilerr // validation has told of it; it selects nothing
	}
	if a.labels == nil {
		found, err := a.namespaces.Labels(ctx, a.namespace)
		if err != nil {
			return false, failure.Failf(v1alpha1.ReasonStoreUnavailable, "read the labels of namespace %q, by which a store knows whom it serves: %w", a.namespace, err)
		}
		a.labels = labels.Set(found)
		if a.labels == nil {
			a.labels = labels.Set{}
		}
	}
	return selector.Matches(a.labels), nil
}

// spelled is the one spelling of a key by which rules and requests are compared.
// In Vault either may repeat the mount of the store, and the data/ of version 2:
// a namespace that is called as the mount would otherwise have all of it. With a
// slash in front they repeat nothing.
func (s Store) spelled(key string) string {
	v := s.Spec.Provider.Vault
	if v == nil || v.Path == nil {
		return key
	}
	rest, repeated := strings.CutPrefix(key, strings.Trim(*v.Path, "/")+"/")
	if repeated && v.Version != "v1" {
		rest = strings.TrimPrefix(rest, "data/")
	}
	return strings.TrimLeft(rest, "/")
}

// expand puts the Application's namespace into the keys of a rule.
func (s Store) expand(keys []string, namespace string) []string {
	var expanded []string
	for _, k := range keys {
		expanded = append(expanded, strings.ReplaceAll(s.spelled(k), "{namespace}", namespace))
	}
	return expanded
}

// allows says why a key, or one of its properties, may not be used. Property
// "" is the whole value.
func (g grant) allows(key string, properties []string) error {
	if err := g.plain(key); err != nil {
		return err
	}
	if len(properties) == 0 {
		properties = []string{""}
	}
	spelled := g.store.spelled(key)
	for _, p := range properties {
		if slices.ContainsFunc(g.rules, func(r rule) bool { return r.hasKey(spelled) && r.hasProperty(p) }) {
			continue
		}
		if !slices.ContainsFunc(g.rules, func(r rule) bool { return r.hasKey(spelled) }) {
			return g.deny("does not let Application %q of namespace %q use key %q", g.app.Name, g.app.Namespace, key)
		}
		if p == "" {
			return g.deny("lets Application %q of namespace %q use some properties of key %q, and not the whole value", g.app.Name, g.app.Namespace, key)
		}
		return g.deny("does not let Application %q of namespace %q use property %q of key %q", g.app.Name, g.app.Namespace, p, key)
	}
	return nil
}

// plain refuses keys that a provider could read in another way than a rule
// does.
func (g grant) plain(key string) error {
	for segment := range strings.SplitSeq(key, "/") {
		if segment == ".." || segment == "." {
			return failure.Stallf(v1alpha1.ReasonSecretInvalid, "%s: key %q has a path segment %q", g.store, key, segment).
				WithHint("write the path as it is, without dots")
		}
	}
	return nil
}

// hasKey reports whether a rule is for a key. A prefix is not for itself: Vault
// reads shop/ as shop, which is not below it.
func (r rule) hasKey(key string) bool {
	if r.keys == nil {
		return true
	}
	return slices.ContainsFunc(r.keys, func(k string) bool {
		if strings.HasSuffix(k, "/") {
			return strings.HasPrefix(strings.TrimRight(key, "/"), k)
		}
		return k == key
	})
}

// covers reports whether all that a search below a path can find may be used. A
// path without a slash at its end is but the beginning of a name at some providers;
// in Vault it repeats no mount.
func (g grant) covers(path string) bool {
	return slices.ContainsFunc(g.rules, func(r rule) bool {
		return r.properties == nil && (r.keys == nil || slices.ContainsFunc(r.keys, func(k string) bool {
			return strings.HasSuffix(k, "/") && strings.HasPrefix(path, k)
		}))
	})
}

func (r rule) hasProperty(p string) bool {
	return r.properties == nil || p != "" && slices.Contains(r.properties, p)
}

// deny says who may change it.
func (g grant) deny(format string, args ...any) *failure.Error {
	f := failure.Stallf(v1alpha1.ReasonStoreDenied, "%s %s", g.store, fmt.Sprintf(format, args...))
	switch {
	case g.store.Origin != "":
		return f.WithHint("the store in Git says so itself: change it there")
	case g.store.Kind == v1alpha1.KindClusterSecretStore:
		return f.WithHint("whoever owns the store can allow it in spec.access")
	}
	return f.WithHint("whoever owns the store can allow it in spec.access of namespace %q", g.store.Namespace)
}
