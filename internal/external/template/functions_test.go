package template

import (
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/Masterminds/sprig/v3"
	"sigs.k8s.io/yaml"
)

// forbidden are the functions of sprig that are not on the list.
var forbidden = []string{"env", "expandenv", "getHostByName"}

func TestEveryFunctionOfSprigIsDecidedAbout(t *testing.T) {
	all := sprig.GenericFuncMap()
	for name := range all {
		if allowed(name) == slices.Contains(forbidden, name) {
			t.Errorf("allowed(%q) = %t", name, allowed(name))
		}
	}
	for _, name := range append(slices.Clone(taken), keyMakers...) {
		if all[name] == nil {
			t.Errorf("sprig has no function %q", name)
		}
	}
}

func TestOurFunctionsHaveTheShapeThatWithinNeeds(t *testing.T) {
	r := &run{calls: map[string]int{}}
	for name := range names() {
		if f := r.function(name); f == nil != slices.Contains(builtin, name) {
			t.Errorf("function %q: there is one: %t", name, f != nil)
		}
	}
	r.functions(maps.Clone(names())) // panics on another shape
}

// The templates that are compared with External Secrets call each function.
func TestEveryFunctionIsCompared(t *testing.T) {
	raw, err := os.ReadFile("../../../test/differential/testdata/functions.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var entries []any
	if err := yaml.Unmarshal(raw, &entries); err != nil {
		t.Fatal(err)
	}
	called := map[string]bool{"break": true, "continue": true} // words of the language, which are compared too
	for _, entry := range entries {
		text, _ := entry.(string)
		if e, ok := entry.(map[string]any); ok {
			text, _ = e["text"].(string)
		}
		if p, err := parseGuarded(Template{Text: text}, Options{CreatedOnce: true}); err == nil {
			maps.Copy(called, p.used)
		}
	}
	for name := range names() {
		if !called[name] {
			t.Errorf("no template of test/differential calls %s", name)
		}
	}
}
