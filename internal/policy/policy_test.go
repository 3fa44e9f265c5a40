package policy

import (
	"encoding/base64"
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
	"github.com/gitseal/gitseal/internal/secret"
)

func object(t testing.TB, file string, line int, text string) render.Object {
	t.Helper()
	var m map[string]any
	if err := yaml.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	return render.Object{Unstructured: &unstructured.Unstructured{Object: m}, Origin: render.Origin{File: file, Line: line}}
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestCheck(t *testing.T) {
	values := secret.NewTokenizer([]byte("key")).NewSet()
	add := func(text string, k secret.Kind) string { return string(values.Add(secret.NewValue([]byte(text)), k)) }
	token := add("hunter2", secret.String)
	number, float, boolean := add("8080", secret.Int), add("1.5", secret.Float), add("true", secret.Bool)
	big := add(strings.Repeat("x", 1<<20), secret.String)
	unknown := secret.TokenPrefix + strings.Repeat("a", 32)

	const db = "apiVersion: v1\nkind: Secret\nmetadata: {name: db}\n"
	const encrypt = ": encrypt it with kubectl gitseal encrypt, or allow it in spec.secrets.exceptions"
	const none = ": encrypt it and set policy SOPS, or allow it in spec.secrets.exceptions"
	const violated, invalid = v1alpha1.ReasonPolicyViolated, v1alpha1.ReasonObjectInvalid
	ext := v1alpha1.Secrets{Policy: v1alpha1.PolicyExternal}
	exceptions := []v1alpha1.SecretException{{Name: "db", Reason: "for the test"}}
	tests := map[string]struct {
		spec   v1alpha1.Secrets // policy SOPS unless set
		object string
		reason string // "" for no violation
		want   string // without the place
	}{
		"tokens in stringData":             {object: db + "stringData: {p: " + token + ", q: 'pre " + token + " post'}"},
		"tokens raw and encoded in data":   {object: db + "data: {p: " + token + ", q: " + b64("a "+token) + "}"},
		"empty values":                     {object: db + "data: {p: ''}\nstringData: {q: ''}"},
		"a service account token":          {object: db + "type: kubernetes.io/service-account-token"},
		"null data":                        {object: db + "data: null"},
		"plain data that is excepted":      {spec: v1alpha1.Secrets{Exceptions: exceptions}, object: db + "stringData: {p: plain}"},
		"an empty Secret under None":       {spec: v1alpha1.Secrets{Policy: v1alpha1.PolicyNone}, object: db},
		"an exception under None":          {spec: v1alpha1.Secrets{Policy: v1alpha1.PolicyNone, Exceptions: exceptions}, object: db + "stringData: {p: plain}"},
		"a token in an allowed kind":       {spec: v1alpha1.Secrets{AllowInKinds: []string{"ConfigMap"}}, object: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {k: " + token + "}"},
		"a token in an allowed group":      {spec: v1alpha1.Secrets{AllowInKinds: []string{"Deployment.apps"}}, object: "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: c}\nspec: {k: " + token + "}"},
		"a Secret of another group":        {object: "apiVersion: x.io/v1\nkind: Secret\nmetadata: {name: c}\nspec: {k: plain}"},
		"a SecretStore":                    {object: "apiVersion: external-secrets.io/v1\nkind: SecretStore\nmetadata: {name: c}\nspec: {k: plain}"},
		"an annotation that is a checksum": {object: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, annotations: {checksum: 0a1b}}"},

		"plain stringData": {object: db + "stringData: {password: plain}", reason: violated,
			want: `Secret "db" carries plain data at key "password" under policy SOPS` + encrypt},
		"plain data": {object: db + "data: {password: cGxhaW4=}", reason: violated,
			want: `Secret "db" carries plain data at key "password" under policy SOPS` + encrypt},
		"base64 of a token in stringData, which is not opened": {object: db + "stringData: {password: " + b64(token) + "}", reason: violated,
			want: `Secret "db" carries plain data at key "password" under policy SOPS` + encrypt},
		"an exception for another name": {spec: v1alpha1.Secrets{Exceptions: []v1alpha1.SecretException{{Name: "d"}}}, object: db + "data: {p: cGxhaW4=}", reason: violated,
			want: `Secret "db" carries plain data at key "p" under policy SOPS` + encrypt},
		"data under None": {spec: v1alpha1.Secrets{Policy: v1alpha1.PolicyNone}, object: db + "data: {p: cGxhaW4=}", reason: violated,
			want: `Secret "db" carries data at key "p" under policy None` + none},
		"a token under None": {spec: v1alpha1.Secrets{Policy: v1alpha1.PolicyNone}, object: db + "data: {p: " + token + "}", reason: violated,
			want: `Secret "db" carries data at key "p" under policy None` + none},
		"plain data that is not base64": {object: db + "data: {p: 'not base64!'}", reason: violated,
			want: `Secret "db" has no valid base64 at data.p; a.yaml:3: Secret "db" carries plain data at key "p" under policy SOPS: encode it, or move it to stringData`},
		"an encrypted file under None": {spec: v1alpha1.Secrets{Policy: v1alpha1.PolicyNone}, object: db + "data: {p: 'ENC[AES256_GCM,data:x]'}\nsops: {version: 3}", reason: violated,
			want: `Secret "db" is encrypted with SOPS and is refused under policy None: set policy SOPS, which opens it`},
		"a sops block under SOPS": {object: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\nsops: {version: 3}", reason: violated,
			want: `ConfigMap "c" is encrypted with SOPS in a way that could not be opened: encrypt the file as a whole with kubectl gitseal encrypt`},
		"ciphertext in a ConfigMap": {object: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {k: 'x ENC[AES256_GCM,data:x]'}", reason: violated,
			want: `ConfigMap "c" holds text that SOPS has encrypted and nobody can open at data.k: encrypt the whole file with kubectl gitseal encrypt, and do not copy parts of encrypted files`},
		"encoded ciphertext in an excepted Secret": {spec: v1alpha1.Secrets{Policy: v1alpha1.PolicyNone, Exceptions: exceptions}, object: db + "data: {k: " + b64("ENC[AES256_GCM,data:x]") + "}", reason: violated,
			want: `Secret "db" holds text that SOPS has encrypted and nobody can open at data.k: encrypt the whole file with kubectl gitseal encrypt, and do not copy parts of encrypted files`},
		"an ExternalSecret under External":      {spec: v1alpha1.Secrets{Policy: v1alpha1.PolicyExternal}, object: "apiVersion: external-secrets.io/v1beta1\nkind: ExternalSecret\nmetadata: {name: s}"},
		"what a store answered, under External": {spec: v1alpha1.Secrets{Policy: v1alpha1.PolicyExternal}, object: db + "data: {p: " + b64(token) + "}"},
		"an exception under External":           {spec: v1alpha1.Secrets{Policy: v1alpha1.PolicyExternal, Exceptions: exceptions}, object: db + "stringData: {p: plain}"},
		"plain data under External": {spec: v1alpha1.Secrets{Policy: v1alpha1.PolicyExternal}, object: db + "stringData: {p: plain}", reason: violated,
			want: `Secret "db" carries plain data at key "p" under policy External: reference it with an ExternalSecret, or allow it in spec.secrets.exceptions`},
		"an encrypted file under External": {spec: v1alpha1.Secrets{Policy: v1alpha1.PolicyExternal}, object: db + "data: {p: 'ENC[AES256_GCM,data:x]'}\nsops: {version: 3}", reason: violated,
			want: `Secret "db" is encrypted with SOPS and is refused under policy External: set policy SOPS, which opens it`},
		"a SealedSecret under External": {spec: v1alpha1.Secrets{Policy: v1alpha1.PolicyExternal}, object: "apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\nmetadata: {name: s}", reason: violated,
			want: `SealedSecret "s" needs policy Sealed and is refused under policy External: remove it, or keep it in an Application with policy Sealed`},
		"too much for one Secret, under External": {spec: v1alpha1.Secrets{Policy: v1alpha1.PolicyExternal}, object: db + "data: {p: " + b64(big) + ", q: " + b64(token) + "}", reason: invalid,
			want: `Secret "db" is larger than 1 MiB: split it over several Secrets`},
		"a SealedSecret": {object: "apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\nmetadata: {name: s}", reason: violated,
			want: `SealedSecret "s" needs policy Sealed and is refused under policy SOPS: remove it, or keep it in an Application with policy Sealed`},
		"our SealedSecret under None": {spec: v1alpha1.Secrets{Policy: v1alpha1.PolicyNone}, object: "apiVersion: gitseal.dev/v1alpha1\nkind: SealedSecret\nmetadata: {name: s}", reason: violated,
			want: `SealedSecret "s" needs policy Sealed and is refused under policy None: remove it, or keep it in an Application with policy Sealed`},
		"an ExternalSecret": {object: "apiVersion: external-secrets.io/v1beta1\nkind: ExternalSecret\nmetadata: {name: s}", reason: violated,
			want: `ExternalSecret "s" needs policy External and is refused under policy SOPS: remove it, or keep it in an Application with policy External`},
		"an empty Secret under External": {spec: ext, object: db},
		"a token in Git under External": {spec: ext, object: "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: s}\nspec: {target: {template: {data: {a: " + unknown + "}}}}", reason: violated,
			want: `ExternalSecret "s" holds a token that stands for no value of this Application at spec.target.template.data.a; a.yaml:3: ExternalSecret "s" holds an opened value at spec.target.template.data.a, and only a Secret may: a token is never written into Git; remove it`},
		"a ClusterExternalSecret": {spec: ext, object: "apiVersion: external-secrets.io/v1\nkind: ClusterExternalSecret\nmetadata: {name: s}", reason: violated,
			want: `ClusterExternalSecret "s" is not supported under any policy: commit an ExternalSecret for each namespace, for instance with Kustomize`},
		"a PushSecret under None": {spec: v1alpha1.Secrets{Policy: v1alpha1.PolicyNone}, object: "apiVersion: external-secrets.io/v1alpha1\nkind: PushSecret\nmetadata: {name: s}", reason: violated,
			want: `PushSecret "s" is not supported under any policy: remove it: gitseal writes to no provider, which owns its values`},
		"a token in another kind": {object: "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {env: [{a: b}, {value: " + token + "}]}", reason: violated,
			want: `Deployment "d" holds an opened value at spec.env[1].value, and only a Secret may: use a Secret, or list Deployment.apps in spec.secrets.allowInKinds: whoever may read that kind then reads the value`},
		"a token in a name": {object: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, labels: {a.b/c: x" + token + "}}", reason: violated,
			want: `ConfigMap "c" holds an opened value at metadata.labels["a.b/c"]: metadata is readable by all who may list the object; use the value in data only`},
		"a token in an annotation of an allowed kind": {spec: v1alpha1.Secrets{AllowInKinds: []string{"ConfigMap"}}, object: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, annotations: {a: " + token + "}}", reason: violated,
			want: `ConfigMap "c" holds an opened value at metadata.annotations.a: metadata is readable by all who may list the object; use the value in data only`},
		"a token in a key": {spec: v1alpha1.Secrets{AllowInKinds: []string{"ConfigMap"}}, object: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {" + token + ": x}", reason: violated,
			want: `ConfigMap "c" holds an opened value in the name of a key under data: use the value as a value only`},
		"a token in the type of a Secret": {object: db + "type: " + token, reason: violated,
			want: `Secret "db" holds an opened value at type: use the value in data or stringData only`},
		"a token inside binaryData": {spec: v1alpha1.Secrets{AllowInKinds: []string{"ConfigMap"}}, object: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\nbinaryData: {k: " + b64(token) + "}", reason: violated,
			want: `ConfigMap "c" holds an opened value inside base64 at binaryData.k: use data for text`},
		"a token that nobody made": {object: db + "stringData: {p: " + unknown + "}", reason: violated,
			want: `Secret "db" holds a token that stands for no value of this Application at stringData.p: a token is never written into Git; remove it`},
		"a token that nobody made, encoded under a key with a dot": {object: db + "data: {tls.key: " + b64(unknown) + "}", reason: violated,
			want: `Secret "db" holds a token that stands for no value of this Application at data["tls.key"]: a token is never written into Git; remove it`},
		"a token inside binaryData under a key with a dot": {spec: v1alpha1.Secrets{AllowInKinds: []string{"ConfigMap"}}, object: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\nbinaryData: {k.bin: " + b64(token) + "}", reason: violated,
			want: `ConfigMap "c" holds an opened value inside base64 at binaryData["k.bin"]: use data for text`},
		"a token below a top-level key without a name": {object: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n'': {metadata: {k: " + token + "}}", reason: violated,
			want: `ConfigMap "c" holds an opened value at metadata.k, and only a Secret may: use a Secret, or list ConfigMap in spec.secrets.allowInKinds: whoever may read that kind then reads the value`},
		"the annotation of kubectl apply": {object: "apiVersion: v1\nkind: Secret\nmetadata: {name: db, annotations: {kubectl.kubernetes.io/last-applied-configuration: '{}'}}", reason: violated,
			want: `Secret "db" has the annotation kubectl.kubernetes.io/last-applied-configuration, which repeats its data: remove the annotation`},

		"an encrypted number": {object: db + "stringData: {port: " + number + "}", reason: invalid,
			want: `Secret "db" has a number where text is expected at stringData.port: quote it before encrypting`},
		"an encrypted fraction in data": {object: db + "data: {port: " + float + "}", reason: invalid,
			want: `Secret "db" has a number where text is expected at data.port: quote it before encrypting`},
		"an encrypted boolean": {object: db + "stringData: {enabled: " + boolean + "}", reason: invalid,
			want: `Secret "db" has a boolean where text is expected at stringData.enabled: quote it before encrypting`},
		"an encrypted number inside text": {object: db + "stringData: {port: 'port=" + number + "'}"},
		"a plain number": {object: db + "stringData: {port: 80}", reason: invalid,
			want: `Secret "db" has a number where text is expected at stringData.port: quote it`},
		"a map": {object: db + "stringData: {conf: {a: " + token + "}}", reason: invalid,
			want: `Secret "db" has a map where text is expected at stringData.conf: write it as one text, with |`},
		"a list": {object: db + "data: {conf: [" + token + "]}", reason: invalid,
			want: `Secret "db" has a list where text is expected at data.conf: write it as one text, with |`},
		"null": {object: db + "data: {p: null}", reason: invalid,
			want: `Secret "db" has null where text is expected at data.p: remove the key, or make it "" for an empty text`},
		"data that is a list": {object: db + "data: [a]", reason: invalid,
			want: `Secret "db" data is a list where a map is expected: make it a map of keys and texts`},
		"a bad key": {object: db + "stringData: {a b: " + token + "}", reason: invalid,
			want: `Secret "db" stringData has the key "a b", which is not valid: use letters, digits, '-', '_' and '.' only`},
		"a long key": {object: db + "stringData: {" + strings.Repeat("k", 254) + ": " + token + "}", reason: invalid,
			want: `Secret "db" stringData has a key of more than 253 characters: shorten the key`},
		"more than a mebibyte": {object: db + "stringData: {a: " + big + ", b: " + token + "}", reason: invalid,
			want: `Secret "db" is larger than 1 MiB: split it over several Secrets`},
		"exactly a mebibyte":             {object: db + "stringData: {a: " + big + "}"},
		"an overwritten key counts once": {object: db + "data: {a: " + b64(big) + "}\nstringData: {a: " + big + "}"},
		"a quoted immutable": {object: db + "immutable: 'true'", reason: invalid,
			want: `Secret "db" immutable is text where a boolean is expected: write true or false without quotes`},
		"a type that is a number": {object: db + "type: 1", reason: invalid, want: `Secret "db" type is a number where text is expected: quote it`},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if tc.spec.Policy == "" {
				tc.spec.Policy = v1alpha1.PolicySOPS
			}
			err := Check(tc.spec, []render.Object{object(t, "a.yaml", 3, tc.object)}, values)
			if tc.reason == "" {
				if err != nil {
					t.Fatalf("Check = %v, want nil", err)
				}
				return
			}
			wantFailure(t, err, tc.reason, "a.yaml:3: "+tc.want)
		})
	}
}

func wantFailure(t *testing.T, err error, reason, want string) {
	t.Helper()
	var f *failure.Error
	if !errors.As(err, &f) {
		t.Fatalf("Check = %v, want a failure", err)
	}
	if f.Class != failure.Stall || f.Reason != reason {
		t.Errorf("failure = %v %s, want stall %s", f.Class, f.Reason, reason)
	}
	if diff := cmp.Diff(want, f.Message()); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
}

func TestManyViolationsAreSortedAndCounted(t *testing.T) {
	var objects []render.Object
	for i := 8; i > 0; i-- {
		objects = append(objects, object(t, "s.yaml", i*5, fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: s%d}\nstringData: {p: x}", i)))
	}
	objects = append(objects, object(t, "a.yaml", 1, "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {p: 1}"))
	err := Check(v1alpha1.Secrets{Policy: v1alpha1.PolicySOPS}, objects, nil)
	plain := `carries plain data at key "p" under policy SOPS`
	wantFailure(t, err, v1alpha1.ReasonPolicyViolated, `a.yaml:1: Secret "a" has a number where text is expected at stringData.p; `+
		`s.yaml:5: Secret "s1" `+plain+`; s.yaml:10: Secret "s2" `+plain+`; s.yaml:15: Secret "s3" `+plain+`; s.yaml:20: Secret "s4" `+plain+`; and 4 more: quote it`)
}

// FuzzCheck: whatever an object looks like, a Secret that passes under SOPS
// carries nothing but tokens, a message never quotes a value, and nothing
// panics.
func FuzzCheck(f *testing.F) {
	for _, seed := range []string{
		"apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {p: canaryvalue}",
		"apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {p: Y2FuYXJ5dmFsdWU=, q: [canaryvalue], r: {canaryvalue: 1}}",
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {p: ENC[AES256_GCM,]}", "kind: Secret", "sops: {}", "data: 1",
	} {
		f.Add(seed, true)
	}
	f.Fuzz(func(t *testing.T, text string, sops bool) {
		var m map[string]any
		if yaml.Unmarshal([]byte(text), &m) != nil || m == nil {
			return
		}
		o := render.Object{Unstructured: &unstructured.Unstructured{Object: m}, Origin: render.Origin{File: "a.yaml", Line: 1}}
		spec := v1alpha1.Secrets{Policy: v1alpha1.PolicyNone}
		if sops {
			spec.Policy = v1alpha1.PolicySOPS
		}
		err := Check(spec, []render.Object{o}, secret.NewTokenizer([]byte("k")).NewSet())
		if again := Check(spec, []render.Object{o}, secret.NewTokenizer([]byte("k")).NewSet()); fmt.Sprint(again) != fmt.Sprint(err) {
			t.Errorf("not deterministic: %v, then %v", err, again)
		}
		if err != nil || o.GetAPIVersion() != "v1" || o.GetKind() != "Secret" {
			return
		}
		for _, field := range []string{"data", "stringData"} {
			data, _ := m[field].(map[string]any)
			for key, v := range data {
				if v != "" && v != nil {
					if raw, err := base64.StdEncoding.DecodeString(fmt.Sprint(v)); field == "data" && err == nil && len(raw) == 0 {
						continue // line ends only
					}
					t.Errorf("plain %s[%q] passed under %s", field, key, spec.Policy)
				}
			}
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	values := secret.NewTokenizer([]byte("key")).NewSet()
	token := values.Add(secret.NewValue([]byte("v")), secret.String)
	var objects []render.Object
	for i := range 1000 {
		objects = append(objects, object(b, "a.yaml", i, fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: s%d}\nstringData: {a: %s, b: %s, c: %s}", i, token, token, token)))
	}
	for b.Loop() {
		if err := Check(v1alpha1.Secrets{Policy: v1alpha1.PolicySOPS}, objects, values); err != nil {
			b.Fatal(err)
		}
	}
}
