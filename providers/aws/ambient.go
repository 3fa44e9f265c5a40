package aws

import (
	"context"
	"errors"
	"io"
	"os"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"

	"github.com/gitseal/gitseal/internal/egress"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
)

// maxToken bounds a file with a token.
const maxToken = 64 << 10

// ambient is the identity of the operator's own environment, in the order of
// the SDK: access keys, IRSA's token file, the container's endpoint (ECS, EKS
// Pod Identity), the node's metadata service. Profiles and files of a home
// directory are left out, which may start programs. The last two have
// link-local addresses and are reached only where the egress guard lets them
// be.
func (l *login) ambient(ctx context.Context) (sdk.Credentials, error) {
	id, key := os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY")
	if id != "" && key != "" {
		return sdk.Credentials{AccessKeyID: id, SecretAccessKey: key, SessionToken: os.Getenv("AWS_SESSION_TOKEN")}, nil
	}
	if file := os.Getenv("AWS_WEB_IDENTITY_TOKEN_FILE"); file != "" {
		return l.tokenFile(ctx, file)
	}
	if url := containerURL(); url != "" {
		return l.container(ctx, url)
	}
	client := imds.New(imds.Options{HTTPClient: newDirectHTTPClient(l.store.Dial), Retryer: sdk.NopRetryer{}})
	keys, err := ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = client }).Retrieve(ctx)
	return l.fetched(keys, err, "the operator's environment names no identity at AWS, and the node's metadata service gives none")
}

// tokenFile exchanges the token that EKS mounts, and renews.
func (l *login) tokenFile(ctx context.Context, file string) (sdk.Credentials, error) {
	role, name := os.Getenv("AWS_ROLE_ARN"), os.Getenv("AWS_ROLE_SESSION_NAME")
	if !validRole.MatchString(role) {
		return sdk.Credentials{}, providers.Invalidf("AWS_ROLE_ARN of the operator's environment must be the ARN of a role")
	}
	if name == "" {
		name = application
	}
	token, err := readToken(file)
	if err != nil {
		return sdk.Credentials{}, providers.Invalidf("the file of AWS_WEB_IDENTITY_TOKEN_FILE in the operator's environment cannot be read")
	}
	return l.assumeWithToken(ctx, role, name, token)
}

func readToken(file string) (secret.Value, error) {
	f, err := os.Open(file) //nolint:gosec // G703: whoever runs the operator names the file
	if err != nil {
		return secret.Value{}, err
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(io.LimitReader(f, maxToken+1))
	if err == nil && len(raw) > maxToken {
		err = errors.New("the token is too long")
	}
	return secret.NewValue(raw), err
}

// containerURL is where a container's credentials are had
// (https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html).
func containerURL() string {
	if path := os.Getenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"); path != "" {
		return "http://169.254.170.2" + path
	}
	return os.Getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI")
}

func (l *login) container(ctx context.Context, url string) (sdk.Credentials, error) {
	from := endpointcreds.New(url, func(o *endpointcreds.Options) {
		o.HTTPClient = newDirectHTTPClient(l.store.Dial)
		o.Retryer = sdk.NopRetryer{}
		o.AuthorizationToken = os.Getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN")
		if file := os.Getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"); file != "" {
			o.AuthorizationTokenProvider = endpointcreds.TokenProviderFunc(func() (string, error) {
				token, err := readToken(file)
				return string(token.Reveal()), err
			})
		}
	})
	keys, err := from.Retrieve(ctx)
	return l.fetched(keys, err, "the endpoint for credentials of the operator's container gives none")
}

// fetched is what an endpoint for credentials gave.
func (l *login) fetched(keys sdk.Credentials, err error, detail string) (sdk.Credentials, error) {
	switch {
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return sdk.Credentials{}, ended(err)
	case errors.Is(err, egress.ErrRefused):
		return sdk.Credentials{}, &providers.Error{
			Kind:   providers.ErrUnauthenticated,
			Detail: detail + "; it has an address that the operator does not connect to, unless its flag --allow-egress allows it",
		}
	case err != nil || !keys.HasKeys():
		return sdk.Credentials{}, &providers.Error{Kind: providers.ErrUnavailable, Detail: detail}
	}
	l.store.LoggedIn()
	return keys, nil
}
