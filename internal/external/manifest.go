package external

import (
	"time"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/render"
	"github.com/gitseal/gitseal/providers"
)

// The groups of external-secrets.io.
const (
	Group           = "external-secrets.io"
	GeneratorsGroup = "generators.external-secrets.io"
)

// Manifest is an ExternalSecret as Git has it, with defaults in place of what
// it leaves out.
type Manifest struct {
	// Namespace is "" where it names none.
	Namespace, Name string
	Origin          render.Origin

	content             digest
	labels, annotations map[string]string
	store               v1alpha1.StoreReference // Name is "" where it names none
	refresh             refresh
	target              target
	data                []entry
	dataFrom            []source
}

// Refresh policies.
const (
	refreshPeriodic    = "Periodic"
	refreshCreatedOnce = "CreatedOnce"
	refreshOnChange    = "OnChange"
)

type refresh struct {
	policy   string
	interval *time.Duration // nil: the Application's
}

// Creation policies.
const (
	createOwner   = "Owner"
	createOrphan  = "Orphan"
	createMerge   = "Merge"
	createNone    = "None"
	createOrMerge = "CreateOrMerge"
)

// Deletion policies.
const (
	deleteRetain = "Retain"
	deleteDelete = "Delete"
	deleteMerge  = "Merge"
)

type target struct {
	name      string
	creation  string
	deletion  string
	immutable bool
	template  *blueprint
}

// blueprint is target.template.
type blueprint struct {
	secretType          string
	merge               bool // mergePolicy Merge
	labels, annotations map[string]string
	finalizers          []string
	data                map[string]string
	from                []templateFrom
}

// Targets of templates.
const (
	targetData        = "Data"
	targetAnnotations = "Annotations"
	targetLabels      = "Labels"
)

// templateFrom is one of spec.target.template.templateFrom.
type templateFrom struct {
	path    string
	kind    string // ConfigMap or Secret; "" for a literal
	name    string
	items   []templateItem
	literal string
	target  string
}

type templateItem struct {
	key  string
	keys bool // templateAs KeysAndValues
}

// entry is one of spec.data.
type entry struct {
	path      string
	secretKey string
	remote    remote
	store     *v1alpha1.StoreReference
}

// remote is a remoteRef, or an extract.
type remote struct {
	ref      providers.Ref
	property string
	unicode  bool // conversionStrategy Unicode
	decode   string
	failNull bool // nullBytePolicy Fail
}

// source is one of spec.dataFrom: one of extract, find and generator is set.
type source struct {
	path      string
	extract   *remote
	find      *search
	generator *generatorRef
	store     *v1alpha1.StoreReference
	rewrites  []rewrite
}

type search struct {
	query    providers.Query
	unicode  bool
	decode   string
	failNull bool
}

type generatorRef struct{ kind, name string }

// Parse reads an ExternalSecret. What it refuses is a *failure.Error for each
// problem, joined, of reason SecretInvalid, that names place and field.
func Parse(o render.Object) (*Manifest, error) {
	d := newDecoding(o)
	switch o.GetAPIVersion() {
	case Group + "/v1", Group + "/v1beta1":
	default:
		d.problem("apiVersion", "use "+Group+"/v1", "is %q, which is not supported", shorten(o.GetAPIVersion()))
		return nil, d.err()
	}
	root := d.node("", o.Object)
	for _, field := range []string{"apiVersion", "kind", "metadata", "status"} {
		root.take(field)
	}
	m := &Manifest{
		Namespace: o.GetNamespace(), Name: o.GetName(), Origin: o.Origin,
		labels: o.GetLabels(), annotations: o.GetAnnotations(), content: digestOf(o),
	}
	spec := root.child("spec")
	root.done()
	if spec == nil {
		d.problem("spec", "set it", "is missing")
		return nil, d.err()
	}
	m.read(spec)
	m.check(d)
	if err := d.err(); err != nil {
		return nil, err
	}
	return m, nil
}

func (m *Manifest) read(spec *node) {
	m.store = storeRef(spec.child("secretStoreRef"))
	m.refresh.policy = spec.enum("refreshPolicy", refreshPeriodic, refreshCreatedOnce, refreshOnChange)
	m.refresh.interval = spec.duration("refreshInterval")
	spec.unsupported("syncWindows", "remove it; policy External reads values in the sync, and spec.sync of the Application says when that is")
	m.target = readTarget(spec.child("target"))
	if m.target.name == "" {
		m.target.name = m.Name
	}
	for _, n := range spec.list("data") {
		m.data = append(m.data, readEntry(n))
	}
	for _, n := range spec.list("dataFrom") {
		m.dataFrom = append(m.dataFrom, readSource(n))
	}
	spec.done()
}

func storeRef(n *node) v1alpha1.StoreReference {
	ref := v1alpha1.StoreReference{
		Name: n.refName(),
		Kind: v1alpha1.StoreKind(n.enum("kind", string(v1alpha1.KindSecretStore), string(v1alpha1.KindClusterSecretStore))),
	}
	n.done()
	return ref
}

// ownStore is a store that one value names for itself.
func ownStore(n *node) *v1alpha1.StoreReference {
	if n == nil {
		return nil
	}
	ref := storeRef(n)
	return &ref
}

func readTarget(n *node) target {
	t := target{
		name:      n.refName(),
		creation:  n.enum("creationPolicy", createOwner, createOrphan, createMerge, createNone, createOrMerge),
		deletion:  n.enum("deletionPolicy", deleteRetain, deleteDelete, deleteMerge),
		immutable: n.boolean("immutable"),
		template:  readBlueprint(n.child("template")),
	}
	n.unsupported("manifest", "remove it; an ExternalSecret makes a Secret and nothing else")
	n.done()
	return t
}

func readBlueprint(n *node) *blueprint {
	if n == nil {
		return nil
	}
	n.enum("engineVersion", "v2")
	b := &blueprint{
		secretType: n.text("type"),
		merge:      n.enum("mergePolicy", "Replace", "Merge") == "Merge",
		data:       n.dict("data"),
	}
	meta := n.child("metadata")
	b.labels, b.annotations, b.finalizers = meta.dict("labels"), meta.dict("annotations"), meta.texts("finalizers")
	meta.done()
	for _, from := range n.list("templateFrom") {
		b.from = append(b.from, readTemplateFrom(from)...)
	}
	n.done()
	return b
}

var templateKinds = map[string]string{"configMap": "ConfigMap", "secret": "Secret"}

// readTemplateFrom reads one item, which is several where it has several of
// configMap, secret and literal, in that order.
func readTemplateFrom(n *node) (all []templateFrom) {
	target := n.enum("target", targetData, targetAnnotations, targetLabels)
	for _, field := range []string{"configMap", "secret"} {
		ref := n.child(field)
		if ref == nil {
			continue
		}
		f := templateFrom{path: n.path, kind: templateKinds[field], name: ref.refName(), items: readTemplateItems(ref), target: target}
		if f.name == "" {
			n.problem(ref.at("name"), "set it", "is missing")
		}
		ref.done()
		all = append(all, f)
	}
	if literal := n.template("literal"); literal != nil {
		all = append(all, templateFrom{path: n.path, literal: *literal, target: target})
	}
	if len(all) == 0 {
		n.problem(n.path, "set one of them", "has none of configMap, secret and literal")
	}
	if n.text("valuesDecodingStrategy") != decodeNone {
		n.unsupported("valuesDecodingStrategy", "decode in the template, with b64dec")
	}
	n.done()
	return all
}

func readTemplateItems(ref *node) []templateItem {
	var items []templateItem
	for _, n := range ref.list("items") {
		items = append(items, templateItem{
			key: n.required("key"), keys: n.enum("templateAs", "Values", "KeysAndValues") == "KeysAndValues",
		})
		n.done()
	}
	return items
}
