package aws_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/providers"
	"github.com/gitseal/gitseal/providers/aws"
	fakeaws "github.com/gitseal/gitseal/test/fakecloud/aws"
)

func startCloud(t *testing.T) *fakeaws.Cloud {
	t.Helper()
	cloud := fakeaws.Start()
	t.Cleanup(cloud.Close)
	return cloud
}

// open fills in what a store has besides its spec.
func open(t *testing.T, store providers.Store) providers.Provider {
	t.Helper()
	p, err := tryOpen(store)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return p
}

func tryOpen(store providers.Store) (providers.Provider, error) {
	if store.Dial == nil {
		store.Dial = (&net.Dialer{}).DialContext
	}
	if store.Clock == nil {
		store.Clock = clock.RealClock{}
	}
	store.LoggedIn = func() {}
	return aws.Backend().Open(store)
}

func keyed(t *testing.T, c *fakeaws.Cloud, change func(*v1alpha1.AWSProvider)) providers.Provider {
	t.Helper()
	return open(t, storeOf(c, c.AddUser("alice"), change))
}

func refsOf(keys ...string) []providers.Ref {
	refs := make([]providers.Ref, len(keys))
	for i, key := range keys {
		refs[i].Key = key
	}
	return refs
}

// get reads refs and shows what came, values and kinds of errors.
func get(t *testing.T, p providers.Provider, refs ...providers.Ref) []string {
	t.Helper()
	results, err := p.Get(t.Context(), refs)
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	var shown []string
	for _, r := range results {
		if r.Err != nil {
			shown = append(shown, kind(r.Err))
			continue
		}
		shown = append(shown, string(r.Value.Reveal()))
	}
	return shown
}

func kind(err error) string {
	for _, k := range []error{providers.ErrNotFound, providers.ErrDenied, providers.ErrUnauthenticated,
		providers.ErrThrottled, providers.ErrUnavailable, providers.ErrInvalid, context.Canceled} {
		if errors.Is(err, k) {
			return "! " + k.Error()
		}
	}
	return "! no kind"
}

func wantDiff(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestTwoHundredAndFiftySecretsAreThirteenCalls(t *testing.T) {
	cloud := startCloud(t)
	var keys []string
	for i := range 250 {
		keys = append(keys, fmt.Sprintf("app/s%03d", i))
		cloud.Put(keys[i], "value of "+keys[i], nil)
	}
	p := keyed(t, cloud, nil)
	for len(keys) > 0 {
		n := min(aws.Backend().Batch, len(keys))
		for i, got := range get(t, p, refsOf(keys[:n]...)...) {
			if want := "value of " + keys[i]; got != want {
				t.Fatalf("Get(%q) = %q, want %q", keys[i], got, want)
			}
		}
		keys = keys[n:]
	}
	wantDiff(t, "calls", map[string]int{"BatchGetSecretValue": 13}, cloud.Calls())
}

func TestEachKindOfReferenceTakesTheCallThatFitsIt(t *testing.T) {
	cloud := startCloud(t)
	old := cloud.Put("a", "old a", map[string]string{"team": "x<y"})
	cloud.Put("a", "new a", nil)
	cloud.Put("b", "b", nil)
	p := keyed(t, cloud, nil)

	got := get(t, p, providers.Ref{Key: "a"}, providers.Ref{Key: "b", Version: "AWSCURRENT"}, providers.Ref{Key: "a"},
		providers.Ref{Key: "a", Version: "AWSPREVIOUS"}, providers.Ref{Key: "a", Version: "uuid/" + old},
		providers.Ref{Key: "a", Metadata: true}, providers.Ref{Key: "b", Metadata: true},
		providers.Ref{Key: "a", Version: "BLUE"}, providers.Ref{Key: "a", Version: "uuid/" + strings.Repeat("0", 36)},
		providers.Ref{Key: "a", Version: "no version"})
	want := []string{"new a", "b", "new a", "old a", "old a", `{"team":"x\u003cy"}`, "{}", "! not found", "! not found", "! invalid"}
	wantDiff(t, "results", want, got)
	wantDiff(t, "calls", map[string]int{"BatchGetSecretValue": 1, "GetSecretValue": 4, "DescribeSecret": 2}, cloud.Calls())

	cloud.Forget()
	wantDiff(t, "one alone", []string{"b"}, get(t, p, refsOf("b")...))
	wantDiff(t, "calls for one", map[string]int{"GetSecretValue": 1}, cloud.Calls())
}

func TestSecretsAreReadByTheirARNs(t *testing.T) {
	cloud := startCloud(t)
	cloud.Put("app/a", "a", nil)
	cloud.Put("app/b", "b", nil)
	arn := cloud.ARN("app/a")
	p := keyed(t, cloud, nil)
	want := []string{"a", "a", "a", "b", "! not found"}
	wantDiff(t, "results", want, get(t, p, refsOf(arn, arn[:len(arn)-7], "app/a", "app/b", arn[:len(arn)-6]+"zzzzzz")...))
	wantDiff(t, "calls", map[string]int{"BatchGetSecretValue": 1}, cloud.Calls())
}

// A name may look like the ARN of another secret. What is answered for the one is
// not taken for the other, in whatever order AWS answers.
func TestANameMayEndAsAnARNDoes(t *testing.T) {
	for _, name := range []string{"aa", "zz"} { // asked for, and answered, before the ARN and after it
		cloud := startCloud(t)
		p := keyed(t, cloud, nil)
		cloud.Put(name, "short", nil)
		arn := cloud.ARN(name)
		twin := name + arn[len(arn)-7:]
		cloud.Put(twin, "long", nil)
		cloud.Put("other-secret", "other", nil)
		whole := cloud.ARN(twin)
		wantDiff(t, "results", []string{"short", "long", "long", "short"}, get(t, p, refsOf(arn, twin, whole, arn[:len(arn)-7])...))
		other := cloud.ARN("other-secret")
		wantDiff(t, "results where AWS takes the end of a name for that of an ARN", []string{"! not found", "other", "other"},
			get(t, p, refsOf(other[:len(other)-7], other, "other-secret")...))

		cloud.Deny("GetSecretValue", name)
		wantDiff(t, "results where one is denied", []string{"! access denied", "long", "long", "! access denied"},
			get(t, p, refsOf(arn, twin, whole, arn[:len(arn)-7])...))
	}
}

func TestAnIdentityThatMayNotReadBatchesReadsOneByOne(t *testing.T) {
	cloud, now := startCloud(t), clocktesting.NewFakeClock(time.Now())
	cloud.Put("a", "a", nil)
	cloud.Put("b", "b", nil)
	cloud.Deny("BatchGetSecretValue", "")
	store := storeOf(cloud, cloud.AddUser("alice"), nil)
	store.Clock = now
	p := open(t, store)

	wantDiff(t, "results", []string{"a", "b", "! not found"}, get(t, p, refsOf("a", "b", "c")...))
	wantDiff(t, "results again", []string{"a", "b"}, get(t, p, refsOf("a", "b")...))
	wantDiff(t, "calls", map[string]int{"BatchGetSecretValue": 1, "GetSecretValue": 5}, cloud.Calls())

	cloud.Reset() // somebody has corrected the policy
	cloud.Forget()
	now.Step(16 * time.Minute)
	wantDiff(t, "results later", []string{"a", "b"}, get(t, p, refsOf("a", "b")...))
	wantDiff(t, "calls later", map[string]int{"BatchGetSecretValue": 1}, cloud.Calls())
}

func TestWhatIsMarkedForDeletionIsNotThere(t *testing.T) {
	tests := map[string]struct {
		keys []string
		deny string
		want []string
	}{
		"alone":                     {[]string{"gone"}, "", []string{"! not found"}},
		"in a batch":                {[]string{"gone", "here"}, "", []string{"! not found", "here"}},
		"and nobody can look at it": {[]string{"gone", "here"}, "DescribeSecret", []string{"! invalid", "here"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cloud := startCloud(t)
			cloud.Put("here", "here", nil)
			cloud.Put("gone", "gone", nil)
			cloud.Delete("gone")
			if tt.deny != "" {
				cloud.Deny(tt.deny, "")
			}
			p := keyed(t, cloud, nil)
			wantDiff(t, "results", tt.want, get(t, p, refsOf(tt.keys...)...))
			wantDiff(t, "metadata", kindWithout(tt.deny), get(t, p, providers.Ref{Key: "gone", Metadata: true}))
		})
	}
}

func kindWithout(denied string) []string {
	if denied != "" {
		return []string{"! access denied"}
	}
	return []string{"! not found"}
}

func TestAnOutageIsNotAskedTwentyTimes(t *testing.T) {
	cloud := startCloud(t)
	cloud.Out(fakeaws.Unavailable)
	p := keyed(t, cloud, nil)
	refs := []providers.Ref{{Key: "a"}, {Key: "b"}}
	for i := range 9 {
		refs = append(refs, providers.Ref{Key: fmt.Sprint("pinned", i), Version: "BLUE"}, providers.Ref{Key: fmt.Sprint("tags", i), Metadata: true})
	}
	for i, got := range get(t, p, refs...) {
		if got != "! unavailable" {
			t.Errorf("Get(%v) = %q, want unavailable", refs[i], got)
		}
	}
	wantDiff(t, "calls", map[string]int{"BatchGetSecretValue": 1, "GetSecretValue": 1}, cloud.Calls())
}

var idOfRequest = regexp.MustCompile(`(?i)request.?id|[0-9a-f]{8}-[0-9a-f]{4}-`)

func TestEveryCodeHasItsKindAndIsNotQuoted(t *testing.T) {
	tests := map[string]struct {
		code   string
		status int
		want   error
	}{
		"a missing secret":         {"ResourceNotFoundException", 400, providers.ErrNotFound},
		"a denied secret":          {"AccessDeniedException", 400, providers.ErrDenied},
		"an unknown key":           {"UnrecognizedClientException", 400, providers.ErrUnauthenticated},
		"a wrong signature":        {"InvalidSignatureException", 400, providers.ErrUnauthenticated},
		"an expired session":       {"ExpiredTokenException", 400, providers.ErrUnauthenticated},
		"a clock that is wrong":    {"RequestExpired", 400, providers.ErrUnauthenticated},
		"throttled":                {"ThrottlingException", 400, providers.ErrThrottled},
		"throttled otherwise":      {"TooManyRequestsException", 429, providers.ErrThrottled},
		"throttled without a name": {"SomethingNew", 429, providers.ErrThrottled},
		"an internal error":        {"InternalServiceError", 500, providers.ErrUnavailable},
		"out of service":           {"ServiceUnavailable", 503, providers.ErrUnavailable},
		"an unknown server error":  {"SomethingNew", 502, providers.ErrUnavailable},
		"a KMS key that is gone":   {"DecryptionFailure", 400, providers.ErrInvalid},
		"an invalid parameter":     {"InvalidParameterException", 400, providers.ErrInvalid},
		"an unclear state":         {"InvalidRequestException", 400, providers.ErrInvalid},
		"an unknown refusal":       {"SomethingNew", 400, providers.ErrInvalid},
		"an unknown denial":        {"SomethingNew", 403, providers.ErrDenied},
		"a region that is off":     {"OptInRequired", 403, providers.ErrInvalid},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cloud := startCloud(t)
			cloud.Quote(quoted)
			cloud.Put("a", "canary-value", nil)
			user := cloud.AddUser("alice")
			p := open(t, storeOf(cloud, user, nil))
			cloud.Fail(tt.code, tt.status)
			for what, err := range everyError(t, p) {
				if !errors.Is(err, tt.want) {
					t.Errorf("%s: error %v, want %v", what, err, tt.want)
				}
				wantDiscreet(t, err, tt.code, quoted, "canary-value", user.ID, user.Secret, "on purpose")
			}
		})
	}
}

// everyError calls everything there is.
func everyError(t *testing.T, p providers.Provider) map[string]error {
	t.Helper()
	found := map[string]error{}
	for what, refs := range map[string][]providers.Ref{
		"one":      {{Key: "a"}},
		"a batch":  {{Key: "a"}, {Key: "b"}},
		"pinned":   {{Key: "a", Version: "BLUE"}},
		"metadata": {{Key: "a", Metadata: true}},
	} {
		results, err := p.Get(t.Context(), refs)
		if err != nil {
			t.Fatalf("Get: %v", err)
		}
		found[what] = results[0].Err
	}
	_, found["find"] = p.(providers.Finder).Find(t.Context(), providers.Query{Name: "a"})
	_, found["check"] = p.(providers.Checker).Check(t.Context())
	return found
}

func wantDiscreet(t *testing.T, err error, confidential ...string) {
	t.Helper()
	for e := err; e != nil; e = errors.Unwrap(e) {
		for _, text := range []string{e.Error(), fmt.Sprintf("%+v", e), fmt.Sprintf("%#v", e)} {
			for _, c := range confidential {
				if strings.Contains(text, c) {
					t.Errorf("the error %q holds %q", text, c)
				}
			}
			if idOfRequest.MatchString(text) {
				t.Errorf("the error %q holds the id of a request", text)
			}
		}
	}
}

func TestOneSecretThatCannotBeDecryptedDoesNotHurtTheOthers(t *testing.T) {
	cloud := startCloud(t)
	cloud.Put("a", "a", nil)
	cloud.Put("b", "b", nil)
	cloud.FailSecret("b", "DecryptionFailure")
	p := keyed(t, cloud, nil)
	wantDiff(t, "results", []string{"a", "! invalid"}, get(t, p, refsOf("a", "b")...))
	wantDiff(t, "calls", map[string]int{"BatchGetSecretValue": 1}, cloud.Calls())
}

func TestWhatIsNotAWSIsNotBelieved(t *testing.T) {
	large := strings.Repeat(" ", 1<<20)
	tests := map[string]struct {
		serve func(w http.ResponseWriter, r *http.Request)
		want  error
	}{
		"a portal that says 200":    {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>" + quoted)) }, providers.ErrUnavailable},
		"nothing behind an ingress": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, quoted, http.StatusNotFound) }, providers.ErrUnavailable},
		"404 of another API": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"error":"` + quoted + `"}`))
		}, providers.ErrUnavailable},
		"an answer without end": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/x-amz-json-1.1")
			_, _ = w.Write([]byte(`{"SecretString":"`))
			for range 17 {
				_, _ = w.Write([]byte(large))
			}
			_, _ = w.Write([]byte(`"}`))
		}, providers.ErrUnavailable},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/elsewhere" {
				_, _ = w.Write([]byte(`{"SecretString":"from elsewhere"}`))
				return
			}
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, providers.ErrInvalid},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(tt.serve))
			t.Cleanup(server.Close)
			cloud := startCloud(t)
			p := keyed(t, cloud, func(spec *v1alpha1.AWSProvider) { spec.Endpoint = server.URL })
			results, err := p.Get(t.Context(), refsOf("a"))
			if err != nil || !errors.Is(results[0].Err, tt.want) {
				t.Fatalf("Get = %v, %v, want %v", results, err, tt.want)
			}
			wantDiscreet(t, results[0].Err, quoted, server.URL)
		})
	}
}

// Who cannot be reached says nothing, and so nothing is said of it.
func TestAWSThatCannotBeReached(t *testing.T) {
	for name, out := range map[string]func(*fakeaws.Cloud){
		"nobody listens":          (*fakeaws.Cloud).Close,
		"the connection is reset": func(c *fakeaws.Cloud) { c.Out(fakeaws.Hangup) },
	} {
		t.Run(name, func(t *testing.T) {
			cloud := startCloud(t)
			p := keyed(t, cloud, nil)
			out(cloud)
			results, err := p.Get(t.Context(), refsOf("a"))
			if err != nil || !errors.Is(results[0].Err, providers.ErrUnavailable) || !strings.Contains(results[0].Err.Error(), "cannot be reached") {
				t.Errorf("Get = %v, %v, want that it cannot be reached", results, err)
			}
		})
	}
}

func TestThePrefixBelongsToEveryKey(t *testing.T) {
	cloud := startCloud(t)
	cloud.Put("prod/db/one", "1", nil)
	cloud.Put("prod/db/two", "2", nil)
	cloud.Put("db/one", "other", nil)
	p := keyed(t, cloud, func(spec *v1alpha1.AWSProvider) { spec.Prefix = "prod/" })
	wantDiff(t, "results", []string{"1", "! invalid", "! not found"},
		get(t, p, refsOf("db/one", cloud.ARN("prod/db/one"), "prod/db/one")...))
	keys, err := p.(providers.Finder).Find(t.Context(), providers.Query{Path: "db/", Name: "^db/t"})
	if err != nil {
		t.Fatal(err)
	}
	wantDiff(t, "keys", []string{"db/two"}, keys)
}

func TestFindComparesWholeTagsAndLeavesOutWhatCannotBeRead(t *testing.T) {
	cloud := startCloud(t)
	for name, tags := range map[string]map[string]string{
		"a":        {"env": "prod", "odd": "!not(this)"},
		"b":        {"env": "production"},
		"c":        {"environment": "prod"},
		"d":        {"env": "prod"},
		"e":        {"env": "prod"},
		"app/two":  {},
		"app2/one": {},
	} {
		cloud.Put(name, "value", tags)
	}
	cloud.Delete("d")
	cloud.Empty("e")
	f := keyed(t, cloud, nil).(providers.Finder)
	tests := map[string]struct {
		q    providers.Query
		want []string
	}{
		"by a tag":                         {providers.Query{Tags: map[string]string{"env": "prod"}}, []string{"a"}},
		"by a tag no filter can hold":      {providers.Query{Tags: map[string]string{"odd": "!not(this)"}}, []string{"a"}},
		"by a path":                        {providers.Query{Path: "app/"}, []string{"app/two"}},
		"by the beginning of a path":       {providers.Query{Path: "app"}, []string{"app/two", "app2/one"}},
		"by a path that would say not":     {providers.Query{Path: "!app"}, nil},
		"by a part of a name":              {providers.Query{Name: "wo$"}, []string{"app/two"}},
		"by a name and a tag, both needed": {providers.Query{Name: "b", Tags: map[string]string{"env": "prod"}}, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := f.Find(t.Context(), tt.q)
			if err != nil {
				t.Fatal(err)
			}
			wantDiff(t, "keys", tt.want, got)
		})
	}
}

func TestFindIsBounded(t *testing.T) {
	cloud := startCloud(t)
	for i := range 10_150 {
		cloud.Put(fmt.Sprintf("s%05d", i), "v", nil)
	}
	f := keyed(t, cloud, nil).(providers.Finder)
	if _, err := f.Find(t.Context(), providers.Query{Name: "s"}); !errors.Is(err, providers.ErrInvalid) {
		t.Errorf("Find of 10,150 secrets = %v, want %v", err, providers.ErrInvalid)
	}
	keys, err := f.Find(t.Context(), providers.Query{Name: "s0000"})
	if err != nil || len(keys) != 10 {
		t.Errorf("Find of ten among 10,150 = %d, %v", len(keys), err)
	}
	if _, err := f.Find(t.Context(), providers.Query{Name: strings.Repeat("a", 2000)}); !errors.Is(err, providers.ErrInvalid) {
		t.Errorf("Find with a pattern of 2,000 characters = %v, want %v", err, providers.ErrInvalid)
	}
}

func TestStoresThatCannotWorkAreRefused(t *testing.T) {
	change := func(f func(*v1alpha1.AWSProvider)) providers.Store {
		cloud := startCloud(t)
		return storeOf(cloud, cloud.AddUser("alice"), f)
	}
	empty := change(nil)
	empty.Credentials = entries{"id": "", "key": "x"}
	broken := change(nil)
	broken.Credentials = entries{"id": "AKIA", "key": "canary\r\nX-Header: y"}
	tests := map[string]struct {
		store providers.Store
		says  string
	}{
		"no aws":               {providers.Store{}, "aws settings"},
		"another service":      {change(func(s *v1alpha1.AWSProvider) { s.Service = "ParameterStore" }), "aws.service"},
		"no region":            {change(func(s *v1alpha1.AWSProvider) { s.Region = "" }), "aws.region"},
		"a region as a host":   {change(func(s *v1alpha1.AWSProvider) { s.Region = "evil.example/" }), "aws.region"},
		"an endpoint as file":  {change(func(s *v1alpha1.AWSProvider) { s.Endpoint = "file:///x" }), "aws.endpoint"},
		"a password in an URL": {change(func(s *v1alpha1.AWSProvider) { s.STSEndpoint = "https://a:canary@x" }), "aws.stsEndpoint"},
		"a role by name":       {change(func(s *v1alpha1.AWSProvider) { s.Role = "reader" }), "aws.role"},
		"no identity":          {change(func(s *v1alpha1.AWSProvider) { s.Auth = v1alpha1.AWSAuth{} }), "ClusterSecretStore only"},
		"two identities":       {change(func(s *v1alpha1.AWSProvider) { s.Auth.JWT = &v1alpha1.AWSJWTAuth{} }), "one of secretRef and jwt"},
		"an empty key id":      {empty, "accessKeyIDSecretRef"},
		"a key with a header":  {broken, "secretAccessKeySecretRef"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := tryOpen(tt.store)
			if !errors.Is(err, providers.ErrInvalid) || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "canary") {
				t.Errorf("Open = %v, want an invalid store that names %q", err, tt.says)
			}
		})
	}
}

func FuzzAnswers(f *testing.F) {
	f.Add(200, `{"SecretString":"x","VersionId":"1"}`)
	f.Add(200, `{"SecretValues":[{"Name":"a"}],"Errors":[{"SecretId":"b","ErrorCode":"AccessDeniedException"}]}`)
	f.Add(400, `{"__type":"com.amazonaws#ThrottlingException","message":"x"}`)
	f.Add(200, `{"SecretValues":[null],"Errors":[{}]}`)
	f.Add(200, `{"SecretList":[{"Name":null}],"NextToken":"x"}`)
	f.Add(302, `<xml>`)
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 200 || status > 599 {
			return
		}
		rounds := 0
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if rounds++; rounds > 50 {
				body = "{}" // a list must end
			}
			w.Header().Set("Retry-After", body[:min(len(body), 8)])
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}))
		defer server.Close()
		p, err := tryOpen(providers.Store{
			Spec: v1alpha1.StoreProvider{AWS: &v1alpha1.AWSProvider{
				Region: fakeaws.Region, Endpoint: server.URL, STSEndpoint: server.URL,
				Auth: v1alpha1.AWSAuth{SecretRef: &v1alpha1.AWSAuthSecretRef{AccessKeyID: v1alpha1.SecretKeySelector{Key: "k"}, SecretAccessKey: v1alpha1.SecretKeySelector{Key: "k"}}},
			}},
			Credentials: entries{"k": "AKIA"},
		})
		if err != nil {
			t.Fatal(err)
		}
		for what, err := range everyError(t, p) {
			if err != nil && kind(err) == "! no kind" {
				t.Errorf("%s: the error %v has no kind", what, err)
			}
		}
	})
}
