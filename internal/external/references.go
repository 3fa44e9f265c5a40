package external

import (
	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/render"
	"github.com/gitseal/gitseal/providers"
)

// Reference is what an ExternalSecret asks of a store.
type Reference struct {
	// Namespace of the ExternalSecret, or the default one.
	Namespace string
	// Store; its Name is "" where neither the ExternalSecret nor the Application
	// names one.
	Store v1alpha1.StoreReference
	Ref   providers.Ref
	// Property of the value; "" is the whole of it.
	Property string
	// Find is set in place of Ref where keys are searched for.
	Find *providers.Query
	// Field of the ExternalSecret, for instance spec.data[0].
	Field string
	// Target is the Secret that it becomes, and SecretKey its key there; "" where
	// it becomes several.
	Target, SecretKey string
	Origin            render.Origin
}

// References lists what an ExternalSecret asks of stores, in the order of its
// fields, without asking. Of d, Namespace and StoreRef are used.
func References(m *Manifest, d Defaults) []Reference {
	var refs []Reference
	add := func(field string, own *v1alpha1.StoreReference) *Reference {
		refs = append(refs, Reference{
			Namespace: d.namespace(m.Namespace), Store: d.store(m.storeOr(own)), Field: field, Target: m.target.name, Origin: m.Origin,
		})
		return &refs[len(refs)-1]
	}
	for _, e := range m.data {
		r := add(e.path, e.store)
		r.Ref, r.Property, r.SecretKey = e.remote.ref, e.remote.property, e.secretKey
	}
	for _, s := range m.dataFrom {
		switch {
		case s.extract != nil:
			r := add(s.path, s.store)
			r.Ref, r.Property = s.extract.ref, s.extract.property
		case s.find != nil:
			add(s.path, s.store).Find = &s.find.query
		}
	}
	return refs
}

func (d Defaults) namespace(own string) string {
	if own == "" {
		return d.Namespace
	}
	return own
}

// store returns the store named, or else the Application's.
func (d Defaults) store(own v1alpha1.StoreReference) v1alpha1.StoreReference {
	if own.Name != "" || d.StoreRef == nil {
		return own
	}
	ref := *d.StoreRef
	if ref.Kind == "" {
		ref.Kind = v1alpha1.KindSecretStore
	}
	return ref
}
