package leak

import (
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitseal/gitseal/api/v1alpha1"
	fakeaws "github.com/gitseal/gitseal/test/fakecloud/aws"
)

// extracted makes a Secret of all that the key holds; %s is its target.
const extracted = `apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: db}
spec:
  secretStoreRef: {name: aws}
  refreshInterval: 10s
  dataFrom: [{extract: {key: db}}]
  target: {%s}
`

// amazons are the ways that values of AWS go: to their Secret, and nowhere for
// each thing that can be wrong. Whatever AWS refuses, it quotes a value.
func amazons() map[string]scenario {
	refused := func(reason, target string, wrong func(*play, *fakeaws.Cloud)) scenario {
		return scenario{reason, func(p *play) {
			cloud := p.amazon(nil)
			cloud.Put("db", p.kept(false), nil)
			p.write(map[string]string{"db.yaml": fmt.Sprintf(extracted, target)})
			wrong(p, cloud)
		}}
	}
	out := func(how fakeaws.Outage) func(*play, *fakeaws.Cloud) {
		return func(_ *play, c *fakeaws.Cloud) { c.Out(how) }
	}
	return map[string]scenario{
		"values of AWS": {run: func(p *play) {
			p.amazon(nil).Put("db", p.kept(true), map[string]string{"tag": "value"})
			p.write(map[string]string{"db.yaml": fmt.Sprintf(extracted, "")})
		}},
		"a key denied by AWS":      refused(v1alpha1.ReasonStoreDenied, "", func(_ *play, c *fakeaws.Cloud) { c.Deny("", "db") }),
		"AWS throttles":            refused(v1alpha1.ReasonStoreUnavailable, "", func(_ *play, c *fakeaws.Cloud) { c.Throttle("", -1, 0) }),
		"AWS is away":              refused(v1alpha1.ReasonStoreUnavailable, "", out(fakeaws.Hangup)),
		"AWS is out of order":      refused(v1alpha1.ReasonStoreUnavailable, "", out(fakeaws.InternalError)),
		"somebody else is AWS":     refused(v1alpha1.ReasonStoreUnavailable, "", out(fakeaws.Garbage)),
		"AWS forgot the session":   refused(v1alpha1.ReasonStoreInvalid, "", func(_ *play, c *fakeaws.Cloud) { c.Fail("ExpiredTokenException", 400) }),
		"AWS cannot decrypt":       refused(v1alpha1.ReasonSecretInvalid, "", func(_ *play, c *fakeaws.Cloud) { c.FailSecret("db", "DecryptionFailure") }),
		"a key deleted in AWS":     refused(v1alpha1.ReasonSecretMissing, "", func(_ *play, c *fakeaws.Cloud) { c.Delete("db") }),
		"a value that is no JSON":  refused(v1alpha1.ReasonSecretInvalid, "", func(p *play, c *fakeaws.Cloud) { c.Put("db", "{"+p.value("text"), nil) }),
		"a template that fails":    refused(v1alpha1.ReasonSecretInvalid, `template: {data: {a: '{{ mustToDate "2006" .plain }}'}}`, func(*play, *fakeaws.Cloud) {}),
		"a Secret type that lacks": refused(v1alpha1.ReasonApplyFailed, "template: {type: kubernetes.io/tls}", func(*play, *fakeaws.Cloud) {}),
		"a role AWS does not give": {v1alpha1.ReasonStoreInvalid, func(p *play) {
			role := fakeaws.RoleARN("of-somebody-else")
			p.amazon(func(spec *v1alpha1.AWSProvider) { spec.Role = role }).Put("db", p.kept(false), nil)
			p.write(map[string]string{"db.yaml": fmt.Sprintf(extracted, "")})
		}},
	}
}

// amazon changes the play to policy External, with a store on an account of its
// own.
func (p *play) amazon(change func(*v1alpha1.AWSProvider)) *fakeaws.Cloud {
	p.t.Helper()
	cloud := fakeaws.Start()
	p.t.Cleanup(cloud.Close)
	cloud.Quote(p.value("quoted"))
	user := cloud.AddUser("operator")
	p.secretBeside("beside", "key", user.Secret, map[string]string{"id": user.ID})
	entry := func(name string) v1alpha1.SecretKeySelector {
		return v1alpha1.SecretKeySelector{Name: "beside", Key: name}
	}
	spec := &v1alpha1.AWSProvider{
		Region: fakeaws.Region, Endpoint: cloud.URL(), STSEndpoint: cloud.URL(),
		Auth: v1alpha1.AWSAuth{SecretRef: &v1alpha1.AWSAuthSecretRef{AccessKeyID: entry("id"), SecretAccessKey: entry("key")}},
	}
	if change != nil {
		change(spec)
	}
	store := &v1alpha1.SecretStore{ObjectMeta: metav1.ObjectMeta{Name: "aws", Namespace: p.ns}}
	store.Spec.Provider.AWS = spec
	if err := sandbox.Client.Create(p.t.Context(), store); err != nil {
		p.t.Fatal(err)
	}
	p.write(map[string]string{"good.yaml": ""})
	p.edit(func(s *v1alpha1.ApplicationSpec) { s.Secrets = v1alpha1.Secrets{Policy: v1alpha1.PolicyExternal} })
	return cloud
}

// kept is a JSON object with one canary of each shape, which come to the Secret
// db, or nowhere.
func (p *play) kept(applied bool) string {
	p.t.Helper()
	values := shapes()
	for shape, value := range values {
		one := &canary{name: p.ns + "/kept/" + shape, value: value}
		if applied {
			one.secret, one.key = p.ns+"/db", shape
		}
		p.cast.add(one)
	}
	raw, err := json.Marshal(values)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(raw)
}
