package store

import (
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// checkProvider looks at what the schema of the CRD demands of a provider, for
// stores in Git have not been held to it.
func (s Store) checkProvider() error {
	p := s.Spec.Provider
	switch {
	case p.AWS != nil:
		return s.checkAWS(p.AWS)
	case p.GCPSM != nil:
		return s.checkGCPSM(p.GCPSM)
	case p.Vault != nil:
		return s.checkVault(p.Vault)
	case p.Kubernetes != nil:
		return s.checkKubernetes(p.Kubernetes)
	case p.Fake != nil:
		return s.checkFake(p.Fake)
	case p.File != nil:
		return s.checkFile(p.File)
	}
	return nil
}

func (s Store) checkAWS(p *v1alpha1.AWSProvider) error {
	switch {
	case p.Service != "" && p.Service != "SecretsManager":
		return s.invalid("spec.provider.aws.service %q is not supported", p.Service).WithHint("gitseal reads SecretsManager only")
	case p.Region == "":
		return s.invalid("spec.provider.aws.region is missing")
	case p.Auth.SecretRef != nil && p.Auth.JWT != nil:
		return s.invalid("spec.provider.aws.auth takes one of secretRef and jwt")
	}
	return nil
}

func (s Store) checkGCPSM(p *v1alpha1.GCPSMProvider) error {
	if v := p.SecretVersionSelectionPolicy; v != "" && v != "LatestOrFail" && v != "LatestOrFetch" {
		return s.invalid("spec.provider.gcpsm.secretVersionSelectionPolicy %q is neither LatestOrFail nor LatestOrFetch", v)
	}
	if count(p.Auth.SecretRef != nil, p.Auth.WorkloadIdentity != nil, p.Auth.WorkloadIdentityFederation != nil) > 1 {
		return s.invalid("spec.provider.gcpsm.auth takes one of secretRef, workloadIdentity and workloadIdentityFederation")
	}
	return nil
}

// vaultMethods are the fields of spec.provider.vault.auth, one of which lets a
// store in.
const vaultMethods = "tokenSecretRef, appRole, kubernetes, ldap, jwt, cert and userPass"

func (s Store) checkVault(p *v1alpha1.VaultProvider) error {
	if u, err := url.Parse(p.Server); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
		return s.invalid("spec.provider.vault.server must be the URL of a server, such as https://vault.example.com:8200, without a user")
	}
	if p.Version != "" && p.Version != "v1" && p.Version != "v2" {
		return s.invalid("spec.provider.vault.version %q is neither v1 nor v2", p.Version)
	}
	a := p.Auth
	if a == nil {
		return s.invalid("spec.provider.vault.auth is missing")
	}
	if count(a.TokenSecretRef != nil, a.AppRole != nil, a.Kubernetes != nil, a.LDAP != nil, a.JWT != nil, a.Cert != nil, a.UserPass != nil) != 1 {
		return s.invalid("spec.provider.vault.auth takes exactly one of %s", vaultMethods)
	}
	switch {
	case a.AppRole != nil && (a.AppRole.RoleID != "") == (a.AppRole.RoleRef != nil):
		return s.invalid("spec.provider.vault.auth.appRole takes one of roleId and roleRef")
	case a.Kubernetes != nil && (a.Kubernetes.ServiceAccountRef != nil) == (a.Kubernetes.SecretRef != nil):
		return s.invalid("spec.provider.vault.auth.kubernetes takes one of serviceAccountRef and secretRef").
			WithHint("a store never uses the operator's own ServiceAccount: name one with serviceAccountRef")
	case a.Kubernetes != nil && a.Kubernetes.Role == "":
		return s.invalid("spec.provider.vault.auth.kubernetes.role is missing")
	case a.JWT != nil && (a.JWT.SecretRef != nil) == (a.JWT.KubernetesServiceAccountToken != nil):
		return s.invalid("spec.provider.vault.auth.jwt takes one of secretRef and kubernetesServiceAccountToken")
	}
	return s.checkPassword(a)
}

func (s Store) checkPassword(a *v1alpha1.VaultAuth) error {
	switch {
	case a.LDAP != nil && a.LDAP.Username == "":
		return s.invalid("spec.provider.vault.auth.ldap.username is missing")
	case a.UserPass != nil && a.UserPass.Username == "":
		return s.invalid("spec.provider.vault.auth.userPass.username is missing")
	}
	return nil
}

func (s Store) checkKubernetes(p *v1alpha1.KubernetesProvider) error {
	if (p.Auth == nil) == (p.AuthRef == nil) {
		return s.invalid("spec.provider.kubernetes takes one of auth and authRef").
			WithHint("the operator's own identity never reads Secrets for a store")
	}
	if a := p.Auth; a != nil && count(a.Cert != nil, a.Token != nil, a.ServiceAccount != nil) != 1 {
		return s.invalid("spec.provider.kubernetes.auth takes exactly one of cert, token and serviceAccount")
	}
	if p.Server.URL != "" {
		if u, err := url.Parse(p.Server.URL); err != nil || u.Host == "" && u.Path == "" || u.User != nil {
			return s.invalid("spec.provider.kubernetes.server.url must be the URL of an API server, without a user")
		}
	}
	if o := p.RequireOwner; o != nil && o.Kind == "" {
		return s.invalid("spec.provider.kubernetes.requireOwner.kind is missing")
	}
	return nil
}

// Bounds of values that stand in a store.
const (
	maxFakes       = 1024
	maxFakeKey     = 1024
	maxFakeValue   = 1 << 20 // a Secret holds no more
	maxFakeVersion = 256
)

// checkFake says which value is wrong by its place, and nothing else of it.
func (s Store) checkFake(p *v1alpha1.FakeProvider) error {
	if len(p.Data) > maxFakes {
		return s.invalid("spec.provider.fake.data holds more than %d values", maxFakes)
	}
	if v := p.ValidationResult; v != nil && (*v < 0 || *v > 2) {
		return s.invalid("spec.provider.fake.validationResult is none of 0 (ready), 1 (unknown) and 2 (error)")
	}
	first := map[[2]string]int{}
	for i, d := range p.Data {
		field := fmt.Sprintf("spec.provider.fake.data[%d]", i)
		switch {
		case d.Key == "":
			return s.invalid("%s.key is missing", field)
		case d.Value == "":
			return s.invalid("%s.value is missing", field)
		case utf8.RuneCountInString(d.Key) > maxFakeKey, utf8.RuneCountInString(d.Version) > maxFakeVersion:
			return s.invalid("%s: key or version is longer than %d and %d characters", field, maxFakeKey, maxFakeVersion)
		case len(d.Value) > maxFakeValue:
			return s.invalid("%s.value is larger than 1 MiB", field)
		}
		name := [2]string{d.Key, d.Version}
		if same, ok := first[name]; ok {
			return s.invalid("%s has the key and version of data[%d]", field, same).WithHint("remove one of them")
		}
		first[name] = i
	}
	return nil
}

func (s Store) checkFile(p *v1alpha1.FileProvider) error {
	for segment := range strings.SplitSeq(p.Directory, "/") {
		if segment == ".." || strings.HasPrefix(p.Directory, "/") {
			return s.invalid("spec.provider.file.directory must be relative, without a segment '..'")
		}
	}
	return nil
}

func count(set ...bool) int {
	n := 0
	for _, s := range set {
		if s {
			n++
		}
	}
	return n
}
