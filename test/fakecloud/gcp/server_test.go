package gcp

import (
	"context"
	"encoding/json"
	"errors"
	"hash/crc32"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	secretmanager "cloud.google.com/go/secretmanager/apiv1"
	"cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/oauth2/google"
	"google.golang.org/api/iterator"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	clocktesting "k8s.io/utils/clock/testing"
)

// cloud is a server and Google's own client of it.
type cloud struct {
	*Server
	sdk   *secretmanager.Client
	clock *clocktesting.FakePassiveClock
}

func start(t *testing.T) (cloud, context.Context) {
	t.Helper()
	clock := clocktesting.NewFakePassiveClock(time.Now())
	s, err := Start(clock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	client, err := s.Client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	client.CallOptions = &secretmanager.CallOptions{}
	t.Cleanup(func() { _ = client.Close() })
	return cloud{s, client, clock}, metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+s.Token())
}

// put makes a secret with some versions.
func (c cloud) put(t *testing.T, ctx context.Context, parent, id string, secret *secretmanagerpb.Secret, values ...string) { //nolint:revive // t comes first in tests
	t.Helper()
	made, err := c.sdk.CreateSecret(ctx, &secretmanagerpb.CreateSecretRequest{Parent: parent, SecretId: id, Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range values {
		crc := int64(crc32.Checksum([]byte(v), crc32.MakeTable(crc32.Castagnoli)))
		payload := &secretmanagerpb.SecretPayload{Data: []byte(v), DataCrc32C: &crc}
		if _, err := c.sdk.AddSecretVersion(ctx, &secretmanagerpb.AddSecretVersionRequest{Parent: made.GetName(), Payload: payload}); err != nil {
			t.Fatal(err)
		}
	}
}

func (c cloud) access(ctx context.Context, name string) (value, version string, err error) {
	r, err := c.sdk.AccessSecretVersion(ctx, &secretmanagerpb.AccessSecretVersionRequest{Name: name})
	return string(r.GetPayload().GetData()), r.GetName(), err
}

func TestVersionsAreFoundByNumberAliasAndLatest(t *testing.T) {
	for _, parent := range []string{"projects/p", "projects/p/locations/europe-west3"} {
		c, ctx := start(t)
		c.put(t, ctx, parent, "db", nil, "one", "two", "three")
		base := parent + "/secrets/db"
		_, err := c.sdk.UpdateSecret(ctx, &secretmanagerpb.UpdateSecretRequest{
			Secret:     &secretmanagerpb.Secret{Name: base, VersionAliases: map[string]int64{"stable": 2}},
			UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"version_aliases"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.sdk.DisableSecretVersion(ctx, &secretmanagerpb.DisableSecretVersionRequest{Name: base + "/versions/3"}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.sdk.DestroySecretVersion(ctx, &secretmanagerpb.DestroySecretVersionRequest{Name: base + "/versions/1"}); err != nil {
			t.Fatal(err)
		}
		for version, want := range map[string]codes.Code{
			"2": codes.OK, "stable": codes.OK, "latest": codes.FailedPrecondition, "3": codes.FailedPrecondition,
			"1": codes.FailedPrecondition, "4": codes.NotFound, "unknown": codes.NotFound,
		} {
			value, name, err := c.access(ctx, base+"/versions/"+version)
			if status.Code(err) != want || want == codes.OK && (value != "two" || name != base+"/versions/2") {
				t.Errorf("access of %s version %s = %q, %q, %v, want %v", parent, version, value, name, err, want)
			}
		}
		enabled, err := c.sdk.ListSecretVersions(ctx, &secretmanagerpb.ListSecretVersionsRequest{Parent: base, Filter: "state:ENABLED"}).Next()
		if err != nil || enabled.GetName() != base+"/versions/2" {
			t.Errorf("the newest enabled version is %v, %v", enabled.GetName(), err)
		}
	}
}

func TestListsAreFilteredAndPaged(t *testing.T) {
	c, ctx := start(t)
	for _, id := range []string{"app-a", "app-b", "app-c", "other"} {
		c.put(t, ctx, "projects/p", id, &secretmanagerpb.Secret{Labels: map[string]string{"env": "prod", "for": id}}, "v")
	}
	tests := map[string][]string{
		"":                                   {"app-a", "app-b", "app-c", "other"},
		"name:app":                           {"app-a", "app-b", "app-c"},
		`labels.env="prod" AND name:"app-b"`: {"app-b"},
		"labels.for=other labels.env=prod":   {"other"},
		"labels.none:*":                      nil,
	}
	for filter, want := range tests {
		c.ResetCounters()
		var got []string
		for it := c.sdk.ListSecrets(ctx, &secretmanagerpb.ListSecretsRequest{Parent: "projects/p", Filter: filter, PageSize: 2}); ; {
			s, err := it.Next()
			if errors.Is(err, iterator.Done) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, s.GetName()[strings.LastIndex(s.GetName(), "/")+1:])
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("ListSecrets(%s) (-want +got):\n%s", filter, diff)
		}
		if pages := max(1, (len(want)+1)/2); c.Calls("ListSecrets") != pages {
			t.Errorf("ListSecrets(%s) took %d calls, want %d", filter, c.Calls("ListSecrets"), pages)
		}
	}
}

func TestFaultsLookAsTheyDoOnTheWire(t *testing.T) {
	c, ctx := start(t)
	c.put(t, ctx, "projects/p", "db", nil, "one")
	const name = "projects/p/secrets/db/versions/latest"
	c.Throttle(1, 7*time.Second)
	_, _, err := c.access(ctx, name)
	var delay time.Duration
	for _, d := range status.Convert(err).Details() {
		if r, ok := d.(*errdetails.RetryInfo); ok {
			delay = r.GetRetryDelay().AsDuration()
		}
	}
	if status.Code(err) != codes.ResourceExhausted || delay != 7*time.Second {
		t.Errorf("throttled with %v and a delay of %v", err, delay)
	}
	c.Deny("db")
	if _, _, err := c.access(ctx, name); status.Code(err) != codes.PermissionDenied {
		t.Errorf("denied with %v", err)
	}
	c.Allow("db")
	for _, outage := range []Outage{Unavailable, Reset} {
		c.SetOutage(outage)
		if _, _, err := c.access(ctx, name); status.Code(err) != codes.Unavailable {
			t.Errorf("outage %d: %v", outage, err)
		}
	}
	c.SetOutage(Up)
	eventually := func(want codes.Code) {
		t.Helper()
		deadline := time.After(3 * time.Minute)
		for {
			_, _, err := c.access(ctx, name)
			if status.Code(err) == want {
				return
			}
			select {
			case <-deadline:
				t.Fatalf("access ends with %v, want %v", err, want)
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	eventually(codes.OK)
	c.clock.SetTime(c.clock.Now().Add(time.Hour))
	eventually(codes.Unauthenticated)
}

func TestKeysOfServiceAccountsAreProven(t *testing.T) {
	c, _ := start(t)
	key, err := c.AddServiceAccount("p", "reader")
	if err != nil {
		t.Fatal(err)
	}
	config, err := google.JWTConfigFromJSON(key, scope)
	if err != nil {
		t.Fatal(err)
	}
	token, err := config.TokenSource(t.Context()).Token()
	if err != nil || !strings.HasPrefix(token.AccessToken, "ya29.") {
		t.Fatalf("a token for a good key: %v", err)
	}
	if _, err := c.AddServiceAccount("p", "reader"); err != nil {
		t.Fatal(err)
	}
	if _, err := config.TokenSource(t.Context()).Token(); err == nil || !strings.Contains(err.Error(), "invalid_grant") {
		t.Errorf("a token for a key that was replaced: %v", err)
	}
	if got := c.Logins(); got != 1 {
		t.Errorf("%d logins, want 1", got)
	}
}

func TestExchangeRefusesWhatItCannotVerify(t *testing.T) {
	c, _ := start(t)
	c.AddPool("//iam.googleapis.com/pool", Pool{Issuer: "https://issuer", AWS: map[string]string{"AKID": "secret"}})
	tests := map[string]url.Values{
		"unknown audience":    {"audience": {"//elsewhere"}, "subject_token": {"x"}},
		"no token":            {"audience": {"//iam.googleapis.com/pool"}, "subject_token": {"x"}},
		"unsigned token":      {"audience": {"//iam.googleapis.com/pool"}, "subject_token": {"eyJhbGciOiJub25lIn0.e30."}},
		"unknown type":        {"audience": {"//iam.googleapis.com/pool"}, "subject_token_type": {"urn:x"}},
		"an AWS call to evil": {"audience": {"//iam.googleapis.com/pool"}, "subject_token_type": {"urn:ietf:params:aws:token-type:aws4_request"}, "subject_token": {url.QueryEscape(`{"url":"https://evil.example","method":"POST"}`)}},
	}
	for name, form := range tests {
		t.Run(name, func(t *testing.T) {
			form.Set("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange")
			form.Set("requested_token_type", "urn:ietf:params:oauth:token-type:access_token")
			form.Set("scope", scope)
			if form.Get("subject_token_type") == "" {
				form.Set("subject_token_type", "urn:ietf:params:oauth:token-type:jwt")
			}
			r, err := http.PostForm(c.TokenURL()+"/v1/token", form)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Body.Close()
			raw, _ := io.ReadAll(r.Body)
			var answer map[string]string
			if err := json.Unmarshal(raw, &answer); err != nil || r.StatusCode != http.StatusBadRequest || answer["error"] == "" {
				t.Errorf("answer %d %s, want a refusal", r.StatusCode, raw)
			}
		})
	}
}
