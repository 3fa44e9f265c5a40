package template_test

import (
	"strings"
	"testing"
	"time"

	"github.com/gitseal/gitseal/internal/external/template"
)

// Whatever a template does, it ends, does not panic, makes no more than a Secret
// can hold, and its error quotes no value.
func FuzzRender(f *testing.F) {
	const canary = "cAnArY-5d1c9e07"
	for _, seed := range []string{
		`{{ .a }}`, `{{ .a | upper | b64enc }}`, `{{ range splitList "," .b }}{{ . | quote }}{{ end }}`,
		`{{ define "x" }}{{ template "x" . }}{{ end }}{{ template "x" .a }}`, `{{ range 1000000000 }}{{ end }}`,
		`{{ $d := dict "a" .a }}{{ $_ := set $d "d" $d }}{{ $d | toJson }}`, `{{ printf "%99999999s" .a }}`, `{{ lt .a 1 }}`,
		`{{ index .a 100 }}`, `{{ regexReplaceAll .a .b "$1" }}`, `{{ .a.b.c }}`, `{{ fail .a }}`, `{{ atoi .a | until }}`,
		`{{ fromYaml .b | toYaml }}`, `{{ mustFromJson .a }}`, `{{ pkcs12key .a }}`, `{{ jwkPublicKeyPem .a }}`, `{{ filterPEM "X" .a }}`,
		`{{ repeat 1000000 .a | repeat 1000000 }}`, `{{ semver .a }}`, `{{ urlParse .a }}`, `{{ dateInZone "2006" now .a }}`,
		`{{ randInt 1 100 }}{{ shuffle .a }}{{ htpasswd .a .a }}`, `{{ decryptAES .a .b }}`, `{{ nindent 4 .a }}`, `{{ with $x := .a }}{{ $x }}{{ end }}`,
		`{{ slice .a 1 2 }}{{ substr 0 5 .a }}`, `{{ dig "a" "b" .a }}`, `{{ buildCustomCert .a .b }}`, `{{ if`, `{{ "a" .a }}`, `{{ nil }}`,
	} {
		f.Add(seed, "x", "y,z")
	}
	f.Fuzz(func(t *testing.T, text, a, b string) {
		if strings.Contains(strings.ToLower(text), "canary") {
			return
		}
		data := valuesOf(map[string]string{"a": canary + a, "b": b + canary})
		start := time.Now()
		out, err := template.Render(t.Context(), template.Template{Name: "k", Text: text}, data, options())
		if err != nil && strings.Contains(strings.ToLower(err.Error()), strings.ToLower(canary)) {
			t.Errorf("Render(%q): the error quotes a value: %v", text, err)
		}
		if out.Len() > 1<<20 {
			t.Errorf("Render(%q) made %d bytes", text, out.Len())
		}
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("Render(%q) took %v", text, took)
		}
	})
}
