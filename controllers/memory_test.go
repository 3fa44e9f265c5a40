package controllers

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/apply"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/live"
	"github.com/gitseal/gitseal/internal/sops"
	"github.com/gitseal/gitseal/internal/source"
)

func TestARefusedRevisionIsNotRenderedAgain(t *testing.T) {
	d := newDesk(t)
	run := d.begin(d.read(t))
	m := run.memory
	// A snapshot without files: to render it would panic.
	m.snapshot, m.polledAt, m.polledSpec = &source.Snapshot{Revision: "main@sha1:bad"}, epoch, 3
	m.refused, m.refusal = basis{inputs: inputs{generation: 3, commit: "main@sha1:bad"}}, failure.Stallf(v1alpha1.ReasonRenderFailed, "bad")
	if w, err := d.desire(t.Context(), run); w != nil || !errors.Is(err, m.refusal) {
		t.Errorf("desire() = %v, %v, want the refusal that is held", w, err)
	}
	good := d.applied("main@sha1:good")
	m.wanted, m.snapshot = good, &source.Snapshot{Revision: "main@sha1:good"}
	if w, err := d.desire(t.Context(), run); err != nil || w != good {
		t.Errorf("desire() = %v, %v, want the state that is held", w, err)
	}
}

func TestAnotherApplicationOfTheSameNameStartsAnew(t *testing.T) {
	d := newDesk(t)
	name := client.ObjectKeyFromObject(d.app)
	first := d.memories.of(name, "u1")
	first.refusal = errors.New("of the first one")
	if again := d.memories.of(name, "u1"); again != first {
		t.Error("the memory of an Application is lost between two reconciles")
	}
	if second := d.memories.of(name, "u2"); second == first || second.refusal != nil {
		t.Error("an Application that was created anew inherits a refusal")
	}
}

func TestWhySaysWhatChanged(t *testing.T) {
	held := inputs{generation: 3, commit: "a", keys: "k=1;"}
	tests := map[string]struct {
		held   *inputs
		status *v1alpha1.SourceStatus
		now    inputs
		want   string
	}{
		"a new revision":              {&held, nil, inputs{3, "b", "k=1;"}, v1alpha1.SyncRevision},
		"a new spec":                  {&held, nil, inputs{4, "a", "k=1;"}, v1alpha1.SyncSpec},
		"a new key":                   {&held, nil, inputs{3, "a", "k=2;"}, v1alpha1.SyncKey},
		"both a revision and a spec":  {&held, nil, inputs{4, "b", "k=1;"}, v1alpha1.SyncRevision},
		"nothing, after a restart":    {nil, &v1alpha1.SourceStatus{Revision: "a"}, held, v1alpha1.SyncDrift},
		"a revision, after a restart": {nil, &v1alpha1.SourceStatus{Revision: "z"}, held, v1alpha1.SyncRevision},
		"the first sync":              {nil, nil, held, v1alpha1.SyncRevision},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			run := d.begin(d.read(t))
			run.app.Status.ObservedGeneration, run.app.Status.Source = 3, tt.status
			if tt.held != nil {
				run.memory.wanted = &wanted{inputs: *tt.held, basis: basis{inputs: *tt.held}}
			}
			if got := d.why(run, &wanted{inputs: tt.now, basis: basis{inputs: tt.now}}); got != tt.want {
				t.Errorf("why() = %s, want %s", got, tt.want)
			}
		})
	}
}

func TestARetriedRevisionKeepsItsReason(t *testing.T) {
	d := newDesk(t)
	run := d.begin(d.read(t))
	m := run.memory
	m.wanted = d.applied("main@sha1:abc")
	m.wanted.why = v1alpha1.SyncRevision
	m.snapshot, m.polledAt, m.polledSpec = &source.Snapshot{Revision: m.wanted.inputs.commit}, epoch, 3
	retry := d.begin(d.read(t)) // the first run did not get to its end
	if _, err := d.desire(t.Context(), retry); err != nil {
		t.Fatal(err)
	}
	retry.changed = 1
	retry.record()
	if h := retry.app.Status.History; len(h) != 1 || h[0].Reason != v1alpha1.SyncRevision {
		t.Errorf("history = %+v, want the reason Revision", h)
	}
	later := d.begin(d.read(t))
	if _, err := d.desire(t.Context(), later); err != nil || later.reason != v1alpha1.SyncDrift {
		t.Errorf("reason of a later change is %q (%v), want Drift", later.reason, err)
	}
}

func TestAStaleCacheDoesNotBringAnOldStatusBack(t *testing.T) {
	d := newDesk(t)
	stale := d.read(t)
	run := d.begin(stale)
	if _, err := d.finish(t.Context(), run, failure.Failf(v1alpha1.ReasonForbidden, "no")); err != nil {
		t.Fatal(err)
	}
	again := d.begin(stale)
	if got := conditions(again.app); !strings.HasPrefix(got, "Ready=False/Forbidden") {
		t.Errorf("conditions from a stale cache are %q, want those written last", got)
	}
	again.app.Status = stale.Status // back to what the cache still holds
	if err := d.writeStatus(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	if got := conditions(d.read(t)); got != "" {
		t.Errorf("conditions are %q, want the change to be written though the cache has it already", got)
	}
}

func notServed(s live.Scope) error {
	return &live.WatchError{Scope: s, Err: apierrors.NewGenericServerResponse(404, "list", schema.GroupResource{}, "", "", 0, true)}
}

func TestADeletedDefinitionDoesNotHoldUpTheRest(t *testing.T) {
	d := newDesk(t)
	run := d.begin(d.read(t))
	member := live.Scope{Identity: run.target.Identity, Namespace: "ns", Resource: schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}}
	run.memory.scopes = []live.Scope{member}
	d.watches.errs = []error{notServed(member)}
	if _, err := d.keys(t.Context(), run); err != nil {
		t.Errorf("keys() = %v, want a member's watch not to matter yet", err)
	}

	run.app.Annotations = map[string]string{v1alpha1.AnnotationPlaces: "ConfigMap/ns"}
	d.watches.errs = []error{notServed(member)}
	if _, err := d.watchMembers(t.Context(), run, nil); err != nil || len(run.memory.scopes) != 0 {
		t.Errorf("watchMembers() = %v with scopes %v, want a kind that only the parent records left out", err, run.memory.scopes)
	}

	items := []apply.Item{{Scope: member, Defined: true}, {Scope: member, Defined: true}}
	d.watches.errs = []error{notServed(member)}
	if err := d.watchItems(t.Context(), run, items); err != nil || !items[0].Brought || !items[1].Brought {
		t.Errorf("watchItems() = %v, items %+v, want them to be brought again with their definition", err, items)
	}

	d.watches.errs = []error{notServed(member)}
	err := d.watchItems(t.Context(), run, []apply.Item{{Scope: member}})
	if f := failure.From(err, ""); f == nil || f.Reason != v1alpha1.ReasonKindUnknown {
		t.Errorf("watchItems() = %v, want KindUnknown for a kind that somebody else defines", err)
	}
}

func TestReconcileOfAnUnreachableRepository(t *testing.T) {
	d := newDesk(t)
	request := ctrl.Request{NamespacedName: client.ObjectKeyFromObject(d.app)}
	result, err := d.Reconcile(t.Context(), request)
	if err != nil || result.RequeueAfter != 15*time.Second {
		t.Errorf("Reconcile() = %+v, %v, want a retry", result, err)
	}
	app := d.read(t)
	if got := conditions(app); !strings.HasPrefix(got, "Ready=False/SourceUnavailable") || len(app.Finalizers) != 0 {
		t.Errorf("conditions %q, finalizers %v, want no finalizer before anything is applied", got, app.Finalizers)
	}
	if err := d.Client.Delete(t.Context(), app); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Reconcile(t.Context(), request); err != nil || len(d.watches.gone) != 1 || len(d.memories.all) != 0 || len(d.signals.names) != 0 {
		t.Errorf("Reconcile(gone) = %v; released %v, %d memories, %d names, want all forgotten", err, d.watches.gone, len(d.memories.all), len(d.signals.names))
	}
}

func TestSuspended(t *testing.T) {
	past, soon, future := metav1.NewTime(epoch.Add(-time.Hour)), metav1.NewTime(epoch.Add(time.Second)), metav1.NewTime(epoch.Add(time.Hour))
	for name, tt := range map[string]struct {
		suspend   *v1alpha1.Suspend
		suspended bool
		after     time.Duration
	}{
		"not suspended":  {nil, false, 0},
		"until removed":  {&v1alpha1.Suspend{Reason: "freeze"}, true, 0},
		"until later":    {&v1alpha1.Suspend{Until: &future}, true, maxNap},
		"until soon":     {&v1alpha1.Suspend{Until: &soon}, true, time.Second},
		"until long ago": {&v1alpha1.Suspend{Until: &past}, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			app := d.read(t)
			app.Spec.Suspend = tt.suspend
			run := d.begin(app)
			if run.suspended() != tt.suspended {
				t.Fatalf("suspended() = %v, want %v", run.suspended(), tt.suspended)
			}
			if !tt.suspended {
				return
			}
			result, err := d.finishSuspended(t.Context(), run)
			if err != nil || result.RequeueAfter != tt.after || conditions(d.read(t)) != "Ready=False/Suspended" {
				t.Errorf("finishSuspended() = %+v, %v, conditions %s", result, err, conditions(d.read(t)))
			}
		})
	}
}

func TestDependencies(t *testing.T) {
	d := newDesk(t)
	run := d.begin(d.read(t))
	run.app.Spec.DependsOn = []v1alpha1.ApplicationReference{{Name: "other", Namespace: "elsewhere"}}
	if err := d.dependencies(t.Context(), run); failure.From(err, "").Class != failure.Wait || !strings.Contains(err.Error(), `Application "other" in namespace "elsewhere"`) {
		t.Errorf("dependencies(missing) = %v, want a wait that names it", err)
	}
	other := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Name: "other", Namespace: "elsewhere", Generation: 2}}
	if err := d.Client.Create(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	ready := func(observed int64) {
		other.Status.ObservedGeneration = observed
		other.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: metav1.ConditionTrue, Reason: "Succeeded", LastTransitionTime: metav1.Now()}}
		if err := d.Client.Status().Update(t.Context(), other); err != nil {
			t.Fatal(err)
		}
	}
	ready(1)
	if err := d.dependencies(t.Context(), run); err == nil {
		t.Error("dependencies(ready at an older generation) = nil, want a wait")
	}
	ready(2)
	if err := d.dependencies(t.Context(), run); err != nil {
		t.Errorf("dependencies(ready) = %v, want nil", err)
	}
	if got := d.dependents(t.Context(), other); len(got) != 0 {
		t.Errorf("dependents() = %v, want none: the spec was not stored", got)
	}
}

func TestKeysAreDeniedByDefault(t *testing.T) {
	for name, tt := range map[string]struct {
		namespace, allowed string
		ok                 bool
	}{
		"beside the Application":       {"ns", "", true},
		"the operator's, for nobody":   {"gitseal-system", "", false},
		"the operator's, for others":   {"gitseal-system", "other,ns2", false},
		"the operator's, for this one": {"gitseal-system", "other, ns ", true},
		"a pattern is no name":         {"gitseal-system", "*", false},
		"a prefix is no name":          {"gitseal-system", "nsx", false},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			if err := d.mayUse(d.app, secretScope(tt.namespace, "k"), tt.allowed); (err == nil) != tt.ok {
				t.Errorf("mayUse() = %v, want allowed %v", err, tt.ok)
			}
		})
	}
}

func TestSignalsReachTheQueueOnceKnown(t *testing.T) {
	s := NewSignals()
	name := types.NamespacedName{Namespace: "ns", Name: "app"}
	set := apply.Target{Application: name}.ApplySet()
	s.Notify(set) // nobody knows it and nothing has started: dropped
	queue := newQueue(t)
	if err := s.Start(t.Context(), queue); err != nil {
		t.Fatal(err)
	}
	s.Notify(set)
	s.learn(name)
	s.Notify(set)
	s.Notify(set)
	if request, _ := queue.Get(); request.NamespacedName != name {
		t.Errorf("%s came out of the queue", request)
	}
	if n := queue.Len(); n != 0 {
		t.Errorf("%d more entries in the queue, want the repetitions folded into 1", n)
	}
	s.forget(name)
	if len(s.names) != 0 {
		t.Error("a name is kept after its Application is gone")
	}
}

func TestCredentialSecretsAreWatchedByName(t *testing.T) {
	d := newDesk(t)
	d.app.Spec.Source.Git.SecretRef = &v1alpha1.LocalReference{Name: "git"}
	d.app.Spec.Secrets.SOPS = &v1alpha1.SOPS{Keys: []v1alpha1.SOPSKey{
		{KeyRef: &v1alpha1.LocalReference{Name: "apart"}}, {SecretRef: &v1alpha1.LocalReference{Name: "beside"}},
	}}
	got := d.credentialScopes(d.app)
	want := []live.Scope{secretScope("gitseal-system", "apart"), secretScope("ns", "beside"), secretScope("ns", "git")}
	if !slices.Equal(got, want) {
		t.Errorf("credentialScopes() = %v, want %v", got, want)
	}
	for _, s := range got {
		if !s.Identity.IsOperator() || s.Name == "" {
			t.Errorf("%v is not one Secret watched as the operator", s)
		}
	}
}

func TestAMissingOrRefusedSecretSaysWhatToDo(t *testing.T) {
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "k", nil)
	tests := map[string]struct {
		ref    v1alpha1.SOPSKey
		watch  error
		reason string
		text   string
	}{
		"the operator's key is missing": {v1alpha1.SOPSKey{KeyRef: &v1alpha1.LocalReference{Name: "k"}}, nil, v1alpha1.ReasonKeyUnavailable,
			`Secret "k" does not exist in namespace "gitseal-system": make the key: kubectl gitseal keys init k --for ns`},
		"the key beside is missing": {v1alpha1.SOPSKey{SecretRef: &v1alpha1.LocalReference{Name: "k"}}, nil, v1alpha1.ReasonKeyUnavailable,
			`Secret "k" does not exist in namespace "ns": create it; the sync goes on by itself`},
		"the namespace has not let the operator in": {v1alpha1.SOPSKey{SecretRef: &v1alpha1.LocalReference{Name: "k"}}, forbidden, v1alpha1.ReasonAccessDenied,
			`namespace "ns" has not let gitseal read Secret "k": grant get and watch on it by name`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			app := d.read(t)
			app.Spec.Secrets = v1alpha1.Secrets{Policy: v1alpha1.PolicySOPS, SOPS: &v1alpha1.SOPS{Keys: []v1alpha1.SOPSKey{tt.ref}}}
			run := d.begin(app)
			if tt.watch != nil {
				d.watches.errs = []error{&live.WatchError{Scope: d.keyScope(app, tt.ref), Err: tt.watch}}
			}
			_, err := d.keys(t.Context(), run)
			if f := failure.From(err, ""); f.Reason != tt.reason || !strings.HasPrefix(f.Message(), tt.text) {
				t.Errorf("keys() = %s, %q, want %s, %q", f.Reason, f.Message(), tt.reason, tt.text)
			}
		})
	}
}

func TestAKeyIsReadOnceAndAgainWhenItChanges(t *testing.T) {
	d := newDesk(t)
	ref := v1alpha1.SOPSKey{KeyRef: &v1alpha1.LocalReference{Name: "k"}}
	app := d.read(t)
	app.Spec.Secrets = v1alpha1.Secrets{Policy: v1alpha1.PolicySOPS, SOPS: &v1alpha1.SOPS{Keys: []v1alpha1.SOPSKey{ref}}}
	run := d.begin(app)
	d.watches.absent = live.Unknown
	s := secretNamed("k", "gitseal-system", nil)
	if err := d.Client.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	_, err := d.keys(t.Context(), run)
	if f := failure.From(err, ""); f.Class != failure.Stall || !strings.Contains(f.Message(), `key "k" may not be used from namespace "ns"`) {
		t.Errorf("keys(not allowed) = %v, want the default deny", err)
	}
	s.Annotations = map[string]string{v1alpha1.AnnotationAllowedNamespaces: "ns"}
	if err := d.Client.Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if _, err := d.keys(t.Context(), run); err == nil || strings.Contains(err.Error(), "may not be used") {
		t.Errorf("keys(allowed, but empty) = %v, want it to be read anew and found to hold no key", err)
	}
	d.watches.absent = live.Absent
	if _, err := d.keys(t.Context(), run); err == nil || len(d.heldKeys.all) != 0 {
		t.Errorf("keys(deleted) = %v with %d keys held, want it forgotten", err, len(d.heldKeys.all))
	}
}

func TestAKeyIsHeldForAllAndForgottenWithTheLast(t *testing.T) {
	d := newDesk(t)
	ref := v1alpha1.SOPSKey{KeyRef: &v1alpha1.LocalReference{Name: "k"}}
	app := d.read(t)
	app.Spec.Secrets = v1alpha1.Secrets{Policy: v1alpha1.PolicySOPS, SOPS: &v1alpha1.SOPS{Keys: []v1alpha1.SOPSKey{ref}}}
	scope := d.keyScope(app, ref)
	d.heldKeys.put(scope, heldKey{version: 7, allowed: "ns", ring: sops.NewKeyring()})
	d.watches.present = &live.Object{ResourceVersion: 7}
	if _, err := d.keys(t.Context(), d.begin(app)); err != nil {
		t.Errorf("keys() = %v, want the key that another Application has read: there is no such Secret to read", err)
	}
	app.Namespace = "other"
	_, err := d.keys(t.Context(), d.begin(app))
	if f := failure.From(err, ""); f.Class != failure.Stall || !strings.Contains(f.Message(), `may not be used from namespace "other"`) {
		t.Errorf("keys(not allowed) = %v, want the default deny", err)
	}
	d.forget(types.NamespacedName{Namespace: "ns", Name: "another"})
	if len(d.heldKeys.all) != 1 {
		t.Error("a key that is watched was forgotten")
	}
	d.watches.present, d.watches.absent = nil, live.Unknown
	d.forget(types.NamespacedName{Namespace: "ns", Name: "app"})
	if len(d.heldKeys.all) != 0 {
		t.Error("a key that nobody watches is held")
	}
}

func TestFinalizeLetsGo(t *testing.T) {
	for name, policy := range map[string]v1alpha1.DeletionPolicy{"with its objects": v1alpha1.DeletionDelete, "without them": v1alpha1.DeletionOrphan} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			app := d.read(t)
			app.Finalizers = []string{v1alpha1.Finalizer}
			app.Spec.Sync.DeletionPolicy = policy
			app.Annotations = map[string]string{v1alpha1.AnnotationPlaces: "ConfigMap/ns"}
			if err := d.Client.Update(t.Context(), app); err != nil {
				t.Fatal(err)
			}
			if err := d.Client.Delete(t.Context(), app); err != nil {
				t.Fatal(err)
			}
			// Its kind was deleted meanwhile: that must not keep it.
			gone := live.Scope{Identity: live.Identity{Namespace: "ns", ServiceAccount: "deployer"}, Namespace: "ns", Resource: schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}}
			d.watches.errs = []error{notServed(gone)}
			request := ctrl.Request{NamespacedName: client.ObjectKeyFromObject(app)}
			if _, err := d.Reconcile(t.Context(), request); err != nil {
				t.Fatal(err)
			}
			if err := d.Client.Get(t.Context(), request.NamespacedName, app); !apierrors.IsNotFound(err) {
				t.Errorf("the Application is still there: %v, conditions %s", err, conditions(app))
			}
			if len(d.watches.asked) == 0 {
				t.Error("nobody looked for members to delete or to release")
			}
		})
	}
}

// After a restart the status is all that is known. What it does not call
// applied under this very spec must be applied, also where drift is ignored.
func TestOnlyWhatTheStatusCallsAppliedIsInPlace(t *testing.T) {
	tests := map[string]struct {
		status     metav1.ConditionStatus
		generation int64
		want       bool
	}{
		"applied under this spec":             {metav1.ConditionTrue, 2, true},
		"applied under an earlier spec":       {metav1.ConditionTrue, 1, false},
		"refused under this spec":             {metav1.ConditionFalse, 2, false},
		"never looked at, so that it is open": {"", 0, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Generation: 2}}
			if tt.status != "" {
				app.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionSynced, Status: tt.status, ObservedGeneration: tt.generation}}
			}
			if got := (&run{base: app, app: app}).inPlace(); got != tt.want {
				t.Errorf("inPlace() = %v, want %v", got, tt.want)
			}
		})
	}
}
