package store

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
)

// Thing is a kind of object that a spec names.
type Thing string

const (
	// ThingSecret is a Secret, whose content is read.
	ThingSecret Thing = "Secret"
	// ThingConfigMap is a ConfigMap, whose content is read.
	ThingConfigMap Thing = "ConfigMap"
	// ThingServiceAccount is a ServiceAccount, of which tokens are asked for.
	ThingServiceAccount Thing = "ServiceAccount"
)

// Named is an object that a store's spec names.
type Named struct {
	Thing     Thing
	Namespace string
	Name      string
	// Annotated: the annotations of the ServiceAccount are read too.
	Annotated bool
}

// Key is the object's namespace and name.
func (n Named) Key() types.NamespacedName {
	return types.NamespacedName{Namespace: n.Namespace, Name: n.Name}
}

func (n Named) String() string {
	return fmt.Sprintf("%s %q in namespace %q", n.Thing, n.Name, n.Namespace)
}

// selector is a Named where the spec names it.
type selector struct {
	Named
	field     string
	namespace *string // as the spec has it
	authority bool    // it is a CAProvider, which says itself what it names
}

// Named lists every object that the spec names, each once and in order. The
// error is of a selector that names none, or one of a namespace that is not
// the store's.
func (s Store) Named() ([]Named, error) {
	var all []Named
	for _, sel := range walk("spec.provider", reflect.ValueOf(s.Spec.Provider)) {
		if sel.Name == "" {
			return nil, s.invalid("%s.name is missing", sel.field)
		}
		if sel.authority && sel.Thing != ThingSecret && sel.Thing != ThingConfigMap {
			return nil, s.invalid("%s.type is %q, and may be Secret or ConfigMap", sel.field, shown(string(sel.Thing)))
		}
		if sel.namespace != nil && *sel.namespace != "" && *sel.namespace != s.Home {
			return nil, s.foreign(sel)
		}
		sel.Namespace = s.Home
		all = append(all, sel.Named)
	}
	return unique(all), nil
}

// foreign refuses a selector that leads to another namespace: whoever may write
// a store would read there with the operator's rights.
func (s Store) foreign(sel selector) error {
	f := s.invalid("%s.namespace is %q, and may only be %q", sel.field, *sel.namespace, s.Home)
	switch {
	case s.Private:
		return f.WithHint("what a store in Git names is read from the Application's namespace: put %s %q there and leave the field out", sel.Thing, sel.Name)
	case s.Kind == v1alpha1.KindClusterSecretStore:
		return f.WithHint("what a ClusterSecretStore names stands in the operator's namespace: put %s %q there and leave the field out", sel.Thing, sel.Name)
	}
	return f.WithHint("what a SecretStore names stands beside it: put %s %q there and leave the field out", sel.Thing, sel.Name)
}

func unique(all []Named) []Named {
	slices.SortFunc(all, func(a, b Named) int {
		return cmp.Or(cmp.Compare(a.Thing, b.Thing), cmp.Compare(a.Name, b.Name))
	})
	var kept []Named
	for _, n := range all {
		if last := len(kept) - 1; last >= 0 && kept[last].Thing == n.Thing && kept[last].Name == n.Name {
			kept[last].Annotated = kept[last].Annotated || n.Annotated
			continue
		}
		kept = append(kept, n)
	}
	return kept
}

// walk finds the selectors in a part of a spec, whatever field they are in.
func walk(field string, v reflect.Value) []selector {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return walk(field, v.Elem())
	case reflect.Slice:
		var found []selector
		if v.Type().Elem().Kind() != reflect.Struct {
			return nil
		}
		for i := range v.Len() {
			found = append(found, walk(fmt.Sprintf("%s[%d]", field, i), v.Index(i))...)
		}
		return found
	case reflect.Struct:
		if sel, ok := asSelector(v.Interface()); ok {
			sel.field = field
			return []selector{sel}
		}
		return walkFields(field, v)
	}
	return nil
}

func walkFields(field string, v reflect.Value) []selector {
	var found []selector
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if options == "omitzero" && v.Field(i).IsZero() {
			continue
		}
		inner := walk(field+"."+name, v.Field(i))
		if annotated(v.Interface()) {
			for j := range inner {
				inner[j].Annotated = true
			}
		}
		found = append(found, inner...)
	}
	return found
}

// annotated reports whether a way to be let in reads what its ServiceAccount is
// annotated with.
func annotated(auth any) bool {
	switch auth.(type) {
	case v1alpha1.AWSJWTAuth, v1alpha1.GCPWorkloadIdentity:
		return true
	}
	return false
}

// asSelector reads the types that name objects.
func asSelector(v any) (selector, bool) {
	switch sel := v.(type) {
	case v1alpha1.SecretKeySelector:
		return selector{Named: Named{Thing: ThingSecret, Name: sel.Name}, namespace: sel.Namespace}, true
	case v1alpha1.SecretReference:
		return selector{Named: Named{Thing: ThingSecret, Name: sel.Name}, namespace: sel.Namespace}, true
	case v1alpha1.ServiceAccountSelector:
		return selector{Named: Named{Thing: ThingServiceAccount, Name: sel.Name}, namespace: sel.Namespace}, true
	case v1alpha1.ConfigMapKeySelector:
		return selector{Named: Named{Thing: ThingConfigMap, Name: sel.Name}, namespace: sel.Namespace}, true
	case v1alpha1.CAProvider:
		return selector{Named: Named{Thing: Thing(sel.Type), Name: sel.Name}, namespace: sel.Namespace, authority: true}, true
	}
	return selector{}, false
}

// invalid begins a failure of the store's spec.
func (s Store) invalid(format string, args ...any) *failure.Error {
	return failure.Stallf(v1alpha1.ReasonStoreInvalid, "%s: %s", s, fmt.Sprintf(format, args...))
}
