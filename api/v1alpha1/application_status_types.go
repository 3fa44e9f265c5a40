package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ApplicationStatus is what the operator found and did.
type ApplicationStatus struct {
	// observedGeneration is the generation that the conditions speak of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions: Ready, Reconciling and Stalled as kstatus reads them, and
	// Synced, SecretsReady, Healthy, Drifted and Conflicted for what they say.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// source is the revision that was applied last.
	// +optional
	Source *SourceStatus `json:"source,omitempty"`

	// secrets counts what the policy opened. It never names a value.
	// +optional
	Secrets *SecretsStatus `json:"secrets,omitempty"`

	// resources counts the objects.
	// +optional
	Resources *ResourcesStatus `json:"resources,omitempty"`

	// drift lists objects that are not as applied and are left so: under drift
	// policy Report, or because somebody changes them back each time.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	Drift []DriftStatus `json:"drift,omitempty"`

	// conflicts lists objects that this Application and another one both
	// declare. Those of another Application are not applied from here.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	Conflicts []ConflictStatus `json:"conflicts,omitempty"`

	// confirmation says what waits until somebody confirms it.
	// +optional
	Confirmation *ConfirmationStatus `json:"confirmation,omitempty"`

	// runs holds the run-once objects of the Application and how they ended.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Runs []RunStatus `json:"runs,omitempty"`

	// history holds the last syncs that changed something, newest first.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=10
	History []HistoryEntry `json:"history,omitempty"`

	// lastHandledSyncAt echoes the annotation gitseal.dev/sync-requested-at
	// once that request was carried out.
	// +optional
	LastHandledSyncAt string `json:"lastHandledSyncAt,omitempty"`

	// lastHandledRefreshAt echoes the annotation gitseal.dev/refresh-requested-at
	// once the values were read again.
	// +optional
	LastHandledRefreshAt string `json:"lastHandledRefreshAt,omitempty"`
}

// ConfirmationStatus is what `kubectl gitseal confirm` confirms: the prune
// over the limit, or the rewritten history, that the reason of Ready names.
type ConfirmationStatus struct {
	// revision that waits.
	// +required
	Revision string `json:"revision"`
	// token is what the annotation that confirms must hold.
	// +required
	Token string `json:"token"`
	// objects is how many would be pruned.
	// +optional
	Objects int32 `json:"objects,omitempty"`
	// prune lists the first of them.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	Prune []ObjectReference `json:"prune,omitempty"`
}

// SourceStatus describes a revision.
type SourceStatus struct {
	// revision is REF@sha1:COMMIT.
	// +optional
	Revision string `json:"revision,omitempty"`
	// author of the commit.
	// +optional
	Author string `json:"author,omitempty"`
	// subject is the first line of the commit's message.
	// +optional
	Subject string `json:"subject,omitempty"`
	// signer whose signature was verified, as the list of signers names it.
	// +optional
	Signer string `json:"signer,omitempty"`
}

// ObjectReference names an object of any kind.
type ObjectReference struct {
	// group of the kind; "" is the core group.
	// +optional
	Group string `json:"group,omitempty"`
	// kind of the object.
	// +required
	Kind string `json:"kind"`
	// namespace of the object; "" where it has none.
	// +optional
	Namespace string `json:"namespace,omitempty"`
	// name of the object.
	// +required
	Name string `json:"name"`
}

// DriftStatus says how an object differs from what was applied. It holds no
// value: of a Secret it names the keys.
type DriftStatus struct {
	ObjectReference `json:",inline"`
	// fields that differ, as paths. Empty where the object is gone.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=10
	Fields []string `json:"fields,omitempty"`
	// manager is the field manager that changed them, where one is known.
	// +optional
	Manager string `json:"manager,omitempty"`
	// deleted: the object is gone, or no longer a member of the Application.
	// +optional
	Deleted bool `json:"deleted,omitempty"`
	// contested: it was corrected and changed back again and again.
	// +optional
	Contested bool `json:"contested,omitempty"`
}

// ConflictStatus names an object that two Applications declare.
type ConflictStatus struct {
	ObjectReference `json:",inline"`
	// application is the other one.
	// +required
	Application ApplicationReference `json:"application"`
}

// RunState says how far a run-once object has come.
type RunState string

const (
	// RunStarted: it is about to be created, or runs.
	RunStarted RunState = "Started"
	// RunSucceeded: it ended well, and does not run again with this content.
	RunSucceeded RunState = "Succeeded"
	// RunFailed: it did not; the sync stops.
	RunFailed RunState = "Failed"
)

// RunStatus says how an object annotated gitseal.dev/run: Once fared.
type RunStatus struct {
	ObjectReference `json:",inline"`
	// digest is a keyed digest of the content that ran.
	// +required
	Digest string `json:"digest"`
	// state is Started, Succeeded or Failed.
	// +required
	State RunState `json:"state"`
	// revision that it ran for.
	// +optional
	Revision string `json:"revision,omitempty"`
	// endedAt is when it was seen to have ended.
	// +optional
	EndedAt *metav1.Time `json:"endedAt,omitempty"`
}

// SecretsStatus counts what the policy opened.
type SecretsStatus struct {
	// policy that was enforced.
	// +optional
	Policy Policy `json:"policy,omitempty"`
	// files opened.
	// +optional
	Files int32 `json:"files"`
	// opened counts the values opened.
	// +optional
	Opened int32 `json:"opened"`
	// resolved counts the values that were resolved for ExternalSecrets.
	// +optional
	Resolved int32 `json:"resolved,omitempty"`
	// references are what was asked of stores, by store and key.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=512
	References []SecretReferenceStatus `json:"references,omitempty"`
	// moreReferences is how many more there are.
	// +optional
	MoreReferences int32 `json:"moreReferences,omitempty"`
}

// SecretReferenceStatus says which version of a key is in use.
type SecretReferenceStatus struct {
	// store that was asked.
	// +required
	Store StoreReference `json:"store"`
	// key at the provider.
	// +required
	Key string `json:"key"`
	// properties that are taken of its value; none: all of it.
	// +optional
	// +listType=atomic
	Properties []string `json:"properties,omitempty"`
	// version in use, as the provider names it; "" where it has none.
	// +optional
	Version string `json:"version,omitempty"`
	// changedAt is when this version was first seen.
	// +optional
	ChangedAt *metav1.Time `json:"changedAt,omitempty"`
}

// ResourcesStatus counts the objects of an Application.
type ResourcesStatus struct {
	// desired objects, as rendered.
	// +optional
	Desired int32 `json:"desired"`
	// applied objects, of those desired.
	// +optional
	Applied int32 `json:"applied"`
	// drifted objects found since the last new revision.
	// +optional
	Drifted int32 `json:"drifted"`
	// unhealthy objects now.
	// +optional
	Unhealthy int32 `json:"unhealthy"`
}

// HistoryEntry is one sync that changed something.
type HistoryEntry struct {
	// revision that was applied.
	// +required
	Revision string `json:"revision"`
	// author of the commit.
	// +optional
	Author string `json:"author,omitempty"`
	// appliedAt is when the sync ended.
	// +required
	AppliedAt metav1.Time `json:"appliedAt"`
	// changed counts objects created, configured or pruned.
	// +required
	Changed int32 `json:"changed"`
	// reason of the sync: Revision, Spec, Key, Secret, Drift or
	// Requested.
	// +required
	Reason string `json:"reason"`
}
