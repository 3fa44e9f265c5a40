package template

import (
	"strings"

	"sigs.k8s.io/yaml"
)

// documents are the functions for YAML.
func documents() map[string]any {
	return map[string]any{"toYaml": toYAML, "fromYaml": fromYAML}
}

// toYAML has no newline at its end, and is "" for what cannot be written.
func toYAML(v any) string {
	text, err := yaml.Marshal(v)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(string(text), "\n")
}

// fromYAML reads a mapping. Of what is none it returns one with an entry Error,
// as External Secrets does, but without the parser's text, which quotes.
func fromYAML(text string) map[string]any {
	mapping := map[string]any{}
	if err := yaml.Unmarshal([]byte(text), &mapping); err != nil {
		return map[string]any{"Error": "not a YAML mapping"}
	}
	return mapping
}
