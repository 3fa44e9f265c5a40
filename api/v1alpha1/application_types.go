package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Application is one path of one Git repository, kept in sync with the
// cluster under one secrets policy.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:resource:shortName=gsapp,categories=gitseal
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Revision",type=string,JSONPath=`.status.source.revision`
// +kubebuilder:printcolumn:name="Policy",type=string,JSONPath=`.spec.secrets.policy`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
type Application struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what the user asks for.
	// +required
	Spec ApplicationSpec `json:"spec"`

	// status is what the operator found and did. It never holds a value.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status ApplicationStatus `json:"status,omitempty"`
}

// ApplicationList is a list of Applications.
//
// +kubebuilder:object:root=true
type ApplicationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Application `json:"items"`
}

// ApplicationSpec names a repository, a path, one secrets policy and the
// identity to apply as.
type ApplicationSpec struct {
	// source says where the desired state is.
	// +required
	Source Source `json:"source"`

	// secrets says which one kind of secret this Application may hold.
	// +required
	Secrets Secrets `json:"secrets"`

	// destination says where objects go and as whom they are applied.
	// +required
	Destination Destination `json:"destination"`

	// sync tunes how the desired state is brought about.
	// +optional
	// +kubebuilder:default={}
	Sync Sync `json:"sync,omitzero"`

	// dependsOn lists Applications that must be Ready at their latest
	// generation before this one is applied.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	DependsOn []ApplicationReference `json:"dependsOn,omitempty"`

	// suspend stops all work on this Application. Absent means running.
	// +optional
	Suspend *Suspend `json:"suspend,omitempty"`
}

// Source is a path of a repository at a reference.
type Source struct {
	// git is the repository.
	// +required
	Git GitSource `json:"git"`

	// path is the directory to render, relative to the root of the
	// repository; "." is the root.
	// +optional
	// +kubebuilder:default="."
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('/') && !self.split('/').exists(p, p == '..')",message="path must be relative to the repository and must not contain '..'"
	Path string `json:"path,omitempty"`
}

// GitSource is a Git repository and the reference to follow. The rule against
// passwords in the URL stands here, not at the URL, because the API server
// quotes the value that a rule refuses.
//
// +kubebuilder:validation:XValidation:rule="!self.url.matches('^[a-z]+://[^/]*:[^/]*@')",message="url must not hold a password; put it in a Secret and name it in secretRef"
type GitSource struct {
	// url of the repository: http, https or ssh. Credentials belong in
	// secretRef, not in the URL.
	// +required
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self.matches('^(https?|ssh)://[^/]+/.+')",message="url must begin with http://, https:// or ssh:// and name a repository"
	URL string `json:"url"`

	// ref is what to follow. Default: branch main.
	// +optional
	// +kubebuilder:default={branch: main}
	Ref GitRef `json:"ref,omitzero"`

	// secretRef names a Secret beside the Application with credentials:
	// username and password, bearerToken, identity (a private SSH key) with
	// known_hosts, and ca.crt, in the layout that Flux uses.
	// +optional
	SecretRef *LocalReference `json:"secretRef,omitempty"`

	// verify accepts only commits or tags that a signer on a list has signed.
	// +optional
	Verify *GitVerify `json:"verify,omitempty"`

	// forcePush says what happens when a branch or tag no longer holds the
	// commit that was applied from it last. Default: Allow.
	// +optional
	// +kubebuilder:default=Allow
	ForcePush ForcePushPolicy `json:"forcePush,omitempty"`

	// interval between two looks at the repository. Default: 1m.
	// +optional
	// +kubebuilder:default="1m"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('24h')",message="interval must be between 1s and 24h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	Interval metav1.Duration `json:"interval,omitzero"`
}

// VerifyMode says which signature is checked.
//
// +kubebuilder:validation:Enum=HEAD;Tag;TagAndHEAD
type VerifyMode string

const (
	// VerifyHEAD checks the signature of the commit.
	VerifyHEAD VerifyMode = "HEAD"
	// VerifyTag checks the signature of the annotated tag that ref names.
	VerifyTag VerifyMode = "Tag"
	// VerifyTagAndHEAD checks both.
	VerifyTagAndHEAD VerifyMode = "TagAndHEAD"
)

// GitVerify says whose signature a revision must carry.
type GitVerify struct {
	// mode says which signature is checked: HEAD (the commit's), Tag or
	// TagAndHEAD. Default: HEAD.
	// +optional
	// +kubebuilder:default=HEAD
	Mode VerifyMode `json:"mode,omitempty"`

	// secretRef names a Secret beside the Application that lists the allowed
	// signers: armored OpenPGP public keys in entries whose name ends in .asc
	// (as Flux has it), and SSH keys in entries whose name ends in
	// allowed_signers, in the format of ssh-keygen(1).
	// +required
	SecretRef LocalReference `json:"secretRef"`
}

// ForcePushPolicy says what happens when history was rewritten.
//
// +kubebuilder:validation:Enum=Allow;Refuse
type ForcePushPolicy string

const (
	// ForcePushAllow follows the branch and tells of it in an event.
	ForcePushAllow ForcePushPolicy = "Allow"
	// ForcePushRefuse keeps the last good state until the branch holds the
	// applied commit again, or somebody confirms the new revision.
	ForcePushRefuse ForcePushPolicy = "Refuse"
)

// GitRef is one branch, tag, semver range or commit.
//
// +kubebuilder:validation:XValidation:rule="[has(self.branch), has(self.tag), has(self.semver), has(self.commit)].filter(x, x).size() <= 1",message="ref takes one of branch, tag, semver and commit"
type GitRef struct {
	// branch to follow. Default: main, where nothing else is given.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	Branch string `json:"branch,omitempty"`

	// tag to follow.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	Tag string `json:"tag,omitempty"`

	// semver is a range; the highest tag in it is followed.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	SemVer string `json:"semver,omitempty"`

	// commit is a full SHA-1 in lower-case hex.
	// +optional
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{40}$`
	Commit string `json:"commit,omitempty"`
}

// LocalReference names an object in the namespace of the Application.
type LocalReference struct {
	// name of the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// Destination says where objects go and as whom.
type Destination struct {
	// namespace for objects that name none. Default: the Application's.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`

	// serviceAccountName is the ServiceAccount in the Application's
	// namespace as which everything is applied, watched and pruned.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	ServiceAccountName string `json:"serviceAccountName"`
}

// DriftPolicy says what happens when a watched object is not as applied.
//
// +kubebuilder:validation:Enum=Correct;Report;Ignore
type DriftPolicy string

const (
	// DriftCorrect puts the object back at once.
	DriftCorrect DriftPolicy = "Correct"
	// DriftReport leaves it, and says in status.drift which fields differ and
	// who changed them.
	DriftReport DriftPolicy = "Report"
	// DriftIgnore leaves it until the next new revision, or until somebody asks
	// for a sync.
	DriftIgnore DriftPolicy = "Ignore"
)

// DeletionPolicy says what becomes of the objects when the Application goes.
//
// +kubebuilder:validation:Enum=Delete;Orphan;Wait
type DeletionPolicy string

const (
	// DeletionDelete removes the objects, with the same guards as pruning.
	DeletionDelete DeletionPolicy = "Delete"
	// DeletionWait does as Delete and keeps the Application until the last of
	// them is gone, whatever finalizers hold it.
	DeletionWait DeletionPolicy = "Wait"
	// DeletionOrphan leaves the objects as they are.
	DeletionOrphan DeletionPolicy = "Orphan"
)

// Sync tunes how the desired state is brought about.
type Sync struct {
	// prune removes objects that are no longer in Git. Default: true.
	// +optional
	// +kubebuilder:default=true
	Prune *bool `json:"prune,omitempty"`

	// pruneLimit is how many objects one sync may prune. More than that waits
	// until the annotation gitseal.dev/confirm-prune holds the revision to
	// prune for. Default: 20.
	// +optional
	// +kubebuilder:default=20
	// +kubebuilder:validation:Minimum=0
	PruneLimit *int32 `json:"pruneLimit,omitempty"`

	// drift says what happens when a watched object is not as applied.
	// Default: Correct.
	// +optional
	// +kubebuilder:default=Correct
	Drift DriftPolicy `json:"drift,omitempty"`

	// ignoreDifferences lists fields that others own: what somebody else has
	// set there is neither drift nor ever overwritten.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	IgnoreDifferences []IgnoreDifference `json:"ignoreDifferences,omitempty"`

	// adopt takes over objects that are there already and that another tool
	// (Argo CD, Flux, Helm, kapp or a controller) owns. Without it they are
	// left alone and the sync stops before anything is applied. Default: false.
	// +optional
	Adopt bool `json:"adopt,omitempty"`

	// deletionPolicy says what becomes of the objects when the Application is
	// deleted: Delete, Wait or Orphan. Default: Delete.
	// +optional
	// +kubebuilder:default=Delete
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// retryInterval is how long to wait after a failure that may pass by
	// itself. Default: 15s.
	// +optional
	// +kubebuilder:default="15s"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('24h')",message="retryInterval must be between 1s and 24h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	RetryInterval metav1.Duration `json:"retryInterval,omitzero"`

	// timeout bounds one sync, and how long objects may take to become
	// healthy before the Application says that they are not. Default: 5m.
	// +optional
	// +kubebuilder:default="5m"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('24h')",message="timeout must be between 1s and 24h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	Timeout metav1.Duration `json:"timeout,omitzero"`
}

// IgnoreDifference names fields of objects that others own.
//
// +kubebuilder:validation:XValidation:rule="has(self.jsonPointers) || has(self.managedFieldsManagers)",message="ignoreDifferences needs jsonPointers or managedFieldsManagers"
type IgnoreDifference struct {
	// group of the kind; "" is the core group.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Group string `json:"group,omitempty"`
	// kind of the objects.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind"`
	// name of one object. Absent means all of the kind.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
	// namespace of the objects. Absent means any.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
	// jsonPointers (RFC 6901) name fields, for instance /spec/replicas.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=1024
	// +kubebuilder:validation:items:Pattern=`^(/([^/~]|~[01])+)+$`
	JSONPointers []string `json:"jsonPointers,omitempty"`
	// managedFieldsManagers name field managers; all fields they own are
	// theirs.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=128
	ManagedFieldsManagers []string `json:"managedFieldsManagers,omitempty"`
}

// ApplicationReference names another Application.
type ApplicationReference struct {
	// name of the Application.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// namespace of the Application. Default: the namespace of the one that
	// refers to it.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
}

// Suspend says why an Application is stopped and until when.
type Suspend struct {
	// reason, for those who find it stopped.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Reason string `json:"reason,omitempty"`

	// until is when work goes on by itself. Absent: when suspend is removed.
	// +optional
	Until *metav1.Time `json:"until,omitempty"`
}
