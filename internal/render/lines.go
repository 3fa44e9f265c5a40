package render

import (
	"bytes"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// entry is an object in a file as it stands there.
type entry struct {
	kind, name string
	line       int
}

// indexOf lists the objects of a file, as far as it can be read.
func indexOf(raw []byte) []entry {
	var index []entry
	_ = eachDocument("", raw, func(root *yaml.Node) error {
		if items := child(root, "items"); items != nil && items.Kind == yaml.SequenceNode {
			for _, item := range items.Content {
				index = append(index, entryOf(item))
			}
		}
		if root.Kind != yaml.ScalarNode { // an empty document, or text
			index = append(index, entryOf(root))
		}
		return nil
	})
	return index
}

func entryOf(n *yaml.Node) entry {
	return entry{text(child(n, "kind")), text(child(child(n, "metadata"), "name")), n.Line}
}

// child returns the value of a mapping's key, or nil.
func child(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value != key {
			continue
		}
		if value := n.Content[i+1]; value.Kind != yaml.AliasNode {
			return value
		}
		return n.Content[i+1].Alias
	}
	return nil
}

func text(n *yaml.Node) string {
	if n == nil {
		return ""
	}
	return n.Value
}

// closest returns the line of the entry that an object was made from. Prefixes,
// suffixes and hashes may have been added to its name, so the longest name
// that the object's holds is taken; 0 if there is none.
func closest(index []entry, kind, name string) int {
	line, longest, only := 0, -1, 0
	for _, e := range index {
		if e.kind != kind {
			continue
		}
		only++
		if len(e.name) > longest && strings.Contains(name, e.name) {
			line, longest = e.line, len(e.name)
		}
	}
	if line == 0 && only == 1 { // a patch has renamed it
		at := slices.IndexFunc(index, func(e entry) bool { return e.kind == kind })
		return index[at].line
	}
	return line
}

// generatorLine returns the line of the entry of a kustomization that has
// generated an object.
func generatorLine(raw []byte, kind, name string) int {
	field := map[string]string{"ConfigMapGenerator": "configMapGenerator", "SecretGenerator": "secretGenerator"}[kind]
	line := 0
	_ = eachDocument("", raw, func(root *yaml.Node) error {
		list := child(root, field)
		if field == "" || list == nil {
			// An inline configuration, or a spelling of the field that
			// Kustomize forgives.
			return nil
		}
		var index []entry
		for _, n := range list.Content {
			index = append(index, entry{kind, text(child(n, "name")), n.Line})
		}
		line = closest(index, kind, name)
		return nil
	})
	return line
}

// lineOf returns the first line of raw on which one of the scalars stands as
// a key or value; 0 if there is none.
func lineOf(raw []byte, scalars ...string) int {
	decoder := yaml.NewDecoder(bytes.NewReader(raw))
	for {
		var node yaml.Node
		if decoder.Decode(&node) != nil {
			return 0
		}
		if line := findScalar(&node, scalars); line != 0 {
			return line
		}
	}
}

func findScalar(n *yaml.Node, scalars []string) int {
	if n.Kind == yaml.ScalarNode && slices.Contains(scalars, n.Value) {
		return n.Line
	}
	for _, c := range n.Content {
		if line := findScalar(c, scalars); line != 0 {
			return line
		}
	}
	return 0
}
