package kubectlplugin

import (
	"bytes"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"k8s.io/cli-runtime/pkg/genericclioptions"
)

const (
	esoStore = "apiVersion: external-secrets.io/v1\nkind: SecretStore\nmetadata: {name: x}\n" +
		"spec: {provider: {vault: {server: 'https://v', auth: {tokenSecretRef: {name: a, key: b}}}}}\n"
	ownStore = "apiVersion: gitseal.dev/v1alpha1\n"
)

func migrating() *migrateOptions {
	return &migrateOptions{session: &session{config: genericclioptions.NewConfigFlags(false)}, operatorNamespace: "gitseal-system"}
}

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
			file := &document{name: "store.yaml", before: []byte(tt.before)}
			found := migrating().migrateDocument(file)
			if len(found) != 1 || found[0].Works != migrationChanged || !strings.HasPrefix(string(file.after), tt.after) {
				t.Errorf("migrateDocument = %+v, %q, want %q in front", found, file.after, tt.after)
			}
		})
	}
}

func TestWhatIsNotUTF8IsNotRead(t *testing.T) {
	utf16 := []byte{0xff, 0xfe}
	for _, c := range []byte(esoStore) {
		utf16 = append(utf16, c, 0)
	}
	file := &document{name: "store.yaml", before: utf16}
	if found := migrating().migrateDocument(file); len(found) != 1 || found[0].Works != migrationUnread || file.after != nil {
		t.Errorf("migrateDocument = %+v, %q, want it to be told of and left alone", found, file.after)
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
		file := &document{name: "f.yaml", before: before}
		migrating().migrateDocument(file)
		if file.after == nil {
			return
		}
		if err := yaml.Unmarshal(file.after, new(yaml.Node)); err != nil || bytes.Equal(file.after, before) {
			t.Errorf("migrateDocument made %q of %q: %v", file.after, before, err)
		}
	})
}
