package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/test/rig"
)

const (
	configMaps  = 400
	secrets     = 300
	services    = 200
	deployments = 100
	objects     = configMaps + secrets + services + deployments
)

type bench struct {
	rig    *rig.Rig
	repo   *rig.Repo
	out    string
	rounds int

	plain map[string]string // file name to manifest, secrets unencrypted
	app   *v1alpha1.Application
	op    *rig.Operator
}

// prepare writes the repository: one file per object, the Secrets encrypted.
func (b *bench) prepare(ctx context.Context) error {
	var err error
	if b.repo, err = b.rig.Repo(ctx, "bench"); err != nil {
		return err
	}
	var allowed []string
	for i := range b.rounds {
		allowed = append(allowed, fmt.Sprintf("bench-%d", i))
	}
	recipient, stderr, err := b.rig.Gitseal(ctx, b.repo.Dir, nil, "keys", "init", "bench", "--for", strings.Join(allowed, ","))
	if err != nil {
		return fmt.Errorf("make a key: %w\n%s", err, stderr)
	}
	b.plain = manifests()
	files := map[string]string{".sops.yaml": "creation_rules:\n  - path_regex: secret-.*\n    encrypted_regex: ^(data|stringData)$\n    age: " + recipient}
	args := []string{"encrypt", "-i"}
	for name, content := range b.plain {
		files[name] = content
		if strings.HasPrefix(name, "secret-") {
			args = append(args, name)
		}
	}
	if err := b.repo.Write(files); err != nil {
		return err
	}
	say("encrypting %d files", secrets)
	if _, stderr, err := b.rig.Gitseal(ctx, b.repo.Dir, nil, args...); err != nil {
		return fmt.Errorf("encrypt: %w\n%s", err, stderr)
	}
	_, err = b.repo.Push(ctx, "1,000 objects")
	return err
}

func manifests() map[string]string {
	files := map[string]string{}
	for i := range configMaps {
		files[fmt.Sprintf("configmap-%03d.yaml", i)] = fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: config-%03d\ndata:\n  a: value-%d\n  b: another\n", i, i)
	}
	for i := range secrets {
		files[fmt.Sprintf("secret-%03d.yaml", i)] = fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata:\n  name: secret-%03d\nstringData:\n  user: user-%d\n  password: password-%d-abcdefgh\n  token: token-%d-0123456789\n", i, i, i, i)
	}
	for i := range services {
		files[fmt.Sprintf("service-%03d.yaml", i)] = fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata:\n  name: service-%03d\nspec:\n  clusterIP: None\n  selector:\n    app: app-%d\n  ports:\n    - port: 80\n", i, i)
	}
	for i := range deployments {
		files[fmt.Sprintf("deployment-%03d.yaml", i)] = fmt.Sprintf("apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: app-%03d\nspec:\n  replicas: 0\n  selector:\n    matchLabels:\n      app: app-%d\n  template:\n    metadata:\n      labels:\n        app: app-%d\n    spec:\n      containers:\n        - name: main\n          image: registry.example/app:1\n", i, i, i)
	}
	return files
}

// firstSync starts an operator anew for each round, so that its CPU and peak
// memory are those of the round.
func (b *bench) firstSync(ctx context.Context) error {
	var samples []Sample
	for i := range b.rounds {
		floor, err := b.floor(ctx, fmt.Sprintf("floor-%d", i))
		if err != nil {
			return err
		}
		s, err := b.firstSyncOnce(ctx, fmt.Sprintf("bench-%d", i))
		if err != nil {
			return err
		}
		s.FloorSeconds = floor.Seconds()
		s.TimesFloor = s.AppliedSeconds / s.FloorSeconds
		say("round %d: floor %.2fs, applied %.2fs, ready %.2fs, %.2f CPU s, %d calls", i, s.FloorSeconds, s.AppliedSeconds, s.ReadySeconds, s.CPUSeconds, s.TotalCalls)
		samples = append(samples, s)
	}
	return b.write("first-sync-1000", objects, samples)
}

func (b *bench) firstSyncOnce(ctx context.Context, ns string) (Sample, error) {
	if err := b.rig.Namespace(ctx, ns); err != nil {
		return Sample{}, err
	}
	if b.op != nil {
		if err := b.retire(ctx); err != nil {
			return Sample{}, err
		}
	}
	var err error
	if b.op, err = b.rig.StartOperator(ctx, "--log-level=info"); err != nil {
		return Sample{}, err
	}
	b.app = application(ns, b.repo.URL)
	before, err := b.read(ctx)
	if err != nil {
		return Sample{}, err
	}
	begun := time.Now()
	if err := b.rig.Client.Create(ctx, b.app); err != nil {
		return Sample{}, err
	}
	var s Sample
	err = b.follow(ctx, func(app *v1alpha1.Application) bool {
		if s.AppliedSeconds == 0 && app.Status.Resources != nil && app.Status.Resources.Applied == objects {
			s.AppliedSeconds = time.Since(begun).Seconds()
		}
		return meta.IsStatusConditionTrue(app.Status.Conditions, v1alpha1.ConditionReady)
	})
	if err != nil {
		return Sample{}, err
	}
	s.ReadySeconds = time.Since(begun).Seconds()
	s.ObjectsPerSec = objects / s.AppliedSeconds
	return b.since(ctx, before, s)
}

// retire deletes the last round's Application, so that the next operator does
// not work on it.
func (b *bench) retire(ctx context.Context) error {
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"sync":{"deletionPolicy":"Orphan"}}}`))
	if err := b.rig.Client.Patch(ctx, b.app, patch); err != nil {
		return err
	}
	if err := b.rig.Client.Delete(ctx, b.app); err != nil {
		return err
	}
	err := poll(ctx, func() (bool, error) {
		err := b.rig.Client.Get(ctx, client.ObjectKeyFromObject(b.app), &v1alpha1.Application{})
		return err != nil, client.IgnoreNotFound(err)
	})
	if err != nil {
		return err
	}
	return b.op.Stop()
}

// noChange asks for a sync of the Application that is there, with nothing new.
func (b *bench) noChange(ctx context.Context) error {
	var samples []Sample
	for range b.rounds {
		s, err := b.measured(ctx, func() error { return b.request(ctx) })
		if err != nil {
			return err
		}
		samples = append(samples, s)
	}
	return b.write("no-change-1000", objects, samples)
}

// oneChange pushes a commit that changes one ConfigMap and asks for a sync, as
// a webhook would, right after the push.
func (b *bench) oneChange(ctx context.Context) error {
	var samples []Sample
	for i := range b.rounds {
		name := fmt.Sprintf("configmap-%03d.yaml", i)
		content := strings.Replace(b.plain[name], "another", "changed", 1)
		if err := os.WriteFile(filepath.Join(b.repo.Dir, name), []byte(content), 0o644); err != nil {
			return err
		}
		if _, err := b.repo.Push(ctx, "change one object"); err != nil {
			return err
		}
		s, err := b.measured(ctx, func() error { return b.request(ctx) })
		if err != nil {
			return err
		}
		samples = append(samples, s)
	}
	return b.write("one-change-1000", 1, samples)
}

func (b *bench) measured(ctx context.Context, do func() error) (Sample, error) {
	before, err := b.read(ctx)
	if err != nil {
		return Sample{}, err
	}
	begun := time.Now()
	if err := do(); err != nil {
		return Sample{}, err
	}
	return b.since(ctx, before, Sample{AppliedSeconds: time.Since(begun).Seconds()})
}

// request asks for a sync and waits until it is done.
func (b *bench) request(ctx context.Context) error {
	at := time.Now().Format(time.RFC3339Nano)
	patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.AnnotationSyncRequestedAt, at))
	if err := b.rig.Client.Patch(ctx, b.app, patch); err != nil {
		return err
	}
	return b.follow(ctx, func(app *v1alpha1.Application) bool {
		return app.Status.LastHandledSyncAt == at && meta.IsStatusConditionTrue(app.Status.Conditions, v1alpha1.ConditionReady)
	})
}

func application(ns, url string) *v1alpha1.Application {
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Name: "bench", Namespace: ns}}
	app.Spec.Source.Git.URL = url
	app.Spec.Source.Git.Interval.Duration = time.Hour
	app.Spec.Source.Path = "."
	app.Spec.Secrets = v1alpha1.Secrets{Policy: v1alpha1.PolicySOPS, SOPS: &v1alpha1.SOPS{
		Keys: []v1alpha1.SOPSKey{{KeyRef: &v1alpha1.LocalReference{Name: "bench"}}},
	}}
	app.Spec.Destination.ServiceAccountName = "deployer"
	return app
}
