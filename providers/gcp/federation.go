package gcp

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"strings"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/providers"
)

// Types of subject tokens (RFC 8693, AIP-4117).
const (
	typeJWT = "urn:ietf:params:oauth:token-type:jwt"
	typeAWS = "urn:ietf:params:aws:token-type:aws4_request"
)

// exchange is what is traded for a token.
type exchange struct {
	audience, kind string
	// subject gives the token of the other issuer.
	subject func(context.Context) (string, error)
	// impersonate is the path of a service account at iamcredentials; "" is
	// none.
	impersonate string
}

// federationFile are the fields of an external_account. What is not here, such
// as a program to run, is not understood.
type federationFile struct {
	Audience         string `json:"audience"`
	SubjectTokenType string `json:"subject_token_type"`
	TokenURL         string `json:"token_url"`
	Impersonation    string `json:"service_account_impersonation_url"`
	Source           struct {
		File          string            `json:"file"`
		URL           string            `json:"url"`
		Headers       map[string]string `json:"headers"`
		Executable    json.RawMessage   `json:"executable"`
		EnvironmentID string            `json:"environment_id"`
		Certificate   json.RawMessage   `json:"certificate"`
		Format        struct {
			Type  string `json:"type"`
			Field string `json:"subject_token_field_name"`
		} `json:"format"`
	} `json:"credential_source"`
}

// source says where a file of credentials may take its subject token from.
type source struct {
	file bool
	url  string
}

// byFederation exchanges a token of another issuer.
func (t *tokens) byFederation(l *login, f v1alpha1.GCPWorkloadIdentityFederation) error {
	const field = "gcpsm.auth.workloadIdentityFederation"
	e := exchange{audience: f.Audience, kind: typeJWT}
	var err error
	switch {
	case several(f.CredConfig != nil, f.ServiceAccountRef != nil, f.AWSSecurityCredentials != nil):
		err = providers.Invalidf("%s takes one of credConfig, serviceAccountRef and awsSecurityCredentials", field)
	case f.CredConfig != nil:
		e, err = t.fromConfigMap(f, field)
	case f.Audience == "":
		err = providers.Invalidf("%s needs audience, the full name of the pool's provider", field)
	case f.ServiceAccountRef != nil:
		ref := *f.ServiceAccountRef
		if len(ref.Audiences) == 0 {
			ref.Audiences = []string{canonical(f.Audience)}
		}
		e.subject = t.serviceAccount(ref)
	case f.AWSSecurityCredentials != nil:
		e.kind = typeAWS
		e.subject, err = t.awsCaller(*f.AWSSecurityCredentials, f.Audience)
	default:
		err = providers.Invalidf("%s needs one of credConfig, serviceAccountRef and awsSecurityCredentials", field)
	}
	if err == nil && f.GCPServiceAccountEmail != "" {
		e.impersonate, err = impersonationOf(f.GCPServiceAccountEmail)
	}
	return t.federated(l, e, err)
}

// canonical is the audience that a pool's provider takes unless it names
// others. The API server's own, which a token has that asks for none, is not
// given away.
func canonical(audience string) string {
	if strings.HasPrefix(audience, "//") {
		return "https:" + audience
	}
	return audience
}

func (t *tokens) federated(l *login, e exchange, err error) error {
	if err != nil {
		return err
	}
	l.is("a federated identity of " + e.audience)
	if e.impersonate != "" {
		l.is(emailOf(e.impersonate))
	}
	l.token = func(ctx context.Context) (token, error) { return t.exchange(ctx, e) }
	return nil
}

func (t *tokens) fromConfigMap(f v1alpha1.GCPWorkloadIdentityFederation, field string) (exchange, error) {
	raw, err := t.credentials.ConfigMap(*f.CredConfig)
	if err != nil {
		return exchange{}, err
	}
	what := field + ".credConfig"
	file, err := parseKeyFile([]byte(raw), what)
	if err != nil {
		return exchange{}, err
	}
	if f.Audience != "" {
		file.Audience = f.Audience
	}
	return t.fromFile(file, what, source{url: f.ExternalTokenEndpoint})
}

// fromFile checks a file that says where to send tokens, and where to take
// them from: it must be Google who gets them.
func (t *tokens) fromFile(f keyFile, what string, allowed source) (exchange, error) {
	e := exchange{audience: f.Audience, kind: f.SubjectTokenType}
	if e.kind == "" {
		e.kind = typeJWT
	}
	s := f.Source
	switch {
	case f.Type != "external_account":
		return e, providers.Invalidf("%s is not of the type external_account", what)
	case f.Audience == "":
		return e, providers.Invalidf("%s names no audience", what)
	case f.TokenURL != "" && f.TokenURL != t.sts():
		return e, providers.Invalidf("%s has a token_url that is not %s", what, t.sts())
	case len(s.Executable) > 0:
		return e, providers.Invalidf("%s names a program to run, which gitseal does not", what)
	case len(s.Certificate) > 0:
		return e, providers.Invalidf("%s names a certificate, which is not supported", what)
	case s.EnvironmentID != "":
		return e, providers.Invalidf("%s asks the metadata server of AWS; use awsSecurityCredentials", what)
	case s.File != "" && !allowed.file:
		return e, providers.Invalidf("%s names a file of the operator; use serviceAccountRef", what)
	case s.URL != "" && s.URL != allowed.url:
		return e, providers.Invalidf("%s has a credential_source.url that is not externalTokenEndpoint", what)
	case (s.File == "") == (s.URL == ""):
		return e, providers.Invalidf("%s needs one credential_source", what)
	case s.Format.Type == "json" && s.Format.Field == "", s.Format.Type != "" && s.Format.Type != "json" && s.Format.Type != "text":
		return e, providers.Invalidf("%s has a credential_source.format that is not text, nor json with subject_token_field_name", what)
	}
	var err error
	if f.Impersonation != "" {
		e.impersonate, err = t.pathOf(f.Impersonation, what)
	}
	e.subject = func(ctx context.Context) (string, error) { return t.fromSource(ctx, f) }
	return e, err
}

// fromSource reads the subject token.
func (t *tokens) fromSource(ctx context.Context, f keyFile) (string, error) {
	raw, err := []byte(nil), error(nil)
	if f.Source.File != "" {
		if raw, err = os.ReadFile(f.Source.File); err != nil || len(raw) > maxToken {
			return "", &providers.Error{Kind: providers.ErrUnauthenticated, Detail: "the file with the subject token cannot be read"}
		}
	} else {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, f.Source.URL, http.NoBody)
		if err != nil {
			return "", providers.Invalidf("externalTokenEndpoint is no URL")
		}
		for k, v := range f.Source.Headers {
			r.Header.Set(k, v)
		}
		if raw, err = t.do(r, "externalTokenEndpoint"); err != nil {
			return "", err
		}
	}
	if f.Source.Format.Type != "json" {
		return strings.TrimSpace(string(raw)), nil
	}
	var object map[string]any
	if err := json.Unmarshal(raw, &object); err != nil {
		return "", providers.Invalidf("the source of subject tokens gives no JSON")
	}
	value, ok := object[f.Source.Format.Field].(string)
	if !ok {
		return "", providers.Invalidf("the source of subject tokens does not give the field of credential_source.format")
	}
	return value, nil
}

const (
	impersonationPrefix = "/v1/projects/-/serviceAccounts/"
	impersonationSuffix = ":generateAccessToken"
)

var email = regexp.MustCompile(`^[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+$`)

func impersonationOf(account string) (string, error) {
	if !email.MatchString(account) || strings.Contains(account, "..") {
		return "", providers.Invalidf("the service account to impersonate is no email address")
	}
	return impersonationPrefix + account + impersonationSuffix, nil
}

func emailOf(path string) string {
	return strings.TrimSuffix(strings.TrimPrefix(path, impersonationPrefix), impersonationSuffix)
}

// pathOf takes the service account out of a service_account_impersonation_url.
func (t *tokens) pathOf(raw, what string) (string, error) {
	rest, ok := strings.CutPrefix(raw, t.at("iamcredentials.googleapis.com")+impersonationPrefix)
	account, suffix := strings.CutSuffix(rest, impersonationSuffix)
	if !ok || !suffix {
		return "", providers.Invalidf("%s has a service_account_impersonation_url that is not one of iamcredentials.googleapis.com", what)
	}
	return impersonationOf(account)
}
