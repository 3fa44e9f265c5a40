package sops

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	getsops "github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/cmd/sops/formats"
	"go.yaml.in/yaml/v3"

	"github.com/gitseal/gitseal/internal/secret"
)

// tokenized returns the file with tokens in place of what was encrypted,
// without its sops metadata, and how many values it holds.
func (f *file) tokenized(values *secret.Set) (document []byte, count int, err error) {
	tokens := make([]secret.Token, len(f.cipher.leaves))
	for i, l := range f.cipher.leaves {
		if l.comment {
			continue
		}
		if f.format == formats.Binary {
			l.kind = secret.Bytes
		}
		tokens[i] = values.Add(l.value, l.kind)
		count++
	}
	s := substitution{file: f, tokens: tokens}
	for i, branch := range f.tree.Branches {
		f.tree.Branches[i] = s.branch(branch)
	}
	if s.err != nil {
		return nil, 0, s.err
	}
	document, err = f.emit(tokens)
	return document, count, err
}

// substitution puts tokens into a tree, in the order in which the library
// decrypted it, and drops comments, which may have been encrypted, too.
type substitution struct {
	file   *file
	tokens []secret.Token
	next   int
	err    error
}

func (s *substitution) branch(branch getsops.TreeBranch) getsops.TreeBranch {
	kept := branch[:0]
	for _, item := range branch {
		if _, comment := item.Key.(getsops.Comment); comment {
			continue
		}
		if _, comment := item.Value.(getsops.Comment); comment && s.err == nil {
			s.err = malformed(s.file.name, 0, "a value is marked as a comment")
		}
		item.Value = s.value(item.Value)
		kept = append(kept, item)
	}
	return kept
}

func (s *substitution) value(v any) any {
	switch v := v.(type) {
	case getsops.TreeBranch:
		return s.branch(v)
	case []any:
		return s.items(v)
	case []byte:
		return s.token()
	case string:
		if i := findCiphertext(s.file.format, v); i >= 0 && s.err == nil {
			s.err = errCiphertextLeft(s.file.name, lineOfText(s.file.raw, firstLine(v[i:])), true)
		}
	}
	return v
}

func (s *substitution) items(items []any) []any {
	kept := items[:0]
	for _, item := range items {
		if _, comment := item.(getsops.Comment); comment {
			continue
		}
		kept = append(kept, s.value(item))
	}
	return kept
}

func (s *substitution) token() any {
	// Decrypted comments have no token.
	for s.next < len(s.tokens) && s.file.cipher.leaves[s.next].comment {
		s.next++
	}
	if s.next >= len(s.tokens) {
		s.err = malformed(s.file.name, 0, "the file is malformed")
		return nil
	}
	s.next++
	return string(s.tokens[s.next-1])
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// emit writes the tree with tokens. YAML and JSON documents are patched rather
// than written anew, so that each line stays where it is in Git and a refusal
// further down the pipeline names the right one. A patch counts only if it
// parses to exactly the tree; else the document is written anew. What a patch
// keeps, comments included, is text that stands in Git as it is; encrypted
// comments are never decrypted into it.
func (f *file) emit(tokens []secret.Token) ([]byte, error) {
	var patched, fresh []byte
	var err error
	switch f.format {
	case formats.Yaml:
		if patched = f.patch(blankYAML(f.raw), tokens); f.parsesToTree(patched) {
			return patched, nil
		}
		fresh, err = f.store.EmitPlainFile(f.tree.Branches)
	case formats.Json:
		if patched = f.patch(blankJSON(f.raw), tokens); f.parsesToTree(patched) {
			return patched, nil
		}
		fresh, err = appendJSON(nil, f.tree.Branches[0])
	default:
		fresh, err = f.store.EmitPlainFile(f.tree.Branches)
	}
	if err != nil {
		return nil, malformed(f.name, 0, "the file holds something that its format cannot")
	}
	return fresh, nil
}

// patch puts tokens in place of ciphertexts, which stand in the text in the
// order of the tree. It returns nil where they do not.
func (f *file) patch(text []byte, tokens []secret.Token) []byte {
	out := make([]byte, 0, len(text))
	for i, l := range f.cipher.leaves {
		at := bytes.Index(text, []byte(l.ciphertext))
		if at < 0 {
			if l.comment {
				continue
			}
			return nil
		}
		out = append(out, text[:at]...)
		text = text[at+len(l.ciphertext):]
		if l.comment {
			out = blankItem(out)
		}
		out = append(out, tokens[i]...)
	}
	out = bytes.TrimRight(blankComments(append(out, text...)), "\r\n")
	return append(out, '\n')
}

// blankItem takes back the dash of a list item that turned out to be a
// comment. If it was no list item, the patch will not parse to the tree.
func blankItem(out []byte) []byte {
	trimmed := bytes.TrimRight(out, " \"'")
	return bytes.TrimSuffix(trimmed, []byte("-"))
}

// blankComments removes encrypted comments: nothing reads them.
func blankComments(text []byte) []byte {
	mark := []byte("#" + secret.CiphertextStart)
	for {
		at := bytes.Index(text, mark)
		if at < 0 {
			return text
		}
		end := bytes.IndexByte(text[at:], '\n')
		if end < 0 {
			end = len(text) - at
		}
		text = slices.Delete(text, at, at+end)
	}
}

// blankYAML empties the lines of top-level sops keys.
func blankYAML(raw []byte) []byte {
	out := make([]byte, 0, len(raw))
	inside := false
	for line := range bytes.Lines(raw) {
		if inside {
			inside = bytes.IndexByte([]byte(" \t\r\n#"), line[0]) >= 0
		}
		if inside || yamlMetadata.Match(line) {
			inside = true
			line = line[len(line)-1:]
			if line[0] != '\n' {
				line = nil
			}
		}
		out = append(out, line...)
	}
	return out
}

// blankJSON empties the top-level sops member and the comma that parts it from
// the others, but keeps line breaks.
func blankJSON(raw []byte) []byte {
	start, end := jsonMember(raw, metadataKey)
	if start < 0 {
		return raw
	}
	out := slices.Clone(raw)
	if before := bytes.TrimRight(out[:start], " \t\r\n"); bytes.HasSuffix(before, []byte(",")) {
		start = len(before) - 1
	} else if after := bytes.TrimLeft(out[end:], " \t\r\n"); bytes.HasPrefix(after, []byte(",")) {
		end = len(out) - len(after) + 1
	}
	for i := start; i < end; i++ {
		if out[i] != '\n' {
			out[i] = ' '
		}
	}
	return out
}

// jsonMember returns where a member of the top-level object stands.
func jsonMember(raw []byte, name string) (start, end int) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	if _, err := decoder.Token(); err != nil {
		return -1, -1
	}
	for decoder.More() {
		from := int(decoder.InputOffset())
		key, err := decoder.Token()
		if err != nil {
			return -1, -1
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return -1, -1
		}
		if key == name {
			return from + bytes.IndexByte(raw[from:], '"'), int(decoder.InputOffset())
		}
	}
	return -1, -1
}

func (f *file) parsesToTree(document []byte) bool {
	if document == nil {
		return false
	}
	var branches getsops.TreeBranches
	var err error
	if f.format == formats.Yaml {
		var documents []*yaml.Node
		if documents, err = yamlDocuments(document); err == nil {
			branches, err = branchesOf(documents)
		}
	} else if json.Valid(document) {
		branches, err = f.store.LoadPlainFile(document)
	}
	if err != nil || len(branches) != len(f.tree.Branches) {
		return false
	}
	for i := range branches {
		if !equal(branches[i], f.tree.Branches[i]) {
			return false
		}
	}
	return true
}

func equal(a, b any) bool {
	switch a := a.(type) {
	case getsops.TreeBranch:
		b, ok := b.(getsops.TreeBranch)
		return ok && slices.EqualFunc(a, b, func(x, y getsops.TreeItem) bool {
			return x.Key == y.Key && equal(x.Value, y.Value)
		})
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, equal)
	case time.Time:
		b, ok := b.(time.Time)
		return ok && a.Equal(b)
	}
	switch b.(type) {
	case getsops.TreeBranch, []any:
		return false
	}
	return a == b
}

// appendJSON writes a tree on one line. The library's own emitter takes
// quadratic time.
func appendJSON(out []byte, v any) (_ []byte, err error) {
	switch v := v.(type) {
	case getsops.TreeBranch:
		out = append(out, '{')
		for i, item := range v {
			if i > 0 {
				out = append(out, ',')
			}
			if out, err = appendJSON(out, item.Key); err != nil {
				return nil, err
			}
			if out, err = appendJSON(append(out, ':'), item.Value); err != nil {
				return nil, err
			}
		}
		return append(out, '}'), nil
	case []any:
		out = append(out, '[')
		for i, item := range v {
			if i > 0 {
				out = append(out, ',')
			}
			if out, err = appendJSON(out, item); err != nil {
				return nil, err
			}
		}
		return append(out, ']'), nil
	}
	scalar, err := json.Marshal(v)
	if err != nil {
		return nil, errors.New("a value that JSON cannot hold")
	}
	return append(out, scalar...), nil
}
