package aws_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
	"github.com/gitseal/gitseal/providers/aws"
	"github.com/gitseal/gitseal/providers/providertest"
	fakeaws "github.com/gitseal/gitseal/test/fakecloud/aws"
)

// quoted is what the server puts into each of its errors.
const quoted = "canary-of-the-server-4711"

func TestConformance(t *testing.T) {
	tests := map[string]struct {
		server  func(*testing.T, *fakeaws.Cloud) *providertest.Server
		without map[providertest.Feature]string
	}{
		"with access keys": {withAccessKeys, map[providertest.Feature]string{providertest.Sessions: "access keys are used as they are"}},
		"with a role":      {withRole, nil},
		"with a token":     {withToken, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			providertest.Run(t, providertest.Subject{
				Backend: aws.Backend(),
				New: func(t *testing.T) *providertest.Server {
					cloud := fakeaws.Start()
					t.Cleanup(cloud.Close)
					cloud.Quote(quoted)
					return tt.server(t, cloud)
				},
				Without: tt.without,
				OddKeys: []string{"a/b/c.d-e_f", "a+b=c@d", "rds!db-1", "/leading", "a-AbCdEf", "-", strings.Repeat("x", 512)},
				BadKeys: []string{"a b", "Käse", "a:b", "new\nline", "a*", "a\x00b", strings.Repeat("x", 513), "arn:aws:ssm:eu-central-1:123456789012:parameter/a"},
			})
		})
	}
}

// controls are the switches of a Cloud.
func controls(c *fakeaws.Cloud, store, wrong providers.Store, confidential ...string) *providertest.Server {
	both := func(do func(operation string)) {
		do("GetSecretValue")
		do("BatchGetSecretValue")
	}
	return &providertest.Server{
		Store: store, Wrong: &wrong,
		Put:      func(key string, content []byte) string { return "uuid/" + c.PutBinary(key, content) },
		Tag:      c.Tag,
		Deny:     func(key string) { c.Deny("", key) },
		Throttle: func(after time.Duration) { both(func(operation string) { c.Throttle(operation, -1, after) }) },
		Outage:   func() { c.Out(fakeaws.Hangup) },
		Hang:     func() { c.Delay(time.Hour) },
		Recover: func() {
			c.Reset()
			c.Quote(quoted)
		},
		Revoke:       c.RevokeSessions,
		Logins:       func() int { return len(c.Sessions()) },
		Requests:     func() int { return c.Calls()["GetSecretValue"] + c.Calls()["BatchGetSecretValue"] },
		Confidential: append(confidential, quoted, "is not authorized to perform"),
	}
}

func withAccessKeys(_ *testing.T, c *fakeaws.Cloud) *providertest.Server {
	user := c.AddUser("alice")
	wrong := user
	wrong.Secret = "a-wrong-secret-access-key"
	return controls(c, storeOf(c, user, nil), storeOf(c, wrong, nil), user.ID, user.Secret, wrong.Secret)
}

func withRole(_ *testing.T, c *fakeaws.Cloud) *providertest.Server {
	user := c.AddUser("alice")
	role := c.AddRole(fakeaws.Role{Name: "reader", Trusts: []string{fakeaws.UserARN("alice")}})
	assume := func(spec *v1alpha1.AWSProvider) { spec.Role = role }
	bob := c.AddUser("bob")
	return controls(c, storeOf(c, user, assume), storeOf(c, bob, assume), user.ID, user.Secret, bob.ID, bob.Secret)
}

const (
	issuerURL = "https://issuer.example"
	audience  = "sts.amazonaws.com"
)

func withToken(t *testing.T, c *fakeaws.Cloud) *providertest.Server {
	issuer := newIssuer(t, c)
	role := c.AddRole(fakeaws.Role{Name: "reader", Issuer: issuerURL, Subject: "system:serviceaccount:team:reader", Audience: audience})
	good, wrong := storeOf(c, fakeaws.AccessKey{}, byToken("reader")), storeOf(c, fakeaws.AccessKey{}, byToken("other"))
	good.Credentials = issuer.credentials("team", role)
	wrong.Credentials = good.Credentials
	return controls(c, good, wrong)
}

func byToken(account string) func(*v1alpha1.AWSProvider) {
	return func(spec *v1alpha1.AWSProvider) {
		spec.Auth = v1alpha1.AWSAuth{JWT: &v1alpha1.AWSJWTAuth{ServiceAccountRef: v1alpha1.ServiceAccountSelector{Name: account}}}
	}
}

// storeOf is a store with an access key, changed.
func storeOf(c *fakeaws.Cloud, key fakeaws.AccessKey, change func(*v1alpha1.AWSProvider)) providers.Store {
	entry := func(name string) v1alpha1.SecretKeySelector {
		return v1alpha1.SecretKeySelector{Name: "aws", Key: name}
	}
	spec := v1alpha1.AWSProvider{
		Region: fakeaws.Region, Endpoint: c.URL(), STSEndpoint: c.URL(),
		Auth: v1alpha1.AWSAuth{SecretRef: &v1alpha1.AWSAuthSecretRef{AccessKeyID: entry("id"), SecretAccessKey: entry("key")}},
	}
	if change != nil {
		change(&spec)
	}
	return providers.Store{
		Spec:        v1alpha1.StoreProvider{AWS: &spec},
		Credentials: entries{"id": key.ID + "\n", "key": key.Secret, "token": key.Token},
	}
}

// entries are those of the only Secret there is.
type entries map[string]string

func (e entries) Secret(s v1alpha1.SecretKeySelector) (secret.Value, error) {
	return secret.NewValue([]byte(e[s.Key])), nil
}

var errNoCredentials = &providers.Error{Kind: providers.ErrInvalid, Detail: "there is none"}

func (entries) CA(v1alpha1.CAProvider) ([]byte, error)                  { return nil, errNoCredentials }
func (entries) ConfigMap(v1alpha1.ConfigMapKeySelector) (string, error) { return "", errNoCredentials }
func (entries) Annotations(context.Context, v1alpha1.ServiceAccountSelector) (map[string]string, error) {
	return nil, errNoCredentials
}

func (entries) Token(context.Context, v1alpha1.ServiceAccountSelector, []string, time.Duration) (providers.Token, error) {
	return providers.Token{}, errNoCredentials
}

// issuer signs tokens of ServiceAccounts as the API server does.
type issuer struct {
	t   *testing.T
	key *ecdsa.PrivateKey
}

func newIssuer(t *testing.T, c *fakeaws.Cloud) issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.AddIssuer(issuerURL, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Algorithm: "ES256"}}})
	return issuer{t, key}
}

func (i issuer) token(subject string, audiences []string, life time.Duration) string {
	i.t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: i.key, KeyID: "k"}}, nil)
	if err != nil {
		i.t.Fatal(err)
	}
	said := jwt.Claims{Issuer: issuerURL, Subject: subject, Audience: audiences, Expiry: jwt.NewNumericDate(time.Now().Add(life))}
	token, err := jwt.Signed(signer).Claims(said).Serialize()
	if err != nil {
		i.t.Fatal(err)
	}
	return token
}

func (i issuer) credentials(namespace, role string) tokens {
	return tokens{issuer: i, namespace: namespace, annotations: map[string]string{"eks.amazonaws.com/role-arn": role}}
}

// tokens are those of the ServiceAccounts of a namespace.
type tokens struct {
	entries
	issuer
	namespace   string
	annotations map[string]string
}

func (c tokens) Annotations(context.Context, v1alpha1.ServiceAccountSelector) (map[string]string, error) {
	return c.annotations, nil
}

func (c tokens) Token(_ context.Context, account v1alpha1.ServiceAccountSelector, audiences []string, expiry time.Duration) (providers.Token, error) {
	token := c.token("system:serviceaccount:"+c.namespace+":"+account.Name, slices.Concat(audiences, account.Audiences), expiry)
	return providers.Token{Value: secret.NewValue([]byte(token)), Expires: time.Now().Add(expiry)}, nil
}
