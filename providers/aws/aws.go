// Package aws reads values from AWS Secrets Manager: up to twenty in one call,
// with one session for all of them. The types of the SDK stay inside, and its
// own retries, credential chain and texts stay out: what is tried again is
// internal/fetch's to decide, whose identity is used is the store's, and the
// texts of AWS quote callers, requests and ids. It must never ask for anything
// that writes.
package aws

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"k8s.io/utils/clock"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/providers"
)

const (
	// batch is how many secrets BatchGetSecretValue takes.
	batch = 20
	// rate is half of what an account may do of BatchGetSecretValue and of
	// ListSecrets in a second, so that others get on as well
	// (https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html).
	rate = 50

	application = "gitseal" // in the User-Agent, and the name of sessions
)

// Backend is AWS Secrets Manager.
func Backend() providers.Backend {
	return providers.Backend{Open: open, Dialect: providers.Text, Batch: batch, Rate: rate}
}

// provider reads the secrets of one region as one identity.
type provider struct {
	spec    v1alpha1.AWSProvider
	http    *http.Client
	clock   clock.PassiveClock
	secrets *secretsmanager.Client
	session *session
	// alone is the Unix time until which secrets are read one by one, because
	// the identity may not read batches.
	alone atomic.Int64
}

func open(s providers.Store) (providers.Provider, error) {
	if s.Spec.AWS == nil {
		return nil, providers.Invalidf("the store has no aws settings")
	}
	spec := *s.Spec.AWS
	if err := validate(spec); err != nil {
		return nil, err
	}
	client := newHTTPClient(s.Dial)
	login, err := newLogin(spec, s, client)
	if err != nil {
		return nil, err
	}
	p := &provider{spec: spec, http: client, clock: s.Clock, session: newSession(login.renew, s.Clock)}
	p.secrets = secretsmanager.New(secretsmanager.Options{
		Region: spec.Region, BaseEndpoint: endpoint(spec.Endpoint), HTTPClient: client,
		Retryer: sdk.NopRetryer{}, AppID: application,
	})
	return p, nil
}

var (
	validRegion = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)
	validRole   = regexp.MustCompile(`^arn:[a-z0-9-]+:iam::[0-9]{12}:role/[\w+=,.@/-]{1,576}$`)
)

// validate checks what the schema of our own stores has checked already, and
// nobody of those in Git.
func validate(spec v1alpha1.AWSProvider) error {
	if spec.Service != "" && spec.Service != "SecretsManager" {
		return providers.Invalidf("aws.service %q is not supported, only SecretsManager is", spec.Service)
	}
	if !validRegion.MatchString(spec.Region) {
		return providers.Invalidf("aws.region must be the name of a region, for instance eu-central-1")
	}
	for field, at := range map[string]string{"endpoint": spec.Endpoint, "stsEndpoint": spec.STSEndpoint} {
		if u, err := url.Parse(at); at != "" && (err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https") {
			return providers.Invalidf("aws.%s must be an http or https URL without a user", field)
		}
	}
	for _, role := range append(spec.AdditionalRoles[:len(spec.AdditionalRoles):len(spec.AdditionalRoles)], spec.Role) {
		if role != "" && !validRole.MatchString(role) {
			return providers.Invalidf("aws.role and aws.additionalRoles must be ARNs of roles, for instance arn:aws:iam::123456789012:role/name")
		}
	}
	return nil
}

func endpoint(url string) *string {
	if url == "" {
		return nil
	}
	return &url
}

// Check implements providers.Checker. Everybody may ask STS who they are; it
// says nothing about rights on secrets.
func (p *provider) Check(ctx context.Context) (string, error) {
	var identity string
	err := p.call(ctx, serviceSTS, func(as sdk.CredentialsProvider) error {
		out, err := newSTS(p.spec, p.http, as).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
		if err != nil {
			return err
		}
		identity = sdk.ToString(out.Arn)
		return nil
	})
	if err == nil && !strings.HasPrefix(identity, "arn:") {
		return "", &providers.Error{Kind: providers.ErrUnavailable, Detail: "STS does not say whose credentials they are"}
	}
	return identity, err
}

// Close gives up the connections.
func (p *provider) Close() error {
	p.http.CloseIdleConnections()
	return nil
}

// call makes a call as the identity of the store; once more, after a new login,
// where AWS no longer knows the session. The error is one of package providers.
func (p *provider) call(ctx context.Context, at service, do func(sdk.CredentialsProvider) error) error {
	for second := false; ; second = true {
		keys, err := p.session.get(ctx)
		if err != nil {
			return err
		}
		err = do(credentials.StaticCredentialsProvider{Value: keys})
		if err == nil {
			return nil
		}
		if second || !sessionRefused(err) || !p.session.drop(ctx, keys) {
			return p.translate(at, err)
		}
	}
}

// as lets one call be made with some credentials.
func as(keys sdk.CredentialsProvider) func(*secretsmanager.Options) {
	return func(o *secretsmanager.Options) { o.Credentials = keys }
}
