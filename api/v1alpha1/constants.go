package v1alpha1

// Conditions of an Application. Ready, Reconciling and Stalled follow kstatus:
// Ready is always there, the other two only while they are True.
const (
	ConditionReady       = "Ready"
	ConditionReconciling = "Reconciling"
	ConditionStalled     = "Stalled"

	ConditionSynced       = "Synced"
	ConditionSecretsReady = "SecretsReady"
	ConditionHealthy      = "Healthy"

	// ConditionDrifted is there, and True, only while objects that are not as
	// applied are left so; ConditionConflicted only while another Application
	// declares objects of this one.
	ConditionDrifted    = "Drifted"
	ConditionConflicted = "Conflicted"
)

// Reasons of conditions.
const (
	ReasonSucceeded   = "Succeeded"
	ReasonProgressing = "Progressing"
	// ReasonRetrying marks Reconciling while a failure is being retried.
	ReasonRetrying  = "ProgressingWithRetry"
	ReasonSuspended = "Suspended"

	ReasonInvalidSpec        = "InvalidSpec"
	ReasonDependencyNotReady = "DependencyNotReady"
	// ReasonAccessDenied: the namespace has not let the operator in.
	ReasonAccessDenied = "AccessDenied"
	// ReasonCredentialsInvalid: the Git credential is absent or malformed.
	ReasonCredentialsInvalid = "CredentialsInvalid"
	// ReasonSourceUnavailable: the repository did not answer, or refused.
	ReasonSourceUnavailable = "SourceUnavailable"
	// ReasonSourceInvalid: the repository answered, but what was asked for is
	// not there or is not acceptable.
	ReasonSourceInvalid = "SourceInvalid"
	ReasonRenderFailed  = "RenderFailed"
	// ReasonKeyUnavailable: a decryption key is absent, malformed or may not
	// be used from this namespace.
	ReasonKeyUnavailable = "KeyUnavailable"
	// ReasonDecryptionFailed: no key fits, or a file was tampered with.
	ReasonDecryptionFailed = "DecryptionFailed"
	ReasonPolicyViolated   = "PolicyViolated"
	ReasonObjectInvalid    = "ObjectInvalid"
	ReasonKindUnknown      = "KindUnknown"
	ReasonNamespaceMissing = "NamespaceMissing"
	ReasonForbidden        = "Forbidden"
	ReasonApplyFailed      = "ApplyFailed"
	ReasonPruneBlocked     = "PruneBlocked"
	ReasonPruneFailed      = "PruneFailed"
	ReasonUnhealthy        = "Unhealthy"
	ReasonDeleting         = "Deleting"

	// ReasonVerificationFailed: the revision is not signed by an allowed signer.
	ReasonVerificationFailed = "VerificationFailed"
	// ReasonHistoryRewritten: the branch no longer holds the applied commit.
	ReasonHistoryRewritten = "HistoryRewritten"
	// ReasonObjectConflict: another Application declares the same object.
	ReasonObjectConflict = "ObjectConflict"
	// ReasonOwnedByOther: another tool owns an object that is there already.
	ReasonOwnedByOther = "OwnedByOther"
	// ReasonTargetMissing: the Secret that another one is merged into is not there.
	ReasonTargetMissing = "TargetMissing"
	// ReasonRunFailed: a run-once object failed.
	ReasonRunFailed = "RunFailed"
	// ReasonSecretInvalid: an ExternalSecret, or a store in Git, is wrong or
	// asks for what is not supported, or a value is not what it takes it for.
	ReasonSecretInvalid = "SecretInvalid"
	// ReasonSecretMissing: the provider knows no such key, version or property, or
	// has it not ready yet.
	ReasonSecretMissing = "SecretMissing"
	// ReasonStoreMissing: there is no such store.
	ReasonStoreMissing = "StoreMissing"
	// ReasonStoreInvalid: the store's spec or its credentials are wrong.
	ReasonStoreInvalid = "StoreInvalid"
	// ReasonStoreDenied: the store does not serve this Application, key or
	// property, or the provider does not let the store's identity read it.
	ReasonStoreDenied = "StoreDenied"
	// ReasonStoreUnavailable: the provider does not answer, is sealed, or asks to
	// slow down.
	ReasonStoreUnavailable = "StoreUnavailable"
	// ReasonValuesStale: the last good values are older than maxStaleness.
	ReasonValuesStale = "ValuesStale"
	// ReasonDriftReported and ReasonContested are those of Drifted.
	ReasonDriftReported = "DriftReported"
	ReasonContested     = "Contested"
)

// Why a sync ran, as history records it.
const (
	SyncRevision  = "Revision"
	SyncSpec      = "Spec"
	SyncDrift     = "Drift"
	SyncKey       = "Key"
	SyncSecret    = "Secret"
	SyncRequested = "Requested"
)

const (
	// Finalizer keeps an Application until its objects are dealt with.
	Finalizer = "gitseal.dev/finalizer"

	// FieldManager owns the fields that are applied.
	FieldManager = "gitseal"

	// AnnotationSyncRequestedAt asks for a sync whenever its value changes.
	AnnotationSyncRequestedAt = "gitseal.dev/sync-requested-at"

	// AnnotationRefreshRequestedAt, on an Application, asks for its values to be
	// read again whenever its value changes.
	AnnotationRefreshRequestedAt = "gitseal.dev/refresh-requested-at"

	// AnnotationConfirmPrune, on an Application, holds the token of
	// status.confirmation: the revision and generation for which a prune over
	// the limit is confirmed.
	AnnotationConfirmPrune = "gitseal.dev/confirm-prune"

	// AnnotationConfirmRewrite, on an Application, holds the revision whose
	// rewritten history is confirmed.
	AnnotationConfirmRewrite = "gitseal.dev/confirm-rewrite"

	// AnnotationDigest, on an applied object, is a keyed digest of what Git
	// says of it, by which a restarted operator knows that it is in place.
	AnnotationDigest = "gitseal.dev/digest"

	// AnnotationApply, on an object in Git, is Once to create it where it is
	// absent and to leave it alone from then on. ApplyMerge is for a Secret that
	// is pruned by PruneRelease: it is never created, and waited for where it is
	// absent.
	AnnotationApply = "gitseal.dev/apply"
	ApplyOnce       = "Once"
	ApplyMerge      = "Merge"

	// AnnotationSyncWave, on an object in Git, is a whole number; lower waves
	// are applied and healthy before higher ones. Default: 0. Argo CD's
	// annotation means the same.
	AnnotationSyncWave     = "gitseal.dev/sync-wave"
	AnnotationArgoSyncWave = "argocd.argoproj.io/sync-wave"

	// AnnotationRun, on an object in Git, is Once for what runs to its end once
	// per content: a Job. AnnotationRunPhase says when: Before everything else
	// that is applied (the default), or After.
	AnnotationRun      = "gitseal.dev/run"
	RunOnce            = "Once"
	AnnotationRunPhase = "gitseal.dev/run-phase"
	RunPhaseBefore     = "Before"
	RunPhaseAfter      = "After"

	// AnnotationPrune, on an applied object, is Enabled to let a Namespace,
	// CustomResourceDefinition or PersistentVolumeClaim be pruned, or Disabled
	// to keep any object.
	AnnotationPrune = "gitseal.dev/prune"
	PruneEnabled    = "Enabled"
	PruneDisabled   = "Disabled"
	// PruneRelease, on a Secret that an ExternalSecret is merged into, lets go
	// of what was merged in place of deleting the Secret. Whoever else owns it
	// keeps it.
	PruneRelease = "Release"

	// AnnotationAllowedNamespaces, on a key in the operator's namespace, lists
	// the namespaces whose Applications may use it, separated by commas.
	// Absent means none.
	AnnotationAllowedNamespaces = "gitseal.dev/allowed-namespaces"

	// AnnotationPlaces, on an Application, lists where members of its ApplySet
	// may be, as KIND[.GROUP]/NAMESPACE separated by commas; a cluster-scoped
	// kind has no namespace behind the slash. The ApplySet's own annotations
	// list kinds and namespaces apart, and to watch every kind in every
	// namespace would ask for rights that nothing else needs.
	AnnotationPlaces = "gitseal.dev/applyset-places"

	// AgeKeySuffix ends the name of a Secret's entry that holds age identities.
	AgeKeySuffix = ".agekey"
)

// ApplySet labels and annotations (KEP-3659).
const (
	ApplySetIDLabel              = "applyset.kubernetes.io/id"
	ApplySetPartOfLabel          = "applyset.kubernetes.io/part-of"
	ApplySetToolingAnnotation    = "applyset.kubernetes.io/tooling"
	ApplySetKindsAnnotation      = "applyset.kubernetes.io/contains-group-kinds"
	ApplySetNamespacesAnnotation = "applyset.kubernetes.io/additional-namespaces"
	ApplySetTooling              = "gitseal/v1"
)

// The operator's own names, as config/ installs it.
const (
	OperatorNamespace      = "gitseal-system"
	OperatorServiceAccount = "gitseal-controller"

	// StoreController, in spec.controller of a store, is this operator.
	StoreController = "gitseal"
)
