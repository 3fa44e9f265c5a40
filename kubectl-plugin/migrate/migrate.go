// Package migrate owns what becomes of manifests of External Secrets Operator
// that move to gitseal: which work as they are, which change and how, and which
// do not work. It must not read or write files, nor ask a cluster.
package migrate

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Target is where manifests move to.
type Target struct {
	// Namespace is that of manifests that name none.
	Namespace string
	// OperatorNamespace is where the credentials of ClusterSecretStores stand.
	OperatorNamespace string
}

// Whether a manifest works with policy External.
const (
	AsIs    = "as it is"
	Changed = "changed"
	Never   = "no"
	Unread  = "not read"
)

// Finding is what becomes of one manifest.
type Finding struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"`
	Kind    string `json:"kind,omitempty"`
	Name    string `json:"name,omitempty"`
	Works   string `json:"works"` // AsIs, Changed, Never or Unread
	Message string `json:"message,omitempty"`
}

// File says what becomes of the manifests in a file, and what its text is then;
// nil where none changes. Only scalars are ever replaced, in the text, so that
// comments and order stay.
func (t Target) File(name string, text []byte) (found []Finding, changed []byte) {
	if !utf8.Valid(text) { // places in it could not be found
		return unread(name, text), nil
	}
	var edits []edit
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var node yaml.Node
		err := decoder.Decode(&node)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil { // its text may quote the file
			found = append(found, unread(name, text)...)
			break
		}
		f, e := t.document(name, &node)
		found, edits = append(found, f...), append(edits, e...)
	}
	if len(edits) > 0 {
		changed = applyEdits(text, edits)
	}
	return found, changed
}

// unread is for a file that seems to hold manifests, be it in UTF-16.
func unread(name string, text []byte) []Finding {
	if !bytes.Contains(bytes.ReplaceAll(text, []byte{0}, nil), []byte("external-secrets.io/")) {
		return nil
	}
	return []Finding{{File: name, Works: Unread, Message: unreadable}}
}

// edit replaces the text of a scalar.
type edit struct {
	node     *yaml.Node
	old, new string
}

// applyEdits goes backwards, so that the places of the others stay right.
func applyEdits(text []byte, edits []edit) []byte {
	slices.SortFunc(edits, func(a, b edit) int {
		return cmp.Or(b.node.Line-a.node.Line, b.node.Column-a.node.Column)
	})
	lines := splitLines(string(text))
	for _, e := range edits {
		line, at := []rune(lines[e.node.Line-1]), e.node.Column-1
		lines[e.node.Line-1] = string(line[:at]) + strings.Replace(string(line[at:]), e.old, e.new, 1)
	}
	return []byte(strings.Join(lines, ""))
}

// lineBreak is what YAML 1.1 ends lines with: places count by it.
var lineBreak = regexp.MustCompile(`\r\n|[\r\n\x{85}\x{2028}\x{2029}]`)

// splitLines leaves each line its end.
func splitLines(text string) []string {
	var lines []string
	begin := 0
	for _, at := range lineBreak.FindAllStringIndex(text, -1) {
		lines = append(lines, text[begin:at[1]])
		begin = at[1]
	}
	return append(lines, text[begin:])
}

// scalar finds a field of a mapping.
func scalar(mapping *yaml.Node, field string) *yaml.Node {
	if mapping == nil || mapping.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == field {
			return mapping.Content[i+1]
		}
	}
	return nil
}
