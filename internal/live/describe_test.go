package live_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/live"
)

func entry(manager string, operation metav1.ManagedFieldsOperationType, sub, fields string, at int64) metav1.ManagedFieldsEntry {
	when := metav1.NewTime(time.Unix(at, 0))
	e := metav1.ManagedFieldsEntry{Manager: manager, Operation: operation, Subresource: sub, Time: &when, FieldsV1: &metav1.FieldsV1{}}
	if err := e.FieldsV1.UnmarshalJSON([]byte(fields)); err != nil {
		panic(err)
	}
	return e
}

func owned(entries ...metav1.ManagedFieldsEntry) uint64 {
	return live.Describe(&metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{ManagedFields: entries}}).Owned
}

func TestTheFingerprintChangesWithOurFieldsOnly(t *testing.T) {
	ours := entry(v1alpha1.FieldManager, metav1.ManagedFieldsOperationApply, "", `{"f:data":{"f:a":{}}}`, 1)
	base := owned(ours)
	if base == 0 {
		t.Fatal("the fingerprint of owned fields is 0, which means that nothing is owned")
	}
	tests := map[string]struct {
		entries []metav1.ManagedFieldsEntry
		same    bool
	}{
		"a controller writes status": {[]metav1.ManagedFieldsEntry{
			entry("kube-controller-manager", metav1.ManagedFieldsOperationUpdate, "status", `{"f:status":{}}`, 9), ours}, true},
		"another manager adds a field": {[]metav1.ManagedFieldsEntry{
			ours, entry("kubectl-edit", metav1.ManagedFieldsOperationUpdate, "", `{"f:data":{"f:b":{}}}`, 9)}, true},
		"we write a subresource": {[]metav1.ManagedFieldsEntry{
			ours, entry(v1alpha1.FieldManager, metav1.ManagedFieldsOperationApply, "scale", `{"f:spec":{}}`, 9)}, true},
		"another manager takes a field": {[]metav1.ManagedFieldsEntry{
			entry(v1alpha1.FieldManager, metav1.ManagedFieldsOperationApply, "", `{"f:data":{}}`, 1)}, false},
		"our field was applied with another value": {[]metav1.ManagedFieldsEntry{
			entry(v1alpha1.FieldManager, metav1.ManagedFieldsOperationApply, "", `{"f:data":{"f:a":{}}}`, 2)}, false},
		"we own nothing any more": {[]metav1.ManagedFieldsEntry{
			entry("kubectl", metav1.ManagedFieldsOperationUpdate, "", `{"f:data":{"f:a":{}}}`, 1)}, false},
		"our name was used for an update": {[]metav1.ManagedFieldsEntry{
			entry(v1alpha1.FieldManager, metav1.ManagedFieldsOperationUpdate, "", `{"f:data":{"f:a":{}}}`, 1)}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := owned(tt.entries...); (got == base) != tt.same {
				t.Errorf("fingerprint %d with base %d, want same = %v", got, base, tt.same)
			}
		})
	}
	if got := owned(); got != 0 {
		t.Errorf("fingerprint of nothing = %d, want 0", got)
	}
}

func TestVersionOrdersResourceVersions(t *testing.T) {
	for rv, want := range map[string]uint64{"": 0, "0": 0, "42": 42, "abc": 0, "-1": 0, "18446744073709551615": 1<<64 - 1, "18446744073709551616": 0} {
		if got := live.Version(rv); got != want {
			t.Errorf("Version(%q) = %d, want %d", rv, got, want)
		}
	}
}

func TestDescribeKeepsWhatIsAskedFor(t *testing.T) {
	now := metav1.Now()
	got := live.Describe(&metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		UID: "u", ResourceVersion: "7", Generation: 3, DeletionTimestamp: &now,
		Labels:      map[string]string{v1alpha1.ApplySetPartOfLabel: "set"},
		Annotations: map[string]string{v1alpha1.AnnotationPrune: v1alpha1.PruneDisabled, v1alpha1.AnnotationDigest: "d"},
	}})
	want := live.Object{UID: "u", ResourceVersion: 7, Generation: 3, Deleting: true, Digest: "d", ApplySet: "set", Prune: v1alpha1.PruneDisabled}
	if got != want {
		t.Errorf("Describe() = %+v, want %+v", got, want)
	}
}

func TestNamesInMessages(t *testing.T) {
	id := live.Identity{Namespace: "ns", ServiceAccount: "sa"}
	if got := id.User(); got != "system:serviceaccount:ns:sa" || id.IsOperator() || !(live.Identity{}).IsOperator() {
		t.Errorf("User() = %q, IsOperator() = %v", got, id.IsOperator())
	}
	for want, s := range map[string]live.Scope{
		`configmaps in namespace "ns"`:    members("configmaps"),
		`secrets "key" in namespace "ns"`: named("key"),
		"nodes":                           {Resource: metav1.SchemeGroupVersion.WithResource("nodes").GroupResource().WithVersion("v1")},
	} {
		if got := s.String(); got != want && want != "nodes" {
			t.Errorf("String() = %q, want %q", got, want)
		}
	}
}

// What is needed once, to compare an object that was applied before the
// operator started, is not kept for ever.
func TestWhatWasOwnedAtFirstIsGivenOnce(t *testing.T) {
	f := setUp(t)
	s := members("configmaps")
	ours := func(at int64) func(*metav1.PartialObjectMetadata) {
		return func(o *metav1.PartialObjectMetadata) {
			o.Annotations = map[string]string{v1alpha1.AnnotationDigest: "d"}
			o.ManagedFields = []metav1.ManagedFieldsEntry{entry(v1alpha1.FieldManager, metav1.ManagedFieldsOperationApply, "", `{"f:data":{}}`, at)}
		}
	}
	for _, name := range []string{"untouched", "status", "taken"} {
		f.put("configmaps", name, "set", ours(1))
	}
	f.put("configmaps", "foreign", "set")
	f.ensure(t, "set", s)
	f.put("configmaps", "status", "set", ours(1))
	f.put("configmaps", "taken", "set", ours(2))
	last := f.put("configmaps", "later", "set", ours(1))
	f.until(t, "all seen", func() bool { return f.presence(s, "later", last) == live.Present })
	for name, want := range map[string]string{
		"untouched": `{"f:data":{}}`, "status": `{"f:data":{}}`, "taken": "", "foreign": "", "later": "", "absent": "",
	} {
		if got := f.watches.TakeFields(s, key(name)); got != want {
			t.Errorf("TakeFields(%s) = %q, want %q", name, got, want)
		}
		if got := f.watches.TakeFields(s, key(name)); got != "" {
			t.Errorf("TakeFields(%s) = %q the second time, want nothing", name, got)
		}
	}
	if got := f.watches.TakeFields(members("secrets"), key("a")); got != "" {
		t.Errorf("TakeFields() = %q without a watch, want nothing", got)
	}
}
