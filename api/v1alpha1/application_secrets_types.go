package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Policy is the one kind of secret that an Application may hold.
//
// +kubebuilder:validation:Enum=SOPS;External;None
type Policy string

const (
	// PolicySOPS: every Secret comes from a file encrypted with SOPS.
	PolicySOPS Policy = "SOPS"
	// PolicyExternal: every Secret comes from an ExternalSecret, whose values a
	// provider owns.
	PolicyExternal Policy = "External"
	// PolicyNone: no Secret carries data.
	PolicyNone Policy = "None"
)

// Secrets is the secrets policy of an Application.
//
// +kubebuilder:validation:XValidation:rule="self.policy == 'SOPS' ? has(self.sops) : !has(self.sops)",message="policy SOPS needs the sops block, and no other policy may have it"
// +kubebuilder:validation:XValidation:rule="self.policy == 'External' || !has(self.external)",message="only policy External may have the external block"
type Secrets struct {
	// policy is the one kind of secret allowed: SOPS, External or None. Anything else
	// found after rendering is refused before anything is applied.
	// +required
	Policy Policy `json:"policy"`

	// sops configures policy SOPS.
	// +optional
	SOPS *SOPS `json:"sops,omitempty"`

	// external tunes policy External.
	// +optional
	External *External `json:"external,omitempty"`

	// exceptions name Secrets that may carry plain data from Git all the
	// same, each with a reason for the reviewer.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	Exceptions []SecretException `json:"exceptions,omitempty"`

	// allowInKinds lists kinds besides Secret that may hold an opened value,
	// as Kind or Kind.group. Whoever may read that kind then reads the value.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=253
	AllowInKinds []string `json:"allowInKinds,omitempty"`
}

// SecretException lets one Secret carry plain data.
type SecretException struct {
	// name of the Secret after rendering.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// reason why this is right, for those who review and audit.
	// +required
	// +kubebuilder:validation:MinLength=8
	// +kubebuilder:validation:MaxLength=512
	Reason string `json:"reason"`
}

// SOPS configures policy SOPS.
type SOPS struct {
	// keys are tried in order; each may hold several age identities.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Keys []SOPSKey `json:"keys"`
}

// External tunes policy External.
type External struct {
	// storeRef is the store of what names none.
	// +optional
	StoreRef *StoreReference `json:"storeRef,omitempty"`

	// interval after which values are read again of an ExternalSecret that has
	// no refreshInterval. Default: 1h, as external-secrets.io has it.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('10s') && duration(self) <= duration('8760h')",message="interval must be between 10s and 8760h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	Interval *metav1.Duration `json:"interval,omitempty"`

	// maxStaleness is how old the last good values may be while their store
	// does not answer, before the Application is no longer Ready. What runs
	// keeps running all the same. Default: 24h.
	// +optional
	// +kubebuilder:default="24h"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s') && duration(self) <= duration('8760h')",message="maxStaleness must be between 0s and 8760h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	MaxStaleness *metav1.Duration `json:"maxStaleness,omitempty"`
}

// SOPSKey names a Secret that holds age identities in entries whose name ends
// in .agekey, the layout that Flux uses.
//
// +kubebuilder:validation:XValidation:rule="has(self.keyRef) != has(self.secretRef)",message="a key takes one of keyRef and secretRef"
type SOPSKey struct {
	// keyRef names a key in the operator's namespace. The key must list the
	// Application's namespace in its annotation gitseal.dev/allowed-namespaces.
	// +optional
	KeyRef *LocalReference `json:"keyRef,omitempty"`

	// secretRef names a Secret beside the Application. Whoever may write
	// Secrets in this namespace may read it: keyRef is the stronger choice.
	// +optional
	SecretRef *LocalReference `json:"secretRef,omitempty"`
}
