package kubectlplugin

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReplaceAll(t *testing.T) {
	for name, tc := range map[string]struct {
		disturb func(t *testing.T, dir string)
		want    map[string]string
		fails   bool
	}{
		"all files get their new content and nothing else is left": {
			disturb: func(*testing.T, string) {},
			want:    map[string]string{"a": "new a", "b": "new b"},
		},
		"a file that an editor saved meanwhile is left alone": {
			disturb: func(t *testing.T, dir string) { write(t, filepath.Join(dir, "a"), "edited") },
			want:    map[string]string{"a": "edited", "b": "old b"},
			fails:   true,
		},
		"a file that is gone is not made again": {
			disturb: func(t *testing.T, dir string) {
				if err := os.Remove(filepath.Join(dir, "a")); err != nil {
					t.Fatal(err)
				}
			},
			want:  map[string]string{"b": "old b"},
			fails: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			var documents []*document
			for _, file := range []string{"a", "b"} {
				path := filepath.Join(dir, file)
				write(t, path, "old "+file)
				d, err := readDocument(path)
				if err != nil {
					t.Fatal(err)
				}
				d.after = []byte("new " + file)
				documents = append(documents, d)
			}
			tc.disturb(t, dir)
			if err := replaceAll(documents); (err != nil) != tc.fails {
				t.Errorf("replaceAll() = %v, want an error: %v", err, tc.fails)
			}
			if diff := cmp.Diff(tc.want, contents(t, dir)); diff != "" {
				t.Errorf("files after replaceAll() (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReplaceAllStagesEveryFileFirst(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a"), "old a")
	d, err := readDocument(filepath.Join(dir, "a"))
	if err != nil {
		t.Fatal(err)
	}
	d.after = []byte("new a")
	lost := &document{name: "b", path: filepath.Join(dir, "no-such-directory", "b"), after: []byte("new b")}
	if err := replaceAll([]*document{d, lost}); err == nil {
		t.Error("replaceAll() = nil, want an error")
	}
	if diff := cmp.Diff(map[string]string{"a": "old a"}, contents(t, dir)); diff != "" {
		t.Errorf("files after replaceAll() (-want +got):\n%s", diff)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		raw, err := os.ReadFile(filepath.Join(dir, path))
		found[path] = string(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestParseUntil(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		text  string
		want  time.Time
		fails bool
	}{
		"nothing is without end":   {"", time.Time{}, false},
		"a duration":               {"90m", now.Add(90 * time.Minute), false},
		"a time":                   {"2030-01-02T00:00:00Z", now.Add(24 * time.Hour), false},
		"a time that has passed":   {"2029-01-02T00:00:00Z", time.Time{}, true},
		"a duration into the past": {"-1h", time.Time{}, true},
		"something else":           {"tomorrow", time.Time{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseUntil(tc.text, now)
			if (err != nil) != tc.fails {
				t.Fatalf("parseUntil(%q) error = %v, want an error: %v", tc.text, err, tc.fails)
			}
			if !got.Equal(tc.want) {
				t.Errorf("parseUntil(%q) = %v, want %v", tc.text, got, tc.want)
			}
		})
	}
}
