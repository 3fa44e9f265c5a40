package external

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/gitseal/gitseal/internal/render"
)

const document = "../../docs/spec/v1alpha1/externalsecret.md"

func readText(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestTheDocumentsExamplesAreUnderstood(t *testing.T) {
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(readText(t, document), -1)
	var manifests int
	for _, block := range blocks {
		var objects []render.Object
		for _, text := range strings.Split(block[1], "\n---\n") {
			objects = append(objects, object(t, text))
		}
		c, err := Collect(objects)
		if err != nil {
			t.Error(messages(t, err))
		}
		manifests += len(c.Manifests)
	}
	if manifests < 2 {
		t.Errorf("%d examples were found", manifests)
	}
}

func TestTheDocumentHasEveryField(t *testing.T) {
	text := readText(t, document)
	fields := 0
	for _, file := range []string{"manifest.go", "manifest_entries.go", "rewrite.go", "collect.go"} {
		asked := regexp.MustCompile(`\.(?:text|enum|child|list|items|texts|dict|template|required|expression|boolean|number|duration|unsupported)\("(\w+)"`)
		for _, field := range asked.FindAllStringSubmatch(readText(t, file), -1) {
			fields++
			if name := field[1]; name != "spec" && !regexp.MustCompile(`\b`+name+`\b`).MatchString(text) {
				t.Errorf("%s does not have the field %s", document, name)
			}
		}
	}
	if fields < 60 {
		t.Errorf("%d fields were found in the source, want all of them", fields)
	}
}
