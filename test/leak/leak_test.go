package leak

import (
	"bytes"
	"compress/zlib"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// Secrets go all the ways there are. Then every place is searched for their
// values, and after that for values that were put there, to prove the search.
func TestValuesStandInTheirSecretsOnly(t *testing.T) {
	c, cli := &cast{}, &transcript{}
	all := files()
	maps.Copy(all, objects())
	maps.Copy(all, drifts())
	maps.Copy(all, externals())
	maps.Copy(all, amazons())
	t.Run("scenarios", func(t *testing.T) {
		for name, s := range all {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s.play(t, c, name)
			})
		}
	})
	commands(t, cli, c)
	if t.Failed() {
		t.Fatal("what did not happen cannot leak: the search would prove nothing")
	}
	hits, inClones, bytesRead := search(t, c, sinks(cli))
	for _, hit := range hits {
		t.Error(hit)
	}
	if !slices.ContainsFunc(inClones, func(s string) bool { return strings.Contains(s, " holds a-plain-secret/db/plain as raw") }) {
		t.Error("a value that is committed in plain text was not found in the clone: clones are not searched well")
	}
	t.Logf("searched %d canaries in %v", len(c.all), bytesRead)
	// Clones are open files without a name, so they show in the process.
	for _, name := range []string{"etcd", "API", "metrics", "log", "process", "CLI"} {
		if bytesRead[name] == 0 {
			t.Errorf("nothing was read of %s", name)
		}
	}
	if !t.Failed() {
		plantEverywhere(t)
	}
}

func (s scenario) play(t *testing.T, c *cast, name string) {
	p := newPlay(t, c, name)
	p.encrypt("good.yaml", p.secret("good", nil))
	good := p.push()
	if err := sandbox.Client.Create(t.Context(), p.app); err != nil {
		t.Fatal(err)
	}
	p.wait(v1alpha1.ReasonSucceeded, good)
	s.run(p)
	commit := p.push()
	if s.reason == "" {
		p.wait(v1alpha1.ReasonSucceeded, commit)
		return
	}
	p.wait(s.reason, "")
}

// commands lets the plugin say everything it has to say.
func commands(t *testing.T, cli *transcript, c *cast) {
	dir := filepath.Join(sandbox.Dir, "work", "a-good-revision")
	for _, format := range []string{"wide", "yaml", "json", "name"} {
		cli.run(t, dir, "get", "-A", "-o", format)
	}
	cli.run(t, dir, "get", "-A")
	for _, format := range []string{"yaml", "json"} {
		cli.run(t, dir, "keys", "list", "-o", format)
	}
	cli.run(t, dir, "keys", "list")
	namespaces := map[string]bool{}
	for _, one := range c.all {
		ns, _, _ := strings.Cut(one.name, "/")
		namespaces[ns] = true
	}
	for ns := range namespaces {
		cli.run(t, dir, "status", "app", "-n", ns)
		cli.run(t, dir, "sync", "app", "-n", ns)
		cli.run(t, dir, "refs", "app", "-n", ns)
		cli.run(t, dir, "stores", "-n", ns)
		work := filepath.Join(sandbox.Dir, "work", ns)
		for _, file := range []string{"db.yaml", "web.yaml", "map.yaml"} {
			if _, err := os.Stat(filepath.Join(work, file)); err == nil && strings.Contains(ns, "-") {
				cli.run(t, work, "encrypt", file) // refuses what is encrypted, and prints ciphertext of the rest
				cli.run(t, work, "decrypt", file) // without a key
			}
		}
	}
	for ns, file := range map[string]string{
		"tampered-ciphertext": "db.yaml", "a-tampered-mac": "db.yaml", "a-swapped-value": "db.yaml", "no-metadata": "db.yaml",
		"cut-metadata": "db.yaml", "a-field-changed": "db.yaml", "a-plain-value-among-ciphertext": "db.yaml",
	} {
		cli.run(t, filepath.Join(sandbox.Dir, "work", ns), "decrypt", "--from-cluster", "key-"+ns, file)
	}
	cli.run(t, dir, "status", "app", "-n", "absent")
	cli.run(t, dir, "suspend", "app", "-n", "a-map", "--reason", "a test")
	cli.run(t, dir, "resume", "app", "-n", "a-map")
}

// search reads the sinks and returns what was found, what was found of plain
// text in clones, and how much was read.
func search(t *testing.T, c *cast, all []sink) (hits, inClones []string, read map[string]int) {
	t.Helper()
	s, own, read := newSearcher(c.all), c.own(), map[string]int{}
	found, cloned := &findings{}, &findings{}
	for _, k := range all {
		err := k.read(t.Context(), func(place string, content []byte) {
			read[k.name] += len(content)
			if k.name == "etcd" {
				var err error
				if content, err = withoutOwn(place, content, own); err != nil {
					t.Error(err)
				}
			}
			s.find(content, func(n needle) {
				if n.canary.inGit && k.clone {
					cloned.add(k.name, place, n)
					return
				}
				if k.name != "etcd" || !n.canary.runsAt(place) {
					found.add(k.name, place, n)
				}
			})
		})
		if err != nil {
			t.Fatalf("read %s: %v", k.name, err)
		}
	}
	return found.list(), cloned.list(), read
}

// plantEverywhere puts values into each sink, in each form, and wants them
// found there.
func plantEverywhere(t *testing.T) {
	t.Helper()
	c := &cast{}
	var text strings.Builder
	for shape, value := range shapes() {
		one := &canary{name: "planted " + shape, value: value}
		c.add(one)
		for _, form := range forms(value) {
			fmt.Fprintf(&text, "\n%s\n", form)
		}
	}
	metrics := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "gitseal_planted{value=%q} 1\n%s", c.all[0].value, text.String())
	}))
	defer metrics.Close()
	plantFiles(t, text.String())
	plantObjects(t, c)
	cli := &transcript{}
	cli.run(t, sandbox.Dir, "get", "-n", "default", "-o", "json")

	hits, _, _ := search(t, c, sinks(cli, metrics.URL))
	// What Kubernetes and YAML store is text, and escaped once more: there the
	// value has to be found, and in the others every form of it.
	for sink, everyForm := range map[string]bool{"etcd": false, "API": false, "CLI": false, "metrics": true, "log": true, "scratch": true, "TMPDIR": true} {
		for _, one := range c.all {
			want := 1
			if everyForm {
				want = distinctForms(one)
			}
			if got := countFound(hits, sink, one); got < want {
				t.Errorf("%s was found in %s in %d forms, want %d", one.name, sink, got, want)
			}
		}
	}
}

func distinctForms(one *canary) int {
	distinct := map[string]bool{}
	for _, text := range forms(one.value) {
		distinct[text] = true
	}
	return len(distinct)
}

func countFound(hits []string, sink string, one *canary) int {
	n := 0
	for _, hit := range hits {
		if strings.HasPrefix(hit, sink+": ") && strings.Contains(hit, " holds "+one.name+" as ") {
			n++
		}
	}
	return n
}

func plantFiles(t *testing.T, text string) {
	t.Helper()
	log, err := os.OpenFile(operator.LogFile, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.WriteString(text); err != nil {
		t.Fatal(err)
	}
	_ = log.Close()
	var packed bytes.Buffer
	packed.WriteString("PACK, then a header of an object: ")
	w := zlib.NewWriter(&packed)
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	for dir, content := range map[string][]byte{operator.Scratch: packed.Bytes(), operator.Temp: []byte(text)} {
		if err := os.WriteFile(filepath.Join(dir, "planted"), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// plantObjects puts the values into a ConfigMap, an event and a status.
func plantObjects(t *testing.T, c *cast) {
	t.Helper()
	text := ""
	for _, one := range c.all {
		text += one.value + "\n\n"
	}
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "planted", Namespace: "default"}, Data: map[string]string{"a": text}}
	event := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Name: "planted", Namespace: "default"},
		InvolvedObject: corev1.ObjectReference{Kind: "ConfigMap", Name: "planted", Namespace: "default"}, Message: text,
	}
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Name: "planted", Namespace: "default"}}
	app.Spec.Source.Git.URL, app.Spec.Secrets.Policy = "http://127.0.0.1:9/planted.git", v1alpha1.PolicyNone
	app.Spec.Source.Git.Interval.Duration, app.Spec.Destination.ServiceAccountName = time.Hour, "none"
	app.Spec.Suspend = &v1alpha1.Suspend{}
	if err := sandbox.Client.Create(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if err := sandbox.Client.Create(t.Context(), event); err != nil {
		t.Fatal(err)
	}
	if err := sandbox.Client.Create(t.Context(), app); err != nil {
		t.Fatal(err)
	}
	before := app.DeepCopy()
	app.Status.LastHandledSyncAt = text
	if err := sandbox.Client.Status().Patch(t.Context(), app, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}
