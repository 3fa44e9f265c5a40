package v1alpha1_test

import (
	"testing"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// validStore is a SecretStore on which others are built.
func validStore() map[string]any {
	return map[string]any{
		"apiVersion": "gitseal.dev/v1alpha1", "kind": "SecretStore",
		"metadata": map[string]any{"name": "store", "namespace": "default"},
		"spec":     map[string]any{},
	}
}

func TestStoreValidation(t *testing.T) {
	c, _ := connect(t)
	const (
		oneProvider = "provider takes exactly one of aws, gcpsm, vault, kubernetes, fake, file and plugin"
		oneAuth     = "auth takes exactly one of tokenSecretRef, appRole, kubernetes, ldap, jwt, cert and userPass"
		vault       = "provider.vault={server: 'https://vault:8200', path: secret"
		ref         = "{name: creds, key: token}"
	)
	tests := map[string]struct {
		field string
		want  string // "" is accepted
	}{
		"a directory":                      {"provider.file={}", ""},
		"a directory outside":              {"provider.file={directory: ../etc}", "must not contain '..'"},
		"values":                           {"provider.fake={data: [{key: k, value: v}, {key: k, value: w, version: v1}], validationResult: 2}", ""},
		"no values":                        {"provider.fake={data: []}", ""},
		"a value without a key":            {"provider.fake={data: [{value: v}]}", "data[0].key: Required value"},
		"a key without a value":            {"provider.fake={data: [{key: k, value: ''}]}", "should be at least 1 chars long"},
		"a result that there is not":       {"provider.fake={data: [], validationResult: 3}", "should be less than or equal to 2"},
		"values in two places":             {"provider={file: {}, fake: {data: []}}", oneProvider},
		"no provider":                      {"provider={}", oneProvider},
		"two providers":                    {"provider={file: {}, aws: {region: eu-central-1}}", oneProvider},
		"AWS with the operator's own":      {"provider.aws={service: SecretsManager, region: eu-central-1}", ""},
		"the parameter store":              {"provider.aws={service: ParameterStore, region: eu-central-1}", `supported values: "SecretsManager"`},
		"AWS without a region":             {"provider.aws={service: SecretsManager}", "Required value"},
		"AWS with a role chain":            {"provider.aws={region: eu-central-1, role: 'arn:aws:iam::1:role/b', additionalRoles: ['arn:aws:iam::1:role/a'], externalID: x, sessionTags: [{key: a, value: b}], transitiveTagKeys: [a]}", ""},
		"AWS with two ways in":             {"provider.aws={region: r, auth: {secretRef: {accessKeyIDSecretRef: " + ref + ", secretAccessKeySecretRef: " + ref + "}, jwt: {serviceAccountRef: {name: a}}}}", "auth takes one of secretRef and jwt"},
		"Google Cloud":                     {"provider.gcpsm={projectID: p, auth: {secretRef: {secretAccessKeySecretRef: " + ref + "}}}", ""},
		"Google Cloud with two ways in":    {"provider.gcpsm={auth: {secretRef: {secretAccessKeySecretRef: " + ref + "}, workloadIdentity: {serviceAccountRef: {name: a}}}}", "auth takes one of secretRef, workloadIdentity and workloadIdentityFederation"},
		"Vault with a token":               {vault + ", auth: {tokenSecretRef: " + ref + "}}", ""},
		"Vault with an AppRole":            {vault + ", auth: {appRole: {path: approle, roleId: r, secretRef: " + ref + "}}}", ""},
		"an AppRole without a role":        {vault + ", auth: {appRole: {secretRef: " + ref + "}}}", "appRole takes one of roleId and roleRef"},
		"Vault without a way in":           {vault + ", auth: {}}", oneAuth},
		"Vault with two ways in":           {vault + ", auth: {tokenSecretRef: " + ref + ", cert: {clientCert: " + ref + ", secretRef: " + ref + "}}}", oneAuth},
		"Vault with a password in its URL": {"provider.vault={server: 'https://user:password@vault', auth: {tokenSecretRef: " + ref + "}}", "should match"},
		"KV version 3":                     {vault + ", version: v3}", `supported values: "v1", "v2"`},
		"another cluster":                  {"provider.kubernetes={server: {url: 'https://api:6443'}, auth: {token: {bearerToken: " + ref + "}}, remoteNamespace: a, requireOwner: {kind: Certificate}, expectedKeys: [tls.crt]}", ""},
		"another cluster with two ways in": {"provider.kubernetes={auth: {token: {bearerToken: " + ref + "}, serviceAccount: {name: a}}}", "auth takes exactly one of cert, token and serviceAccount"},
		"a plugin":                         {"provider.plugin={name: my-store, config: {a: b}, credentials: [{name: token, secretRef: " + ref + "}]}", ""},
		"a plugin in another directory":    {"provider.plugin={name: ../sock}", "should match"},
		"a field that does not exist":      {"provider.file={dir: x}", `unknown field "spec.provider.file.dir"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o := with(t, validStore(), tt.field)
			judge(t, c, o, tt.want)
		})
	}
}

func TestStoresThatWereWrittenForExternalSecretsFit(t *testing.T) {
	c, _ := connect(t)
	cluster := validStore()
	cluster["kind"] = "ClusterSecretStore"
	cluster["metadata"] = map[string]any{"name": "store"}
	o := with(t, cluster, "controller=gitseal", "refreshInterval=3600", "retrySettings={maxRetries: 5, retryInterval: 10s}",
		"conditions=[{namespaces: [a]}, {namespaceRegexes: ['^team-']}, {namespaceSelector: {matchLabels: {a: b}}}]",
		"provider.vault={server: 'https://vault:8200', path: secret, version: v2, auth: {kubernetes: {mountPath: kubernetes, role: r, serviceAccountRef: {name: a, namespace: gitseal-system}}}}")
	judge(t, c, o, "")
	if got := v1alpha1.GroupVersion.String(); o.GetAPIVersion() != got {
		t.Errorf("apiVersion = %s, want %s: nothing else has to change", o.GetAPIVersion(), got)
	}
}
