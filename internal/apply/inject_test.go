package apply

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/gitseal/gitseal/internal/secret"
)

const canary = "canary-7f3a9c"

func TestInjectGivesValuesBack(t *testing.T) {
	w := newWorld(t)
	text := w.token(canary, secret.String)
	encoded := w.token(b64(canary), secret.String)
	secretOf := func(field, value string) string {
		return "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n" + field + ": {k: \"" + value + "\"}"
	}
	config := func(value string) string {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {k: " + value + "}"
	}
	long := b64(strings.Repeat("a line of text\n", 8) + text)
	tests := map[string]struct{ yaml, want string }{
		"a token raw in data stands for base64":   {secretOf("data", encoded), `"` + b64(canary) + `"`},
		"a token within base64 stands for text":   {secretOf("data", b64("u:"+text)), `"` + b64("u:"+canary) + `"`},
		"a token within base64 that is broken up": {secretOf("data", long[:70]+`\n`+long[70:]), `"` + b64(strings.Repeat("a line of text\n", 8)+canary) + `"`},
		"a token in stringData":                   {secretOf("stringData", text+"/"+text), `"` + b64(canary+"/"+canary) + `"`},
		"text in another kind":                    {config(text), `"` + canary + `"`},
		"text within text in another kind":        {config("x" + text + "y"), `"x` + canary + `y"`},
		"an integer keeps its type":               {config(w.token("42", secret.Int)), `42`},
		"a large integer keeps its digits":        {config(w.token("12345678901234567890", secret.Int)), `12345678901234567890`},
		"a float keeps its type":                  {config(w.token("1.5e3", secret.Float)), `1.5e3`},
		"a boolean keeps its type":                {config(w.token("True", secret.Bool)), `true`},
		"an integer within text is text":          {config("'p" + w.token("42", secret.Int) + "'"), `"p42"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			item := w.build(tt.yaml)[0]
			if !item.HasTokens {
				t.Fatal("the item's tokens were not found")
			}
			body, err := inject(item, w.values)
			if err != nil {
				t.Fatalf("inject() = %v", err)
			}
			var got struct{ Data map[string]json.RawMessage }
			if err := json.Unmarshal(body, &got); err != nil || string(got.Data["k"]) != tt.want {
				t.Errorf("inject() gives %s (%v), want %s", got.Data["k"], err, tt.want)
			}
			if strings.Contains(string(item.body), canary) {
				t.Error("the item itself holds the value now")
			}
		})
	}
}

func TestInjectRefusesWithoutQuoting(t *testing.T) {
	w := newWorld(t)
	object := func(kind, rest string) string {
		return "apiVersion: v1\nkind: " + kind + "\nmetadata: {name: s}\n" + rest
	}
	unknown := secret.TokenPrefix + strings.Repeat("a", 32)
	tests := map[string]struct{ yaml, want string }{
		"data that is no base64 once it is opened": {object("Secret", "data: {k: '"+w.token(canary, secret.String)+"'}"), `data["k"] does not hold base64`},
		"a token that stands for nothing":          {object("Secret", "stringData: {k: "+unknown+"}"), `data["k"] holds a token that stands for no value`},
		"an unknown token deep in another kind":    {object("Service", "spec: {ports: [{name: "+unknown+"}]}"), `spec.ports[0].name holds a token`},
		"a token beside a Secret's data":           {object("Secret", "type: '"+w.token(canary, secret.String)+"'"), `type holds a token`},
		"a number that JSON cannot hold":           {object("ConfigMap", "data: {k: "+w.token(canary, secret.Int)+"}"), `data.k is a number that JSON cannot hold`},
		"a text that is valid JSON is no number":   {object("ConfigMap", "data: {k: "+w.token(`"`+canary+`"`, secret.Int)+"}"), `data.k is a number that JSON cannot hold`},
		"infinity":                                 {object("ConfigMap", "data: {k: "+w.token("Inf"+canary, secret.Float)+"}"), `data.k is a number that JSON cannot hold`},
		"a boolean that is none":                   {object("ConfigMap", "data: {k: "+w.token(canary, secret.Bool)+"}"), `data.k is marked as a boolean but is none`},
		"bytes in a kind that holds text":          {object("ConfigMap", "data: {k: "+w.token(canary+"\xff", secret.Bytes)+"}"), `data.k holds bytes that are no text`},
		"the first field in order is named":        {object("ConfigMap", "data: {z: "+unknown+", a: "+unknown+"}"), `data.a holds a token`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := inject(w.build(tt.yaml)[0], w.values)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "app.yaml:1: ") {
				t.Fatalf("inject() = %v, want file, line and %q", err, tt.want)
			}
			if strings.Contains(fmt.Sprintf("%+v", err), canary) {
				t.Errorf("inject() = %v, which quotes the value", err)
			}
		})
	}
}
