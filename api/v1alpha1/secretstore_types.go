package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// SecretStore says where values are kept, how to be let in there, and who may
// use it. It serves the Applications of its namespace.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:resource:path=secretstores,shortName=gsstore,categories=gitseal
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Provider",type=string,JSONPath=`.status.provider`
// +kubebuilder:printcolumn:name="Identity",type=string,JSONPath=`.status.identity`,priority=1
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type SecretStore struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is what is wanted.
	// +required
	Spec SecretStoreSpec `json:"spec"`

	// status is what the operator found.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status SecretStoreStatus `json:"status,omitzero"`
}

// SecretStoreList is a list of SecretStores.
//
// +kubebuilder:object:root=true
type SecretStoreList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []SecretStore `json:"items"`
}

// ClusterSecretStore is a SecretStore for several namespaces. Its credentials
// stand in the operator's namespace. Nobody may use it whom its spec.access or
// spec.conditions do not name.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:resource:path=clustersecretstores,scope=Cluster,shortName=gscstore,categories=gitseal
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Provider",type=string,JSONPath=`.status.provider`
// +kubebuilder:printcolumn:name="Identity",type=string,JSONPath=`.status.identity`,priority=1
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type ClusterSecretStore struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is what is wanted.
	// +required
	Spec SecretStoreSpec `json:"spec"`

	// status is what the operator found.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status SecretStoreStatus `json:"status,omitzero"`
}

// ClusterSecretStoreList is a list of ClusterSecretStores.
//
// +kubebuilder:object:root=true
type ClusterSecretStoreList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ClusterSecretStore `json:"items"`
}

// SecretStoreSpec has the fields of external-secrets.io's SecretStore, and
// access and limits besides.
type SecretStoreSpec struct {
	// controller, where it is set and is not "gitseal", leaves the store to
	// another operator.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Controller string `json:"controller,omitempty"`

	// provider says what keeps the values: exactly one of its fields is set.
	// +required
	Provider StoreProvider `json:"provider"`

	// refreshInterval between two checks of the store, in seconds or as a
	// duration. Default: 5m. Its credentials are watched all the time.
	// +optional
	RefreshInterval *intstr.IntOrString `json:"refreshInterval,omitempty"`

	// retrySettings bound what is tried again within one read.
	// +optional
	RetrySettings *StoreRetrySettings `json:"retrySettings,omitempty"`

	// access says who may use what of the store. Without it a SecretStore
	// serves every Application of its namespace with everything that its
	// credentials can read, and a ClusterSecretStore nobody.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	Access []StoreAccess `json:"access,omitempty"`

	// conditions, of a ClusterSecretStore, name namespaces that may use all of
	// it, as external-secrets.io has it. One that holds is enough.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Conditions []StoreCondition `json:"conditions,omitempty"`

	// limits bound how hard the provider is asked, over all Applications.
	// +optional
	Limits *StoreLimits `json:"limits,omitempty"`
}

// StoreRetrySettings bound what is tried again within one read.
type StoreRetrySettings struct {
	// maxRetries of one call. Default: 3.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10
	MaxRetries *int32 `json:"maxRetries,omitempty"`
	// retryInterval before the first of them; it doubles. Default: 1s.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m))+$`
	RetryInterval *string `json:"retryInterval,omitempty"`
}

// StoreAccess lets some Applications use some values. What it leaves out is
// not restricted, but for the namespaces of a ClusterSecretStore: none or
// several of namespaces and namespaceSelector are ORed, and neither means
// none.
type StoreAccess struct {
	// namespaces whose Applications this is for; "*" is every namespace. Of a
	// SecretStore it is always the store's own.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=63
	Namespaces []string `json:"namespaces,omitempty"`
	// namespaceSelector names namespaces by label.
	// +optional
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`
	// applications by name. Absent: all.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=253
	Applications []string `json:"applications,omitempty"`
	// keys that may be read: a key, or all keys under a prefix that ends in
	// "/". "{namespace}" stands for the Application's namespace. Absent: all.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=1024
	Keys []string `json:"keys,omitempty"`
	// properties of those keys that may be used. Absent: all, and the whole
	// value. With properties a whole value may not be used.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=1024
	Properties []string `json:"properties,omitempty"`
}

// StoreCondition names namespaces; what is given is ORed.
type StoreCondition struct {
	// namespaceSelector names namespaces by label.
	// +optional
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`
	// namespaces by name.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=63
	Namespaces []string `json:"namespaces,omitempty"`
	// namespaceRegexes (RE2) match a part of the name unless anchored.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=256
	NamespaceRegexes []string `json:"namespaceRegexes,omitempty"`
}

// StoreLimits bound how hard a provider is asked.
type StoreLimits struct {
	// requestsPerSecond to the provider. Default: the provider's own quota
	// decides; see the documentation of each.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	RequestsPerSecond *int32 `json:"requestsPerSecond,omitempty"`
	// concurrency is how many requests are under way at once. Default: 8.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=256
	Concurrency *int32 `json:"concurrency,omitempty"`
}

// SecretStoreStatus is what the operator found. It never holds a value.
type SecretStoreStatus struct {
	// observedGeneration is the generation that the conditions speak of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions: Ready, and Reconciling and Stalled as kstatus reads them.
	// Ready comes of a real login and a real question.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// provider is the field of spec.provider that is set.
	// +optional
	Provider string `json:"provider,omitempty"`

	// identity is as whom the provider knows the operator.
	// +optional
	Identity string `json:"identity,omitempty"`

	// capabilities is always ReadOnly: gitseal writes to no provider.
	// +optional
	Capabilities string `json:"capabilities,omitempty"`

	// calls to the provider since the operator started.
	// +optional
	Calls *StoreCalls `json:"calls,omitempty"`

	// lastError that a call ended with.
	// +optional
	LastError *StoreError `json:"lastError,omitempty"`
}

// StoreCalls counts calls to a provider. It is written with each check, and
// soon after a sync that made some.
type StoreCalls struct {
	// logins is how often a token or a session was asked for.
	// +optional
	Logins int64 `json:"logins"`
	// reads of values, a batch counted once.
	// +optional
	Reads int64 `json:"reads"`
	// values read.
	// +optional
	Values int64 `json:"values"`
	// throttled is how often the provider asked to slow down.
	// +optional
	Throttled int64 `json:"throttled"`
	// failed calls.
	// +optional
	Failed int64 `json:"failed"`
}

// StoreError is the last error of a store.
type StoreError struct {
	// at is when.
	// +required
	At metav1.Time `json:"at"`
	// message says what, without a word of the provider's answer.
	// +required
	Message string `json:"message"`
}

// StoreReference names a store.
type StoreReference struct {
	// name of the store.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// kind is SecretStore or ClusterSecretStore. Default: SecretStore.
	// +optional
	// +kubebuilder:default=SecretStore
	Kind StoreKind `json:"kind,omitempty"`
}

// StoreKind is SecretStore or ClusterSecretStore.
//
// +kubebuilder:validation:Enum=SecretStore;ClusterSecretStore
type StoreKind string

const (
	// KindSecretStore serves its own namespace.
	KindSecretStore StoreKind = "SecretStore"
	// KindClusterSecretStore serves the namespaces that it names.
	KindClusterSecretStore StoreKind = "ClusterSecretStore"
)
