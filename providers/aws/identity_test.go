package aws_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/egress"
	"github.com/gitseal/gitseal/providers"
	fakeaws "github.com/gitseal/gitseal/test/fakecloud/aws"
)

func identity(t *testing.T, p providers.Provider) string {
	t.Helper()
	who, err := p.(providers.Checker).Check(t.Context())
	if err != nil {
		return kind(err) + ": " + err.Error()
	}
	return who
}

func sessionOf(role string) string {
	return "arn:aws:sts::" + fakeaws.Account + ":assumed-role/" + role + "/gitseal"
}

func TestRolesAreAssumedOneAfterAnother(t *testing.T) {
	cloud := startCloud(t)
	user := cloud.AddUser("alice")
	one := cloud.AddRole(fakeaws.Role{Name: "one", Trusts: []string{fakeaws.UserARN("alice")}})
	two := cloud.AddRole(fakeaws.Role{Name: "two", Trusts: []string{one}})
	three := cloud.AddRole(fakeaws.Role{Name: "three", Trusts: []string{two}, ExternalID: "ext", Tags: map[string]string{"team": "a"}})
	chain := func(change func(*v1alpha1.AWSProvider)) providers.Provider {
		return open(t, storeOf(cloud, user, func(spec *v1alpha1.AWSProvider) {
			spec.AdditionalRoles, spec.Role, spec.ExternalID = []string{one, two}, three, "ext"
			spec.SessionTags = []v1alpha1.AWSTag{{Key: "team", Value: "a"}, {Key: "stage", Value: "prod"}}
			spec.TransitiveTagKeys = []string{"team"}
			change(spec)
		}))
	}
	p := chain(func(*v1alpha1.AWSProvider) {})
	wantDiff(t, "identity", sessionOf("three"), identity(t, p))
	wantDiff(t, "identity again", sessionOf("three"), identity(t, p))
	var roles []string
	for _, s := range cloud.Sessions() {
		roles = append(roles, s.Role)
	}
	wantDiff(t, "roles assumed", []string{"one", "two", "three"}, roles)
	last := cloud.Sessions()[2]
	wantDiff(t, "tags of the last session", map[string]string{"team": "a", "stage": "prod"}, last.Tags)

	tests := map[string]struct {
		change func(*v1alpha1.AWSProvider)
		role   string
	}{
		"a link is missing":   {func(s *v1alpha1.AWSProvider) { s.AdditionalRoles = []string{one} }, three},
		"another external id": {func(s *v1alpha1.AWSProvider) { s.ExternalID = "other" }, three},
		"a tag is missing":    {func(s *v1alpha1.AWSProvider) { s.SessionTags = s.SessionTags[1:]; s.TransitiveTagKeys = nil }, three},
		"an unknown role":     {func(s *v1alpha1.AWSProvider) { s.AdditionalRoles[1] = fakeaws.RoleARN("x") }, fakeaws.RoleARN("x")},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := identity(t, chain(tt.change))
			if !strings.HasPrefix(got, "! not authenticated") || !strings.Contains(got, tt.role) {
				t.Errorf("Check = %q, want a refusal that names %q", got, tt.role)
			}
		})
	}
}

func TestAServiceAccountIsItsRole(t *testing.T) {
	tests := map[string]struct {
		change func(*tokens)
		want   string
	}{
		"as EKS has it":     {func(*tokens) {}, sessionOf("reader")},
		"without a role":    {func(c *tokens) { c.annotations = nil }, `! invalid: the ServiceAccount "reader" needs the annotation eks.amazonaws.com/role-arn`},
		"another audience":  {func(c *tokens) { c.annotations["eks.amazonaws.com/audience"] = "other" }, "! not authenticated: STS refuses the token"},
		"another namespace": {func(c *tokens) { c.namespace = "other" }, "! not authenticated: STS denies access (asked to assume the role"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cloud := startCloud(t)
			role := cloud.AddRole(fakeaws.Role{Name: "reader", Issuer: issuerURL, Subject: "system:serviceaccount:team:reader", Audience: audience})
			own := newIssuer(t, cloud).credentials("team", role)
			tt.change(&own)
			store := storeOf(cloud, fakeaws.AccessKey{}, func(spec *v1alpha1.AWSProvider) {
				byToken("reader")(spec)
				spec.Auth.JWT.ServiceAccountRef.Audiences = []string{"vault"}
			})
			store.Credentials = own
			if got := identity(t, open(t, store)); !strings.HasPrefix(got, tt.want) {
				t.Errorf("Check = %q, want %q", got, tt.want)
			}
		})
	}
}

// withClock is a store with a role on a clock that stands still.
func withClock(t *testing.T) (*fakeaws.Cloud, *clocktesting.FakeClock, providers.Provider) {
	t.Helper()
	cloud, now := startCloud(t), clocktesting.NewFakeClock(time.Now())
	cloud.SetClock(now.Now)
	cloud.Put("a", "a", nil)
	cloud.Put("b", "b", nil)
	role := cloud.AddRole(fakeaws.Role{Name: "reader", Trusts: []string{fakeaws.UserARN("alice")}})
	store := storeOf(cloud, cloud.AddUser("alice"), func(spec *v1alpha1.AWSProvider) { spec.Role = role })
	store.Clock = now
	return cloud, now, open(t, store)
}

func TestASessionIsRenewedBeforeItEnds(t *testing.T) {
	cloud, now, p := withClock(t)
	for _, tt := range []struct {
		step  time.Duration
		roles int
	}{{0, 1}, {30 * time.Minute, 1}, {19 * time.Minute, 1}, {2 * time.Minute, 2}, {49 * time.Minute, 2}, {2 * time.Hour, 3}} {
		now.Step(tt.step)
		wantDiff(t, "results", []string{"a", "b"}, get(t, p, refsOf("a", "b")...))
		if got := len(cloud.Sessions()); got != tt.roles {
			t.Errorf("%d sessions after another %v, want %d", got, tt.step, tt.roles)
		}
	}
	if got := cloud.Calls()["BatchGetSecretValue"]; got != 6 {
		t.Errorf("%d batches, want 6: no session was refused", got)
	}
}

func TestASessionOutlivesAnOutageOfSTS(t *testing.T) {
	cloud, now, p := withClock(t)
	wantDiff(t, "results", []string{"a"}, get(t, p, refsOf("a")...))
	cloud.Throttle("AssumeRole", -1, 0)
	now.Step(55 * time.Minute)
	wantDiff(t, "results while STS is away", []string{"a"}, get(t, p, refsOf("a")...))
	wantDiff(t, "results at the same time", []string{"b"}, get(t, p, refsOf("b")...))
	if got := cloud.Calls()["AssumeRole"]; got != 2 {
		t.Errorf("STS was asked %d times, want 2: not with every call", got)
	}
	now.Step(6 * time.Minute)
	wantDiff(t, "results after the session has ended", []string{"! throttled"}, get(t, p, refsOf("a")...))
	cloud.Reset()
	wantDiff(t, "results when STS is back", []string{"a"}, get(t, p, refsOf("a")...))
}

func TestASessionThatIsRefusedIsMadeAnewOnce(t *testing.T) {
	cloud, _, p := withClock(t)
	wantDiff(t, "results", []string{"a", "b"}, get(t, p, refsOf("a", "b")...))
	cloud.ExpireSessions()
	refs := append(refsOf("a", "b"), providers.Ref{Key: "a", Version: "AWSCURRENT"}, providers.Ref{Key: "a", Metadata: true})
	wantDiff(t, "results with an expired session", []string{"a", "b", "a", "{}"}, get(t, p, refs...))
	if got := len(cloud.Sessions()); got != 2 {
		t.Errorf("%d sessions, want 2", got)
	}
	cloud.Forget()
	cloud.Fail("ExpiredTokenException", 400)
	wantDiff(t, "results where every session is refused", []string{"! not authenticated"}, get(t, p, refsOf("a")...))
	wantDiff(t, "calls", map[string]int{"GetSecretValue": 1, "AssumeRole": 1}, cloud.Calls())
}

func TestKeysOfASessionThatSomebodyWroteDownAreUsedAsTheyAre(t *testing.T) {
	cloud, _, p := withClock(t)
	wantDiff(t, "results", []string{"a"}, get(t, p, refsOf("a")...))
	key := cloud.Session(0)
	store := storeOf(cloud, key, func(spec *v1alpha1.AWSProvider) {
		spec.Auth.SecretRef.SessionToken = &v1alpha1.SecretKeySelector{Name: "aws", Key: "token"}
	})
	written := open(t, store)
	wantDiff(t, "results", []string{"a"}, get(t, written, refsOf("a")...))
	cloud.ExpireSessions()
	cloud.Forget()
	wantDiff(t, "results after it has expired", []string{"! not authenticated"}, get(t, written, refsOf("a")...))
	wantDiff(t, "calls", map[string]int{"GetSecretValue": 1}, cloud.Calls())
}

// clearEnvironment leaves nothing of the machine's own identity.
func clearEnvironment(t *testing.T) {
	t.Helper()
	for _, name := range []string{
		"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
		"AWS_EC2_METADATA_DISABLED",
	} {
		t.Setenv(name, "")
	}
}

func ambient(c *fakeaws.Cloud) providers.Store {
	store := storeOf(c, fakeaws.AccessKey{}, func(spec *v1alpha1.AWSProvider) { spec.Auth = v1alpha1.AWSAuth{} })
	store.Ambient = true
	return store
}

func TestTheOperatorsOwnIdentity(t *testing.T) {
	tests := map[string]struct {
		prepare func(*testing.T, *fakeaws.Cloud)
		want    string
	}{
		"access keys": {func(t *testing.T, c *fakeaws.Cloud) {
			key := c.AddUser("operator")
			t.Setenv("AWS_ACCESS_KEY_ID", key.ID)
			t.Setenv("AWS_SECRET_ACCESS_KEY", key.Secret)
		}, fakeaws.UserARN("operator")},
		"a token file": {func(t *testing.T, c *fakeaws.Cloud) {
			role := c.AddRole(fakeaws.Role{Name: "operator", Issuer: issuerURL, Subject: "operator", Audience: audience})
			file := filepath.Join(t.TempDir(), "token")
			if err := os.WriteFile(file, []byte(newIssuer(t, c).token("operator", []string{audience}, time.Hour)), 0o600); err != nil {
				t.Fatal(err)
			}
			t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", file)
			t.Setenv("AWS_ROLE_ARN", role)
		}, sessionOf("operator")},
		"a token file that is not there": {func(t *testing.T, _ *fakeaws.Cloud) {
			t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere/token")
			t.Setenv("AWS_ROLE_ARN", fakeaws.RoleARN("operator"))
		}, "! invalid: the file of AWS_WEB_IDENTITY_TOKEN_FILE"},
		"the container's endpoint": {func(t *testing.T, c *fakeaws.Cloud) {
			t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", podIdentity(t, c.AddUser("pod"), "let me in"))
			t.Setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "let me in")
		}, fakeaws.UserARN("pod")},
		"the container's endpoint, with a wrong token": {func(t *testing.T, c *fakeaws.Cloud) {
			t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", podIdentity(t, c.AddUser("pod"), "let me in"))
		}, "! unavailable: the endpoint for credentials of the operator's container gives none"},
		"the container's endpoint, behind the guard": {func(t *testing.T, _ *fakeaws.Cloud) {
			t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials")
		}, "! not authenticated: the endpoint for credentials of the operator's container gives none; it has an address that"},
		"none, on a node whose metadata service is guarded": {func(*testing.T, *fakeaws.Cloud) {},
			"! not authenticated: the operator's environment names no identity at AWS, and the node's metadata service gives none; it has an address that"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cloud := startCloud(t)
			clearEnvironment(t)
			tt.prepare(t, cloud)
			store := ambient(cloud)
			store.Dial = egress.Guard{}.Dial
			if got := identity(t, open(t, store)); !strings.HasPrefix(got, tt.want) {
				t.Errorf("Check = %q, want %q", got, tt.want)
			}
		})
	}
}

// podIdentity is what EKS Pod Identity and ECS answer.
func podIdentity(t *testing.T, key fakeaws.AccessKey, token string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != token {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{
			"AccessKeyId": key.ID, "SecretAccessKey": key.Secret, "Token": "", "Expiration": time.Now().Add(time.Hour).UTC().Format(time.RFC3339),
		})
	}))
	t.Cleanup(server.Close)
	return server.URL + "/v1/credentials"
}

func TestAnEndpointBehindTheGuardIsInvalid(t *testing.T) {
	cloud := startCloud(t)
	store := storeOf(cloud, cloud.AddUser("alice"), func(spec *v1alpha1.AWSProvider) { spec.Endpoint = "http://169.254.169.254" })
	store.Dial = egress.Guard{}.Dial
	wantDiff(t, "results", []string{"! invalid"}, get(t, open(t, store), refsOf("a")...))
}

func TestTheMetadataServiceIsOnlyReachedThroughTheGuard(t *testing.T) {
	clearEnvironment(t)
	var mu sync.Mutex
	var asked []string
	cloud := startCloud(t)
	store := ambient(cloud)
	store.Dial = func(_ context.Context, _, address string) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, address)
		return nil, errors.New("guarded")
	}
	results, err := open(t, store).Get(t.Context(), refsOf("a"))
	if err != nil || !errors.Is(results[0].Err, providers.ErrUnavailable) {
		t.Errorf("Get = %v, %v, want no identity", results, err)
	}
	for _, address := range asked {
		if address != "169.254.169.254:80" {
			t.Errorf("%s was dialled", address)
		}
	}
	if len(asked) == 0 {
		t.Error("nothing was dialled: the metadata service was reached around the guard")
	}
}

func TestANodesRoleIsUsedWhereTheGuardLetsItBe(t *testing.T) {
	clearEnvironment(t)
	cloud := startCloud(t)
	key := cloud.AddUser("node")
	metadata := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/latest/api/token" && r.Method == http.MethodPut:
			w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "300")
			_, _ = w.Write([]byte("imds-token"))
		case r.Header.Get("X-Aws-Ec2-Metadata-Token") != "imds-token":
			w.WriteHeader(http.StatusUnauthorized)
		case strings.HasSuffix(r.URL.Path, "/security-credentials/"):
			_, _ = w.Write([]byte("node-role"))
		default:
			_ = json.NewEncoder(w).Encode(map[string]any{
				"Code": "Success", "AccessKeyId": key.ID, "SecretAccessKey": key.Secret, "Token": "",
				"Expiration": time.Now().Add(time.Hour).UTC().Format(time.RFC3339),
			})
		}
	}))
	t.Cleanup(metadata.Close)
	store := ambient(cloud)
	store.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == "169.254.169.254:80" {
			address = metadata.Listener.Addr().String()
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	wantDiff(t, "identity", fakeaws.UserARN("node"), identity(t, open(t, store)))
}
