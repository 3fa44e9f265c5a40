package migrate

import (
	"cmp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/external"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/render"
	"github.com/gitseal/gitseal/internal/store"
)

// document says what becomes of the manifests of one document, which has one of
// them or, as what 'kubectl get' writes, a list.
func (t Target) document(file string, node *yaml.Node) (found []Finding, edits []edit) {
	if node.Kind != yaml.DocumentNode || len(node.Content) != 1 {
		return nil, nil
	}
	manifests := node.Content
	if kind, items := scalar(manifests[0], "kind"), scalar(manifests[0], "items"); kind != nil && kind.Value == "List" && items != nil {
		manifests = items.Content
	}
	for _, root := range manifests {
		m, e := t.manifest(file, root)
		if m != nil {
			found = append(found, *m)
		}
		edits = append(edits, e...)
	}
	return found, edits
}

// manifest says what becomes of one manifest, nil where it is none of External
// Secrets Operator's.
func (t Target) manifest(file string, root *yaml.Node) (*Finding, []edit) {
	version, kind := scalar(root, "apiVersion"), scalar(root, "kind")
	if version == nil || kind == nil {
		return nil, nil
	}
	group, _, _ := strings.Cut(version.Value, "/")
	if group != external.Group && group != external.GeneratorsGroup {
		return nil, nil
	}
	m := &Finding{File: file, Line: root.Line, Kind: kind.Value, Works: AsIs}
	object, ok := m.object(root)
	if !ok {
		return m, nil
	}
	m.Name = object.GetName()
	if store.IsStore(object) {
		return m, t.store(m, object, root, version)
	}
	_, err := external.Collect([]render.Object{object})
	m.refuse(err)
	return m, nil
}

// object reads a manifest as the sync would, and notes where that fails.
func (m *Finding) object(root *yaml.Node) (o render.Object, ok bool) {
	var content map[string]any
	if err := root.Decode(&content); err != nil {
		m.Works, m.Message = Unread, unreadable
		return o, false
	}
	o, err := render.NewObject(jsonNumbers(content).(map[string]any), render.Origin{File: m.File, Line: m.Line})
	m.refuse(err)
	return o, err == nil
}

const unreadable = "cannot be read: if it is a template, render it first"

// store makes a store gitseal's own, which takes another apiVersion.
func (t Target) store(m *Finding, object render.Object, root, version *yaml.Node) []edit {
	edits := []edit{{node: version, old: version.Value, new: v1alpha1.GroupVersion.String()}}
	home := cmp.Or(object.GetNamespace(), t.Namespace)
	message := "it gets a status, access rules and a watch of its credentials"
	if object.GetKind() == string(v1alpha1.KindClusterSecretStore) {
		moved := namespaceEdits(scalar(root, "spec"), t.OperatorNamespace)
		for _, e := range moved {
			e.node.Value = e.new
		}
		edits, home = append(edits, moved...), t.OperatorNamespace
		message = "copy its credentials to namespace " + home
	}
	object, ok := m.object(root)
	if !ok {
		return nil
	}
	migrated, err := store.ForCluster(object, home)
	if err != nil {
		m.refuse(err)
		return nil
	}
	if migrated.Spec.Provider.Fake != nil {
		message = "its values stay in it, in plain text"
	} else if named, _ := migrated.Named(); len(named) == 0 {
		message = "have the provider let the operator's own identity in"
	}
	if migrated.Kind == v1alpha1.KindClusterSecretStore {
		message += "; it serves whom spec.access or spec.conditions name, and nobody else"
	}
	m.Works, m.Message = Changed, message
	return edits
}

// namespaceEdits moves what a ClusterSecretStore names to the operator's
// namespace, and returns the edits that say so.
func namespaceEdits(v *yaml.Node, operatorNamespace string) (edits []edit) {
	if v == nil {
		return nil
	}
	namespace := scalar(v, "namespace")
	if named := scalar(v, "name"); named != nil && namespace != nil && namespace.Value != operatorNamespace {
		edits = append(edits, edit{node: namespace, old: namespace.Value, new: operatorNamespace})
	}
	for _, inner := range v.Content {
		edits = append(edits, namespaceEdits(inner, operatorNamespace)...)
	}
	return edits
}

// refuse notes why a manifest does not work, if it does not.
func (m *Finding) refuse(err error) {
	if err == nil {
		return
	}
	m.Works, m.Message = Never, failure.From(err, v1alpha1.ReasonSecretInvalid).Message()
}

// jsonNumbers gives whole numbers the type that unstructured objects have.
func jsonNumbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key := range v {
			v[key] = jsonNumbers(v[key])
		}
	case []any:
		for i := range v {
			v[i] = jsonNumbers(v[i])
		}
	case int:
		return int64(v)
	}
	return v
}
