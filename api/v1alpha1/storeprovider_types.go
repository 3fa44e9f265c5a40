package v1alpha1

// StoreProvider holds one provider. The fields are those of
// external-secrets.io; file and plugin are gitseal's own.
//
// +kubebuilder:validation:XValidation:rule="[has(self.aws), has(self.gcpsm), has(self.vault), has(self.kubernetes), has(self.fake), has(self.file), has(self.plugin)].filter(x, x).size() == 1",message="provider takes exactly one of aws, gcpsm, vault, kubernetes, fake, file and plugin"
type StoreProvider struct {
	// aws is AWS Secrets Manager.
	// +optional
	AWS *AWSProvider `json:"aws,omitempty"`
	// gcpsm is Google Cloud Secret Manager.
	// +optional
	GCPSM *GCPSMProvider `json:"gcpsm,omitempty"`
	// vault is HashiCorp Vault or OpenBao, KV version 1 or 2.
	// +optional
	Vault *VaultProvider `json:"vault,omitempty"`
	// kubernetes is the Secrets of a namespace of this or another cluster.
	// +optional
	Kubernetes *KubernetesProvider `json:"kubernetes,omitempty"`
	// fake is values that stand in the store itself, in plain text: for tests and
	// demonstrations.
	// +optional
	Fake *FakeProvider `json:"fake,omitempty"`
	// file is a directory of the operator, for development and tests.
	// +optional
	File *FileProvider `json:"file,omitempty"`
	// plugin is a program beside the operator that speaks gitseal's provider
	// protocol.
	// +optional
	Plugin *PluginProvider `json:"plugin,omitempty"`
}

// SecretKeySelector names an entry of a Secret. The Secret of a SecretStore is
// in the store's namespace, that of a ClusterSecretStore in the operator's.
type SecretKeySelector struct {
	// name of the Secret.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
	// namespace of the Secret; it may only say what is so anyway.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace *string `json:"namespace,omitempty"`
	// key of the entry.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key,omitempty"`
}

// ServiceAccountSelector names a ServiceAccount of which a short-lived token is
// asked for. It stands where the Secrets of the store stand.
type ServiceAccountSelector struct {
	// name of the ServiceAccount.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// namespace of the ServiceAccount; it may only say what is so anyway.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace *string `json:"namespace,omitempty"`
	// audiences of the token. Default: those that the provider needs; with AWS
	// they are added to those.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=1024
	Audiences []string `json:"audiences,omitempty"`
}

// CAProviderType is Secret or ConfigMap.
//
// +kubebuilder:validation:Enum=Secret;ConfigMap
type CAProviderType string

const (
	// CAFromSecret reads an entry of a Secret.
	CAFromSecret CAProviderType = "Secret"
	// CAFromConfigMap reads an entry of a ConfigMap.
	CAFromConfigMap CAProviderType = "ConfigMap"
)

// CAProvider names PEM certificates of authorities, in a Secret or ConfigMap
// that stands where the Secrets of the store stand.
type CAProvider struct {
	// type is Secret or ConfigMap.
	// +required
	Type CAProviderType `json:"type"`
	// name of the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// key of the entry. Default: ca.crt.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key,omitempty"`
	// namespace of the object; it may only say what is so anyway.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace *string `json:"namespace,omitempty"`
}

// AWSProvider is AWS Secrets Manager in one region.
type AWSProvider struct {
	// service is SecretsManager; the other ones of external-secrets.io are not
	// supported. Default: SecretsManager.
	// +optional
	// +kubebuilder:default=SecretsManager
	// +kubebuilder:validation:Enum=SecretsManager
	Service string `json:"service,omitempty"`
	// region, for instance eu-central-1.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[a-z0-9-]+$`
	Region string `json:"region"`
	// auth says how to be let in. Absent: the operator's own identity, which
	// only a ClusterSecretStore may use.
	// +optional
	Auth AWSAuth `json:"auth,omitzero"`
	// role to assume with what auth gives: its ARN.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	Role string `json:"role,omitempty"`
	// additionalRoles are assumed one after another before role.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MaxLength=2048
	AdditionalRoles []string `json:"additionalRoles,omitempty"`
	// externalID that the assumed role asks for.
	// +optional
	// +kubebuilder:validation:MaxLength=1224
	ExternalID string `json:"externalID,omitempty"`
	// sessionTags of the assumed role.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=50
	SessionTags []AWSTag `json:"sessionTags,omitempty"`
	// transitiveTagKeys are the sessionTags that the next role keeps.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MaxLength=128
	TransitiveTagKeys []string `json:"transitiveTagKeys,omitempty"`
	// sessionTagsPolicy: None, as external-secrets.io has it by default; what
	// else it knows there tags sessions by what is not in Git.
	// +optional
	// +kubebuilder:validation:Enum=None
	SessionTagsPolicy string `json:"sessionTagsPolicy,omitempty"`
	// prefix is put before every key.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Prefix string `json:"prefix,omitempty"`
	// endpoint replaces the URL of Secrets Manager, for a VPC endpoint or a
	// test; stsEndpoint that of STS.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:Pattern=`^https?://[^/@]+(/.*)?$`
	Endpoint string `json:"endpoint,omitempty"`
	// stsEndpoint replaces the URL of STS.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:Pattern=`^https?://[^/@]+(/.*)?$`
	STSEndpoint string `json:"stsEndpoint,omitempty"`
	// secretsManager tunes deletion in external-secrets.io; gitseal writes to
	// no provider and only accepts it.
	// +optional
	SecretsManager *AWSSecretsManager `json:"secretsManager,omitempty"`
}

// AWSTag is a session tag.
type AWSTag struct {
	// key of the tag.
	// +required
	// +kubebuilder:validation:MaxLength=128
	Key string `json:"key"`
	// value of the tag.
	// +required
	// +kubebuilder:validation:MaxLength=256
	Value string `json:"value"`
}

// AWSSecretsManager is accepted and has no effect.
type AWSSecretsManager struct {
	// forceDeleteWithoutRecovery has no effect.
	// +optional
	ForceDeleteWithoutRecovery bool `json:"forceDeleteWithoutRecovery,omitempty"`
	// recoveryWindowInDays has no effect.
	// +optional
	RecoveryWindowInDays int64 `json:"recoveryWindowInDays,omitempty"`
}

// AWSAuth is one way to be let in.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.secretRef) && has(self.jwt))",message="auth takes one of secretRef and jwt"
type AWSAuth struct {
	// secretRef names access keys in Secrets.
	// +optional
	SecretRef *AWSAuthSecretRef `json:"secretRef,omitempty"`
	// jwt exchanges a ServiceAccount's token at STS (IRSA).
	// +optional
	JWT *AWSJWTAuth `json:"jwt,omitempty"`
}

// AWSAuthSecretRef names access keys.
type AWSAuthSecretRef struct {
	// accessKeyIDSecretRef names the access key's id.
	// +required
	AccessKeyID SecretKeySelector `json:"accessKeyIDSecretRef"`
	// secretAccessKeySecretRef names the secret access key.
	// +required
	SecretAccessKey SecretKeySelector `json:"secretAccessKeySecretRef"`
	// sessionTokenSecretRef names the token of temporary keys.
	// +optional
	SessionToken *SecretKeySelector `json:"sessionTokenSecretRef,omitempty"`
}

// AWSJWTAuth exchanges a ServiceAccount's token.
type AWSJWTAuth struct {
	// serviceAccountRef names the ServiceAccount, whose annotation
	// eks.amazonaws.com/role-arn names the role.
	// +required
	ServiceAccountRef ServiceAccountSelector `json:"serviceAccountRef"`
}

// GCPSMProvider is Google Cloud Secret Manager in one project.
type GCPSMProvider struct {
	// projectID of the secrets. Default: that of the credentials.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	ProjectID string `json:"projectID,omitempty"`
	// location of regional secrets. Absent: global ones.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[a-z0-9-]*$`
	Location string `json:"location,omitempty"`
	// secretVersionSelectionPolicy: LatestOrFail, or LatestOrFetch, which takes
	// the newest enabled version where the latest is not. Default:
	// LatestOrFail.
	// +optional
	// +kubebuilder:default=LatestOrFail
	// +kubebuilder:validation:Enum=LatestOrFail;LatestOrFetch
	SecretVersionSelectionPolicy string `json:"secretVersionSelectionPolicy,omitempty"`
	// auth says how to be let in. Absent: the operator's own identity, which
	// only a ClusterSecretStore may use.
	// +optional
	Auth GCPSMAuth `json:"auth,omitzero"`
	// endpoint replaces host:port of Secret Manager, for private service
	// connect or a test; with http:// in front it is spoken to without TLS.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	Endpoint string `json:"endpoint,omitempty"`
	// stsEndpoint replaces the URL of the security token service.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:Pattern=`^https?://[^/@]+(/.*)?$`
	STSEndpoint string `json:"stsEndpoint,omitempty"`
}

// GCPSMAuth is one way to be let in.
//
// +kubebuilder:validation:XValidation:rule="[has(self.secretRef), has(self.workloadIdentity), has(self.workloadIdentityFederation)].filter(x, x).size() <= 1",message="auth takes one of secretRef, workloadIdentity and workloadIdentityFederation"
type GCPSMAuth struct {
	// secretRef names the JSON key of a service account.
	// +optional
	SecretRef *GCPSMAuthSecretRef `json:"secretRef,omitempty"`
	// workloadIdentity is that of GKE.
	// +optional
	WorkloadIdentity *GCPWorkloadIdentity `json:"workloadIdentity,omitempty"`
	// workloadIdentityFederation exchanges a token of another issuer.
	// +optional
	WorkloadIdentityFederation *GCPWorkloadIdentityFederation `json:"workloadIdentityFederation,omitempty"`
}

// GCPSMAuthSecretRef names the JSON key of a service account.
type GCPSMAuthSecretRef struct {
	// secretAccessKeySecretRef names the JSON key.
	// +required
	SecretAccessKey SecretKeySelector `json:"secretAccessKeySecretRef"`
}

// GCPWorkloadIdentity is GKE's workload identity of a ServiceAccount.
type GCPWorkloadIdentity struct {
	// serviceAccountRef names the ServiceAccount.
	// +required
	ServiceAccountRef ServiceAccountSelector `json:"serviceAccountRef"`
	// clusterLocation of the GKE cluster.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	ClusterLocation string `json:"clusterLocation,omitempty"`
	// clusterName of the GKE cluster.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	ClusterName string `json:"clusterName,omitempty"`
	// clusterProjectID of the GKE cluster. Default: projectID.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	ClusterProjectID string `json:"clusterProjectID,omitempty"`
}

// GCPWorkloadIdentityFederation exchanges a token of another issuer.
type GCPWorkloadIdentityFederation struct {
	// credConfig names a ConfigMap's entry with the external_account JSON.
	// +optional
	CredConfig *ConfigMapKeySelector `json:"credConfig,omitempty"`
	// serviceAccountRef names the ServiceAccount whose token is exchanged.
	// +optional
	ServiceAccountRef *ServiceAccountSelector `json:"serviceAccountRef,omitempty"`
	// awsSecurityCredentials exchange an AWS identity.
	// +optional
	AWSSecurityCredentials *GCPAWSCredentials `json:"awsSecurityCredentials,omitempty"`
	// audience is the full name of the workload identity pool's provider.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	Audience string `json:"audience,omitempty"`
	// externalTokenEndpoint is where the token to exchange is asked for.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	ExternalTokenEndpoint string `json:"externalTokenEndpoint,omitempty"`
	// gcpServiceAccountEmail is the service account to impersonate.
	// +optional
	// +kubebuilder:validation:MaxLength=320
	GCPServiceAccountEmail string `json:"gcpServiceAccountEmail,omitempty"`
}

// ConfigMapKeySelector names an entry of a ConfigMap.
type ConfigMapKeySelector struct {
	// name of the ConfigMap.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// key of the entry.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key"`
	// namespace of the ConfigMap; it may only say what is so anyway.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace *string `json:"namespace,omitempty"`
}

// GCPAWSCredentials exchange an AWS identity.
type GCPAWSCredentials struct {
	// region of AWS.
	// +required
	// +kubebuilder:validation:MaxLength=64
	Region string `json:"region"`
	// awsCredentialsSecretRef names a Secret with aws_access_key_id,
	// aws_secret_access_key and, optionally, aws_session_token.
	// +required
	SecretRef SecretReference `json:"awsCredentialsSecretRef"`
}

// SecretReference names a whole Secret.
type SecretReference struct {
	// name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// namespace of the Secret; it may only say what is so anyway.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace *string `json:"namespace,omitempty"`
}

// FakeProvider holds values in plain text, for all to read who may read the
// store. It is for tests and demonstrations.
type FakeProvider struct {
	// data holds the values. No two of them have the same key and version.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1024
	Data []FakeProviderData `json:"data"`
	// validationResult is what a check of the store finds: 0 that it is ready, 1
	// that it is not known whether it is, which counts as ready, and 2 an error.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2
	ValidationResult *int32 `json:"validationResult,omitempty"`
}

// FakeProviderData is a value that stands in a store.
type FakeProviderData struct {
	// key of the value.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Key string `json:"key"`
	// value, in plain text.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1048576
	Value string `json:"value"`
	// version, which has to be asked for by its name. One without is read where
	// none is asked for.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Version string `json:"version,omitempty"`
}

// FileProvider is a directory on the operator's own disk, below the one that
// its flag --file-stores names. A key is a path in it, a version is not kept.
type FileProvider struct {
	// directory below the operator's own.
	// +optional
	// +kubebuilder:default="."
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('/') && !self.split('/').exists(p, p == '..')",message="directory must be relative and must not contain '..'"
	Directory string `json:"directory,omitempty"`
}

// PluginProvider is a program that listens on a Unix socket of the operator's
// plugin directory.
type PluginProvider struct {
	// name of the plugin: its socket is NAME.sock in the directory that the
	// operator's flag --plugins names.
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`
	Name string `json:"name"`
	// config is passed to the plugin as it stands. It must not hold secrets.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Config map[string]string `json:"config,omitempty"`
	// credentials are entries of Secrets, passed to the plugin by name.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Credentials []PluginCredential `json:"credentials,omitempty"`
}

// PluginCredential passes an entry of a Secret to a plugin.
type PluginCredential struct {
	// name under which the plugin gets it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// secretRef names the entry.
	// +required
	SecretRef SecretKeySelector `json:"secretRef"`
}
