package source

import (
	"bytes"
	"errors"

	yaml "go.yaml.in/yaml/v3"
)

var (
	errExpansion = errors.New("YAML aliases expand to too many nodes")
	errNesting   = errors.New("YAML is nested too deeply")
)

// checkExpansion bounds what aliases make of a file before any parser that
// follows them sees it. A file that is not YAML passes: it is no bomb, and
// whoever reads it says what is wrong. The name of the file plays no part,
// because Kustomize reads YAML under any name.
func checkExpansion(raw []byte, nodes, depth int) error {
	if !bytes.ContainsRune(raw, '&') || !bytes.ContainsRune(raw, '*') {
		return nil
	}
	e := expansion{nodes: nodes, depth: depth, sizes: map[*yaml.Node]size{}}
	total := 0
	for d := yaml.NewDecoder(bytes.NewReader(raw)); ; {
		var document yaml.Node
		if err := d.Decode(&document); err != nil {
			return nil
		}
		s, err := e.measure(&document)
		if err != nil {
			return err
		}
		if total += s.nodes; total > nodes {
			return errExpansion
		}
	}
}

// size of a node with its aliases expanded.
type size struct {
	nodes, depth int
	open         bool // being measured: meeting it again is a cycle
}

type expansion struct {
	nodes, depth int
	sizes        map[*yaml.Node]size
}

// measure visits each node once, however often aliases lead to it.
func (e *expansion) measure(n *yaml.Node) (size, error) {
	if n.Kind == yaml.AliasNode {
		if n.Alias == nil {
			return size{nodes: 1, depth: 1}, nil
		}
		n = n.Alias
	}
	if known, ok := e.sizes[n]; ok {
		if known.open {
			return size{}, errExpansion
		}
		return known, nil
	}
	if len(n.Content) > 0 {
		e.sizes[n] = size{open: true}
	}
	sum := size{nodes: 1}
	for _, child := range n.Content {
		s, err := e.measure(child)
		if err != nil {
			return size{}, err
		}
		sum.nodes += s.nodes
		sum.depth = max(sum.depth, s.depth)
		if sum.nodes > e.nodes {
			return size{}, errExpansion
		}
	}
	if sum.depth++; sum.depth > e.depth {
		return size{}, errNesting
	}
	if len(n.Content) > 0 {
		e.sizes[n] = sum
	}
	return sum, nil
}
