package migrate_test

import (
	"bytes"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/gitseal/gitseal/kubectl-plugin/migrate"
)

const (
	esoStore = "apiVersion: external-secrets.io/v1\nkind: SecretStore\nmetadata: {name: x}\n" +
		"spec: {provider: {vault: {server: 'https://v', auth: {tokenSecretRef: {name: a, key: b}}}}}\n"
	ownStore = "apiVersion: gitseal.dev/v1alpha1\n"
)

var target = migrate.Target{Namespace: "default", OperatorNamespace: "gitseal-system"}

// A place in a file is what the parser says, whatever ends its lines.
func TestAStoreIsMovedWhateverEndsLines(t *testing.T) {
	tests := map[string]struct{ before, after string }{
		"newlines":           {"# a\n" + esoStore, "# a\n" + ownStore},
		"carriage returns":   {strings.ReplaceAll("# a\n"+esoStore, "\n", "\r"), "# a\rapiVersion: gitseal.dev/v1alpha1\r"},
		"both":               {strings.ReplaceAll("# a\n"+esoStore, "\n", "\r\n"), "# a\r\napiVersion: gitseal.dev/v1alpha1\r\n"},
		"those of Unicode":   {"# a\u0085# b\u2028# c\u2029" + esoStore, "# a\u0085# b\u2028# c\u2029" + ownStore},
		"a byte order mark":  {"\ufeff" + esoStore, "\ufeff" + ownStore},
		"in another comment": {"# external-secrets.io/v1\n" + esoStore, "# external-secrets.io/v1\n" + ownStore},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			found, changed := target.File("store.yaml", []byte(tt.before))
			if len(found) != 1 || found[0].Works != migrate.Changed || !strings.HasPrefix(string(changed), tt.after) {
				t.Errorf("File() = %+v, %q, want %q in front", found, changed, tt.after)
			}
		})
	}
}

// What the sync refuses of any object does not work here either.
func TestAnAnnotationThatIsNoTextDoesNotWork(t *testing.T) {
	text := "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: db, annotations: {tries: 3}}\n" +
		"spec: {secretStoreRef: {name: vault}, data: [{secretKey: k, remoteRef: {key: k}}]}\n"
	found, changed := target.File("es.yaml", []byte(text))
	if len(found) != 1 || found[0].Works != migrate.Never || !strings.Contains(found[0].Message, `metadata.annotations["tries"]`) || changed != nil {
		t.Errorf("File() = %+v, want it refused", found)
	}
}

func TestWhatIsNotUTF8IsNotRead(t *testing.T) {
	utf16 := []byte{0xff, 0xfe}
	for _, c := range []byte(esoStore) {
		utf16 = append(utf16, c, 0)
	}
	if found, changed := target.File("store.yaml", utf16); len(found) != 1 || found[0].Works != migrate.Unread || changed != nil {
		t.Errorf("File() = %+v, %q, want it to be told of and left alone", found, changed)
	}
}

// Whatever stands in a file: what is changed is still YAML, and another file.
func FuzzMigrate(f *testing.F) {
	f.Add([]byte(esoStore))
	f.Add([]byte("---\n" + esoStore + "---\n" + strings.Replace(esoStore, "SecretStore", "ClusterSecretStore", 1)))
	f.Add([]byte("{apiVersion: \"external-secrets.io\\/v1\", kind: SecretStore}"))
	f.Add([]byte("# a\r" + esoStore))
	f.Add([]byte("apiVersion: external-secrets.io/v1\nkind: ClusterSecretStore"))
	f.Add([]byte("kind: List\nitems: [{apiVersion: external-secrets.io/v1, kind: ExternalSecret, spec: {data: 2001-01-01}}]"))
	f.Fuzz(func(t *testing.T, before []byte) {
		_, changed := target.File("f.yaml", before)
		if changed == nil {
			return
		}
		if err := yaml.Unmarshal(changed, new(yaml.Node)); err != nil || bytes.Equal(changed, before) {
			t.Errorf("File() made %q of %q: %v", changed, before, err)
		}
	})
}
