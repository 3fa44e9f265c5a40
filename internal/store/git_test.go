package store_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/render"
	"github.com/gitseal/gitseal/internal/store"
)

// parse makes an object of a manifest's kind and spec.
func parse(t testing.TB, apiVersion, kind, spec string) render.Object {
	t.Helper()
	var content map[string]any
	if err := yaml.Unmarshal([]byte(spec), &content); err != nil {
		t.Fatal(err)
	}
	return render.Object{
		Unstructured: &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": apiVersion, "kind": kind, "metadata": map[string]any{"name": "s"}, "spec": content,
		}},
		Origin: render.Origin{File: "store.yaml", Line: 3},
	}
}

const eso = "external-secrets.io/v1"

const vaultToken = `
provider:
  vault:
    server: https://vault.example.com
    path: secret
    auth:
      tokenSecretRef: {name: vault, key: token}
`

func TestStoresInGitThatAreUnderstood(t *testing.T) {
	tests := map[string]struct{ apiVersion, kind, spec string }{
		"Vault with a token":                              {eso, "SecretStore", vaultToken},
		"an older version":                                {"external-secrets.io/v1beta1", "SecretStore", vaultToken},
		"for the cluster":                                 {eso, "ClusterSecretStore", vaultToken},
		"of gitseal's own":                                {"gitseal.dev/v1alpha1", "SecretStore", vaultToken},
		"the namespace it is in":                          {eso, "ClusterSecretStore", strings.ReplaceAll(vaultToken, "{name", "{namespace: team, name")},
		"left to gitseal by name":                         {eso, "SecretStore", "controller: gitseal\n" + vaultToken},
		"seconds between checks":                          {eso, "SecretStore", "refreshInterval: 60\n" + vaultToken},
		"a duration between checks":                       {eso, "SecretStore", "refreshInterval: 1m\n" + vaultToken},
		"retries":                                         {eso, "SecretStore", "retrySettings: {maxRetries: 5, retryInterval: 10s}\n" + vaultToken},
		"more and longer retries than gitseal does":       {eso, "SecretStore", "retrySettings: {maxRetries: 50, retryInterval: 10m}\n" + vaultToken},
		"conditions of a SecretStore, which mean nothing": {eso, "SecretStore", "conditions: [{namespaces: [x]}]\n" + vaultToken},
		"AWS with keys": {eso, "SecretStore", `
provider:
  aws:
    service: SecretsManager
    region: eu-central-1
    role: arn:aws:iam::1:role/x
    secretsManager: {forceDeleteWithoutRecovery: true}
    auth:
      secretRef:
        accessKeyIDSecretRef: {name: aws, key: id}
        secretAccessKeySecretRef: {name: aws, key: secret}
`},
		"values in the store": {eso, "ClusterSecretStore", `
provider:
  fake:
    validationResult: 1
    data: [{key: /a, value: one}, {key: /a, value: two, version: v1}, {key: /av1, value: three}]
`},
		"no values in the store": {"gitseal.dev/v1alpha1", "SecretStore", "provider: {fake: {data: []}}"},
		"Google Cloud with a key": {eso, "SecretStore", `
provider:
  gcpsm: {projectID: p, auth: {secretRef: {secretAccessKeySecretRef: {name: gcp, key: key.json}}}}
`},
		"Vault with two tokens for its method kubernetes, of which the ServiceAccount's counts": {eso, "SecretStore", `
provider:
  vault:
    server: https://vault.example.com
    auth: {kubernetes: {role: r, serviceAccountRef: {name: sa}, secretRef: {name: t, key: token}}}
`},
		"Vault with two tokens for its method jwt, of which the Secret's counts": {eso, "SecretStore", `
provider:
  vault:
    server: https://vault.example.com
    auth: {jwt: {role: r, secretRef: {name: t, key: token}, kubernetesServiceAccountToken: {serviceAccountRef: {name: sa}}}}
`},
		"a cluster with a certificate": {eso, "SecretStore", `
provider:
  kubernetes:
    server: {url: https://k.example.com, caProvider: {type: ConfigMap, name: ca, key: ca.crt}}
    auth: {cert: {clientCert: {name: c, key: tls.crt}, clientKey: {name: c, key: tls.key}}}
`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, err := store.FromGit(parse(t, tt.apiVersion, tt.kind, tt.spec), "team", "elsewhere")
			if err != nil {
				t.Fatalf("FromGit: %v", err)
			}
			if s.Home != "team" || !s.Private || s.Provider() == "" {
				t.Errorf("FromGit = %+v, want a private store whose credentials stand in the Application's namespace", s)
			}
			if s.Kind == v1alpha1.KindSecretStore && s.Namespace != "elsewhere" {
				t.Errorf("namespace %q, want that of objects that name none", s.Namespace)
			}
		})
	}
}

// external-secrets.io knows which of two tokens it takes; the other one may be
// of a Secret that is long gone.
func TestTheTokenThatCountsForVault(t *testing.T) {
	const both = "provider: {vault: {server: https://v, auth: {%s}}}"
	tests := map[string]struct {
		auth string
		want store.Named
	}{
		"kubernetes": {"kubernetes: {role: r, serviceAccountRef: {name: sa}, secretRef: {name: t, key: token}}",
			store.Named{Thing: store.ThingServiceAccount, Namespace: "team", Name: "sa"}},
		"jwt": {"jwt: {role: r, secretRef: {name: t, key: token}, kubernetesServiceAccountToken: {serviceAccountRef: {name: sa}}}",
			store.Named{Thing: store.ThingSecret, Namespace: "team", Name: "t"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, err := store.FromGit(parse(t, eso, "SecretStore", fmt.Sprintf(both, tt.auth)), "team", "team")
			if err != nil {
				t.Fatal(err)
			}
			named, err := s.Named()
			if diff := cmp.Diff([]store.Named{tt.want}, named); err != nil || diff != "" {
				t.Errorf("Named: %v, (-want +got):\n%s", err, diff)
			}
		})
	}
}

// What a store in Git may not do, the same store may do once it is applied to
// the cluster by somebody who may.
func TestStoresForTheCluster(t *testing.T) {
	const irsa = "provider: {aws: {region: eu-central-1}}"
	if _, err := store.ForCluster(parse(t, "gitseal.dev/v1alpha1", "SecretStore", irsa), "team"); err == nil {
		t.Error("a SecretStore uses the operator's identity")
	}
	s, err := store.ForCluster(parse(t, eso, "ClusterSecretStore", irsa), "gitseal-system")
	if err != nil || s.Home != "gitseal-system" || s.Private {
		t.Errorf("ForCluster = %+v, %v; want the store of the cluster, as the operator", s, err)
	}
	if _, err := store.ForCluster(parse(t, eso, "ClusterSecretStore", strings.ReplaceAll(vaultToken, "{name", "{namespace: team, name")), "gitseal-system"); err == nil {
		t.Error("a ClusterSecretStore names a Secret of another namespace")
	}
	// What is only understood in a store of external-secrets.io has to be
	// changed with it.
	for name, spec := range map[string]string{
		"two tokens":   "provider: {vault: {server: https://v, auth: {kubernetes: {role: r, serviceAccountRef: {name: sa}, secretRef: {name: t, key: token}}}}}",
		"conditions":   "conditions: [{namespaces: [x]}]\n" + vaultToken,
		"many retries": "retrySettings: {maxRetries: 50}\n" + vaultToken,
	} {
		if _, err := store.ForCluster(parse(t, eso, "SecretStore", spec), "team"); err == nil {
			t.Errorf("a SecretStore of gitseal's own may have %s", name)
		}
		if _, err := store.FromGit(parse(t, eso, "SecretStore", spec), "team", "team"); err != nil {
			t.Errorf("a SecretStore with %s: %v", name, err)
		}
	}
}

func TestStoresInGitThatAreRefused(t *testing.T) {
	provider := func(text string) string { return "provider:\n  " + text }
	fake := func(data string) string { return provider("fake: {data: [" + data + "]}") }
	tests := map[string]struct{ apiVersion, kind, spec, want string }{
		"a value without a key": {eso, "SecretStore", fake("{value: hunter2}"), "spec.provider.fake.data[0].key is missing"},
		"a key without a value": {eso, "SecretStore", fake("{key: a, value: hunter2}, {key: b}"), "spec.provider.fake.data[1].value is missing"},
		"two values of one key and version": {eso, "SecretStore", fake("{key: a, value: hunter2, version: v}, {key: a, value: one}, {key: a, value: two, version: v}"),
			"spec.provider.fake.data[2] has the key and version of data[0]"},
		"a key that is too long":            {eso, "SecretStore", fake("{key: " + strings.Repeat("k", 1025) + ", value: hunter2}"), "longer than 1024 and 256 characters"},
		"a version that is too long":        {eso, "SecretStore", fake("{key: k, value: hunter2, version: " + strings.Repeat("v", 257) + "}"), "longer than 1024 and 256 characters"},
		"a value that no Secret holds":      {eso, "SecretStore", fake("{key: k, value: hunter2" + strings.Repeat("v", 1<<20) + "}"), "spec.provider.fake.data[0].value is larger than 1 MiB"},
		"too many values":                   {eso, "SecretStore", fake(strings.Repeat("{key: k, value: hunter2}, ", 1025)), "spec.provider.fake.data holds more than 1024 values"},
		"a value that is no text":           {eso, "SecretStore", fake("{key: k, value: {hunter2: x}}"), "spec.provider.fake.data.value is of the wrong type"},
		"values as an older version had it": {"external-secrets.io/v1beta1", "SecretStore", fake("{key: k, valueMap: {hunter2: x}}"), "spec.provider.fake.data[0].valueMap is not supported"},
		"a result that there is not":        {eso, "SecretStore", provider("fake: {data: [], validationResult: 3}"), "spec.provider.fake.validationResult is none of"},
		"another provider":                  {eso, "SecretStore", provider("azurekv: {}"), "spec.provider.azurekv is not supported"},
		"parameter store":                   {eso, "SecretStore", provider("aws: {service: ParameterStore, region: x}"), `spec.provider.aws.service "ParameterStore" is not supported`},
		"files":                             {eso, "SecretStore", provider("file: {}"), "spec.provider.file is not supported"},
		"no provider":                       {eso, "SecretStore", "controller: x", "spec.provider is missing"},
		"two providers":                     {eso, "SecretStore", vaultToken + "  aws: {region: x}", "takes exactly one provider, and has aws, vault"},
		"an unknown field":                  {eso, "SecretStore", strings.Replace(vaultToken, "path:", "pathh:", 1), "spec.provider.vault.pathh is not supported"},
		"authorities in what holds none": {eso, "SecretStore", provider("vault: {server: https://v, caProvider: {type: Pod, name: x}, auth: {tokenSecretRef: {name: a, key: b}}}"),
			`spec.provider.vault.caProvider.type is "Pod", and may be Secret or ConfigMap`},
		"an unknown method":                     {eso, "SecretStore", provider("vault: {server: https://v, auth: {iam: {vaultRole: x}}}"), "spec.provider.vault.auth.iam is not supported: be let in by one of tokenSecretRef"},
		"a bundle of certificates that is none": {eso, "SecretStore", strings.Replace(vaultToken, "path: secret", "caBundle: '...hunter2'", 1), "a caBundle is no base64"},
		"the operator's ServiceAccount at Vault": {eso, "SecretStore", provider("vault: {server: https://v, auth: {kubernetes: {role: r}}}"),
			"spec.provider.vault.auth.kubernetes takes one of serviceAccountRef and secretRef: a store never uses the operator's own"},
		"a field of the wrong type, which is not quoted": {eso, "SecretStore",
			provider("vault: {server: https://v, auth: {tokenSecretRef: hunter2}}"), "spec.provider.vault.auth.tokenSecretRef is of the wrong type"},
		"an unknown version":      {"external-secrets.io/v1alpha1", "SecretStore", vaultToken, `apiVersion "external-secrets.io/v1alpha1" is not supported`},
		"another operator's":      {eso, "SecretStore", "controller: dev\n" + vaultToken, `spec.controller leaves it to "dev"`},
		"fields of gitseal's own": {eso, "SecretStore", "access: []\n" + vaultToken, "spec.access is not a field of external-secrets.io"},
		"another namespace": {eso, "ClusterSecretStore", strings.ReplaceAll(vaultToken, "{name", "{namespace: kube-system, name"),
			`spec.provider.vault.auth.tokenSecretRef.namespace is "kube-system", and may only be "team"`},
		"a selector without name": {eso, "SecretStore", strings.ReplaceAll(vaultToken, "name: vault, ", ""), "spec.provider.vault.auth.tokenSecretRef.name is missing"},
		"no way to be let in":     {eso, "SecretStore", provider("vault: {server: https://v}"), "spec.provider.vault.auth is missing"},
		"two ways to be let in": {eso, "SecretStore", vaultToken + "      appRole: {roleId: x, secretRef: {name: a, key: b}}",
			"takes exactly one of tokenSecretRef, appRole"},
		"the operator's identity at AWS":    {eso, "ClusterSecretStore", provider("aws: {region: x}"), "spec.provider.aws.auth is missing"},
		"the operator's identity at Google": {eso, "ClusterSecretStore", provider("gcpsm: {projectID: x}"), "spec.provider.gcpsm.auth is missing"},
		"the operator's identity in the cluster": {eso, "ClusterSecretStore", provider("kubernetes: {remoteNamespace: kube-system}"),
			"spec.provider.kubernetes takes one of auth and authRef"},
		"a user in a URL": {eso, "SecretStore", strings.Replace(vaultToken, "https://", "https://me:hunter2@", 1), "without a user"},
		"no region":       {eso, "SecretStore", provider("aws: {auth: {jwt: {serviceAccountRef: {name: x}}}}"), "spec.provider.aws.region is missing"},
		"no requests": {"gitseal.dev/v1alpha1", "SecretStore", "limits: {requestsPerSecond: 0}\n" + vaultToken,
			"spec.limits.requestsPerSecond must be between 1 and 10000"},
		"requests without number": {"gitseal.dev/v1alpha1", "SecretStore", "limits: {concurrency: 100000}\n" + vaultToken,
			"spec.limits.concurrency must be between 1 and 256"},
		"a directory outside": {"gitseal.dev/v1alpha1", "SecretStore", provider("file: {directory: ../etc}"),
			"spec.provider.file.directory must be relative"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := store.FromGit(parse(t, tt.apiVersion, tt.kind, tt.spec), "team", "team")
			var f *failure.Error
			if !errors.As(err, &f) || f.Class != failure.Stall || f.Reason != v1alpha1.ReasonStoreInvalid {
				t.Fatalf("FromGit: %v, want a failure that stalls with reason StoreInvalid", err)
			}
			if m := f.Message(); !strings.Contains(m, tt.want) || !strings.Contains(m, "store.yaml:3") {
				t.Errorf("FromGit says %q, want %q and where it stands", m, tt.want)
			}
			if strings.Contains(f.Message(), "hunter2") {
				t.Errorf("FromGit quotes what stands in the field: %q", f.Message())
			}
		})
	}
}

func FuzzFromGit(f *testing.F) {
	for _, spec := range []string{vaultToken, "provider: {aws: {region: x}}", "provider: {fake: {data: [{key: a, value: b}, {key: a, value: c}]}}", "access: [{keys: ['a*']}]", "conditions: [{namespaceRegexes: ['(']}]"} {
		f.Add(eso, "SecretStore", spec)
		f.Add("gitseal.dev/v1alpha1", "SecretStore", spec)
		f.Add(eso, "ClusterSecretStore", spec)
	}
	f.Fuzz(func(t *testing.T, apiVersion, kind, spec string) {
		var content map[string]any
		if yaml.Unmarshal([]byte(spec), &content) != nil {
			return
		}
		o := render.Object{Unstructured: &unstructured.Unstructured{Object: map[string]any{"apiVersion": apiVersion, "kind": kind, "spec": content}}}
		if !store.IsStore(o) {
			return
		}
		s, err := store.FromGit(o, "team", "team")
		if err != nil {
			if !errors.As(err, new(*failure.Error)) {
				t.Fatalf("FromGit: %v is no *failure.Error", err)
			}
			return
		}
		named, err := s.Named()
		if err != nil || s.Home != "team" {
			t.Fatalf("a store that was accepted: %v, home %q", err, s.Home)
		}
		for _, n := range named {
			if n.Namespace != "team" || n.Name == "" {
				t.Fatalf("it names %v", n)
			}
		}
	})
}
