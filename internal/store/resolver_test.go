package store_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/external"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/fetch"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/internal/store"
	"github.com/gitseal/gitseal/providers"
)

// shelf is a provider in memory: keys and what is said of them.
type shelf struct {
	mu     sync.Mutex
	values map[string]string
	err    error // of every call
	opened int
	reads  int
	logins []string // credentials that were come with
}

func (s *shelf) backend() providers.Backend {
	return providers.Backend{Batch: 10, Open: func(st providers.Store) (providers.Provider, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.opened++
		if st.Spec.Vault != nil {
			v, err := st.Credentials.Secret(*st.Spec.Vault.Auth.TokenSecretRef)
			if err != nil {
				return nil, err
			}
			s.logins = append(s.logins, string(v.Reveal()))
		}
		return s, nil
	}}
}

func (s *shelf) Get(_ context.Context, refs []providers.Ref) ([]providers.Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, s.err
	}
	s.reads += len(refs)
	results := make([]providers.Result, len(refs))
	for i, r := range refs {
		if v, ok := s.values[r.Key]; ok {
			results[i].Value = secret.NewValue([]byte(v))
		} else {
			results[i].Err = &providers.Error{Kind: providers.ErrNotFound}
		}
	}
	return results, nil
}

func (s *shelf) Find(context.Context, providers.Query) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := []string{}
	for _, k := range []string{"team/a", "team/b", "other"} {
		if _, ok := s.values[k]; ok {
			keys = append(keys, k)
		}
	}
	return keys, s.err
}

// cluster is what the API server holds.
type cluster struct {
	stores  map[string]store.Store // by kind and name
	secrets map[string]string      // by namespace/name: the entry "token"
	denied  map[string]bool
	labels  map[string]map[string]string
	opener  *store.Opener
	asked   []string // audiences of the last token
}

func (c *cluster) Read(_ context.Context, n store.Named) (store.Content, error) {
	resource := schema.GroupResource{Resource: "secrets"}
	if c.denied[n.Key().String()] {
		return store.Content{}, apierrors.NewForbidden(resource, n.Name, errors.New("quoted"))
	}
	token, ok := c.secrets[n.Key().String()]
	if !ok {
		return store.Content{}, apierrors.NewNotFound(resource, n.Name)
	}
	return store.Content{Version: "1", Entries: map[string]secret.Value{"token": secret.NewValue([]byte(token))}}, nil
}

func (c *cluster) Token(_ context.Context, _ types.NamespacedName, audiences []string, _ time.Duration) (providers.Token, error) {
	c.asked = audiences
	return providers.Token{}, nil
}

func (c *cluster) Labels(_ context.Context, namespace string) (map[string]string, error) {
	return c.labels[namespace], nil
}

func (c *cluster) Cluster(_ context.Context, app types.NamespacedName, ref v1alpha1.StoreReference) (store.Store, error) {
	s, ok := c.stores[string(ref.Kind)+"/"+ref.Name]
	if !ok || s.Namespace != "" && s.Namespace != app.Namespace {
		return store.Store{}, failure.Waitf(v1alpha1.ReasonStoreMissing, "%s %q does not exist", ref.Kind, ref.Name)
	}
	return s, nil
}

func (c *cluster) Open(ctx context.Context, _ types.NamespacedName, s store.Store) (*store.Opened, error) {
	return c.opener.Open(ctx, s)
}

// bench is a cluster with a shelf, and the resolver of Application team/app.
type bench struct {
	*cluster
	shelf *shelf
	clock *clocktesting.FakeClock
}

func newBench() *bench {
	b := &bench{
		cluster: &cluster{stores: map[string]store.Store{}, secrets: map[string]string{"team/vault": "t", "gitseal-system/vault": "t"}, denied: map[string]bool{}},
		shelf:   &shelf{values: map[string]string{"team/a": "1", "team/b": "2", "other": "3"}},
		clock:   clocktesting.NewFakeClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)),
	}
	b.opener = &store.Opener{
		Registry: providers.Registry{"vault": b.shelf.backend()}, Objects: b.cluster, Fetcher: fetch.New(fetch.Options{Clock: b.clock}),
		Dial: (&net.Dialer{}).DialContext, Clock: b.clock, Digest: secret.NewTokenizer([]byte("key")).Digest, OperatorNamespace: "gitseal-system",
	}
	return b
}

func (b *bench) resolver(git ...store.Store) *store.Resolver {
	return &store.Resolver{
		Application: types.NamespacedName{Namespace: "team", Name: "app"}, Git: git, Stores: b.cluster, Namespaces: b.cluster,
		MaxStaleness: time.Hour, Clock: b.clock,
	}
}

func vaultSpec() v1alpha1.SecretStoreSpec {
	return v1alpha1.SecretStoreSpec{
		RetrySettings: &v1alpha1.StoreRetrySettings{MaxRetries: new(int32)},
		Provider: v1alpha1.StoreProvider{Vault: &v1alpha1.VaultProvider{Server: "https://v", Auth: &v1alpha1.VaultAuth{
			TokenSecretRef: &v1alpha1.SecretKeySelector{Name: "vault", Key: "token"},
		}}},
	}
}

func (b *bench) own(change func(*v1alpha1.SecretStoreSpec)) {
	spec := vaultSpec()
	change(&spec)
	b.stores["SecretStore/s"] = store.FromSecretStore(&v1alpha1.SecretStore{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "team"}, Spec: spec})
}

func (b *bench) clusterWide(change func(*v1alpha1.SecretStoreSpec)) {
	spec := vaultSpec()
	change(&spec)
	b.stores["ClusterSecretStore/c"] = store.FromClusterSecretStore(&v1alpha1.ClusterSecretStore{ObjectMeta: metav1.ObjectMeta{Name: "c"}, Spec: spec}, "gitseal-system")
}

func ask(ref v1alpha1.StoreReference, key string, properties ...string) external.Request {
	return external.Request{Namespace: "team", Store: ref, Ref: providers.Ref{Key: key}, Properties: properties, MaxAge: time.Hour}
}

var (
	ownStore    = v1alpha1.StoreReference{Name: "s"}
	clusterWide = v1alpha1.StoreReference{Kind: v1alpha1.KindClusterSecretStore, Name: "c"}
)

// fails demands a failure of a class and reason that says something.
func fails(t *testing.T, err error, class failure.Class, reason, part string) {
	t.Helper()
	var f *failure.Error
	if !errors.As(err, &f) {
		t.Fatalf("%v is no *failure.Error", err)
	}
	if f.Class != class || f.Reason != reason || !strings.Contains(f.Message(), part) {
		t.Errorf("%s, %s, %q, want %s, %s, %q", f.Class, f.Reason, f.Message(), class, reason, part)
	}
	if strings.Contains(f.Message(), "quoted") {
		t.Errorf("%q quotes the server", f.Message())
	}
}

func TestWhoMayUseWhat(t *testing.T) {
	access := func(a ...v1alpha1.StoreAccess) func(*v1alpha1.SecretStoreSpec) {
		return func(s *v1alpha1.SecretStoreSpec) { s.Access = a }
	}
	conditions := func(c ...v1alpha1.StoreCondition) func(*v1alpha1.SecretStoreSpec) {
		return func(s *v1alpha1.SecretStoreSpec) { s.Conditions = c }
	}
	labelled := &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "prod"}}
	all := func(*v1alpha1.SecretStoreSpec) {}
	tests := map[string]struct {
		own, cluster func(*v1alpha1.SecretStoreSpec)
		key          string
		properties   []string
		denied       string // a part of the message; "" is allowed
	}{
		"a SecretStore serves its namespace":          {own: all, key: "other"},
		"a ClusterSecretStore serves nobody":          {cluster: all, key: "other", denied: `does not serve Application "app" of namespace "team"`},
		"one that names the namespace":                {cluster: access(v1alpha1.StoreAccess{Namespaces: []string{"team"}}), key: "other"},
		"one that names another namespace":            {cluster: access(v1alpha1.StoreAccess{Namespaces: []string{"teams"}}), key: "other", denied: "does not serve"},
		"one that names all":                          {cluster: access(v1alpha1.StoreAccess{Namespaces: []string{"*"}}), key: "other"},
		"one that names no namespace":                 {cluster: access(v1alpha1.StoreAccess{Applications: []string{"app"}}), key: "other", denied: "does not serve"},
		"one that selects the namespace":              {cluster: access(v1alpha1.StoreAccess{NamespaceSelector: labelled}), key: "other"},
		"one that selects another":                    {cluster: access(v1alpha1.StoreAccess{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "dev"}}}), key: "other", denied: "does not serve"},
		"one that names another Application":          {own: access(v1alpha1.StoreAccess{Applications: []string{"web"}}), key: "other", denied: "does not serve"},
		"a key":                                       {own: access(v1alpha1.StoreAccess{Keys: []string{"other"}}), key: "other"},
		"a key that begins like one":                  {own: access(v1alpha1.StoreAccess{Keys: []string{"oth"}}), key: "other", denied: `use key "other"`},
		"a key under a prefix":                        {own: access(v1alpha1.StoreAccess{Keys: []string{"team/"}}), key: "team/a"},
		"a key beside a prefix":                       {own: access(v1alpha1.StoreAccess{Keys: []string{"team/"}}), key: "teams/a", denied: `use key "teams/a"`},
		"a prefix of the namespace":                   {own: access(v1alpha1.StoreAccess{Keys: []string{"{namespace}/"}}), key: "team/a"},
		"a key that leaves a prefix":                  {own: access(v1alpha1.StoreAccess{Keys: []string{"team/"}}), key: "team/../other", denied: `path segment ".."`},
		"a property":                                  {own: access(v1alpha1.StoreAccess{Properties: []string{"user"}}), key: "other", properties: []string{"user"}},
		"a property that is not named":                {own: access(v1alpha1.StoreAccess{Properties: []string{"user"}}), key: "other", properties: []string{"user", "password"}, denied: `use property "password" of key "other"`},
		"the whole where properties are named":        {own: access(v1alpha1.StoreAccess{Properties: []string{"user"}}), key: "other", denied: "and not the whole value"},
		"what two rules allow together":               {own: access(v1alpha1.StoreAccess{Properties: []string{"user"}}, v1alpha1.StoreAccess{Properties: []string{"port"}}), key: "other", properties: []string{"user", "port"}},
		"a key of one rule and a property of another": {own: access(v1alpha1.StoreAccess{Keys: []string{"x"}, Properties: []string{"user"}}, v1alpha1.StoreAccess{Keys: []string{"other"}, Properties: []string{"port"}}), key: "other", properties: []string{"user"}, denied: `property "user"`},
		"a condition by name":                         {cluster: conditions(v1alpha1.StoreCondition{Namespaces: []string{"team"}}), key: "other"},
		"a condition by expression":                   {cluster: conditions(v1alpha1.StoreCondition{NamespaceRegexes: []string{"^te"}}), key: "other"},
		"a condition by label":                        {cluster: conditions(v1alpha1.StoreCondition{NamespaceSelector: labelled}), key: "other"},
		"a condition of others":                       {cluster: conditions(v1alpha1.StoreCondition{Namespaces: []string{"x"}, NamespaceRegexes: []string{"^x$"}}), key: "other", denied: "does not serve"},
		"an empty condition":                          {cluster: conditions(v1alpha1.StoreCondition{}), key: "other", denied: "does not serve"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench()
			b.labels = map[string]map[string]string{"team": {"tier": "prod"}}
			ref := ownStore
			if tt.own != nil {
				b.own(tt.own)
			} else {
				b.clusterWide(tt.cluster)
				ref = clusterWide
			}
			answer := b.resolver().Resolve(t.Context(), []external.Request{ask(ref, tt.key, tt.properties...)})[0]
			if tt.denied == "" {
				if answer.Err != nil {
					t.Errorf("Resolve: %v", answer.Err)
				}
				return
			}
			var f *failure.Error
			if !errors.As(answer.Err, &f) || !strings.Contains(f.Message(), tt.denied) || f.Reason != v1alpha1.ReasonStoreDenied && f.Reason != v1alpha1.ReasonSecretInvalid {
				t.Errorf("Resolve: %v, want %q", answer.Err, tt.denied)
			}
			if b.shelf.reads != 0 {
				t.Error("the provider was asked all the same")
			}
		})
	}
}

// What one Application may read does not come to another from the cache.
func TestAccessComesBeforeTheCache(t *testing.T) {
	b := newBench()
	b.clusterWide(func(s *v1alpha1.SecretStoreSpec) { s.Access = []v1alpha1.StoreAccess{{Namespaces: []string{"team"}}} })
	if err := b.resolver().Resolve(t.Context(), []external.Request{ask(clusterWide, "other")})[0].Err; err != nil {
		t.Fatal(err)
	}
	other := b.resolver()
	other.Application.Namespace = "strangers"
	fails(t, other.Resolve(t.Context(), []external.Request{ask(clusterWide, "other")})[0].Err, failure.Stall, v1alpha1.ReasonStoreDenied, "spec.access")
}

func TestWhatIsWrongWithAStore(t *testing.T) {
	tests := map[string]struct {
		prepare func(*bench)
		class   failure.Class
		reason  string
		part    string
	}{
		"it is not there":            {func(b *bench) { delete(b.stores, "SecretStore/s") }, failure.Wait, v1alpha1.ReasonStoreMissing, `SecretStore "s" does not exist`},
		"its Secret is not there":    {func(b *bench) { delete(b.secrets, "team/vault") }, failure.Stall, v1alpha1.ReasonStoreInvalid, `Secret "vault" in namespace "team" does not exist: create it`},
		"its Secret may not be read": {func(b *bench) { b.denied["team/vault"] = true }, failure.Fail, v1alpha1.ReasonAccessDenied, "kubectl gitseal init"},
		"its Secret lacks the entry": {func(b *bench) {
			b.own(func(s *v1alpha1.SecretStoreSpec) { s.Provider.Vault.Auth.TokenSecretRef.Key = "x" })
		}, failure.Stall, v1alpha1.ReasonStoreInvalid, `has no entry "x"`},
		"another operator's":              {func(b *bench) { b.own(func(s *v1alpha1.SecretStoreSpec) { s.Controller = "eso" }) }, failure.Stall, v1alpha1.ReasonStoreInvalid, `leaves it to "eso"`},
		"wrong credentials":               {fault(providers.ErrUnauthenticated, 0), failure.Stall, v1alpha1.ReasonStoreInvalid, "valid credentials"},
		"denied by the provider":          {fault(providers.ErrDenied, 0), failure.Fail, v1alpha1.ReasonStoreDenied, `key "team/a"`},
		"not ready yet":                   {fault(providers.ErrNotReady, 0), failure.Wait, v1alpha1.ReasonSecretMissing, "once whatever writes it is done"},
		"throttled":                       {fault(providers.ErrThrottled, 0), failure.Wait, v1alpha1.ReasonStoreUnavailable, "it goes on by itself"},
		"away":                            {fault(providers.ErrUnavailable, 0), failure.Wait, v1alpha1.ReasonStoreUnavailable, "it goes on by itself"},
		"an invalid key":                  {fault(providers.ErrInvalid, 0), failure.Stall, v1alpha1.ReasonSecretInvalid, `key "team/a"`},
		"an error of no kind, not quoted": {func(b *bench) { b.shelf.err = errors.New("quoted") }, failure.Wait, v1alpha1.ReasonStoreUnavailable, `SecretStore "s"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench()
			b.own(func(*v1alpha1.SecretStoreSpec) {})
			tt.prepare(b)
			fails(t, b.resolver().Resolve(t.Context(), []external.Request{ask(ownStore, "team/a")})[0].Err, tt.class, tt.reason, tt.part)
		})
	}
}

func fault(kind error, after time.Duration) func(*bench) {
	return func(b *bench) { b.shelf.err = &providers.Error{Kind: kind, RetryAfter: after} }
}

func TestStoresOfOneIdentityShareClientAndCache(t *testing.T) {
	b := newBench()
	b.own(func(*v1alpha1.SecretStoreSpec) {})
	b.clusterWide(func(s *v1alpha1.SecretStoreSpec) { s.Access = []v1alpha1.StoreAccess{{Namespaces: []string{"*"}}} })
	git := b.stores["SecretStore/s"]
	git.Name, git.Private, git.Origin = "g", true, "g.yaml:1"
	requests := []external.Request{ask(ownStore, "team/a"), ask(v1alpha1.StoreReference{Name: "g"}, "team/a"), ask(ownStore, "team/a")}
	for range 2 {
		for _, a := range b.resolver(git).Resolve(t.Context(), requests) {
			if a.Err != nil || string(a.Value.Reveal()) != "1" {
				t.Fatalf("Resolve = %v, %v", a.Value, a.Err)
			}
		}
	}
	if b.shelf.opened != 1 || b.shelf.reads != 1 {
		t.Errorf("%d providers opened and %d values read, want 1 and 1", b.shelf.opened, b.shelf.reads)
	}
	b.secrets["team/vault"] = "rotated"
	if err := b.resolver().Resolve(t.Context(), requests[:1])[0].Err; err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"t", "rotated"}, b.shelf.logins); diff != "" {
		t.Errorf("credentials come with (-want +got):\n%s", diff)
	}
}

func TestAMissingKeyIsProvenTwice(t *testing.T) {
	b := newBench()
	b.own(func(*v1alpha1.SecretStoreSpec) {})
	gone := ask(ownStore, "gone")
	fails(t, b.resolver().Resolve(t.Context(), []external.Request{gone})[0].Err, failure.Stall, v1alpha1.ReasonSecretMissing, `key "gone"`)
	gone.Optional = true
	for _, after := range []time.Duration{0, 20 * time.Second} {
		b.clock.Step(after)
		fails(t, b.resolver().Resolve(t.Context(), []external.Request{gone})[0].Err, failure.Wait, v1alpha1.ReasonSecretMissing, "twice, 30s apart")
	}
	b.clock.Step(11 * time.Second)
	if a := b.resolver().Resolve(t.Context(), []external.Request{gone})[0]; a.Err != nil || !a.Missing {
		t.Errorf("Resolve = %+v after two proofs, want Missing", a)
	}
}

func TestValuesOutliveAnOutageUpToMaxStaleness(t *testing.T) {
	b := newBench()
	b.own(func(*v1alpha1.SecretStoreSpec) {})
	get := func() external.Answer {
		q := ask(ownStore, "team/a")
		q.MaxAge = time.Minute
		return b.resolver().Resolve(t.Context(), []external.Request{q})[0]
	}
	if a := get(); a.Err != nil {
		t.Fatal(a.Err)
	}
	fault(providers.ErrUnavailable, 0)(b)
	b.clock.Step(30 * time.Minute)
	if a := get(); a.Err != nil || string(a.Value.Reveal()) != "1" || a.Kept != "unavailable" {
		t.Errorf("Resolve in an outage = %v, kept %q, want the last good value, and why", a.Err, a.Kept)
	}
	b.clock.Step(31 * time.Minute)
	fails(t, get().Err, failure.Wait, v1alpha1.ReasonValuesStale, "maxStaleness")
}

func TestFindGivesWhatMayBeRead(t *testing.T) {
	find := external.FindRequest{Namespace: "team", Store: ownStore, Query: providers.Query{Name: "."}, MaxAge: time.Hour}
	tests := map[string]struct {
		keys   []string // spec.access
		want   []string
		denied bool
	}{
		"everything":            {nil, []string{"team/a", "team/b", "other"}, false},
		"under a prefix":        {[]string{"team/"}, []string{"team/a", "team/b"}, false},
		"nothing that is there": {[]string{"x/"}, nil, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench()
			b.own(func(s *v1alpha1.SecretStoreSpec) {
				if tt.keys != nil {
					s.Access = []v1alpha1.StoreAccess{{Keys: tt.keys}}
				}
			})
			got, err := b.resolver().Find(t.Context(), find)
			if tt.denied {
				fails(t, err, failure.Stall, v1alpha1.ReasonStoreDenied, "none of the keys that are found")
			} else if diff := cmp.Diff(tt.want, got.Keys); diff != "" || err != nil {
				t.Errorf("Find: %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestASearchIsAsOldAsItsListing(t *testing.T) {
	b := newBench()
	b.own(func(*v1alpha1.SecretStoreSpec) {})
	listed := func(when string, want time.Time) {
		t.Helper()
		found, err := b.resolver().Find(t.Context(), external.FindRequest{Namespace: "team", Store: ownStore, Query: providers.Query{Name: "."}, MaxAge: 10 * time.Minute})
		if err != nil || len(found.Keys) != 3 || !found.Read.Equal(want) {
			t.Errorf("%s: Find = %d keys of %s, %v, want 3 of %s", when, len(found.Keys), found.Read, err, want)
		}
	}
	first := b.clock.Now()
	listed("at once", first)
	b.clock.Step(9 * time.Minute)
	listed("out of the cache", first)
	b.shelf.err = &providers.Error{Kind: providers.ErrUnavailable}
	b.clock.Step(9 * time.Minute)
	listed("in an outage", first)
	b.shelf.err = nil
	b.clock.Step(9 * time.Minute)
	listed("when it is over", b.clock.Now())
}

// A search for what others have is answered alike whether they have it or not.
func TestASearchDoesNotTellWhatOthersHave(t *testing.T) {
	tests := map[string]struct {
		access v1alpha1.StoreAccess
		path   string
		tells  bool // that there is nothing
	}{
		"everywhere":                      {v1alpha1.StoreAccess{Keys: []string{"x/"}}, "", false},
		"beside what may be used":         {v1alpha1.StoreAccess{Keys: []string{"x/"}}, "xy", false},
		"above what may be used":          {v1alpha1.StoreAccess{Keys: []string{"x/y/"}}, "x", false},
		"where properties only are given": {v1alpha1.StoreAccess{Properties: []string{"p"}}, "", false},
		"below what may be used":          {v1alpha1.StoreAccess{Keys: []string{"x/"}}, "x/y", true},
		"all of what may be used":         {v1alpha1.StoreAccess{Keys: []string{"x/"}}, "x/", true},
		"what begins alike":               {v1alpha1.StoreAccess{Keys: []string{"x/"}}, "x", false},
		"where everything may be used":    {v1alpha1.StoreAccess{Applications: []string{"app"}}, "", true},
		"a folder called as the mount":    {v1alpha1.StoreAccess{Keys: []string{"x/"}}, "kv/x/", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			find := func(values map[string]string) error {
				b := newBench()
				b.shelf.values = values
				b.own(func(s *v1alpha1.SecretStoreSpec) {
					mount := "kv"
					s.Provider.Vault.Path, s.Access = &mount, []v1alpha1.StoreAccess{tt.access}
				})
				_, err := b.resolver().Find(t.Context(), external.FindRequest{Namespace: "team", Store: ownStore, Query: providers.Query{Path: tt.path, Name: "."}, MaxAge: time.Hour})
				return err
			}
			nothing := find(nil)
			if tt.tells {
				fails(t, nothing, failure.Wait, v1alpha1.ReasonSecretMissing, "nothing is found")
				return
			}
			fails(t, nothing, failure.Stall, v1alpha1.ReasonStoreDenied, "none of the keys that are found")
			if others := find(map[string]string{"other": "3"}); others == nil || others.Error() != nothing.Error() {
				t.Errorf("what others have is told: %v, and without it: %v", others, nothing)
			}
		})
	}
}

func TestNothingFoundIsProvenTwice(t *testing.T) {
	b := newBench()
	b.own(func(*v1alpha1.SecretStoreSpec) {})
	b.shelf.values = nil
	find := func() error {
		found, err := b.resolver().Find(t.Context(), external.FindRequest{Namespace: "team", Store: ownStore, Query: providers.Query{Name: "."}, MaxAge: time.Hour})
		if len(found.Keys) > 0 {
			t.Errorf("Find = %v", found.Keys)
		}
		return err
	}
	fails(t, find(), failure.Wait, v1alpha1.ReasonSecretMissing, "nothing is found")
	b.clock.Step(31 * time.Second)
	if err := find(); err != nil {
		t.Errorf("Find after two proofs: %v", err)
	}
}

// A list that was cut short takes nothing from a Secret that lives, and does not
// hold it up either.
func TestASearchThatShrinksIsProvenTwice(t *testing.T) {
	b := newBench()
	b.own(func(*v1alpha1.SecretStoreSpec) {})
	found := func(when string, want, kept string) {
		t.Helper()
		got, err := b.resolver().Find(t.Context(), external.FindRequest{Namespace: "team", Store: ownStore, Query: providers.Query{Name: "."}, MaxAge: 10 * time.Minute})
		if keys := strings.Join(got.Keys, " "); keys != want || !strings.Contains(got.Kept, kept) || kept == "" && got.Kept != "" || err != nil {
			t.Errorf("%s: Find = %q, kept %q, %v, want %q, %q", when, keys, got.Kept, err, want, kept)
		}
	}
	b.shelf.values = map[string]string{"team/a": "1", "team/b": "2"}
	found("at first", "team/a team/b", "")
	b.clock.Step(10 * time.Minute)
	b.shelf.values = map[string]string{"team/a": "1", "other": "3"}
	found("after one answer", "other team/a team/b", "fewer keys than before, which counts once it says so again, 30s later")
	b.clock.Step(31 * time.Second)
	found("proven", "team/a other", "")
	b.clock.Step(9 * time.Minute)
	b.shelf.values = nil
	found("out of the cache", "team/a other", "")
}

// What others lose is not told either.
func TestASearchDoesNotTellWhatOthersLose(t *testing.T) {
	b := newBench()
	b.own(func(s *v1alpha1.SecretStoreSpec) { s.Access = []v1alpha1.StoreAccess{{Keys: []string{"team/"}}} })
	for range 2 {
		got, err := b.resolver().Find(t.Context(), external.FindRequest{Namespace: "team", Store: ownStore, Query: providers.Query{Name: "."}, MaxAge: 10 * time.Minute})
		if diff := cmp.Diff([]string{"team/a", "team/b"}, got.Keys); diff != "" || got.Kept != "" || err != nil {
			t.Errorf("Find: kept %q, %v (-want +got):\n%s", got.Kept, err, diff)
		}
		delete(b.shelf.values, "other")
		b.clock.Step(10 * time.Minute)
	}
}

// In Vault a key may repeat the mount. A namespace that is called as the mount
// must not come to all of it by that: its key is not what its rule says.
// Whoever may write a store, and nothing else, would get the operator's rights
// with its token.
func TestTheOperatorsOwnTokenIsGivenToNobody(t *testing.T) {
	b := newBench()
	b.clusterWide(func(s *v1alpha1.SecretStoreSpec) {
		s.Access = []v1alpha1.StoreAccess{{Namespaces: []string{"team"}}}
		s.Provider.Vault.Auth = &v1alpha1.VaultAuth{Kubernetes: &v1alpha1.VaultKubernetesAuth{
			Role: "r", ServiceAccountRef: &v1alpha1.ServiceAccountSelector{Name: v1alpha1.OperatorServiceAccount, Audiences: []string{"vault"}},
		}}
	})
	err := b.resolver().Resolve(t.Context(), []external.Request{ask(clusterWide, "team/a")})[0].Err
	fails(t, err, failure.Stall, v1alpha1.ReasonStoreInvalid, `ServiceAccount "gitseal-controller" in namespace "gitseal-system" is the operator's own`)
}

func TestAKeyIsComparedWithoutTheMount(t *testing.T) {
	tests := map[string]struct {
		rule, key string
		v1        bool
		allowed   bool
	}{
		"another's folder, behind the mount":      {rule: "{namespace}/", key: "team/other/db"},
		"another's folder, behind mount and data": {rule: "{namespace}/", key: "team/data/other/db"},
		"the own folder":                          {rule: "{namespace}/", key: "team/team/db", allowed: true},
		"the own folder, behind mount and data":   {rule: "{namespace}/", key: "/team/data/team/db", allowed: true},
		"a rule that has the mount":               {rule: "team/shop/", key: "shop/db", allowed: true},
		"a rule that has mount and namespace":     {rule: "team/{namespace}/", key: "team/team/db", allowed: true},
		"that rule, and another's folder":         {rule: "team/{namespace}/", key: "team/other/db"},
		"a folder called as the mount":            {rule: "{namespace}/", key: "/team/db", allowed: true},
		"a folder in it":                          {rule: "shop/", key: "/team/shop/db"},
		"a rule of such a folder":                 {rule: "/team/shop/", key: "/team/shop/db", allowed: true},
		"slashes that a path does without":        {rule: "shop/", key: "team//shop/db", allowed: true},
		"what is called as the folder":            {rule: "shop/", key: "shop/"},
		"that, with more slashes":                 {rule: "shop/", key: "team/shop//"},
		"a folder in the folder":                  {rule: "shop/", key: "shop/db/", allowed: true},
		"data is a folder in version 1":           {rule: "shop/", key: "team/data/shop/db", v1: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench()
			b.shelf.values[tt.key] = "1"
			b.clusterWide(func(s *v1alpha1.SecretStoreSpec) {
				mount := "team"
				s.Provider.Vault.Path = &mount
				if tt.v1 {
					s.Provider.Vault.Version = "v1"
				}
				s.Access = []v1alpha1.StoreAccess{{Namespaces: []string{"team"}, Keys: []string{tt.rule}}}
			})
			err := b.resolver().Resolve(t.Context(), []external.Request{ask(clusterWide, tt.key)})[0].Err
			if tt.allowed && err != nil {
				t.Errorf("Resolve: %v", err)
			} else if !tt.allowed {
				fails(t, err, failure.Stall, v1alpha1.ReasonStoreDenied, "use key")
			}
		})
	}
}
