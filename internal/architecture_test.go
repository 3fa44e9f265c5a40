package internal_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/gitseal/gitseal/"

// file is one Go file of the module, by its path from the root.
type file struct {
	path   string
	tree   *ast.File
	lines  int
	test   bool
	source string
}

func (f file) dir() string { return filepath.ToSlash(filepath.Dir(f.path)) }

func (f file) imports() []string {
	var paths []string
	for _, i := range f.tree.Imports {
		if path, err := strconv.Unquote(i.Path.Value); err == nil {
			paths = append(paths, path)
		}
	}
	return paths
}

var positions = token.NewFileSet()

// modules are directories with a module of their own.
var modules = []string{"test/sandbox", "test/vaultserver", "test/oracle", "test/protogen"}

// load parses every Go file of this module.
func load(t *testing.T) []file {
	t.Helper()
	var files []file
	for _, top := range []string{"api", "cmd", "controllers", "internal", "kubectl-plugin", "providers", "test"} {
		root := filepath.Join("..", top)
		if _, err := os.Stat(root); os.IsNotExist(err) {
			continue
		}
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && (d.Name() == "testdata" || slices.ContainsFunc(modules, func(m string) bool { return strings.HasSuffix(path, m) })):
				return filepath.SkipDir
			case d.IsDir() || !strings.HasSuffix(path, ".go"):
				return nil
			}
			raw, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			tree, err := parser.ParseFile(positions, path, raw, parser.ParseComments)
			if err != nil {
				return err
			}
			path = filepath.ToSlash(strings.TrimPrefix(path, ".."+string(filepath.Separator)))
			files = append(files, file{
				path: path, tree: tree, lines: strings.Count(string(raw), "\n"), source: string(raw),
				test: strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, "test/") || strings.HasPrefix(path, "providers/providertest/"),
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func under(path string, dirs ...string) bool {
	return slices.ContainsFunc(dirs, func(d string) bool { return path == d || strings.HasPrefix(path, d+"/") })
}

// rule forbids imports to the packages under some directories.
type rule struct {
	dirs   []string
	forbid func(imported string) bool
}

func outsideOf(allowed ...string) func(string) bool {
	return func(imported string) bool { return !under(imported, allowed...) }
}

func anyOf(forbidden ...string) func(string) bool {
	return func(imported string) bool { return under(imported, forbidden...) }
}

func standard(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return !strings.Contains(first, ".")
}

func TestImportsPointOneWay(t *testing.T) {
	rules := map[string]rule{
		"the API imports apimachinery only": {[]string{"api"},
			func(i string) bool { return !standard(i) && !under(i, "k8s.io/apimachinery") }},
		"values depend on the standard library only": {[]string{"internal/secret"},
			func(i string) bool { return !standard(i) }},
		"failures, seams and turns depend on the standard library only": {[]string{"internal/failure", "internal/seam", "internal/turns"},
			func(i string) bool { return !standard(i) }},
		"rendering, policy and health are pure": {[]string{"internal/render", "internal/policy", "internal/health"},
			anyOf("k8s.io/client-go", "sigs.k8s.io/controller-runtime", "net/http", "net", "os/exec", module+"internal/apply", module+"internal/live", module+"internal/source")},
		"a renderer sees no value": {[]string{"internal/render"},
			anyOf(module + "internal/secret")},
		"signatures are checked without asking anybody": {[]string{"internal/signature"},
			func(i string) bool {
				return !standard(i) && !under(i, "github.com/ProtonMail/go-crypto/openpgp", "golang.org/x/crypto/ssh") || under(i, "net", "os", "syscall")
			}},
		"a source sees no value but credentials": {[]string{"internal/source"},
			anyOf(module+"internal/sops", module+"internal/render", module+"internal/apply")},
		"watches know of no value and no body": {[]string{"internal/live"},
			anyOf(module+"internal/secret", module+"internal/sops", module+"internal/apply", "k8s.io/client-go/kubernetes", "k8s.io/client-go/dynamic", "k8s.io/apimachinery/pkg/apis/meta/v1/unstructured")},
		"external manifests are understood without asking anybody": {[]string{"internal/external"},
			anyOf("k8s.io/client-go", "sigs.k8s.io/controller-runtime", "net/http", "os", "os/exec", module+"internal/apply", module+"internal/live", module+"internal/source", module+"internal/sops", module+"internal/store", module+"internal/fetch")},
		"webhooks know of neither Git nor the cluster": {[]string{"internal/webhook"},
			func(i string) bool {
				return !standard(i) && i != module+"internal/secret" && i != "k8s.io/utils/clock"
			}},
		"sharing knows nothing of what is shared": {[]string{"internal/shard"},
			anyOf(strings.TrimSuffix(module, "/"), "sigs.k8s.io/controller-runtime")},
		"backends know neither one another nor who asks them": {[]string{"providers"},
			func(i string) bool {
				return under(i, module+"internal/external", module+"internal/store", module+"internal/fetch", module+"controllers") ||
					strings.HasPrefix(i, module+"providers/") && !strings.HasPrefix(i, module+"providers/plugin/") // a plugin's protocol is a package of its own
			}},
		"of what is internal, backends know values and what may be connected to": {[]string{"providers"},
			func(i string) bool {
				return under(i, module+"internal") && i != module+"internal/secret" && i != module+"internal/egress"
			}},
		"the egress guard depends on the standard library only": {[]string{"internal/egress"},
			func(i string) bool { return !standard(i) }},
		"templates know values and nothing else of ours": {[]string{"internal/external/template"},
			func(i string) bool {
				return under(i, strings.TrimSuffix(module, "/")) && i != module+"internal/secret" || under(i, "net", "os", "io/fs", "k8s.io")
			}},
		"stores know no backend": {[]string{"internal/store"},
			func(i string) bool {
				return strings.HasPrefix(i, module+"providers/") || under(i, "k8s.io/client-go", "sigs.k8s.io/controller-runtime", "net/http", module+"internal/live", module+"internal/apply")
			}},
		"the fetch layer knows neither manifests nor the cluster": {[]string{"internal/fetch"},
			func(i string) bool {
				return under(i, module+"internal/external", module+"internal/store", module+"internal/apply", module+"internal/live", "k8s.io/client-go", "sigs.k8s.io/controller-runtime") ||
					strings.HasPrefix(i, module+"providers/")
			}},
		"controllers name no provider": {[]string{"controllers"},
			func(i string) bool { return under(i, module+"providers") && i != module+"providers" }},
		"stores are kept without knowing how an Application is synced": {[]string{"controllers/stores"},
			anyOf(module+"internal/apply", module+"internal/source", module+"internal/sops", module+"internal/policy", module+"internal/webhook")},
		"controllers do not reach into the CLI": {[]string{"controllers", "internal"},
			anyOf(module+"kubectl-plugin", module+"cmd")},
		"internal packages do not reach up": {[]string{"internal"},
			anyOf(module + "controllers")},
		"the CLI does not import the controllers": {[]string{"kubectl-plugin"},
			anyOf(module+"controllers", module+"internal/live", "sigs.k8s.io/controller-runtime/pkg/manager")},
		"what becomes of manifests depends on nothing but them": {[]string{"kubectl-plugin/migrate"},
			anyOf("os", "net", "k8s.io/client-go", "k8s.io/cli-runtime", "github.com/spf13")},
		"nothing but tests starts programs": {[]string{"api", "cmd", "controllers", "internal", "kubectl-plugin", "providers"},
			anyOf("os/exec")},
		"nothing but tests knows of tests": {[]string{"api", "cmd", "controllers", "internal", "kubectl-plugin", "providers"},
			anyOf("testing", module+"test")},
		"commands hold no logic": {[]string{"cmd/kubectl-gitseal"},
			func(i string) bool { return !standard(i) && i != module+"kubectl-plugin" }},
		"no assertion library": {[]string{"api", "cmd", "controllers", "internal", "kubectl-plugin", "providers", "test"},
			anyOf("github.com/stretchr/testify", "github.com/pkg/errors", "github.com/onsi/gomega", "github.com/onsi/ginkgo")},
	}
	files := load(t)
	for name, r := range rules {
		t.Run(name, func(t *testing.T) {
			for _, f := range files {
				if !under(f.dir(), r.dirs...) || (f.test && name != "no assertion library") {
					continue
				}
				for _, imported := range f.imports() {
					if r.forbid(imported) {
						t.Errorf("%s imports %s", f.path, imported)
					}
				}
			}
		})
	}
}

func TestImportRulesCatchOffenders(t *testing.T) {
	if forbid := outsideOf("k8s.io/apimachinery"); forbid("k8s.io/apimachinery/pkg/x") || !forbid("k8s.io/client-go") {
		t.Error("outsideOf does not tell inside from outside")
	}
	if forbid := anyOf("k8s.io/client-go"); !forbid("k8s.io/client-go/rest") || forbid("k8s.io/client-gone") {
		t.Error("anyOf does not match by path element")
	}
	if !standard("net/http") || standard("k8s.io/api") {
		t.Error("standard does not know the standard library")
	}
}

// calls lists the positions at which a file calls something that match names
// as package or receiver and function.
func calls(f file, match func(receiver, name string) bool) []string {
	var found []string
	ast.Inspect(f.tree, func(n ast.Node) bool {
		s, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		receiver := ""
		if id, ok := s.X.(*ast.Ident); ok {
			receiver = id.Name
		}
		if match(receiver, s.Sel.Name) {
			found = append(found, fmt.Sprintf("%s:%d", f.path, positions.Position(s.Pos()).Line))
		}
		return true
	})
	return found
}

func TestValuesAreRevealedInFewPlaces(t *testing.T) {
	allowed := []string{"internal/apply", "internal/sops", "internal/source", "internal/secret", "internal/webhook", "kubectl-plugin",
		"internal/external", "internal/store", "providers"}
	revealed := 0
	for _, f := range load(t) {
		for _, at := range calls(f, func(_, name string) bool { return name == "Reveal" }) {
			revealed++
			if !f.test && !under(f.dir(), allowed...) {
				t.Errorf("%s reveals a value", at)
			}
		}
	}
	if revealed == 0 {
		t.Error("no call of Reveal was found: this test does not see them any more")
	}
}

func TestForbiddenCalls(t *testing.T) {
	tests := map[string]struct {
		dirs  []string
		tests bool // tests too
		match func(receiver, name string) bool
	}{
		"nobody sleeps outside tests": {
			[]string{"api", "cmd", "controllers", "internal", "kubectl-plugin", "providers"}, false,
			func(r, n string) bool { return r == "time" && n == "Sleep" }},
		"unit tests do not sleep": {
			[]string{"api", "cmd", "controllers", "internal", "kubectl-plugin"}, true,
			func(r, n string) bool { return r == "time" && n == "Sleep" }},
		"internal packages and controllers do not print": {
			[]string{"internal", "controllers", "api", "providers"}, false,
			func(r, n string) bool {
				return r == "fmt" && strings.HasPrefix(n, "Print") || r == "os" && (n == "Stdout" || n == "Stderr")
			}},
		"the CLI has its streams injected": {
			[]string{"kubectl-plugin"}, false,
			func(r, n string) bool { return r == "fmt" && strings.HasPrefix(n, "Print") }},
		"nobody exits but main": {
			[]string{"internal", "controllers", "api", "kubectl-plugin", "providers"}, false,
			func(r, n string) bool { return r == "os" && n == "Exit" || r == "log" && strings.HasPrefix(n, "Fatal") }},
	}
	files := load(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for _, f := range files {
				if !under(f.dir(), tt.dirs...) || f.test != tt.tests {
					continue
				}
				for _, at := range calls(f, tt.match) {
					t.Errorf("%s", at)
				}
			}
		})
	}
}

func TestNamesSayWhatIsInside(t *testing.T) {
	vague := []string{"util", "utils", "common", "helper", "helpers", "types", "misc", "consts", "base", "shared"}
	for _, f := range load(t) {
		name := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(f.path), ".go"), "_test")
		if slices.Contains(vague, f.tree.Name.Name) || slices.Contains(vague, name) || slices.Contains(vague, filepath.Base(f.dir())) {
			t.Errorf("%s has a name that says nothing", f.path)
		}
	}
}

const (
	maxFileLines     = 500
	maxFunctionLines = 60
)

func TestFilesAndFunctionsAreShort(t *testing.T) {
	for _, f := range load(t) {
		if f.test || ast.IsGenerated(f.tree) {
			continue
		}
		if f.lines > maxFileLines {
			t.Errorf("%s has %d lines, want at most %d", f.path, f.lines, maxFileLines)
		}
		for _, d := range f.tree.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			begin, end := positions.Position(fn.Pos()).Line, positions.Position(fn.End()).Line
			if n := end - begin + 1; n > maxFunctionLines {
				t.Errorf("%s:%d: %s has %d lines, want at most %d", f.path, begin, fn.Name.Name, n, maxFunctionLines)
			}
		}
	}
}

func TestEveryPackageSaysWhatItOwns(t *testing.T) {
	documented := map[string]bool{}
	for _, f := range load(t) {
		if !f.test {
			documented[f.dir()] = documented[f.dir()] || f.tree.Doc != nil
		}
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("package %s has no comment", dir)
		}
	}
}

func TestExportedSymbolsAreDocumented(t *testing.T) {
	for _, f := range load(t) {
		if f.test || ast.IsGenerated(f.tree) {
			continue
		}
		for _, d := range f.tree.Decls {
			fn, ok := d.(*ast.FuncDecl)
			ok = ok && fn.Name.Name != "String" && fn.Name.Name != "Error" // the interface says it
			if ok && fn.Name.IsExported() && fn.Doc == nil && exportedReceiver(fn) {
				t.Errorf("%s:%d: %s has no comment", f.path, positions.Position(fn.Pos()).Line, fn.Name.Name)
			}
		}
	}
}

func exportedReceiver(fn *ast.FuncDecl) bool {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return true
	}
	kind := fn.Recv.List[0].Type
	if star, ok := kind.(*ast.StarExpr); ok {
		kind = star.X
	}
	id, ok := kind.(*ast.Ident)
	return ok && id.IsExported()
}
