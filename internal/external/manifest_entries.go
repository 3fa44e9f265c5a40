package external

import (
	"github.com/gitseal/gitseal/api/v1alpha1"
)

func readEntry(n *node) entry {
	e := entry{path: n.path, secretKey: n.required("secretKey")}
	if e.secretKey != "" {
		if problem := invalidKey(e.secretKey); problem != "" {
			n.problem(n.at("secretKey"), "use letters, digits, '-', '_' and '.' only", "%s", problem)
		}
	}
	ref := n.child("remoteRef")
	if ref == nil {
		n.problem(n.at("remoteRef"), "set its key", "is missing")
	} else {
		e.remote = readRemote(ref)
	}
	from := n.child("sourceRef")
	e.store = ownStore(from.child("storeRef"))
	from.unsupported("generatorRef", "use it in spec.dataFrom[].sourceRef")
	if from != nil && e.store == nil {
		n.problem(from.at("storeRef"), "set its name", "is missing")
	}
	from.done()
	n.done()
	return e
}

// Decoding strategies.
const (
	decodeNone      = "None"
	decodeAuto      = "Auto"
	decodeBase64    = "Base64"
	decodeBase64URL = "Base64URL"
)

func readDecoding(n *node) string {
	return n.enum("decodingStrategy", decodeNone, decodeAuto, decodeBase64, decodeBase64URL)
}

func readUnicode(n *node) bool {
	return n.enum("conversionStrategy", "Default", "Unicode") == "Unicode"
}

func readFailNull(n *node) bool { return n.enum("nullBytePolicy", "Ignore", "Fail") == "Fail" }

func readRemote(n *node) remote {
	r := remote{
		property: n.text("property"),
		unicode:  readUnicode(n), decode: readDecoding(n), failNull: readFailNull(n),
	}
	r.ref.Key, r.ref.Version = n.required("key"), n.text("version")
	r.ref.Metadata = n.enum("metadataPolicy", "None", "Fetch") == "Fetch"
	if problem := tooComplicated(r.property); problem != "" {
		n.problem(n.at("property"), "take a larger property, and what is wanted out of it in a template", "%s", problem)
	}
	n.done()
	return r
}

func readSource(n *node) source {
	s := source{path: n.path}
	if extract := n.child("extract"); extract != nil {
		r := readRemote(extract)
		s.extract = &r
	}
	s.find = readSearch(n.child("find"))
	s.readSourceRef(n.child("sourceRef"))
	for _, r := range n.list("rewrite") {
		s.rewrites = append(s.rewrites, readRewrite(r))
	}
	if len(s.rewrites) > maxRewrites {
		n.problem(n.at("rewrite"), "rewrite in fewer steps", "has more than %d items", maxRewrites)
	}
	set := 0
	for _, there := range []bool{s.extract != nil, s.find != nil, s.generator != nil} {
		if there {
			set++
		}
	}
	if set != 1 {
		n.problem(n.path, "set exactly one of them", "has %d of extract, find and sourceRef.generatorRef", set)
	}
	n.done()
	return s
}

func (s *source) readSourceRef(n *node) {
	if n == nil {
		return
	}
	s.store = ownStore(n.child("storeRef"))
	if ref := n.child("generatorRef"); ref != nil {
		s.generator = readGeneratorRef(ref)
	}
	if (s.store != nil) == (s.generator != nil) {
		n.problem(n.path, "set exactly one of them", "takes one of storeRef and generatorRef")
	}
	n.done()
}

func readGeneratorRef(n *node) *generatorRef {
	ref := &generatorRef{kind: n.required("kind"), name: n.refName()}
	if ref.name == "" {
		n.problem(n.at("name"), "name a generator of the same revision", "is missing")
	}
	if v := n.text("apiVersion"); v != "" && v != GeneratorsGroup+"/v1alpha1" {
		n.problem(n.at("apiVersion"), "use "+GeneratorsGroup+"/v1alpha1", "is %q, which is not supported", shorten(v))
	}
	if ref.kind != "" && !supportedGenerator(ref.kind) {
		n.problem(n.at("kind"), generatorHint, "is %q, which is not supported", shorten(ref.kind))
	}
	n.done()
	return ref
}

func readSearch(n *node) *search {
	if n == nil {
		return nil
	}
	s := &search{unicode: readUnicode(n), decode: readDecoding(n), failNull: readFailNull(n)}
	name := n.child("name")
	s.query.Path, s.query.Tags, s.query.Name = n.text("path"), n.dict("tags"), name.text("regexp")
	name.expression("regexp")
	name.done()
	if name == nil && s.query.Path == "" && len(s.query.Tags) == 0 { // a name without an expression is any
		n.problem(n.path, "set name or tags", "says nothing to find by")
	}
	n.done()
	return s
}

const generatorHint = "use Password, UUID or Fake, or let the provider own the value"

func supportedGenerator(kind string) bool {
	return kind == "Password" || kind == "UUID" || kind == "Fake"
}

// check applies the rules that external-secrets.io's webhook applies.
func (m *Manifest) check(d *decoding) {
	if len(m.data) == 0 && len(m.dataFrom) == 0 {
		d.problem("spec", "set one of them", "has neither data nor dataFrom")
	}
	t := m.target
	if t.deletion == deleteDelete && t.creation != createOwner && t.creation != createOrphan {
		d.problem("spec.target.deletionPolicy", "use creationPolicy Owner, or deletionPolicy Retain or Merge",
			"is Delete, which does not go with creationPolicy %s: the Secret is not this ExternalSecret's to delete", t.creation)
	}
	if t.deletion == deleteMerge && t.creation == createNone {
		d.problem("spec.target.deletionPolicy", "use deletionPolicy Retain", "is Merge, which does not go with creationPolicy None: there is no Secret")
	}
	if m.refresh.policy == refreshCreatedOnce && (t.creation == createMerge || t.creation == createOrMerge) {
		d.problem("spec.refreshPolicy", "use OnChange, or creationPolicy Owner or Orphan",
			"is CreatedOnce, which does not go with creationPolicy %s: a Secret that is there is left alone, so that nothing is merged into it", t.creation)
	}
	m.checkKeys(d)
	m.checkType(d)
}

func (m *Manifest) checkKeys(d *decoding) {
	if m.target.deletion != deleteRetain {
		return // the last one that is there counts
	}
	seen := map[string]string{}
	for _, e := range m.data {
		if first, ok := seen[e.secretKey]; ok && e.secretKey != "" {
			d.problem(e.path+".secretKey", "rename or remove one of them", "is %q, as that of %s", shorten(e.secretKey), first)
		}
		seen[e.secretKey] = e.path
	}
}

// checkType refuses Secrets that would let somebody in to the cluster.
func (m *Manifest) checkType(d *decoding) {
	if m.target.template == nil {
		return
	}
	switch m.target.template.secretType {
	case "kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token":
		d.problem("spec.target.template.type", "use another type",
			"is %s, which the API server takes for a credential of the cluster", m.target.template.secretType)
	}
}

// storeOr returns the store of a value: its own, or else the ExternalSecret's.
func (m *Manifest) storeOr(own *v1alpha1.StoreReference) v1alpha1.StoreReference {
	if own != nil && own.Name != "" {
		return *own
	}
	return m.store
}
