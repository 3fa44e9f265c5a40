package stores

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/yaml"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/external"
	"github.com/gitseal/gitseal/internal/fetch"
	"github.com/gitseal/gitseal/internal/live"
	"github.com/gitseal/gitseal/internal/render"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/internal/shard"
	"github.com/gitseal/gitseal/internal/store"
	"github.com/gitseal/gitseal/providers"
)

// vault answers everything with its mood.
type vault struct {
	mu     sync.Mutex
	mood   error
	checks int
}

func (v *vault) Get(_ context.Context, refs []providers.Ref) ([]providers.Result, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	results := make([]providers.Result, len(refs))
	for i := range results {
		results[i].Value = secret.NewValue([]byte("value"))
	}
	return results, v.mood
}

func (v *vault) Check(context.Context) (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.checks++
	return "me", v.mood
}

func (v *vault) feel(mood error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.mood = mood
}

// watches answers that everything is watched and nothing is there.
type watches struct {
	gone []string
	// present is found everywhere, where it is not nil.
	present *live.Object
}

func (w *watches) Ensure(context.Context, string, []live.Scope) error { return nil }
func (w *watches) Release(owner string)                               { w.gone = append(w.gone, owner) }
func (w *watches) Find(live.Scope, live.Key, uint64) (live.Object, live.Presence) {
	if w.present != nil {
		return *w.present, live.Present
	}
	return live.Object{}, live.Unknown
}

// askers are Applications that stores are opened for.
type askers struct {
	heard    map[types.NamespacedName]time.Time
	workWith map[types.NamespacedName]string
}

func (a *askers) Reread(application types.NamespacedName, at time.Time) { a.heard[application] = at }
func (a *askers) WorkWith(_ context.Context, secret types.NamespacedName) (string, error) {
	return a.workWith[secret], nil
}

var epoch = time.Unix(1_900_000_000, 0)

// counter is a reconciler, and what stands around it.
type counter struct {
	*reconciler
	t        *testing.T
	clock    *clocktesting.FakeClock
	watches  *watches
	askers   *askers
	vault    *vault
	recorder *events.FakeRecorder
	writes   int
}

var storeName = types.NamespacedName{Namespace: "ns", Name: "s"}

// countedStore is the store ns/s.
func countedStore() *v1alpha1.SecretStore {
	s := &v1alpha1.SecretStore{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "s", Generation: 1}}
	s.Spec.RetrySettings = &v1alpha1.StoreRetrySettings{MaxRetries: new(int32)}
	s.Spec.Provider.Vault = &v1alpha1.VaultProvider{Server: "https://v", Auth: &v1alpha1.VaultAuth{
		TokenSecretRef: &v1alpha1.SecretKeySelector{Name: "token", Key: "token"},
	}}
	return s
}

// clusterWith is an API server with stores and what they name.
func clusterWith(t *testing.T, stores ...client.Object) client.WithWatch {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(v1alpha1.AddToScheme(scheme), corev1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	token := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "token"}, Data: map[string][]byte{"token": []byte("t")}}
	return fake.NewClientBuilder().WithScheme(scheme).WithObjects(stores...).WithObjects(token).WithStatusSubresource(stores...).Build()
}

func newCounter(t *testing.T) *counter {
	t.Helper()
	return newCounterOn(t, clusterWith(t, countedStore()))
}

func newCounterOn(t *testing.T, base client.WithWatch) *counter {
	t.Helper()
	c := &counter{t: t, clock: clocktesting.NewFakeClock(epoch), watches: &watches{}, vault: &vault{}, recorder: events.NewFakeRecorder(100)}
	c.askers = &askers{heard: map[types.NamespacedName]time.Time{}, workWith: map[types.NamespacedName]string{}}
	reader := interceptor.NewClient(base, interceptor.Funcs{
		SubResourcePatch: func(ctx context.Context, w client.Client, sub string, o client.Object, p client.Patch, options ...client.SubResourcePatchOption) error {
			c.writes++
			return w.SubResource(sub).Patch(ctx, o, p, options...)
		},
	})
	keeper := New(Options{
		Client: reader, Reader: reader, Applications: c.askers, Watches: c.watches, Clock: c.clock,
		Providers: providers.Registry{"vault": {Open: func(st providers.Store) (providers.Provider, error) {
			_, err := st.Credentials.Secret(*st.Spec.Vault.Auth.TokenSecretRef)
			return c.vault, err
		}}},
		Digest: secret.NewTokenizer([]byte("key")).Digest, OperatorNamespace: "gitseal-system",
	})
	keeper.opener.Fetcher = fetch.New(fetch.Options{Clock: c.clock, Random: func() float64 { return 0 }})
	c.reconciler = &reconciler{keeper: keeper, recorder: c.recorder, random: func() float64 { return 0.5 }, kind: v1alpha1.KindSecretStore}
	return c
}

// look reconciles and returns what the store says, and when it is looked at again.
func (c *counter) look() (v1alpha1.SecretStoreStatus, time.Duration) {
	c.t.Helper()
	result, err := c.Reconcile(c.t.Context(), ctrl.Request{NamespacedName: storeName})
	if err != nil {
		c.t.Fatal(err)
	}
	var s v1alpha1.SecretStore
	if err := c.keeper.client.Get(c.t.Context(), storeName, &s); err != nil {
		c.t.Fatal(err)
	}
	return s.Status, result.RequeueAfter
}

// read reads a value as Application ns/app.
func (c *counter) read() external.Answer {
	c.t.Helper()
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "app"}}
	resolver, err := c.keeper.For(app, nil, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return resolver.Resolve(c.t.Context(), []external.Request{{Namespace: "ns", Store: v1alpha1.StoreReference{Name: "s"}, Ref: providers.Ref{Key: "k"}}})[0]
}

// What is in place and a newer revision may both be asked for, with stores of
// one name that differ. Each stays open until its revision has gone.
func TestStoresOfTwoRevisionsStayOpenSideBySide(t *testing.T) {
	c := newCounter(t)
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "app"}}
	inGit := func(server string) render.Object {
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(`{apiVersion: gitseal.dev/v1alpha1, kind: SecretStore, metadata: {name: g}, spec: {provider: {vault: {server: "https://`+server+`", auth: {tokenSecretRef: {name: token, key: token}}}}}}`), &o.Object); err != nil {
			t.Fatal(err)
		}
		return render.Object{Unstructured: o}
	}
	both := []render.Object{inGit("old"), inGit("new")}
	read := func(inUse []render.Object, own render.Object) {
		t.Helper()
		resolver, err := c.keeper.For(app, []render.Object{own}, inUse)
		if err != nil {
			t.Fatal(err)
		}
		a := resolver.Resolve(t.Context(), []external.Request{{Namespace: "ns", Store: v1alpha1.StoreReference{Name: "g"}, Ref: providers.Ref{Key: "k"}}})[0]
		if a.Err != nil {
			t.Fatal(a.Err)
		}
	}
	opened := func() (all []*store.Opened) {
		for _, owner := range slices.Sorted(maps.Keys(c.keeper.held)) {
			all = append(all, c.keeper.held[owner].opened)
		}
		return all
	}
	read(both, both[0])
	read(both, both[1])
	before := opened()
	for range 3 {
		read(both, both[0])
		read(both, both[1])
	}
	if after := opened(); len(before) != 2 || !slices.Equal(before, after) {
		t.Errorf("opened %v and then %v, want both to stay open", before, after)
	}
	read(both[1:], both[1])
	if after := opened(); len(after) != 1 {
		t.Errorf("%d stores are open, want the one of the revision that is left", len(after))
	}
}

func readyReason(s v1alpha1.SecretStoreStatus) string {
	ready := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReady)
	if ready == nil {
		return ""
	}
	var more []string
	for _, kind := range []string{v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled} {
		if meta.IsStatusConditionTrue(s.Conditions, kind) {
			more = append(more, " "+kind)
		}
	}
	return string(ready.Status) + "/" + ready.Reason + strings.Join(more, "")
}

func TestAStoreAtRestIsCheckedByItsIntervalAndNotWritten(t *testing.T) {
	c := newCounter(t)
	status, again := c.look()
	if got := readyReason(status); got != "True/Succeeded" || status.Identity != "me" || status.Provider != "vault" || status.Capabilities != "ReadOnly" || again != 5*time.Minute {
		t.Errorf("status %+v, again in %v", status, again)
	}
	c.look()
	if c.writes != 1 || c.vault.checks != 1 {
		t.Errorf("%d writes and %d checks of a store that was just looked at, want 1 and 1", c.writes, c.vault.checks)
	}
	c.clock.Step(5 * time.Minute)
	c.look()
	if c.writes != 1 || c.vault.checks != 2 {
		t.Errorf("%d writes and %d checks after the interval, want 1 and 2", c.writes, c.vault.checks)
	}
}

func TestAStoreThatFailsIsCheckedEverMoreRarely(t *testing.T) {
	tests := map[string]struct {
		mood error
		want string
	}{
		"away":              {&providers.Error{Kind: providers.ErrUnavailable, Detail: "Vault is sealed"}, "False/StoreUnavailable Reconciling"},
		"wrong credentials": {&providers.Error{Kind: providers.ErrUnauthenticated}, "False/StoreInvalid Stalled"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCounter(t)
			c.vault.feel(tt.mood)
			for _, want := range []time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second} {
				status, again := c.look()
				due := c.checkOf(storeName).due.Sub(c.clock.Now())
				if got := readyReason(status); got != tt.want || due != want || again > due || status.LastError == nil {
					t.Errorf("%s, checked again in %v, want %s in %v; looked at in %v, last error %v", got, due, tt.want, want, again, status.LastError)
				}
				c.clock.Step(due)
			}
			c.vault.feel(nil)
			c.clock.Step(2 * time.Minute) // the fetch layer leaves a store alone for a while, too
			if status, _ := c.look(); readyReason(status) != "True/Succeeded" {
				t.Errorf("after it is mended: %+v", status.Conditions)
			}
		})
	}
}

func TestCallsAreWrittenAfterABurst(t *testing.T) {
	c := newCounter(t)
	c.look()
	for range 5 {
		c.clock.Step(time.Second)
		if a := c.read(); a.Err != nil {
			t.Fatal(a.Err)
		}
		if _, again := c.look(); c.writes != 1 || again > countPause {
			t.Fatalf("%d writes, again in %v, want the counts to wait up to %v", c.writes, again, countPause)
		}
	}
	c.clock.Step(countPause)
	if status, _ := c.look(); c.writes != 2 || status.Calls == nil || status.Calls.Reads != 5 {
		t.Errorf("%d writes, calls %+v, want 5 reads in one write", c.writes, status.Calls)
	}
}

// A read that finds the credentials refused brings a check before its time.
func TestTroubleOfOthersBringsACheck(t *testing.T) {
	c := newCounter(t)
	c.look()
	c.vault.feel(&providers.Error{Kind: providers.ErrUnauthenticated})
	c.clock.Step(time.Second)
	if a := c.read(); a.Err == nil {
		t.Fatal("a value was read")
	}
	c.clock.Step(time.Minute)
	if status, _ := c.look(); readyReason(status) != "False/StoreInvalid Stalled" {
		t.Errorf("conditions %+v", status.Conditions)
	}
}

func TestARotatedCredentialOpensTheStoreAnew(t *testing.T) {
	c := newCounter(t)
	c.look()
	before, err := c.keeper.Open(t.Context(), types.NamespacedName{}, c.storeOf())
	if err != nil {
		t.Fatal(err)
	}
	same, err := c.keeper.Open(t.Context(), types.NamespacedName{}, c.storeOf())
	if err != nil || same != before {
		t.Errorf("an unchanged store is opened anew, %v", err)
	}
	c.rotate()
	after, err := c.keeper.Open(t.Context(), types.NamespacedName{}, c.storeOf())
	if err != nil || after.Identity == before.Identity {
		t.Errorf("a rotated credential leaves the identity as it was, %v", err)
	}
	if c.vault.checks != 1 {
		t.Errorf("%d checks", c.vault.checks)
	}
	c.look()
	if c.vault.checks != 2 {
		t.Errorf("%d checks, want another one with the new credentials", c.vault.checks)
	}
}

// rotate puts another token where the store names it.
func (c *counter) rotate() {
	c.t.Helper()
	rotated := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "token"}, Data: map[string][]byte{"token": []byte("rotated")}}
	if err := c.keeper.client.Update(c.t.Context(), rotated); err != nil {
		c.t.Fatal(err)
	}
	c.watches.present = &live.Object{ResourceVersion: live.Version(rotated.ResourceVersion)}
}

// However long wrong credentials are left alone, the right ones count at once:
// for the store, and for who reads.
func TestRotatedCredentialsAreNotMadeToWait(t *testing.T) {
	c := newCounter(t)
	c.vault.feel(&providers.Error{Kind: providers.ErrUnauthenticated})
	for range 5 {
		c.look()
		c.clock.Step(c.checkOf(storeName).due.Sub(c.clock.Now()))
	}
	if status, _ := c.look(); readyReason(status) != "False/StoreInvalid Stalled" {
		t.Fatalf("conditions %+v", status.Conditions)
	}
	c.vault.feel(nil)
	if a := c.read(); a.Err == nil {
		t.Fatal("a store that lets nobody in was asked again at once")
	}
	c.rotate()
	if status, _ := c.look(); readyReason(status) != "True/Succeeded" {
		t.Errorf("conditions %+v, want it ready at once", status.Conditions)
	}
	if a := c.read(); a.Err != nil {
		t.Errorf("a value with the new credentials: %v", a.Err)
	}
}

// However long an outage was, its end is noticed within about a minute, also
// where the fetch layer leaves the store alone for as long as it ever does.
func TestTheEndOfAnOutageIsNoticed(t *testing.T) {
	for name, random := range map[string]float64{"short pauses": 0, "long pauses": 0.999} {
		synctest.Test(t, func(t *testing.T) {
			c, now := newCounter(t), clock.RealClock{}
			c.keeper.clock, c.keeper.opener.Clock = now, now
			c.keeper.opener.Fetcher = fetch.New(fetch.Options{Clock: now, Random: func() float64 { return random }})
			c.random = func() float64 { return 1 - random }
			next := func() bool { // waits for the next look, and reports whether the provider was asked
				before := c.vault.checks
				<-time.After(time.Until(c.checkOf(storeName).due))
				c.look()
				return c.vault.checks > before
			}
			c.vault.feel(&providers.Error{Kind: providers.ErrUnavailable})
			c.look()
			for range 100 {
				next()
			}
			for !next() {
			}
			c.vault.feel(nil) // when it was just asked in vain
			ended := time.Now()
			for !next() {
			}
			if status, _ := c.look(); readyReason(status) != "True/Succeeded" || time.Since(ended) > 70*time.Second {
				t.Errorf("%s: %s after %s, want it ready after about a minute", name, readyReason(status), time.Since(ended))
			}
		})
	}
}

func (c *counter) storeOf() store.Store {
	c.t.Helper()
	s, err := c.keeper.read(c.t.Context(), storeKey{v1alpha1.KindSecretStore, storeName})
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

// Who has asked for a store hears of it, also where it was not there.
func TestWhoAsksForAStoreHearsOfIt(t *testing.T) {
	c := newCounter(t)
	app := types.NamespacedName{Namespace: "ns", Name: "app"}
	heard := func(what string, want bool) {
		t.Helper()
		if got := c.askers.heard[app].Equal(epoch); got != want {
			t.Errorf("%s: heard %v, want %v", what, got, want)
		}
		delete(c.askers.heard, app)
	}
	missing := v1alpha1.StoreReference{Kind: v1alpha1.KindClusterSecretStore, Name: "later"}
	if _, err := c.keeper.Cluster(t.Context(), app, missing); err == nil {
		t.Fatal("a store that is not there was found")
	}
	c.keeper.changed(storeKey{v1alpha1.KindSecretStore, storeName})
	heard("a store that it has not asked for", false)
	c.keeper.changed(storeKey{v1alpha1.KindClusterSecretStore, types.NamespacedName{Name: "later"}})
	heard("a store that comes", true)
	c.read()
	if !c.keeper.Notify("store/SecretStore/ns/s") || c.keeper.Notify("applyset-of-something") {
		t.Error("Notify does not tell stores from ApplySets")
	}
	heard("its credentials", true)
	c.keeper.Forget(app)
	c.keeper.Notify("store/SecretStore/ns/s")
	heard("after it is gone", false)
	if n := len(c.keeper.held); n != 0 {
		t.Errorf("%d stores are held for nobody", n)
	}
}

func TestAStoreOfAnotherOperatorIsLeftAlone(t *testing.T) {
	c := newCounter(t)
	var s v1alpha1.SecretStore
	if err := c.keeper.client.Get(t.Context(), storeName, &s); err != nil {
		t.Fatal(err)
	}
	s.Spec.Controller = "eso"
	if err := c.keeper.client.Update(t.Context(), &s); err != nil {
		t.Fatal(err)
	}
	if status, _ := c.look(); c.writes != 0 || len(status.Conditions) != 0 || c.vault.checks != 0 {
		t.Errorf("status %+v after %d writes and %d checks, want it untouched", status, c.writes, c.vault.checks)
	}
}

// The namespace lets the operator read its SOPS key and Git token for its
// Applications. Whoever may write a store, in Git or in the cluster, must not
// have them sent to a server of his choice.
func TestAStoreIsNotGivenWhatApplicationsAreReadWith(t *testing.T) {
	tests := map[string]struct {
		secret  types.NamespacedName
		refused bool
	}{
		"the Secret that it names":      {types.NamespacedName{Namespace: "ns", Name: "token"}, true},
		"a Secret that it does not":     {types.NamespacedName{Namespace: "ns", Name: "key"}, false},
		"one called alike, not with it": {types.NamespacedName{Namespace: "other", Name: "token"}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCounter(t)
			c.askers.workWith[tt.secret] = `Application "other"`
			err := c.read().Err
			if !tt.refused {
				if err != nil {
					t.Errorf("the store: %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), `Secret "token" is what Application "other" works with`) {
				t.Errorf("the store was opened with it: %v", err)
			}
			if status, _ := c.look(); readyReason(status) == "" || c.vault.checks > 0 {
				t.Errorf("the store is asked, and says %q", readyReason(status))
			}
		})
	}
}

// A key in the operator's namespace says whose it is. It opens nothing but what is
// in Git, also while no Application names it.
func TestAStoreIsNotGivenAKey(t *testing.T) {
	c := newCounter(t)
	var token corev1.Secret
	if err := c.keeper.client.Get(t.Context(), types.NamespacedName{Namespace: "ns", Name: "token"}, &token); err != nil {
		t.Fatal(err)
	}
	token.Annotations = map[string]string{v1alpha1.AnnotationAllowedNamespaces: ""}
	if err := c.keeper.client.Update(t.Context(), &token); err != nil {
		t.Fatal(err)
	}
	if err := c.read().Err; err == nil || !strings.Contains(err.Error(), `Secret "token" in namespace "ns" is a key that opens what is in Git`) {
		t.Errorf("the store was opened with it: %v", err)
	}
	if status, _ := c.look(); readyReason(status) != "False/StoreInvalid Stalled" || c.vault.checks > 0 {
		t.Errorf("the store is asked, and says %q", readyReason(status))
	}
}

func TestAStoreThatAnotherReplicaLooksAtIsHeldForItsUsersOnly(t *testing.T) {
	for name, tt := range map[string]struct {
		used bool
		want int
	}{"nobody uses it here": {false, 0}, "somebody does": {true, 1}} {
		t.Run(name, func(t *testing.T) {
			c := newCounter(t)
			c.look()
			if tt.used {
				c.read()
			}
			c.share = shard.New(shard.Options{ID: "a", Clock: c.clock, Duration: time.Second}) // of which nothing is granted
			c.look()
			if len(c.keeper.held) != tt.want || len(c.watches.gone) != 1-tt.want {
				t.Errorf("%d stores are held and %d released, want %d and %d", len(c.keeper.held), len(c.watches.gone), tt.want, 1-tt.want)
			}
		})
	}
}
