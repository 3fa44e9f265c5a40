package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// scenario is one story. Its faults come after base, which is reached first
// where it is given; each act ends when the Application is as it says.
type scenario struct {
	name      string
	revisions []map[string]string
	policy    v1alpha1.Policy
	base      bool // revision 0 is in place before the first act
	acts      []act
	// standby: a second operator waits for the first one's lease.
	standby bool
	modes   []Mode // default: all
	// alike is how many events may say the same. Default: 1.
	alike int
}

// act is what somebody does, and what it must come to.
type act struct {
	do       func(context.Context, *cell) error
	revision int // that is Ready in the end; gone means that the Application is gone
	until    func(*cell) func(map[key]version) error
}

const gone = -1

// The canaries are the values that must be nowhere but in their Secret.
const (
	canaryOne   = "canary-one-5b1f7c0a9e"
	canaryTwo   = "canary-two-8d20e6b34f"
	canaryOther = "canary-other-17ac94d2c8"
)

var canaries = []string{canaryOne, canaryTwo, canaryOther}

const (
	secretOne = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: login\nstringData:\n  password: " + canaryOne + "\n  token: " + canaryOne + "-token\n  other: " + canaryOther + "\n"
	secretTwo = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: login\nstringData:\n  password: " + canaryTwo + "\n  token: " + canaryTwo + "-token\n  other: " + canaryOther + "\n"

	definition = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: widgets.CELL.crash.test
  annotations:
    gitseal.dev/prune: Enabled
spec:
  group: CELL.crash.test
  scope: Namespaced
  names: {kind: Widget, listKind: WidgetList, plural: widgets, singular: widget}
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec: {type: object, properties: {size: {type: integer}}}
`
	widget = "apiVersion: CELL.crash.test/v1\nkind: Widget\nmetadata:\n  name: gadget\nspec:\n  size: 3\n"
)

func configMap(name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\ndata:\n  value: %q\n", name, value)
}

func service(name string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata:\n  name: %[1]s\nspec:\n  clusterIP: None\n  selector: {app: %[1]s}\n  ports: [{port: 80}]\n", name)
}

func deployment(version string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata:
      labels: {app: web}
      annotations: {version: %[1]q}
    spec:
      containers:
        - name: main
          image: registry.example/app:%[1]s
          envFrom: [{secretRef: {name: login}}]
`, version)
}

// external is an ExternalSecret that makes the Secret "login".
const external = `apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata:
  name: login
spec:
  secretStoreRef: {kind: ClusterSecretStore, name: CELL}
  dataFrom: [{extract: {key: db}}]
  data: [{secretKey: other, remoteRef: {key: other}}]
`

// bootstrap is an ExternalSecret whose Secret is made once.
const bootstrap = `apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: bootstrap}
spec:
  refreshPolicy: CreatedOnce
  secretStoreRef: {kind: ClusterSecretStore, name: CELL}
  data: [{secretKey: other, remoteRef: {key: other}}]
`

// migration is a Job that runs once per content.
func migration(version string) string {
	return fmt.Sprintf(`apiVersion: batch/v1
kind: Job
metadata: {name: migrate, annotations: {gitseal.dev/run: Once}}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers: [{name: main, image: "registry.example/migrate:%s"}]
`, version)
}

// inWave puts a manifest into a sync wave.
func inWave(manifest string, wave int) string {
	return strings.Replace(manifest, "metadata:\n", fmt.Sprintf("metadata:\n  annotations: {gitseal.dev/sync-wave: \"%d\"}\n", wave), 1)
}

// files is the common set of objects, and what differs from it; an empty
// content leaves one out.
func files(differences map[string]string) map[string]string {
	all := map[string]string{
		"secret.yaml":     secretOne,
		"settings.yaml":   configMap("settings", "1"),
		"flags.yaml":      configMap("flags", "1"),
		"service.yaml":    service("web"),
		"deployment.yaml": deployment("1"),
	}
	maps.Copy(all, differences)
	maps.DeleteFunc(all, func(_, content string) bool { return content == "" })
	return all
}

var withDefinition = map[string]string{"definition.yaml": definition, "widget.yaml": widget}

var scenarios = []scenario{
	{
		name: "first-sync", policy: v1alpha1.PolicySOPS,
		revisions: []map[string]string{files(withDefinition)},
		acts:      []act{{do: create}},
	},
	{
		name: "change", policy: v1alpha1.PolicySOPS, base: true,
		revisions: []map[string]string{files(nil), files(map[string]string{
			"secret.yaml": secretTwo, "settings.yaml": configMap("settings", "2"), "deployment.yaml": deployment("2"), "new.yaml": configMap("new", "2"),
		})},
		acts: []act{{do: moveOn, revision: 1}},
	},
	{
		name: "prune", policy: v1alpha1.PolicySOPS, base: true,
		revisions: []map[string]string{files(withDefinition), files(map[string]string{"flags.yaml": "", "service.yaml": "", "settings.yaml": configMap("settings", "2")})},
		acts:      []act{{do: moveOn, revision: 1}},
	},
	{
		name: "policy-switch", policy: v1alpha1.PolicySOPS, base: true,
		revisions: []map[string]string{files(nil), files(map[string]string{"secret.yaml": ""}), files(map[string]string{"secret.yaml": secretTwo})},
		acts:      []act{{do: switchTo(1, v1alpha1.PolicyNone), revision: 1}, {do: switchTo(2, v1alpha1.PolicySOPS), revision: 2}},
	},
	{
		name: "drift", policy: v1alpha1.PolicySOPS, base: true,
		alike:     3, // of three objects, together or one after the other
		revisions: []map[string]string{files(nil)},
		acts:      []act{{do: disturb, until: undisturbed}},
	},
	{
		name: "run-once", policy: v1alpha1.PolicySOPS,
		alike:     3, // one object each time, of three steps
		revisions: []map[string]string{files(map[string]string{"job.yaml": migration("1")}), files(map[string]string{"job.yaml": migration("2"), "settings.yaml": configMap("settings", "2")})},
		acts:      []act{{do: create}, {do: moveOn, revision: 1}},
	},
	{
		name: "waves", policy: v1alpha1.PolicySOPS, base: true,
		alike: 3, // one object each time, of three waves
		revisions: []map[string]string{files(nil), files(map[string]string{
			"secret.yaml": secretTwo, "new.yaml": inWave(configMap("new", "2"), -1), "deployment.yaml": deployment("2"), "last.yaml": inWave(configMap("last", "2"), 1),
		})},
		acts: []act{{do: moveOn, revision: 1}},
	},
	{
		name: "external", policy: v1alpha1.PolicyExternal,
		alike: 3, // new values, told once for each operator that saw some of it
		revisions: []map[string]string{
			files(map[string]string{"secret.yaml": "", "external.yaml": external, "bootstrap.yaml": bootstrap}),
			files(map[string]string{"secret.yaml": "", "settings.yaml": configMap("settings", "2"), "bootstrap.yaml": bootstrap}),
		},
		acts: []act{{do: create}, {do: rotate, until: rotated}, {do: moveOn, revision: 1, until: released}},
	},
	{
		name: "delete", policy: v1alpha1.PolicySOPS, base: true,
		revisions: []map[string]string{files(withDefinition)},
		acts:      []act{{do: remove, revision: gone}},
	},
	{
		name: "hand-over", policy: v1alpha1.PolicySOPS, base: true, standby: true, modes: []Mode{Before, After},
		revisions: []map[string]string{files(nil), files(map[string]string{
			"secret.yaml": secretTwo, "flags.yaml": "", "deployment.yaml": deployment("2"), "new.yaml": configMap("new", "2"),
		})},
		acts: []act{{do: moveOn, revision: 1}},
	},
}

func (s scenario) modesOf() []Mode {
	if s.modes != nil {
		return s.modes
	}
	return modes
}

// application is what the scenario's Application says at first.
func (c *cell) application() *v1alpha1.Application {
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: c.name}}
	app.Spec.Source.Git.URL = c.repo.url
	app.Spec.Source.Git.Interval.Duration = time.Hour // looks are asked for
	app.Spec.Source.Path = "."
	app.Spec.Secrets = secretsOf(c.scenario.policy)
	app.Spec.Destination.ServiceAccountName = "deployer"
	app.Spec.Sync.RetryInterval.Duration = time.Second
	return app
}

func secretsOf(policy v1alpha1.Policy) v1alpha1.Secrets {
	if policy != v1alpha1.PolicySOPS {
		return v1alpha1.Secrets{Policy: policy}
	}
	return v1alpha1.Secrets{Policy: policy, SOPS: &v1alpha1.SOPS{Keys: []v1alpha1.SOPSKey{{KeyRef: &v1alpha1.LocalReference{Name: keyName}}}}}
}

func create(ctx context.Context, c *cell) error {
	return c.world.rig.Client.Create(ctx, c.application())
}

// moveOn goes to the second revision.
func moveOn(ctx context.Context, c *cell) error {
	if err := c.repo.point(ctx, 1); err != nil {
		return err
	}
	return c.request(ctx, "revision-1")
}

func switchTo(revision int, policy v1alpha1.Policy) func(context.Context, *cell) error {
	return func(ctx context.Context, c *cell) error {
		if err := c.repo.point(ctx, revision); err != nil {
			return err
		}
		return c.patch(ctx, func(app *v1alpha1.Application) { app.Spec.Secrets = secretsOf(policy) })
	}
}

// rotate replaces a value at the provider, and asks for it to be read again, as
// kubectl gitseal sync --refresh does.
func rotate(ctx context.Context, c *cell) error {
	if err := c.value("db", canaryTwo); err != nil {
		return err
	}
	return c.annotate(ctx, v1alpha1.AnnotationRefreshRequestedAt, "rotated")
}

// rotated returns nil once the new value is in place, and that is written down.
func rotated(c *cell) func(map[key]version) error {
	return func(live map[key]version) error {
		secret := live[key{schema.GroupKind{Kind: "Secret"}, c.name, "login"}]
		if secret.object == nil {
			return errors.New("the Secret is not there")
		}
		data, _, _ := unstructured.NestedStringMap(secret.object.Object, "data")
		if status, ok := statusOf(live[c.applicationKey()]).(map[string]any); !ok || status["lastHandledRefreshAt"] != "rotated" ||
			data["password"] != base64.StdEncoding.EncodeToString([]byte(canaryTwo)) {
			return errors.New("the new value is not in place")
		}
		return nil
	}
}

// released returns nil once the Secret is gone with what made it.
func released(c *cell) func(map[key]version) error {
	return func(live map[key]version) error {
		if _, there := live[key{schema.GroupKind{Kind: "Secret"}, c.name, "login"}]; there {
			return errors.New("the Secret is still there")
		}
		return nil
	}
}

func remove(ctx context.Context, c *cell) error {
	return c.world.rig.Client.Delete(ctx, &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: c.name}})
}

// disturb changes one object, deletes another and takes a third out of the
// ApplySet.
func disturb(ctx context.Context, c *cell) error {
	at := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: c.name, Name: name} }
	merge := func(o client.Object, patch string) error {
		return c.world.rig.Client.Patch(ctx, o, client.RawPatch(types.MergePatchType, []byte(patch)))
	}
	return errors.Join(
		merge(&corev1.ConfigMap{ObjectMeta: at("settings")}, `{"data":{"value":"disturbed"}}`),
		c.world.rig.Client.Delete(ctx, &corev1.ConfigMap{ObjectMeta: at("flags")}),
		merge(&corev1.Service{ObjectMeta: at("web")}, fmt.Sprintf(`{"metadata":{"labels":{%q:null}}}`, v1alpha1.ApplySetPartOfLabel)),
	)
}

// undisturbed returns nil once everything is as disturb found it.
func undisturbed(c *cell) func(map[key]version) error {
	return func(live map[key]version) error {
		for name, kind := range map[string]string{"settings": "ConfigMap", "flags": "ConfigMap", "web": "Service"} {
			v, there := live[key{schema.GroupKind{Kind: kind}, c.name, name}]
			if !there || v.object.GetLabels()[v1alpha1.ApplySetPartOfLabel] == "" {
				return fmt.Errorf("%s %q is not back", kind, name)
			}
			if value, _, _ := unstructured.NestedString(v.object.Object, "data", "value"); value == "disturbed" {
				return fmt.Errorf("%s %q is not as in Git", kind, name)
			}
		}
		return nil
	}
}

// request asks for a sync, as kubectl gitseal sync does.
func (c *cell) request(ctx context.Context, id string) error {
	return c.annotate(ctx, v1alpha1.AnnotationSyncRequestedAt, id)
}

func (c *cell) annotate(ctx context.Context, name, value string) error {
	return c.patch(ctx, func(app *v1alpha1.Application) { metav1.SetMetaDataAnnotation(&app.ObjectMeta, name, value) })
}

func (c *cell) patch(ctx context.Context, change func(*v1alpha1.Application)) error {
	app := &v1alpha1.Application{}
	if err := c.world.rig.Client.Get(ctx, types.NamespacedName{Namespace: c.name, Name: "app"}, app); err != nil {
		return err
	}
	base := app.DeepCopy()
	change(app)
	return c.world.rig.Client.Patch(ctx, app, client.MergeFrom(base))
}

// inPlace returns nil once the Application is as an act must leave it.
func (c *cell) inPlace(revision int) func(map[key]version) error {
	return func(live map[key]version) error {
		v, there := live[c.applicationKey()]
		if revision == gone {
			if there {
				return fmt.Errorf("the Application is still there: %v", statusOf(v))
			}
			return nil
		}
		if !there {
			return fmt.Errorf("the Application is not there")
		}
		app := &v1alpha1.Application{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(v.object.Object, app); err != nil {
			return err
		}
		if !meta.IsStatusConditionTrue(app.Status.Conditions, v1alpha1.ConditionReady) || app.Status.ObservedGeneration != app.Generation ||
			app.Status.Source == nil || app.Status.Source.Revision != "main@sha1:"+c.repo.commits[revision] {
			return fmt.Errorf("revision %d is not in place: %v", revision, statusOf(v))
		}
		return nil
	}
}

func statusOf(v version) any {
	if v.object == nil {
		return nil
	}
	return v.object.Object["status"]
}
