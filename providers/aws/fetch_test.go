package aws_test

import (
	"fmt"
	"net"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/fetch"
	"github.com/gitseal/gitseal/providers"
	"github.com/gitseal/gitseal/providers/aws"
	fakeaws "github.com/gitseal/gitseal/test/fakecloud/aws"
)

// clientOf asks a Cloud through the fetch layer, as a role.
func clientOf(t *testing.T, cloud *fakeaws.Cloud) *fetch.Client {
	t.Helper()
	role := cloud.AddRole(fakeaws.Role{Name: "reader", Trusts: []string{fakeaws.UserARN("alice")}})
	store := storeOf(cloud, cloud.AddUser("alice"), func(spec *v1alpha1.AWSProvider) { spec.Role = role })
	store.Dial, store.Clock = (&net.Dialer{}).DialContext, clock.RealClock{}
	limits, err := fetch.LimitsOf(aws.Backend(), v1alpha1.SecretStoreSpec{})
	if err != nil {
		t.Fatal(err)
	}
	client, err := fetch.New(fetch.Options{Clock: clock.RealClock{}}).Client("id", fetch.Opening{
		Provider: "aws", Limits: limits,
		Open: func(loggedIn func()) (providers.Provider, error) {
			store.LoggedIn = loggedIn
			return aws.Backend().Open(store)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// put stores n secrets and returns the questions for them, each four times: a
// property each.
func put(cloud *fakeaws.Cloud, n int) []fetch.Request {
	var requests []fetch.Request
	for i := range n {
		key := fmt.Sprintf("app/s%03d", i)
		cloud.Put(key, "value of "+key, nil)
		for range 4 {
			requests = append(requests, fetch.Request{Ref: providers.Ref{Key: key}, MaxAge: time.Hour})
		}
	}
	return requests
}

func wantValues(t *testing.T, client *fetch.Client, requests []fetch.Request) {
	t.Helper()
	for i, o := range client.Get(t.Context(), requests, 0) {
		if want := "value of " + requests[i].Ref.Key; o.Err != nil || string(o.Value.Reveal()) != want {
			t.Fatalf("Get(%q) = %v, want %q", requests[i].Ref.Key, o.Err, want)
		}
	}
}

func TestAThousandPropertiesOf250SecretsAreThirteenCallsAndNoneTheSecondTime(t *testing.T) {
	cloud := startCloud(t)
	requests := put(cloud, 250)
	client := clientOf(t, cloud)

	wantValues(t, client, requests)
	wantDiff(t, "calls", map[string]int{"AssumeRole": 1, "BatchGetSecretValue": 13}, cloud.Calls())
	wantDiff(t, "counted", v1alpha1.StoreCalls{Logins: 1, Reads: 13, Values: 250}, client.Stats().Calls)

	cloud.Forget()
	wantValues(t, client, requests)
	wantDiff(t, "calls the second time", map[string]int{}, cloud.Calls())
}

func TestManyApplicationsShareTheBatchesAndTheSession(t *testing.T) {
	cloud := startCloud(t)
	requests := put(cloud, 100)
	client := clientOf(t, cloud)
	cloud.Delay(50 * time.Millisecond)
	done := make(chan struct{})
	for range 10 {
		go func() {
			defer func() { done <- struct{}{} }()
			wantAll(t, client, requests)
		}()
	}
	for range 10 {
		<-done
	}
	calls := cloud.Calls()
	if calls["AssumeRole"] != 1 || calls["GetSecretValue"] != 0 || calls["BatchGetSecretValue"] > 10 {
		t.Errorf("calls = %v, want one session, and no more batches than 100 secrets need twice", calls)
	}
}

// wantAll is wantValues for a goroutine of its own.
func wantAll(t *testing.T, client *fetch.Client, requests []fetch.Request) {
	for i, o := range client.Get(t.Context(), requests, 0) {
		if o.Err != nil {
			t.Errorf("Get(%q): %v", requests[i].Ref.Key, o.Err)
		}
	}
}

func TestASessionThatExpiresAmongBatchesIsMadeAnewOnce(t *testing.T) {
	cloud := startCloud(t)
	requests := put(cloud, 100)
	client := clientOf(t, cloud)
	wantValues(t, client, requests[:40])
	cloud.ExpireSessions()
	wantValues(t, client, requests)
	if got := len(cloud.Sessions()); got != 2 {
		t.Errorf("%d sessions, want 2", got)
	}
}

func TestThrottlingPassesWithoutAWord(t *testing.T) {
	cloud := startCloud(t)
	requests := put(cloud, 40)
	client := clientOf(t, cloud)
	cloud.Throttle("BatchGetSecretValue", 1, time.Second)
	wantValues(t, client, requests)
	if got := client.Stats().Calls; got.Throttled != 1 || got.Values != 40 {
		t.Errorf("counted %+v, want 1 throttled and 40 values", got)
	}
}
