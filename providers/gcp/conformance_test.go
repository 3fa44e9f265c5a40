package gcp_test

import (
	"context"
	"hash/crc32"
	"slices"
	"strings"
	"testing"
	"time"

	secretmanager "cloud.google.com/go/secretmanager/apiv1"
	"cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"k8s.io/utils/clock"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
	"github.com/gitseal/gitseal/providers/gcp"
	"github.com/gitseal/gitseal/providers/providertest"
	fakegcp "github.com/gitseal/gitseal/test/fakecloud/gcp"
)

func TestConformance(t *testing.T) {
	for name, location := range map[string]string{"global": "", "regional": "europe-west3"} {
		t.Run(name, func(t *testing.T) {
			providertest.Run(t, providertest.Subject{
				Backend: gcp.Backend(),
				New:     func(t *testing.T) *providertest.Server { return newServer(t, location) },
				OddKeys: []string{"a_b-C9", "-x", "_", "9", strings.Repeat("x", 255)},
				BadKeys: []string{"a/b", "..", "a b", "projects/p/secrets/s", "a.b", "Käse", strings.Repeat("x", 256), "a\x00"},
				Nest:    func(folder, name string) string { return folder + "-" + name },
			})
		})
	}
}

func newServer(t *testing.T, location string) *providertest.Server {
	t.Helper()
	c := startCloud(t, location)
	key, err := c.AddServiceAccount("prod", "reader")
	if err != nil {
		t.Fatal(err)
	}
	other, err := c.AddServiceAccount("prod", "reader2")
	if err != nil {
		t.Fatal(err)
	}
	// A key of another account under the name of the first.
	wrong := strings.Replace(string(other), "reader2@", "reader@", 1)
	c.SetErrorText("the-server-says-hunter2-and-quotes-" + string(key[:80]))
	store := c.store(t, key)
	wrongStore := c.store(t, []byte(wrong))
	return &providertest.Server{
		Store: store, Wrong: &wrongStore,
		Put: c.put,
		Tag: func(key string, tags map[string]string) {
			c.update(key, &secretmanagerpb.Secret{Labels: tags}, "labels")
		},
		Deny:     c.Deny,
		Throttle: func(after time.Duration) { c.Throttle(fakegcp.Forever, after) },
		Outage:   func() { c.SetOutage(fakegcp.Reset) },
		Hang:     func() { c.SetLatency(time.Hour) },
		Recover: func() {
			c.Throttle(0, 0)
			c.SetLatency(0)
			c.SetOutage(fakegcp.Up)
		},
		Revoke:       c.RevokeTokens,
		Logins:       c.Logins,
		Requests:     func() int { return c.Calls("AccessSecretVersion") },
		Confidential: []string{"the-server-says-hunter2", string(key)},
	}
}

// cloud is a server, and a client of it that fills it.
type cloud struct {
	*fakegcp.Server
	t        *testing.T
	admin    *secretmanager.Client
	parent   string
	location string
	clock    clock.WithTicker
}

func startCloud(t *testing.T, location string) *cloud {
	t.Helper()
	return startCloudAt(t, location, clock.RealClock{})
}

func startCloudAt(t *testing.T, location string, now clock.WithTicker) *cloud {
	t.Helper()
	server, err := fakegcp.Start(now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	admin, err := server.Client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Close() })
	c := &cloud{Server: server, t: t, admin: admin, parent: "projects/prod", location: location, clock: now}
	if location != "" {
		c.parent += "/locations/" + location
	}
	return c
}

// as is a context of somebody who may do everything. His token counts as no
// login.
func (c *cloud) as() context.Context {
	return metadata.AppendToOutgoingContext(c.t.Context(), "authorization", "Bearer "+c.Token())
}

func (c *cloud) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// put adds a version, and makes the secret before the first.
func (c *cloud) put(key string, content []byte) string {
	c.t.Helper()
	_, err := c.admin.CreateSecret(c.as(), &secretmanagerpb.CreateSecretRequest{Parent: c.parent, SecretId: key})
	if status.Code(err) != codes.AlreadyExists {
		c.must(err)
	}
	crc := int64(crc32.Checksum(content, crc32.MakeTable(crc32.Castagnoli)))
	v, err := c.admin.AddSecretVersion(c.as(), &secretmanagerpb.AddSecretVersionRequest{
		Parent: c.name(key), Payload: &secretmanagerpb.SecretPayload{Data: content, DataCrc32C: &crc},
	})
	c.must(err)
	return v.GetName()[strings.LastIndex(v.GetName(), "/")+1:]
}

func (c *cloud) name(key string) string { return c.parent + "/secrets/" + key }

func (c *cloud) update(key string, s *secretmanagerpb.Secret, field string) {
	c.t.Helper()
	s.Name = c.name(key)
	_, err := c.admin.UpdateSecret(c.as(), &secretmanagerpb.UpdateSecretRequest{Secret: s, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{field}}})
	c.must(err)
}

// store is one that has a service account's key.
func (c *cloud) store(t *testing.T, key []byte) providers.Store {
	t.Helper()
	return c.storeWith(v1alpha1.GCPSMAuth{SecretRef: &v1alpha1.GCPSMAuthSecretRef{
		SecretAccessKey: v1alpha1.SecretKeySelector{Name: "gcp", Key: "key.json"},
	}}, &objects{secrets: map[string]string{"gcp/key.json": string(key)}})
}

func (c *cloud) storeWith(auth v1alpha1.GCPSMAuth, o *objects) providers.Store {
	return providers.Store{
		Credentials: o, Clock: c.clock, Dial: dial,
		Spec: v1alpha1.StoreProvider{GCPSM: &v1alpha1.GCPSMProvider{
			ProjectID: "prod", Location: c.location, Auth: auth, Endpoint: c.Endpoint(), STSEndpoint: c.TokenURL(),
		}},
	}
}

// objects are what a store's spec names.
type objects struct {
	secrets, configMaps map[string]string
	annotations         map[string]string
	token               func(audiences []string) string
	asked               []string // audiences of the last token
}

func (o *objects) Secret(s v1alpha1.SecretKeySelector) (secret.Value, error) {
	v, ok := o.secrets[s.Name+"/"+s.Key]
	if !ok {
		return secret.Value{}, &providers.Error{Kind: providers.ErrInvalid, Detail: "no such entry"}
	}
	return secret.NewValue([]byte(v)), nil
}

func (o *objects) CA(v1alpha1.CAProvider) ([]byte, error) { return nil, nil }

func (o *objects) ConfigMap(s v1alpha1.ConfigMapKeySelector) (string, error) {
	return o.configMaps[s.Name+"/"+s.Key], nil
}

func (o *objects) Token(_ context.Context, sa v1alpha1.ServiceAccountSelector, audiences []string, expiry time.Duration) (providers.Token, error) {
	o.asked = slices.Concat(audiences, sa.Audiences) // as the store's own credentials do it
	return providers.Token{Value: secret.NewValue([]byte(o.token(o.asked))), Expires: time.Now().Add(expiry)}, nil
}

func (o *objects) Annotations(context.Context, v1alpha1.ServiceAccountSelector) (map[string]string, error) {
	return o.annotations, nil
}
