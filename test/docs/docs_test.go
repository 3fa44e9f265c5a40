// Package docs holds the tests of what is written in README.md and docs/: that
// it is complete, that links lead somewhere, and that the tutorial works as it
// is typed. It must not test the program for its own sake.
package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const root = "../.."

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// reasons are the reasons of conditions, from the source.
func reasons(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, "api/v1alpha1/constants.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Reason") {
			return true
		}
		value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, value)
		return true
	})
	return found
}

func TestEveryReasonIsExplained(t *testing.T) {
	t.Parallel()
	all := reasons(t)
	if len(all) < 20 {
		t.Fatalf("reasons(%s) = %d, want all of them", "constants.go", len(all))
	}
	for _, document := range []string{"docs/troubleshooting.md", "docs/spec/v1alpha1/application.md"} {
		text := read(t, document)
		for _, reason := range all {
			if !strings.Contains(text, "\n| `"+reason+"` |") {
				t.Errorf("%s has no row for reason %s", document, reason)
			}
		}
	}
}

// schema is as much of a schema as is needed to list its fields.
type schema struct {
	Properties map[string]schema `json:"properties"`
	Items      *schema           `json:"items"`
}

func (s schema) leaves(path string, visit func(string)) {
	if s.Items != nil {
		s.Items.leaves(path, visit)
		return
	}
	for name, field := range s.Properties {
		visit(name)
		field.leaves(path+"."+name, visit)
	}
}

func TestEveryFieldIsInTheSpecification(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		definition string
		pages      []string
		least      int
	}{
		"Application": {"config/crd/bases/gitseal.dev_applications.yaml", []string{"application.md"}, 30},
		"SecretStore": {"config/crd/bases/gitseal.dev_secretstores.yaml",
			[]string{"secretstore.md", "secretstore-aws.md", "secretstore-gcp.md", "secretstore-vault.md"}, 80},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var definition struct {
				Spec struct {
					Versions []struct {
						Schema struct {
							OpenAPIV3Schema schema `json:"openAPIV3Schema"`
						} `json:"schema"`
					} `json:"versions"`
				} `json:"spec"`
			}
			if err := yaml.Unmarshal([]byte(read(t, tt.definition)), &definition); err != nil {
				t.Fatal(err)
			}
			var text string
			for _, page := range tt.pages {
				text += read(t, "docs/spec/v1alpha1/"+page)
			}
			fields := 0
			definition.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"].leaves("", func(name string) {
				fields++
				if !regexp.MustCompile("[`.]" + regexp.QuoteMeta(name) + "\\b").MatchString(text) {
					t.Errorf("%v do not mention field %q", tt.pages, name)
				}
			})
			if fields < tt.least {
				t.Fatalf("found %d fields in the CRD, want all of them", fields)
			}
		})
	}
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

func TestLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	checked := 0
	for _, file := range markdown(t) {
		for _, m := range link.FindAllStringSubmatch(read(t, file), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			checked++
			path, anchor, _ := strings.Cut(m[1], "#")
			target := file
			if path != "" {
				target = filepath.Join(filepath.Dir(file), path)
			}
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s links to %s, which is not there", file, m[1])
				continue
			}
			if anchor != "" && !anchors(read(t, target))[anchor] {
				t.Errorf("%s links to %s, which has no such heading", file, m[1])
			}
		}
	}
	if checked < 20 {
		t.Fatalf("checked %d links, want all of them", checked)
	}
}

func markdown(t *testing.T) []string {
	t.Helper()
	files := []string{"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "test/sandbox/README.md"}
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, ".md") {
			path, err = filepath.Rel(root, path)
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

var (
	heading    = regexp.MustCompile(`(?m)^#+ (.*)$`)
	notInLinks = regexp.MustCompile(`[^a-z0-9 _-]`)
)

// anchors are the names by which the headings of a page can be linked to.
func anchors(text string) map[string]bool {
	found := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		found[strings.ReplaceAll(notInLinks.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")] = true
	}
	return found
}
