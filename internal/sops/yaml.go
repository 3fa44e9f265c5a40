package sops

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"

	getsops "github.com/getsops/sops/v3"
	"go.yaml.in/yaml/v3"
)

const (
	// maxKeys bounds one mapping: the YAML library compares each pair of keys.
	maxKeys = 5000
	// maxDepth bounds nesting, since the library recurses.
	maxDepth = 200
)

var yamlErrorLine = regexp.MustCompile(`line (\d+)`)

// errShape is a document that parses but that SOPS cannot hold.
type errShape struct {
	line    int
	problem string
}

func (e *errShape) Error() string { return e.problem }

// yamlDocuments parses a stream into nodes, which costs one pass and expands
// nothing.
func yamlDocuments(raw []byte) (documents []*yaml.Node, err error) {
	decoder := yaml.NewDecoder(bytes.NewReader(raw))
	for {
		var node yaml.Node
		err := decoder.Decode(&node)
		if errors.Is(err, io.EOF) {
			return documents, nil
		}
		if err != nil {
			return nil, &errShape{line: errorLine(err), problem: "the file is not valid YAML"}
		}
		documents = append(documents, &node)
	}
}

// errorLine takes the line out of the YAML library's error and nothing else.
func errorLine(err error) int {
	found := yamlErrorLine.FindStringSubmatch(err.Error())
	if found == nil {
		return 0
	}
	line, _ := strconv.Atoi(found[1])
	return line
}

// branchesOf makes the tree that the library's own store would make, less the
// comments, and refuses what the store would expand, compare or recurse into
// without bound. The store itself parses a file twice.
func branchesOf(documents []*yaml.Node) (getsops.TreeBranches, error) {
	branches := make(getsops.TreeBranches, 0, len(documents))
	for _, document := range documents {
		if len(document.Content) == 0 {
			branches = append(branches, getsops.TreeBranch{})
			continue
		}
		root := document.Content[0]
		if root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null" {
			branches = append(branches, getsops.TreeBranch{})
			continue
		}
		if root.Kind != yaml.MappingNode {
			return nil, &errShape{root.Line, "SOPS needs a mapping at the top of each YAML document"}
		}
		branch, err := mappingOf(root, 0)
		if err != nil {
			return nil, err
		}
		branches = append(branches, branch)
	}
	return branches, nil
}

func mappingOf(node *yaml.Node, depth int) (getsops.TreeBranch, error) {
	if len(node.Content) > 2*maxKeys {
		return nil, &errShape{node.Line, "a mapping has more than " + strconv.Itoa(maxKeys) + " keys"}
	}
	branch := make(getsops.TreeBranch, 0, len(node.Content)/2)
	seen := make(map[string]bool, len(node.Content)/2)
	for i := 0; i+1 < len(node.Content); i += 2 {
		key := node.Content[i]
		if key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str" && key.ShortTag() != "!!merge" {
			return nil, &errShape{key.Line, "SOPS needs keys that are strings; quote this one"}
		}
		if seen[key.Value] {
			return nil, &errShape{key.Line, "a key stands twice in one mapping"}
		}
		seen[key.Value] = true
		value, err := valueOf(node.Content[i+1], depth+1)
		if err != nil {
			return nil, err
		}
		branch = append(branch, getsops.TreeItem{Key: key.Value, Value: value})
	}
	return branch, nil
}

func valueOf(node *yaml.Node, depth int) (any, error) {
	if depth > maxDepth {
		return nil, &errShape{node.Line, "the document is nested too deeply"}
	}
	switch node.Kind {
	case yaml.MappingNode:
		return mappingOf(node, depth)
	case yaml.SequenceNode:
		var items []any // nil when empty, as in the store
		for _, item := range node.Content {
			value, err := valueOf(item, depth+1)
			if err != nil {
				return nil, err
			}
			items = append(items, value)
		}
		return items, nil
	case yaml.AliasNode:
		return nil, &errShape{node.Line, "a YAML alias; sops expands aliases and never writes one"}
	}
	if node.Kind == yaml.ScalarNode && node.Tag == "!!str" {
		return node.Value, nil
	}
	var value any
	if err := node.Decode(&value); err != nil {
		return nil, &errShape{node.Line, "a value does not fit its YAML tag"}
	}
	return value, nil
}
