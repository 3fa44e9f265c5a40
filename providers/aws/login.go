package aws

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
)

const (
	// The annotations of IAM roles for service accounts
	// (https://docs.aws.amazon.com/eks/latest/userguide/associate-service-account-role.html).
	roleAnnotation     = "eks.amazonaws.com/role-arn"
	audienceAnnotation = "eks.amazonaws.com/audience"
	defaultAudience    = "sts.amazonaws.com"

	// tokenExpiry is the shortest that the API server gives: a token is used
	// once, at once.
	tokenExpiry = 10 * time.Minute
)

// login makes sessions.
type login struct {
	spec     v1alpha1.AWSProvider
	store    providers.Store
	http     *http.Client
	identity func(context.Context) (sdk.Credentials, error) // before any role is assumed
}

func newLogin(spec v1alpha1.AWSProvider, store providers.Store, client *http.Client) (*login, error) {
	l := &login{spec: spec, store: store, http: client}
	switch auth := spec.Auth; {
	case auth.SecretRef != nil && auth.JWT != nil:
		return nil, providers.Invalidf("aws.auth takes one of secretRef and jwt")
	case auth.SecretRef != nil:
		keys, err := readAccessKey(store.Credentials, *auth.SecretRef)
		if err != nil {
			return nil, err
		}
		l.identity = keys.credentials
	case auth.JWT != nil:
		l.identity = l.serviceAccount
	case store.Ambient:
		l.identity = l.ambient
	default:
		return nil, providers.Invalidf("aws.auth must name secretRef or jwt: the operator's own identity is for a ClusterSecretStore only")
	}
	return l, nil
}

// renew makes a session, from the first link of the chain to the last.
func (l *login) renew(ctx context.Context) (sdk.Credentials, error) {
	keys, err := l.identity(ctx)
	if err != nil {
		return sdk.Credentials{}, err
	}
	for _, role := range l.spec.AdditionalRoles {
		if keys, err = l.assume(ctx, keys, &sts.AssumeRoleInput{RoleArn: &role}); err != nil {
			return sdk.Credentials{}, err
		}
	}
	if l.spec.Role == "" {
		return keys, nil
	}
	return l.assume(ctx, keys, l.lastRole())
}

// lastRole is what external-secrets.io asks for: external id and tags belong to
// the last role alone, and transitive keys need tags.
func (l *login) lastRole() *sts.AssumeRoleInput {
	in := &sts.AssumeRoleInput{RoleArn: &l.spec.Role}
	if l.spec.ExternalID != "" {
		in.ExternalId = &l.spec.ExternalID
	}
	for _, tag := range l.spec.SessionTags {
		in.Tags = append(in.Tags, types.Tag{Key: &tag.Key, Value: &tag.Value})
	}
	if in.Tags != nil {
		in.TransitiveTagKeys = l.spec.TransitiveTagKeys
	}
	return in
}

// assume assumes a role. Without a duration STS gives an hour, the most that a
// chain of roles may last.
func (l *login) assume(ctx context.Context, keys sdk.Credentials, in *sts.AssumeRoleInput) (sdk.Credentials, error) {
	in.RoleSessionName = sdk.String(application)
	out, err := newSTS(l.spec, l.http, credentials.StaticCredentialsProvider{Value: keys}).AssumeRole(ctx, in)
	if err != nil {
		return sdk.Credentials{}, l.refused(err, fmt.Sprintf("assume the role %q", *in.RoleArn))
	}
	return l.loggedIn(out.Credentials)
}

// assumeWithToken exchanges the token of an OpenID Connect issuer.
func (l *login) assumeWithToken(ctx context.Context, role, name string, token secret.Value) (sdk.Credentials, error) {
	in := &sts.AssumeRoleWithWebIdentityInput{RoleArn: &role, RoleSessionName: &name, WebIdentityToken: sdk.String(string(token.Reveal()))}
	out, err := newSTS(l.spec, l.http, sdk.AnonymousCredentials{}).AssumeRoleWithWebIdentity(ctx, in)
	if err != nil {
		return sdk.Credentials{}, l.refused(err, fmt.Sprintf("assume the role %q with a token", role))
	}
	return l.loggedIn(out.Credentials)
}

func (l *login) loggedIn(c *types.Credentials) (sdk.Credentials, error) {
	if c == nil || c.AccessKeyId == nil || c.SecretAccessKey == nil || c.SessionToken == nil || c.Expiration == nil {
		return sdk.Credentials{}, &providers.Error{Kind: providers.ErrUnavailable, Detail: "STS gave no credentials"}
	}
	l.store.LoggedIn()
	return sdk.Credentials{
		AccessKeyID: *c.AccessKeyId, SecretAccessKey: *c.SecretAccessKey, SessionToken: *c.SessionToken,
		CanExpire: true, Expires: *c.Expiration,
	}, nil
}

// serviceAccount is IRSA: a ServiceAccount's token for the role that its
// annotation names.
func (l *login) serviceAccount(ctx context.Context) (sdk.Credentials, error) {
	account := l.spec.Auth.JWT.ServiceAccountRef
	annotations, err := l.store.Credentials.Annotations(ctx, account)
	if err != nil {
		return sdk.Credentials{}, err
	}
	role := annotations[roleAnnotation]
	if !validRole.MatchString(role) {
		return sdk.Credentials{}, providers.Invalidf("the ServiceAccount %q needs the annotation %s with the ARN of a role", account.Name, roleAnnotation)
	}
	audience := annotations[audienceAnnotation]
	if audience == "" {
		audience = defaultAudience
	}
	token, err := l.store.Credentials.Token(ctx, account, []string{audience}, tokenExpiry)
	if err != nil {
		return sdk.Credentials{}, err
	}
	return l.assumeWithToken(ctx, role, application, token.Value)
}

// accessKey is an access key that somebody wrote down.
type accessKey struct{ id, key, token secret.Value }

func readAccessKey(from providers.Credentials, ref v1alpha1.AWSAuthSecretRef) (keys accessKey, err error) {
	if keys.id, err = readEntry(from, ref.AccessKeyID, "accessKeyIDSecretRef"); err != nil {
		return accessKey{}, err
	}
	if keys.key, err = readEntry(from, ref.SecretAccessKey, "secretAccessKeySecretRef"); err != nil {
		return accessKey{}, err
	}
	if ref.SessionToken != nil {
		keys.token, err = readEntry(from, *ref.SessionToken, "sessionTokenSecretRef")
	}
	return keys, err
}

// readEntry leaves out the line break at the end that an editor adds.
func readEntry(from providers.Credentials, selector v1alpha1.SecretKeySelector, field string) (secret.Value, error) {
	value, err := from.Secret(selector)
	if err != nil {
		return secret.Value{}, err
	}
	text := bytes.TrimSpace(value.Reveal())
	if len(text) == 0 || bytes.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return secret.Value{}, providers.Invalidf("aws.auth.secretRef.%s: the entry %q of the Secret %q is no part of an access key", field, selector.Key, selector.Name)
	}
	return secret.NewValue(text), nil
}

func (k accessKey) credentials(context.Context) (sdk.Credentials, error) {
	return sdk.Credentials{
		AccessKeyID: string(k.id.Reveal()), SecretAccessKey: string(k.key.Reveal()), SessionToken: string(k.token.Reveal()),
	}, nil
}

func newSTS(spec v1alpha1.AWSProvider, client *http.Client, keys sdk.CredentialsProvider) *sts.Client {
	return sts.New(sts.Options{
		Region: spec.Region, BaseEndpoint: endpoint(spec.STSEndpoint), HTTPClient: client, Credentials: keys,
		Retryer: sdk.NopRetryer{}, AppID: application,
	})
}
