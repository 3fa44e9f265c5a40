package render

import (
	"bytes"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
)

const (
	maxDocumentEntries = 200_000   // of maps and lists in one document
	maxEntries         = 1_000_000 // of maps and lists in one rendering
	maxBuildEntries    = 400_000   // and in one of Kustomize, which takes thrice the memory
	maxObjectBytes     = 3 << 19   // as JSON; etcd takes no larger one
)

// weigh counts the entries of a file before any other parser sees it, those
// that aliases add included: a parsed node takes a hundred times the memory of
// its text.
func weigh(file string, raw []byte) (int, error) {
	entries, err := entriesOf(file, raw)
	if err != nil {
		return 0, err
	}
	aliased, err := checkAliases(file, raw)
	return entries + aliased, err
}

// tooMuch is about a rendering as a whole: files are read side by side, so
// which of them goes over the limit is chance.
func tooMuch(root string, limit int) error {
	return failure.Stallf(v1alpha1.ReasonRenderFailed, "path %q holds more than %d entries of maps and lists", root, limit).
		WithHint("split it over several Applications")
}

// entriesOf counts what may begin an entry of a map or a list. That is no less
// than a parser finds, by a constant factor; text that looks like entries
// counts, too.
func entriesOf(file string, raw []byte) (int, error) {
	total := 0
	for start := 0; start < len(raw); {
		end := documentEnd(raw, start)
		n := countEntries(raw[start:end])
		if n > maxDocumentEntries {
			line := 1 + bytes.Count(raw[:start], []byte("\n"))
			return 0, refuse(Origin{file, line}, "the document that begins here holds more than %d entries of maps and lists", maxDocumentEntries).
				WithHint("split it into smaller objects")
		}
		total += n
		start = end
	}
	return total, nil
}

// documentEnd returns where the document at start ends: a line that begins with
// "---" parts documents wherever it stands.
func documentEnd(raw []byte, start int) int {
	if i := bytes.Index(raw[start:], []byte("\n---")); i >= 0 {
		return start + i + 1
	}
	return len(raw)
}

func countEntries(raw []byte) int {
	n := 0
	for i, b := range raw {
		switch b {
		case ',', '[', '{':
			n++
		case ':', '-', '?':
			// Without a blank behind it, it is text or stands between two of
			// the above. Some line breaks of YAML are not ASCII.
			if i+1 == len(raw) || raw[i+1] <= ' ' || raw[i+1] >= 0x80 {
				n++
			}
		}
	}
	return n
}

// jsonBytes is about what v takes as JSON. Nothing is written for it: aliases
// can make a short file long.
func jsonBytes(v any) int {
	switch v := v.(type) {
	case string:
		return len(v) + 2
	case map[string]any:
		n := 2
		for key, e := range v {
			n += len(key) + 4 + jsonBytes(e)
		}
		return n
	case []any:
		n := 2
		for _, e := range v {
			n += 1 + jsonBytes(e)
		}
		return n
	}
	return 4
}
