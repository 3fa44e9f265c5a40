package v1alpha1

// VaultProvider is HashiCorp Vault or OpenBao.
type VaultProvider struct {
	// server is its URL.
	// +required
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:Pattern=`^https?://[^/@]+(/.*)?$`
	Server string `json:"server"`
	// path is where the KV engine is mounted. Absent: the key's first segment.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Path *string `json:"path,omitempty"`
	// version of the KV engine: v1 or v2. Default: v2.
	// +optional
	// +kubebuilder:default=v2
	// +kubebuilder:validation:Enum=v1;v2
	Version string `json:"version,omitempty"`
	// namespace of Vault Enterprise or OpenBao.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Namespace *string `json:"namespace,omitempty"`
	// caBundle holds PEM certificates of authorities, in base64.
	// +optional
	CABundle []byte `json:"caBundle,omitempty"`
	// caProvider names where they are kept instead.
	// +optional
	CAProvider *CAProvider `json:"caProvider,omitempty"`
	// tls is the client certificate of the connection.
	// +optional
	ClientTLS VaultClientTLS `json:"tls,omitzero"`
	// readYourWrites isolates the state of a cluster that replicates.
	// +optional
	ReadYourWrites bool `json:"readYourWrites,omitempty"`
	// forwardInconsistent asks a standby to forward what it has not seen yet.
	// +optional
	ForwardInconsistent bool `json:"forwardInconsistent,omitempty"`
	// headers of every request. They must not hold secrets.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	Headers map[string]string `json:"headers,omitempty"`
	// checkAndSet is about writing in external-secrets.io; gitseal writes to no
	// provider and only accepts it.
	// +optional
	CheckAndSet *VaultCheckAndSet `json:"checkAndSet,omitempty"`
	// auth says how to be let in.
	// +optional
	Auth *VaultAuth `json:"auth,omitempty"`
}

// VaultCheckAndSet is accepted and has no effect.
type VaultCheckAndSet struct {
	// required has no effect.
	// +optional
	Required bool `json:"required,omitempty"`
}

// VaultClientTLS is the client certificate of a connection.
type VaultClientTLS struct {
	// certSecretRef names the PEM certificate.
	// +optional
	CertSecretRef *SecretKeySelector `json:"certSecretRef,omitempty"`
	// keySecretRef names its PEM key.
	// +optional
	KeySecretRef *SecretKeySelector `json:"keySecretRef,omitempty"`
}

// VaultAuth is one way to be let in.
//
// +kubebuilder:validation:XValidation:rule="[has(self.tokenSecretRef), has(self.appRole), has(self.kubernetes), has(self.ldap), has(self.jwt), has(self.cert), has(self.userPass)].filter(x, x).size() == 1",message="auth takes exactly one of tokenSecretRef, appRole, kubernetes, ldap, jwt, cert and userPass"
type VaultAuth struct {
	// namespace to log in to, where it is another than that of the secrets.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Namespace *string `json:"namespace,omitempty"`
	// tokenSecretRef names a token.
	// +optional
	TokenSecretRef *SecretKeySelector `json:"tokenSecretRef,omitempty"`
	// appRole logs in with a role id and a secret id.
	// +optional
	AppRole *VaultAppRole `json:"appRole,omitempty"`
	// kubernetes logs in with a ServiceAccount's token that Vault reviews.
	// +optional
	Kubernetes *VaultKubernetesAuth `json:"kubernetes,omitempty"`
	// ldap logs in with a user's name and password.
	// +optional
	LDAP *VaultPasswordAuth `json:"ldap,omitempty"`
	// jwt logs in with a JWT that Vault verifies.
	// +optional
	JWT *VaultJWTAuth `json:"jwt,omitempty"`
	// cert logs in with a TLS client certificate.
	// +optional
	Cert *VaultCertAuth `json:"cert,omitempty"`
	// userPass logs in with a user's name and password.
	// +optional
	UserPass *VaultPasswordAuth `json:"userPass,omitempty"`
}

// VaultAppRole is a role id and a secret id.
//
// +kubebuilder:validation:XValidation:rule="has(self.roleId) != has(self.roleRef)",message="appRole takes one of roleId and roleRef"
type VaultAppRole struct {
	// path of the method. Default: approle.
	// +optional
	// +kubebuilder:default=approle
	// +kubebuilder:validation:MaxLength=512
	Path string `json:"path,omitempty"`
	// roleId is not a secret.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	RoleID string `json:"roleId,omitempty"`
	// roleRef names where the role id is kept instead.
	// +optional
	RoleRef *SecretKeySelector `json:"roleRef,omitempty"`
	// secretRef names the secret id.
	// +required
	SecretRef SecretKeySelector `json:"secretRef"`
}

// VaultKubernetesAuth is a ServiceAccount's token that Vault reviews.
//
// +kubebuilder:validation:XValidation:rule="has(self.serviceAccountRef) != has(self.secretRef)",message="kubernetes takes one of serviceAccountRef and secretRef"
type VaultKubernetesAuth struct {
	// mountPath of the method. Default: kubernetes.
	// +optional
	// +kubebuilder:default=kubernetes
	// +kubebuilder:validation:MaxLength=512
	Path string `json:"mountPath,omitempty"`
	// role to log in as.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Role string `json:"role"`
	// serviceAccountRef names the ServiceAccount of which a token is asked for.
	// +optional
	ServiceAccountRef *ServiceAccountSelector `json:"serviceAccountRef,omitempty"`
	// secretRef names a token that is kept. Default key: token.
	// +optional
	SecretRef *SecretKeySelector `json:"secretRef,omitempty"`
}

// VaultPasswordAuth is a user's name and password.
type VaultPasswordAuth struct {
	// path of the method. Default: ldap or userpass.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Path string `json:"path,omitempty"`
	// username to log in as.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Username string `json:"username"`
	// secretRef names the password.
	// +required
	SecretRef SecretKeySelector `json:"secretRef"`
}

// VaultJWTAuth is a JWT that Vault verifies.
//
// +kubebuilder:validation:XValidation:rule="has(self.secretRef) != has(self.kubernetesServiceAccountToken)",message="jwt takes one of secretRef and kubernetesServiceAccountToken"
type VaultJWTAuth struct {
	// path of the method. Default: jwt.
	// +optional
	// +kubebuilder:default=jwt
	// +kubebuilder:validation:MaxLength=512
	Path string `json:"path,omitempty"`
	// role to log in as. Default: the method's own.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Role string `json:"role,omitempty"`
	// secretRef names a JWT that is kept.
	// +optional
	SecretRef *SecretKeySelector `json:"secretRef,omitempty"`
	// kubernetesServiceAccountToken asks for one.
	// +optional
	KubernetesServiceAccountToken *VaultServiceAccountToken `json:"kubernetesServiceAccountToken,omitempty"`
}

// VaultServiceAccountToken asks for a ServiceAccount's token.
type VaultServiceAccountToken struct {
	// serviceAccountRef names the ServiceAccount.
	// +required
	ServiceAccountRef ServiceAccountSelector `json:"serviceAccountRef"`
	// audiences of the token. Default: vault.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=1024
	Audiences []string `json:"audiences,omitempty"`
	// expirationSeconds of the token. Default: 600.
	// +optional
	// +kubebuilder:validation:Minimum=600
	// +kubebuilder:validation:Maximum=86400
	ExpirationSeconds *int64 `json:"expirationSeconds,omitempty"`
}

// VaultCertAuth is a TLS client certificate.
type VaultCertAuth struct {
	// path of the method. Default: cert.
	// +optional
	// +kubebuilder:default=cert
	// +kubebuilder:validation:MaxLength=512
	Path string `json:"path,omitempty"`
	// vaultRole is the certificate role to log in as. Default: any that fits.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Role string `json:"vaultRole,omitempty"`
	// clientCert names the PEM certificate.
	// +required
	ClientCert SecretKeySelector `json:"clientCert"`
	// secretRef names its PEM key.
	// +required
	SecretRef SecretKeySelector `json:"secretRef"`
}

// KubernetesProvider is the Secrets of a namespace of this or another cluster.
type KubernetesProvider struct {
	// server is the API server.
	// +optional
	Server KubernetesServer `json:"server,omitzero"`
	// auth says how to be let in.
	// +optional
	Auth *KubernetesAuth `json:"auth,omitempty"`
	// authRef names a kubeconfig instead, without exec or auth provider.
	// +optional
	AuthRef *SecretKeySelector `json:"authRef,omitempty"`
	// remoteNamespace of the Secrets. Default: default.
	// +optional
	// +kubebuilder:default=default
	// +kubebuilder:validation:MaxLength=63
	RemoteNamespace string `json:"remoteNamespace,omitempty"`
	// requireOwner accepts only Secrets that such an object owns, for instance
	// a Certificate of cert-manager or a claim of Crossplane. Anything else is
	// as if it were not there yet.
	// +optional
	RequireOwner *KubernetesOwner `json:"requireOwner,omitempty"`
	// expectedKeys that a Secret must hold, and not empty, before it is used:
	// a connection secret is often written in several steps.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	ExpectedKeys []string `json:"expectedKeys,omitempty"`
}

// KubernetesOwner is who must own a Secret.
type KubernetesOwner struct {
	// apiGroup of the owner; its version does not matter.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	APIGroup string `json:"apiGroup,omitempty"`
	// kind of the owner.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind"`
	// name of the owner. Absent: any.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
}

// KubernetesServer is an API server.
type KubernetesServer struct {
	// url of the API server. Default: the one that the operator talks to.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	URL string `json:"url,omitempty"`
	// caBundle holds PEM certificates of authorities, in base64.
	// +optional
	CABundle []byte `json:"caBundle,omitempty"`
	// caProvider names where they are kept instead.
	// +optional
	CAProvider *CAProvider `json:"caProvider,omitempty"`
}

// KubernetesAuth is one way to be let in.
//
// +kubebuilder:validation:XValidation:rule="[has(self.cert), has(self.token), has(self.serviceAccount)].filter(x, x).size() == 1",message="auth takes exactly one of cert, token and serviceAccount"
type KubernetesAuth struct {
	// cert is a client certificate.
	// +optional
	Cert *KubernetesCertAuth `json:"cert,omitempty"`
	// token is a bearer token that is kept.
	// +optional
	Token *KubernetesTokenAuth `json:"token,omitempty"`
	// serviceAccount asks for a ServiceAccount's token.
	// +optional
	ServiceAccount *ServiceAccountSelector `json:"serviceAccount,omitempty"`
}

// KubernetesCertAuth is a client certificate.
type KubernetesCertAuth struct {
	// clientCert names the PEM certificate.
	// +required
	ClientCert SecretKeySelector `json:"clientCert"`
	// clientKey names its PEM key.
	// +required
	ClientKey SecretKeySelector `json:"clientKey"`
}

// KubernetesTokenAuth is a bearer token.
type KubernetesTokenAuth struct {
	// bearerToken names the token.
	// +required
	BearerToken SecretKeySelector `json:"bearerToken"`
}
