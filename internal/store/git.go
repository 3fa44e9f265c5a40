package store

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	kjson "sigs.k8s.io/json"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/render"
)

// ExternalSecretsGroup is the API group of stores that are understood, and not
// applied, where they are found in Git.
const ExternalSecretsGroup = "external-secrets.io"

// IsStore reports whether an object from Git is a store that FromGit
// understands. A ClusterSecretStore of gitseal's own is not: it is for several
// Applications, and only the one of the cluster counts.
func IsStore(o render.Object) bool {
	kind := o.GroupVersionKind()
	switch kind.Group {
	case ExternalSecretsGroup:
		return kind.Kind == string(v1alpha1.KindSecretStore) || kind.Kind == string(v1alpha1.KindClusterSecretStore)
	case v1alpha1.GroupVersion.Group:
		return kind.Kind == string(v1alpha1.KindSecretStore)
	}
	return false
}

// FromGit reads a store that was rendered from Git, for which IsStore holds,
// and validates it. It serves the Application of that namespace alone, and what
// it names is read there: whoever may write to Git gains nothing by it that the
// namespace has not given. Objects that name no namespace are in defaultNamespace.
// The error is a *failure.Error that names the field.
func FromGit(o render.Object, applicationNamespace, defaultNamespace string) (Store, error) {
	s := Store{
		Kind: v1alpha1.StoreKind(o.GetKind()), Name: o.GetName(), Origin: o.Origin.String(),
		Home: applicationNamespace, Private: true,
	}
	if s.Kind == v1alpha1.KindSecretStore {
		s.Namespace = cmp.Or(o.GetNamespace(), defaultNamespace)
	}
	return s, s.read(o, settle)
}

// ForCluster reads a store, for which IsStore holds, as the store of the cluster
// that it is once it is applied as one of gitseal's own, where nothing is
// settled for it. What it names is in home. The error is as that of FromGit.
func ForCluster(o render.Object, home string) (Store, error) {
	s := Store{Kind: v1alpha1.StoreKind(o.GetKind()), Name: o.GetName(), Origin: o.Origin.String(), Home: home}
	if s.Kind == v1alpha1.KindSecretStore {
		s.Namespace = home
	}
	return s, s.read(o, func(*Store) {})
}

// read takes the spec of an object, settles it where it is of
// external-secrets.io, and validates it.
func (s *Store) read(o render.Object, settle func(*Store)) error {
	kind := o.GroupVersionKind()
	foreign := kind.Group == ExternalSecretsGroup
	if v := kind.Version; foreign && v != "v1" && v != "v1beta1" || !foreign && v != v1alpha1.GroupVersion.Version {
		return s.invalid("apiVersion %q is not supported", o.GetAPIVersion()).WithHint("write it as external-secrets.io/v1")
	}
	spec, ok := o.Object["spec"].(map[string]any)
	if !ok {
		return s.invalid("spec is missing")
	}
	if err := s.known(spec, foreign); err != nil {
		return err
	}
	if err := s.decode(spec); err != nil {
		return err
	}
	if foreign {
		settle(s)
	}
	setDefaults(&s.Spec.Provider)
	return s.Validate()
}

// settle drops what external-secrets.io does not look at: conditions of a
// SecretStore, and the second of two tokens where it knows which one to take. It
// bounds what is bounded there by nothing.
func settle(s *Store) {
	bound(s.Spec.RetrySettings)
	if s.Kind == v1alpha1.KindSecretStore {
		s.Spec.Conditions = nil
	}
	v := s.Spec.Provider.Vault
	if v == nil || v.Auth == nil {
		return
	}
	if k := v.Auth.Kubernetes; k != nil && k.ServiceAccountRef != nil {
		k.SecretRef = nil
	}
	if j := v.Auth.JWT; j != nil && j.SecretRef != nil {
		j.KubernetesServiceAccountToken = nil
	}
}

// bound cuts retries to what a store of gitseal's own may say.
func bound(r *v1alpha1.StoreRetrySettings) {
	if r == nil {
		return
	}
	if r.MaxRetries != nil {
		r.MaxRetries = new(min(*r.MaxRetries, maxRetries))
	}
	if r.RetryInterval == nil {
		return
	}
	if d, err := time.ParseDuration(*r.RetryInterval); err == nil {
		r.RetryInterval = new(min(d, maxRetryInterval).String())
	}
}

// known refuses by name what gitseal does not read.
func (s Store) known(spec map[string]any, foreign bool) error {
	provider, ok := spec["provider"].(map[string]any)
	if !ok || len(provider) == 0 {
		return s.invalid("spec.provider is missing")
	}
	supported := []string{"aws", "gcpsm", "vault", "kubernetes", "fake"}
	if !foreign {
		supported = append(supported, "file", "plugin")
	} else if own := owned(spec, "access", "limits"); own != "" {
		return s.invalid("spec.%s is not a field of %s", own, ExternalSecretsGroup).WithHint("write the store as %s", v1alpha1.GroupVersion)
	}
	for _, name := range slices.Sorted(maps.Keys(provider)) {
		if slices.Contains(supported, name) {
			continue
		}
		return s.invalid("spec.provider.%s is not supported", shown(name)).
			WithHint("gitseal reads aws, gcpsm, vault, kubernetes and fake; others come as plugins")
	}
	return nil
}

func owned(spec map[string]any, fields ...string) string {
	for _, f := range fields {
		if _, ok := spec[f]; ok {
			return f
		}
	}
	return ""
}

const maxShown = 64

// shown cuts what somebody else wrote to what a message takes.
func shown(name string) string {
	if len(name) > maxShown {
		return strings.ToValidUTF8(name[:maxShown], "") + "…"
	}
	return name
}

// decode takes a spec strictly: a field that is not understood would be
// something that its author relies on.
func (s *Store) decode(spec map[string]any) error {
	raw, err := json.Marshal(map[string]any{"spec": spec})
	if err != nil {
		return s.invalid("spec cannot be read")
	}
	var into struct {
		Spec v1alpha1.SecretStoreSpec `json:"spec"`
	}
	strict, err := kjson.UnmarshalStrict(raw, &into)
	if err != nil {
		return s.undecodable(err)
	}
	if len(strict) > 0 {
		field, hint := "a field of spec", "remove it; the documentation of SecretStore lists what there is"
		if f, ok := strict[0].(kjson.FieldError); ok { //nolint:errorlint // the package gives them as they are
			field = shown(f.FieldPath())
		}
		if method, found := strings.CutPrefix(field, "spec.provider.vault.auth."); found && !strings.Contains(method, ".") {
			hint = "be let in by one of " + vaultMethods
		}
		return s.invalid("%s is not supported", field).WithHint("%s", hint)
	}
	s.Spec = into.Spec
	return nil
}

// fieldOf finds the field in an error of the decoder, of which nothing else is
// told: it may quote what stands there.
var fieldOf = regexp.MustCompile(`Go struct field [^ ]*?\.(spec\.[A-Za-z.]+) of type`)

func (s Store) undecodable(err error) *failure.Error {
	if errors.As(err, new(base64.CorruptInputError)) {
		return s.invalid("a caBundle is no base64").WithHint("put the PEM certificates there in base64, or name them with caProvider")
	}
	if found := fieldOf.FindStringSubmatch(err.Error()); found != nil {
		return s.invalid("%s is of the wrong type", found[1])
	}
	return s.invalid("spec holds a field of the wrong type")
}

// setDefaults does as the CRD would.
func setDefaults(p *v1alpha1.StoreProvider) {
	fill := func(field *string, with string) {
		if *field == "" {
			*field = with
		}
	}
	switch {
	case p.AWS != nil:
		fill(&p.AWS.Service, "SecretsManager")
	case p.GCPSM != nil:
		fill(&p.GCPSM.SecretVersionSelectionPolicy, "LatestOrFail")
	case p.Kubernetes != nil:
		fill(&p.Kubernetes.RemoteNamespace, "default")
	case p.File != nil:
		fill(&p.File.Directory, ".")
	case p.Vault != nil:
		fill(&p.Vault.Version, "v2")
		a := p.Vault.Auth
		switch {
		case a == nil:
		case a.AppRole != nil:
			fill(&a.AppRole.Path, "approle")
		case a.Kubernetes != nil:
			fill(&a.Kubernetes.Path, "kubernetes")
		case a.JWT != nil:
			fill(&a.JWT.Path, "jwt")
		case a.Cert != nil:
			fill(&a.Cert.Path, "cert")
		}
	}
}
