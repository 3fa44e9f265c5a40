package sops

import (
	"fmt"
	"testing"
	"time"

	getsops "github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/cmd/sops/common"
	"github.com/getsops/sops/v3/config"

	"github.com/gitseal/gitseal/internal/secret"
)

// tree is a document as lines of path, type and text.
func tree(t *testing.T, name, document string) []string {
	t.Helper()
	return flatten(t, name, []byte(document), nil)
}

// untokenized is the same for a document with tokens, which it replaces by
// typed values.
func untokenized(t *testing.T, name string, document []byte, values *secret.Set) []string {
	t.Helper()
	return flatten(t, name, document, values)
}

func flatten(t *testing.T, name string, document []byte, values *secret.Set) (lines []string) {
	t.Helper()
	branches, err := common.DefaultStoreForPath(config.NewStoresConfig(), name).LoadPlainFile(document)
	if err != nil {
		t.Fatalf("load %q: %v", document, err)
	}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := uncommented(v).(type) {
		case getsops.TreeBranch:
			lines = append(lines, path+" {}")
			for _, item := range v {
				walk(fmt.Sprintf("%s.%v", path, item.Key), item.Value)
			}
		case []any:
			lines = append(lines, path+" []")
			for i, item := range v {
				walk(fmt.Sprintf("%s[%d]", path, i), item)
			}
		case time.Time:
			lines = append(lines, path+" = "+v.Format(time.RFC3339)+" (0)")
		default:
			lines = append(lines, fmt.Sprintf("%s = %v", path, plainText(v, values)))
		}
	}
	for i, branch := range branches {
		walk(fmt.Sprint(i), branch)
	}
	return lines
}

// plainText renders numbers alike whether they come from YAML or from a value.
func plainText(v any, values *secret.Set) string {
	text, isText := v.(string)
	if isText && values != nil {
		if value, kind, ok := values.Lookup(secret.Token(text)); ok {
			return fmt.Sprintf("%s (%d)", value.Reveal(), kind)
		}
		return text + " (0)"
	}
	if isText {
		return text + " (0)"
	}
	switch v := v.(type) {
	case int:
		return fmt.Sprintf("%d (1)", v)
	case float64:
		b, _ := getsops.ToBytes(v)
		return fmt.Sprintf("%s (2)", b)
	case bool:
		return fmt.Sprintf("%t (3)", v)
	}
	return fmt.Sprintf("%v", v)
}
