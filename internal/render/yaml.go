package render

import (
	"bytes"
	"errors"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	kjson "sigs.k8s.io/json"

	"github.com/gitseal/gitseal/internal/failure"
)

// parseYAML decodes through nodes and not into values directly, for three
// reasons: lines, duplicate keys, and the reading of scalars that Kustomize has
// ("yes" is text). What aliases expand to was bounded before.
func parseYAML(file string, raw []byte) ([]document, error) {
	var documents []document
	c := &converter{file: file}
	err := eachDocument(file, raw, func(root *yaml.Node) error {
		value, err := c.value(root, 0)
		if err != nil || value == nil {
			return err
		}
		documents = append(documents, document{value, Origin{file, root.Line}, itemLines(root)})
		return nil
	})
	return documents, err
}

// eachDocument calls do with the top node of each document of a file.
func eachDocument(file string, raw []byte, do func(*yaml.Node) error) error {
	decoder := yaml.NewDecoder(bytes.NewReader(raw))
	for n := 0; ; n++ {
		var node yaml.Node
		err := decoder.Decode(&node)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return syntaxFailure(file, err)
		}
		if n == maxDocuments {
			return refuse(Origin{file, node.Line}, "holds more than %d documents", maxDocuments).
				WithHint("split the file")
		}
		if node.Kind != yaml.DocumentNode || len(node.Content) != 1 {
			continue
		}
		if err := do(node.Content[0]); err != nil {
			return err
		}
	}
}

var yamlErrorPattern = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// syntaxFailure moves the line out of the parser's message.
func syntaxFailure(file string, err error) error {
	at, text := Origin{File: file}, oneLine(err.Error())
	if m := yamlErrorPattern.FindStringSubmatch(text); m != nil {
		at.Line, _ = strconv.Atoi(m[1])
		text = m[2]
	}
	return refuse(at, "is not valid YAML: %s", text)
}

func itemLines(root *yaml.Node) []int {
	if root.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		if root.Content[i].Value != "items" || root.Content[i+1].Kind != yaml.SequenceNode {
			continue
		}
		var lines []int
		for _, item := range root.Content[i+1].Content {
			lines = append(lines, item.Line)
		}
		return lines
	}
	return nil
}

// parseJSON reads a file of one JSON object.
func parseJSON(file string, raw []byte) ([]document, error) {
	if len(bytes.TrimSpace(raw)) == 0 {
		return nil, nil
	}
	var value any
	strict, err := kjson.UnmarshalStrict(raw, &value)
	if err != nil {
		at := Origin{File: file}
		if ok, offset := kjson.SyntaxErrorOffset(err); ok {
			at.Line = 1 + bytes.Count(raw[:min(int(offset), len(raw))], []byte("\n"))
		}
		return nil, refuse(at, "is not valid JSON: %s", oneLine(err.Error()))
	}
	if len(strict) > 0 {
		return nil, refuse(Origin{File: file}, "%s", oneLine(strict[0].Error())).WithHint("keep one of the two")
	}
	if depth(value) > maxDepth {
		return nil, tooDeep(Origin{File: file})
	}
	return []document{{value: value, origin: Origin{file, 1}}}, nil
}

func depth(v any) int {
	deepest := 0
	switch v := v.(type) {
	case map[string]any:
		for _, e := range v {
			deepest = max(deepest, 1+depth(e))
		}
	case []any:
		for _, e := range v {
			deepest = max(deepest, 1+depth(e))
		}
	}
	return deepest
}

func tooDeep(at Origin) *failure.Error {
	return refuse(at, "is nested more than %d levels deep", maxDepth)
}

// converter turns YAML nodes into the types that unstructured objects are
// made of.
type converter struct{ file string }

func (c *converter) at(n *yaml.Node) Origin { return Origin{c.file, n.Line} }

func (c *converter) value(n *yaml.Node, depth int) (any, error) {
	if depth > maxDepth {
		return nil, tooDeep(c.at(n))
	}
	switch n.Kind {
	case yaml.MappingNode:
		m := make(map[string]any, len(n.Content)/2)
		return m, c.fill(m, n, depth)
	case yaml.SequenceNode:
		return c.list(n, depth)
	case yaml.AliasNode:
		return c.value(n.Alias, depth+1)
	case yaml.DocumentNode:
		return c.value(n.Content[0], depth)
	case yaml.ScalarNode:
		return c.scalar(n)
	}
	return nil, nil
}

func (c *converter) list(n *yaml.Node, depth int) (any, error) {
	if err := c.checkTag(n, "!!seq"); err != nil {
		return nil, err
	}
	list := make([]any, len(n.Content))
	for i, e := range n.Content {
		v, err := c.value(e, depth+1)
		if err != nil {
			return nil, err
		}
		list[i] = v
	}
	return list, nil
}

// fill adds the entries of a mapping to m. What is merged in by "<<" yields to
// what stands in the mapping itself.
func (c *converter) fill(m map[string]any, n *yaml.Node, depth int) error {
	if err := c.checkTag(n, "!!map"); err != nil {
		return err
	}
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Kind == yaml.ScalarNode && n.Content[i].ShortTag() == "!!merge" {
			merges = append(merges, n.Content[i+1])
			continue
		}
		key, err := c.key(n.Content[i])
		if err != nil {
			return err
		}
		if _, ok := m[key]; ok {
			return refuse(c.at(n.Content[i]), "key %q is given twice", key).WithHint("keep one of the two")
		}
		if m[key], err = c.value(n.Content[i+1], depth+1); err != nil {
			return err
		}
	}
	for _, source := range merges {
		if err := c.merge(m, source, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (c *converter) merge(m map[string]any, source *yaml.Node, depth int) error {
	v, err := c.value(source, depth)
	if err != nil {
		return err
	}
	parts, ok := v.([]any)
	if !ok {
		parts = []any{v}
	}
	for _, part := range parts {
		from, ok := part.(map[string]any)
		if !ok {
			return refuse(c.at(source), "merges %s where a map is expected", TypeName(part))
		}
		for key, v := range from {
			if _, ok := m[key]; !ok {
				m[key] = v
			}
		}
	}
	return nil
}

// key returns a mapping's key. Keys that YAML reads as numbers or booleans are
// taken as they are written.
func (c *converter) key(n *yaml.Node) (string, error) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null" {
		return "", refuse(c.at(n), "has a key that is not text").WithHint("quote the key")
	}
	return n.Value, nil
}

func (c *converter) scalar(n *yaml.Node) (any, error) {
	switch tag := n.ShortTag(); tag {
	case "!!str", "!!timestamp", "!!merge":
		return n.Value, nil
	case "!!null":
		return nil, nil
	case "!!bool":
		var b bool
		if err := n.Decode(&b); err != nil {
			return nil, refuse(c.at(n), "has text that is tagged as a boolean")
		}
		return b, nil
	case "!!int", "!!float":
		return c.number(n)
	default:
		return nil, refuse(c.at(n), "has the YAML tag %q, which is not supported", tag).WithHint("remove the tag")
	}
}

func (c *converter) number(n *yaml.Node) (any, error) {
	var v any
	if err := n.Decode(&v); err != nil {
		return nil, refuse(c.at(n), "has text that is tagged as a number")
	}
	switch v := v.(type) {
	case int:
		return int64(v), nil
	case int64:
		return v, nil
	case uint64:
		return float64(v), nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, refuse(c.at(n), "has a number that JSON cannot hold").WithHint("quote it, or use a finite number")
		}
		return v, nil
	}
	return nil, refuse(c.at(n), "has a number that is not understood").WithHint("quote it")
}

func (c *converter) checkTag(n *yaml.Node, want string) error {
	if tag := n.ShortTag(); tag != want {
		return refuse(c.at(n), "has the YAML tag %q, which is not supported", tag).WithHint("remove the tag")
	}
	return nil
}

// oneLine makes a message of another library fit a condition.
func oneLine(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	const limit = 400
	if runes := []rune(text); len(runes) > limit {
		text = string(runes[:limit]) + "…"
	}
	return strings.ToValidUTF8(strings.TrimSuffix(text, "."), "\uFFFD")
}
