package main

import (
	"fmt"
	"maps"
	"slices"

	"sigs.k8s.io/yaml"

	"github.com/gitseal/gitseal/test/bench/result"
)

// workload says what there is to do, the same for every controller.
type workload struct {
	name string
	// apps Applications in one repository, a directory for each, spread over
	// namespaces.
	apps, namespaces int
	// of are the kinds of an Application's objects and how many of each.
	of map[kind]int
	// keeper owns the values of ExternalSecrets: "vault", "aws", "shared-vault"
	// or "".
	keeper string
}

// workloads are the ones that scenarios are played on. Services are headless
// and Deployments have no replicas, so that the rest of the control plane has
// little to do.
func workloads(quick bool) []workload {
	big := func(n int) workload {
		return workload{name: fmt.Sprintf("big-%d", n), apps: 1, namespaces: 1, of: map[kind]int{configMap: 4 * n / 10, secret: 3 * n / 10, service: 2 * n / 10, deployment: n / 10}}
	}
	many := func(n int) workload {
		return workload{name: fmt.Sprintf("many-%d", n), apps: n, namespaces: 10, of: map[kind]int{configMap: 5, secret: 3, service: 2}}
	}
	kept := func(keeper string) workload {
		return workload{name: fmt.Sprintf("%s-%d", keeper, referenced), apps: 1, namespaces: 1, of: map[kind]int{externalSecret: referenced}, keeper: keeper}
	}
	dependent := workload{name: "outage", apps: 1000, namespaces: 10, of: map[kind]int{externalSecret: 1}, keeper: sharedVaultName}
	if quick {
		dependent.apps = 300
	}
	return []workload{big(1000), big(5000), many(100), many(1000), kept("vault"), kept("aws"), dependent}
}

func (w workload) objectsEach() int {
	n := 0
	for _, of := range w.of {
		n += of
	}
	return n
}

func (w workload) objects() int { return w.apps * w.objectsEach() }

func (w workload) describe() result.Workload {
	return result.Workload{
		Applications: w.apps, ObjectsEach: w.objectsEach(), Namespaces: w.namespaces,
		SealedSecretsEach: w.of[secret], ExternalSecretsEach: w.of[externalSecret],
	}
}

// appName is also the name of its directory.
func appName(app int) string { return fmt.Sprintf("app-%04d", app) }

// kind is what the workloads are made of.
type kind struct{ name, base, resource string }

var (
	configMap  = kind{"configmap", "/api/v1", "configmaps"}
	secret     = kind{"secret", "/api/v1", "secrets"}
	service    = kind{"service", "/api/v1", "services"}
	deployment = kind{"deployment", "/apis/apps/v1", "deployments"}
	// externalSecret is an ExternalSecret in Git and a Secret in the cluster.
	externalSecret = kind{"externalsecret", "/api/v1", "secrets"}
	kinds          = []kind{configMap, secret, service, deployment, externalSecret}
)

// object is one manifest, secrets in plaintext.
type object struct {
	kind kind
	app  int
	name string
	text string
	// git is what is in the repository in its place; "" is the same.
	git string
}

func (o object) inGit() string {
	if o.git == "" {
		return o.text
	}
	return o.git
}

func (o object) file() string { return appName(o.app) + "/" + o.name + ".yaml" }

// path is where the object is on the API server.
func (o object) path(namespace string) string {
	return fmt.Sprintf("%s/namespaces/%s/%s/%s", o.kind.base, namespace, o.kind.resource, o.name)
}

func (o object) json() ([]byte, error) { return yaml.YAMLToJSON([]byte(o.text)) }

// manifests writes all objects of a workload.
func (w workload) manifests() []object {
	all := make([]object, 0, w.objects())
	for app := range w.apps {
		for _, k := range kinds {
			for i := range w.of[k] {
				name := fmt.Sprintf("%s-%s-%04d", appName(app), k.name, i)
				o := object{kind: k, app: app, name: name, text: manifest(k, name, i)}
				if k == externalSecret {
					o.git = w.externalManifest(name, app, i)
				}
				all = append(all, o)
			}
		}
	}
	return all
}

func manifest(k kind, name string, i int) string {
	switch k {
	case configMap:
		return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\ndata:\n  a: value-%d\n  b: another\n", name, i)
	case secret:
		return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\nstringData:\n  user: user-%d\n  password: password-%d-abcdefgh\n  token: token-%d-0123456789\n", name, i, i, i)
	case externalSecret:
		return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\nstringData:\n  value: %s\n", name, keptValue(i))
	case service:
		return fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata:\n  name: %s\nspec:\n  clusterIP: None\n  selector:\n    app: %s\n  ports:\n    - port: 80\n", name, name)
	default:
		return fmt.Sprintf("apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: %[1]s\nspec:\n  replicas: 0\n  selector:\n    matchLabels:\n      app: %[1]s\n  template:\n    metadata:\n      labels:\n        app: %[1]s\n    spec:\n      containers:\n        - name: main\n          image: registry.example/app:1\n", name)
	}
}

// resources lists what the workload's objects are called by the API server.
func (w workload) resources() []string {
	var names []string
	for k := range maps.Keys(w.of) {
		names = append(names, k.resource)
	}
	return slices.Sorted(slices.Values(names))
}
