package kubectlplugin

import (
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/external"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/render"
	"github.com/gitseal/gitseal/internal/store"
)

// migrateNode says what becomes of one document, nil where it is none of
// External Secrets Operator's.
func migrateNode(file string, node *yaml.Node, operatorNamespace string) (*migration, []edit) {
	if node.Kind != yaml.DocumentNode || len(node.Content) != 1 {
		return nil, nil
	}
	root := node.Content[0]
	version, kind := scalar(root, "apiVersion"), scalar(root, "kind")
	if version == nil || kind == nil {
		return nil, nil
	}
	group, _, _ := strings.Cut(version.Value, "/")
	if group != external.Group && group != external.GeneratorsGroup {
		return nil, nil
	}
	m := &migration{File: file, Line: root.Line, Kind: kind.Value, Works: migrationAsIs}
	var object map[string]any
	if err := root.Decode(&object); err != nil {
		m.Works, m.Message = migrationUnread, unreadable
		return m, nil
	}
	o := asObject(object, render.Origin{File: file, Line: root.Line})
	m.Name = o.GetName()
	if store.IsStore(o) {
		return m, migrateStore(m, o, root, version, operatorNamespace)
	}
	_, err := external.Collect([]render.Object{o})
	m.refuse(err)
	return m, nil
}

const unreadable = "cannot be read: if it is a template, render it first"

func asObject(object map[string]any, origin render.Origin) render.Object {
	return render.Object{Unstructured: &unstructured.Unstructured{Object: jsonNumbers(object).(map[string]any)}, Origin: origin}
}

// migrateStore makes a store gitseal's own, which takes another apiVersion.
func migrateStore(m *migration, o render.Object, root, version *yaml.Node, operatorNamespace string) []edit {
	namespace := o.GetNamespace()
	if namespace == "" {
		namespace = "default" // what it is called does not matter here
	}
	edits := []edit{{node: version, old: version.Value, new: v1alpha1.GroupVersion.String()}}
	message := "it gets a status, access rules and a watch of its credentials"
	if o.GetKind() == string(v1alpha1.KindClusterSecretStore) {
		moved := namespaceEdits(scalar(root, "spec"), operatorNamespace)
		for _, e := range moved {
			e.node.Value = e.new
		}
		edits, namespace = append(edits, moved...), operatorNamespace
		message = "copy its credentials to namespace " + operatorNamespace + "; it serves whom spec.access or spec.conditions name, and nobody else"
	}
	var object map[string]any
	if err := root.Decode(&object); err != nil {
		m.Works, m.Message = migrationUnread, unreadable
		return nil
	}
	o = asObject(object, o.Origin)
	if _, err := store.FromGit(o, namespace, namespace); err != nil {
		m.refuse(err)
		return nil
	}
	m.Works, m.Message = migrationChanged, message
	return edits
}

// namespaceEdits moves what a ClusterSecretStore names to the operator's
// namespace, and returns the edits that say so.
func namespaceEdits(v *yaml.Node, operatorNamespace string) (edits []edit) {
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
func (m *migration) refuse(err error) {
	if err == nil {
		return
	}
	m.Works, m.Message = migrationNever, failure.From(err, v1alpha1.ReasonSecretInvalid).Message()
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
