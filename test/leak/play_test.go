package leak

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/test/rig"
)

// cast is all canaries of a test.
type cast struct {
	mu  sync.Mutex
	all []*canary
}

func (c *cast) add(one *canary) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, one)
}

// own lists, by Secret and key, the values that belong there.
func (c *cast) own() map[string]map[string][]string {
	own := map[string]map[string][]string{}
	for _, one := range c.all {
		if one.secret == "" {
			continue
		}
		if own[one.secret] == nil {
			own[one.secret] = map[string][]string{}
		}
		own[one.secret][one.key] = append(own[one.secret][one.key], one.value)
	}
	return own
}

// play is one scenario at work, in a namespace of its own.
type play struct {
	t    *testing.T
	cast *cast
	ns   string
	repo *rig.Repo
	app  *v1alpha1.Application
}

func newPlay(t *testing.T, c *cast, name string) *play {
	t.Helper()
	ns := strings.Trim(regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(name), "-"), "-")
	ns = strings.Trim(ns[:min(len(ns), 50)], "-")
	if err := sandbox.Namespace(t.Context(), ns, "git", "beside"); err != nil {
		t.Fatal(err)
	}
	repo, err := sandbox.Repo(t.Context(), ns)
	if err != nil {
		t.Fatal(err)
	}
	p := &play{t: t, cast: c, ns: ns, repo: repo, app: &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: ns}}}
	p.app.Spec.Source.Git.URL = repo.URL
	p.app.Spec.Source.Git.Interval.Duration = time.Second
	p.app.Spec.Source.Path = "."
	p.app.Spec.Destination.ServiceAccountName = "deployer"
	p.app.Spec.Sync.RetryInterval.Duration = time.Second
	p.app.Spec.Secrets = v1alpha1.Secrets{Policy: v1alpha1.PolicySOPS, SOPS: &v1alpha1.SOPS{
		Keys: []v1alpha1.SOPSKey{{KeyRef: &v1alpha1.LocalReference{Name: "key-" + ns}}},
	}}
	recipient := p.key("key-" + ns)
	p.write(map[string]string{".sops.yaml": "creation_rules:\n  - path_regex: \\.yaml$\n    encrypted_regex: ^(data|stringData|opened)$\n    age: " +
		recipient + "\n  - age: " + recipient + "\n"})
	return p
}

// key makes a key, which is a canary too, and returns its recipient.
func (p *play) key(name string) (recipient string) {
	p.t.Helper()
	out, stderr, err := sandbox.Gitseal(p.t.Context(), p.repo.Dir, nil, "keys", "init", name, "--for", p.ns)
	if err != nil {
		p.t.Fatalf("keys init: %v\n%s", err, stderr)
	}
	stored, err := sandbox.Kubectl(p.t.Context(), "", "get", "secret", name, "--namespace", v1alpha1.OperatorNamespace, "--output", `go-template={{range $k, $v := .data}}{{$k}} {{$v | base64decode}}{{end}}`)
	if err != nil {
		p.t.Fatal(err)
	}
	entry, content, _ := strings.Cut(stored, " ")
	identity := regexp.MustCompile(`AGE-SECRET-KEY-[A-Z0-9-]+`).FindString(content)
	p.cast.add(&canary{name: p.ns + "/age key", value: content, secret: v1alpha1.OperatorNamespace + "/" + name, key: entry})
	p.cast.add(&canary{name: p.ns + "/age identity", value: identity})
	return strings.TrimSpace(strings.SplitN(out, "\n", 2)[0])
}

func (p *play) write(files map[string]string) {
	p.t.Helper()
	if err := p.repo.Write(files); err != nil {
		p.t.Fatal(err)
	}
}

func (p *play) encrypt(file, plain string) {
	p.t.Helper()
	p.write(map[string]string{file: plain})
	if _, stderr, err := sandbox.Gitseal(p.t.Context(), p.repo.Dir, nil, "encrypt", "-i", file); err != nil {
		p.t.Fatalf("encrypt %s: %v\n%s", file, err, stderr)
	}
}

// secret is the manifest of a Secret that holds one canary of each shape.
func (p *play) secret(name string, more map[string]any) string {
	p.t.Helper()
	values := map[string]any{}
	for shape, value := range shapes() {
		values[shape] = value
		p.cast.add(&canary{name: p.ns + "/" + name + "/" + shape, value: value, secret: p.ns + "/" + name, key: shape})
	}
	o := map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": name}, "stringData": values}
	for field, value := range more {
		if field == "stringData" {
			for k, v := range value.(map[string]any) {
				values[k] = v
			}
			continue
		}
		o[field] = value
	}
	return p.yaml(o)
}

func (p *play) yaml(o any) string {
	p.t.Helper()
	raw, err := yaml.Marshal(o)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(raw)
}

// value makes one canary that may stand nowhere.
func (p *play) value(name string) string { return p.canary(name).value }

func (p *play) canary(name string) *canary {
	c := &canary{name: p.ns + "/" + name, value: "canary-" + randomID() + "-" + name}
	p.cast.add(c)
	return c
}

func (p *play) tamper(file string, change func(string) string) {
	p.t.Helper()
	raw, err := os.ReadFile(filepath.Join(p.repo.Dir, file))
	if err != nil {
		p.t.Fatal(err)
	}
	changed := change(string(raw))
	if changed == string(raw) {
		p.t.Fatalf("%s was not changed", file)
	}
	p.write(map[string]string{file: changed})
}

func (p *play) push() string {
	p.t.Helper()
	commit, err := p.repo.Push(p.t.Context(), "a commit")
	if err != nil {
		p.t.Fatal(err)
	}
	return commit
}

func (p *play) edit(change func(*v1alpha1.ApplicationSpec)) {
	p.t.Helper()
	app := &v1alpha1.Application{}
	if err := sandbox.Client.Get(p.t.Context(), client.ObjectKeyFromObject(p.app), app); err != nil {
		p.t.Fatal(err)
	}
	before := app.DeepCopy()
	change(&app.Spec)
	if err := sandbox.Client.Patch(p.t.Context(), app, client.MergeFrom(before)); err != nil {
		p.t.Fatal(err)
	}
}

// patience is for machines that do much else besides.
const patience = 5 * time.Minute

// wait polls until Ready has the reason; with a commit, until that is in
// place.
func (p *play) wait(reason, commit string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	var last string
	for {
		app := &v1alpha1.Application{}
		if err := sandbox.Client.Get(ctx, client.ObjectKeyFromObject(p.app), app); err == nil {
			ready := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionReady)
			last = fmt.Sprintf("%+v", ready)
			inPlace := commit == "" || app.Status.Source != nil && strings.HasSuffix(app.Status.Source.Revision, commit)
			if ready != nil && ready.Reason == reason && inPlace {
				return
			}
		}
		select {
		case <-ctx.Done():
			p.t.Fatalf("Application %s: not %s after %s: %s", p.ns, reason, patience, last)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (p *play) read(file string) string {
	p.t.Helper()
	raw, err := os.ReadFile(filepath.Join(p.repo.Dir, file))
	if err != nil {
		p.t.Fatal(err)
	}
	return string(raw)
}
