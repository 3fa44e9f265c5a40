package template_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gitseal/gitseal/internal/external/template"
	"github.com/gitseal/gitseal/internal/secret"
)

var epoch = time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)

func options() template.Options {
	return template.Options{Derive: secret.NewTokenizer([]byte("install key")).Derive, Epoch: "1", Now: epoch}
}

func valuesOf(texts map[string]string) map[string]secret.Value {
	values := map[string]secret.Value{}
	for key, text := range texts {
		values[key] = secret.NewValue([]byte(text))
	}
	return values
}

func render(t *testing.T, text string, data map[string]string, o template.Options) (string, error) {
	t.Helper()
	value, err := template.Render(t.Context(), template.Template{Name: "key", Text: text}, valuesOf(data), o)
	return string(value.Reveal()), err
}

func TestRender(t *testing.T) {
	data := map[string]string{"user": "ada", "password": "hunter2!", "json": `{"a":{"b":[1,2]},"s":"x"}`, "tls.crt": "pem", "list": "b,a,c"}
	tests := map[string]struct{ text, want string }{
		"plain text":                      {"no actions", "no actions"},
		"values are text":                 {`{{ .user }}:{{ .password | upper }}`, "ada:HUNTER2!"},
		"a key with a dot":                {`{{ index . "tls.crt" }}`, "pem"},
		"an index that is not there":      {`[{{ index . "nothing" }}]`, "[]"},
		"loops":                           {`{{ range $i, $e := splitList "," .list | sortAlpha }}{{ $i }}{{ $e }} {{ end }}`, "0a 1b 2c "},
		"a number is a range":             {`{{ range 3 }}x{{ end }}`, "xxx"},
		"break and continue":              {`{{ range until 9 }}{{ if eq . 2 }}{{ continue }}{{ end }}{{ if gt . 4 }}{{ break }}{{ end }}{{ . }}{{ end }}`, "0134"},
		"definitions":                     {`{{ define "x" }}<{{ . }}>{{ end }}{{ template "x" .user }}{{ template "x" 1 }}`, "<ada><1>"},
		"an empty range has an else":      {`{{ range until 0 }}x{{ else }}none{{ end }}`, "none"},
		"JSON":                            {`{{ (.json | fromJson).a.b | toJson }}`, "[1,2]"},
		"YAML":                            {`{{ .json | fromYaml | toYaml }}`, "a:\n  b:\n  - 1\n  - 2\ns: x"},
		"the time is that of the epoch":   {`{{ now | date "2006-01-02 15:04 MST" }}`, "2026-11-23 04:00 UTC"},
		"a time zone":                     {`{{ dateInZone "15:04" now "Asia/Tokyo" }}`, "13:00"},
		"printf":                          {`{{ printf "%s-%05d-%*d|%q" .user 42 4 7 .password }}`, `ada-00042-   7|"hunter2!"`},
		"nothing to print":                {`{{ fromJson "null" }}`, "<no value>"},
		"whitespace":                      {"a \n{{- .user -}}\n b", "aadab"},
		"variables print nothing":         {`{{ $x := .user }}{{ $x = "b" }}{{ $x }}`, "b"},
		"keys are in order":               {`{{ dict "c" 1 "a" 2 "b" 3 | keys | join "," }}`, "a,b,c"},
		"a comment":                       {`{{/* {{ nothing }} */}}x`, "x"},
		"regular expressions":             {`{{ regexReplaceAll "(h)(u)" .password "${2}$1" }}`, "uhnter2!"},
		"empty matches":                   {`{{ regexReplaceAll "x*" "axb" "-" }}`, "-a-b-"},
		"counting":                        {`{{ seq 3 }};{{ seq 2 2 6 }};{{ seq 3 1 }};{{ until 3 }};{{ untilStep 6 0 -2 }}`, "1 2 3;2 4 6;3 2 1;[0 1 2];[6 4 2]"},
		"a template that calls itself":    {`{{ define "n" }}{{ if gt . 0 }}{{ . }}{{ template "n" (sub . 1) }}{{ end }}{{ end }}{{ template "n" 5 }}`, "54321"},
		"the logic of short circuits":     {`{{ and "" (fail "x") }}|{{ or "y" (fail "x") }}`, "|y"},
		"splitting":                       {`{{ (split "," .list)._1 }} {{ (splitn "," 2 .list)._1 }}`, "a a,c"},
		"wrapping":                        {`{{ wrapWith 3 "|" "abcdef" }}`, "abc|def"},
		"a value may look like an action": {`{{ .user }}{{ "{{" }}`, "ada{{"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := render(t, tt.text, data, options())
			if err != nil || got != tt.want {
				t.Errorf("Render(%q) = %q, %v, want %q", tt.text, got, err, tt.want)
			}
		})
	}
}

func TestErrorsNameThePlaceAndQuoteNoValue(t *testing.T) {
	const canary = "canary-of-a-value"
	data := map[string]string{"v": canary, "json": `{"` + canary + `":`}
	tests := map[string]struct{ text, want string }{
		"a missing key":                 {"x\n  {{ .nothing }}", `template "key", line 2, column 6: there is no value "nothing"`},
		"a missing key as argument":     {`{{ upper .nothing }}`, `template "key", line 1, column 10: there is no value "nothing"`},
		"a field of a text":             {`{{ .v.x }}`, `template "key", line 1, column 6: there is no value "v.x"`},
		"an unknown function":           {"a\nb {{ .v | hostname }}", `template "key", line 2, column 11: there is no function "hostname"`},
		"a function that asks others":   {`{{ getHostByName .v }}`, `template "key", line 1, column 4: there is no function "getHostByName"`},
		"the environment":               {`{{ env "HOME" }}`, `template "key", line 1, column 4: there is no function "env"`},
		"one of the guards":             {`{{ _step }}`, `template "key", line 1, column 4: there is no function "_step"`},
		"a function in a definition":    {`{{ define "d" }}{{ expandenv "$HOME" }}{{ end }}`, `template "key", line 1, column 20: there is no function "expandenv"`},
		"keys that are made":            {`{{ genPrivateKey "rsa" }}`, `template "key", line 1, column 4: function genPrivateKey fails: it makes something else each time, so that it needs refreshPolicy: CreatedOnce`},
		"not base64":                    {`{{ .v | b64dec }}`, `template "key", line 1, column 9: function b64dec fails: its argument is not base64`},
		"fail":                          {`{{ fail .v }}`, `template "key", line 1, column 4: function fail fails`},
		"a panic":                       {`{{ substr 100 200 .v }}`, `template "key", line 1, column 4: function substr fails`},
		"not JSON":                      {`{{ mustFromJson .json }}`, `template "key", line 1, column 4: function mustFromJson fails`},
		"a wrong argument":              {`{{ repeat .v "x" }}`, `template "key", line 1, column 11: function repeat fails: it cannot take this argument`},
		"a range over a text":           {`{{ range .v }}{{ end }}`, `template "key", line 1, column 10: it cannot be evaluated`},
		"a wrong type of text/template": {`{{ lt .v 1 }}`, `template "key", line 1, column 4: function lt fails: it cannot take this argument`},
		"not a template":                {"{{ .v }}\n{{ if }}{{ end }}", `template "key", line 2: it is not a template: missing value for if`},
		"an unclosed action":            {"{{ .v", `template "key", line 1: it is not a template: unclosed action`},
		"an undefined variable":         {`{{ $secret }}`, `template "key", line 1: it is not a template: undefined variable`},
		"a bad expression":              {`{{ regexMatch "(" .v }}`, `template "key", line 1, column 4: function regexMatch fails: its regular expression is not one`},
		"an undefined template":         {`{{ template "x" }}`, `template "key", line 1, column 13: it cannot be evaluated`},
		"no certificate":                {`{{ pemToPkcs12 .v .v }}`, `template "key", line 1, column 4: function pemToPkcs12 fails: its argument is not a PEM certificate`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := render(t, tt.text, data, options())
			if err == nil || err.Error() != tt.want {
				t.Errorf("Render(%q): %v, want %s", tt.text, err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), canary) {
				t.Errorf("the error quotes a value: %v", err)
			}
		})
	}
}

func TestPrivateTextIsNotQuoted(t *testing.T) {
	for _, text := range []string{`{{ hunter2 }}`, `{{ .hunter2 }}`, `{{ "hunter2" hunter2 }}`, `{{ $hunter2 }}`, `{{ template "hunter2" }}`, `{{ if hunter2`} {
		_, err := template.Render(t.Context(), template.Template{Name: "key", Text: text, Private: true}, nil, options())
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Render(%q): %v", text, err)
		}
	}
}

// Each of these would take all of the machine's memory or time.
func TestBombsAreDefused(t *testing.T) {
	const (
		large = "would make a value that is too large"
		steps = "takes more steps than a template may"
	)
	tests := map[string]struct{ text, want string }{
		"a loop over a number":               {`{{ range 1000000000000 }}{{ end }}`, steps},
		"a loop over a time":                 {`{{ range now.UnixNano }}{{ end }}`, steps},
		"loops in loops":                     {`{{ range until 1000 }}{{ range until 1000 }}{{ range until 1000 }}{{ end }}{{ end }}{{ end }}`, steps},
		"a template that calls itself":       {`{{ define "a" }}{{ template "a" }}{{ end }}{{ template "a" }}`, "calls itself too often"},
		"a template that calls itself twice": {`{{ define "a" }}{{ if lt . 60 }}{{ template "a" (add1 .) }}{{ template "a" (add1 .) }}{{ end }}{{ end }}{{ template "a" 0 }}`, steps},
		"the template calls itself":          {`{{ template "key" }}`, "calls itself too often"},
		"repeat":                             {`{{ repeat 1000000000 "xxxxxxxxxxxxxxxx" }}`, large},
		"until":                              {`{{ until 1000000000 }}`, large},
		"untilStep":                          {`{{ untilStep 0 9223372036854775807 1 }}`, large},
		"seq":                                {`{{ seq 1000000000 }}`, large},
		"indent":                             {`{{ indent 1000000000 "x" }}`, large},
		"replace":                            {`{{ $s := repeat 100000 "x" }}{{ replace "x" $s $s }}`, large},
		"join":                               {`{{ $s := repeat 100000 "x" }}{{ until 1000 | join $s }}`, large},
		"wrapWith":                           {`{{ $s := repeat 100000 "x" }}{{ wrapWith 1 $s $s }}`, large},
		"regexReplaceAll":                    {`{{ $s := repeat 100000 "x" }}{{ regexReplaceAll "x" $s $s }}`, large},
		"a text that doubles":                {`{{ $s := "x" }}{{ range until 100 }}{{ $s = print $s $s }}{{ end }}`, large},
		"a list that doubles":                {`{{ $s := list 1 }}{{ range until 100 }}{{ $s = concat $s $s }}{{ end }}`, large},
		"a list in a list":                   {`{{ $s := list 1 }}{{ range until 60 }}{{ $s = list $s $s }}{{ end }}`, large},
		"a deep list":                        {`{{ $s := list 1 }}{{ range until 1000 }}{{ $s = list $s }}{{ end }}`, large},
		"a dictionary in itself":             {`{{ $d := dict }}{{ $_ := set $d "d" $d }}{{ $d }}`, large},
		"a dictionary in its list":           {`{{ $d := dict }}{{ $_ := set $d "d" (list $d) }}{{ deepCopy $d }}`, large},
		"merged into itself":                 {`{{ $d := dict "a" (dict) }}{{ $_ := merge $d.a $d }}{{ $_ := merge $d.a $d }}{{ printf "%v" $d }}`, large},
		"a dictionary that grows in a list":  {`{{ $d := dict }}{{ $l := list $d $d $d $d $d $d $d $d }}{{ $_ := set $d "x" (repeat 1000000 "x") }}{{ $l }}`, large},
		"a width":                            {`{{ printf "%999999d%999999d%999999d%999999d%999999d" 1 1 1 1 1 }}`, large},
		"a width of an argument":             {`{{ printf "%*d%*d%*d%*d%*d" 999999 1 999999 1 999999 1 999999 1 999999 1 }}`, large},
		"an argument used often":             {`{{ $s := repeat 1000000 "x" }}{{ printf "%[1]s%[1]s%[1]s%[1]s%[1]s" $s }}`, large},
		"a large expression":                 {`{{ regexMatch "((a{100}){100}){100}" "x" }}`, "regular expression"},
		"a costly expression":                {`{{ regexMatch "(x+x+)+y" (repeat 3000000 "x") }}`, "too costly"},
		"groups":                             {`{{ regexReplaceAll (repeat 500 "()") (repeat 100000 "x") "" }}`, "too costly"},
		"aliases":                            {`{{ fromYaml "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e]" | toJson | len }}{{ fail "" }}`, ""},
		"passwords":                          {`{{ range until 10000 }}{{ bcrypt "x" }}{{ end }}`, steps},
		"output":                             {`{{ $s := repeat 1000000 "x" }}{{ $s }}{{ $s }}`, "its result has more than 1048576 bytes"},
		"random bytes":                       {`{{ randBytes 1000000000 }}`, large},
		"a long text":                        {strings.Repeat("x", 1<<20+1), "its text has more than 1048576 bytes"},
		"actions":                            {strings.Repeat("{{if 1}}", 10_001), "more than 10000 actions"},
		"words":                              {"{{ list " + strings.Repeat(".a ", 340_000) + "}}", `there is no value "a"`},
		"parentheses":                        {"{{" + strings.Repeat("(", 100_000), "it is not a template"},
		"deep JSON":                          {`{{ mustFromJson (repeat 100000 "[") }}`, "mustFromJson fails"},
		"nested JSON":                        {`{{ mustFromJson (print (repeat 1000 "[") (repeat 1000 "]")) }}`, large},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			_, err := render(t, tt.text, nil, options())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Render: %.200v, want %s", err, tt.want)
			}
			if took := time.Since(start); took > time.Minute {
				t.Errorf("it took %v", took)
			}
		})
	}
}

func TestACancelledContextEndsATemplate(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := template.Render(ctx, template.Template{Name: "key", Text: `{{ range 100 }}{{ end }}`}, nil, options())
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Render: %v, want %v", err, context.Canceled)
	}
}

func TestRandomValuesAreDerived(t *testing.T) {
	text := `{{ randAlphaNum 20 }} {{ randAlphaNum 20 }} {{ randAlpha 5 }} {{ randNumeric 5 }} {{ randAscii 5 }} {{ randBytes 8 }} {{ randInt 1 1000000 }} {{ uuidv4 }} {{ shuffle "abcdefghijkl" }} {{ htpasswd "ada" "pw" }} {{ encryptAES "k" "plain" }}`
	first, err := render(t, text, nil, options())
	if err != nil {
		t.Fatal(err)
	}
	again, err := render(t, "{{/* a comment */}}\n{{- "+strings.TrimPrefix(text, "{{"), nil, options())
	if err != nil || again != first {
		t.Errorf("again: %q, %v, want %q", again, err, first)
	}
	if parts := strings.Fields(first); parts[0] == parts[1] {
		t.Errorf("two calls gave the same: %q", parts[0])
	}
	other := options()
	other.Derive = secret.NewTokenizer([]byte("another key")).Derive
	if got, err := render(t, text, nil, other); err != nil || got == first {
		t.Errorf("another install key gave %q, %v", got, err)
	}
	if _, err := render(t, text, nil, template.Options{}); err == nil {
		t.Error("random values were made without a source")
	}
}

func TestAnEpochChangesWhatIsDrawnAndNoHash(t *testing.T) {
	later := options()
	later.Epoch = "2"
	for text, changes := range map[string]bool{
		`{{ randAlphaNum 20 }}`: true, `{{ uuidv4 }}`: true, `{{ shuffle "abcdefghijklmnopq" }}`: true,
		`{{ bcrypt "x" }}`: false, `{{ htpasswd "a" "b" }}`: false, `{{ encryptAES "a" "b" }}`: false, `{{ upper "x" }}`: false,
	} {
		first, err := render(t, text, nil, options())
		if err != nil {
			t.Fatal(err)
		}
		if second, err := render(t, text, nil, later); err != nil || (second != first) != changes {
			t.Errorf("%s: %q, then %q, %v", text, first, second, err)
		}
		if got := template.Changes(template.Template{Text: text}); got != changes {
			t.Errorf("Changes(%s) = %t, want %t", text, got, changes)
		}
	}
	if !template.Changes(template.Template{Text: `{{ now | date "2006" }}`}) {
		t.Error("the time does not change")
	}
}
