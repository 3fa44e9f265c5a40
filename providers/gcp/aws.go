package gcp

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/providers"
)

const (
	emptySHA256    = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	targetResource = "X-Goog-Cloud-Target-Resource"
)

var region = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)

// awsCaller proves an AWS identity to Google: the subject token is a request
// for GetCallerIdentity, signed for this audience and not sent (AIP-4117).
func (t *tokens) awsCaller(c v1alpha1.GCPAWSCredentials, audience string) (func(context.Context) (string, error), error) {
	if !region.MatchString(c.Region) {
		return nil, providers.Invalidf("awsSecurityCredentials.region is no region")
	}
	entry := func(key string) (string, error) {
		v, err := t.credentials.Secret(v1alpha1.SecretKeySelector{Name: c.SecretRef.Name, Namespace: c.SecretRef.Namespace, Key: key})
		return string(v.Reveal()), err
	}
	id, err := entry("aws_access_key_id")
	secret, err2 := entry("aws_secret_access_key")
	if err := errors.Join(err, err2); err != nil {
		return nil, err
	}
	// The Secret could be read: this one is optional.
	session, _ := entry("aws_session_token")
	credentials := aws.Credentials{AccessKeyID: id, SecretAccessKey: secret, SessionToken: session}
	return func(ctx context.Context) (string, error) { return t.signCaller(ctx, credentials, c.Region, audience) }, nil
}

func (t *tokens) signCaller(ctx context.Context, c aws.Credentials, region, audience string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://sts."+region+".amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15", http.NoBody)
	if err != nil {
		return "", providers.Invalidf("awsSecurityCredentials.region is no region")
	}
	r.Header.Set(targetResource, audience)
	if err := v4.NewSigner().SignHTTP(ctx, c, r, emptySHA256, "sts", region, t.clock.Now().UTC()); err != nil {
		return "", providers.Invalidf("the AWS credentials cannot sign")
	}
	type header struct {
		Key   string `json:"key"`
		Value string `json:"value"`
	}
	headers := []header{{"host", r.URL.Host}}
	for k := range r.Header {
		headers = append(headers, header{strings.ToLower(k), r.Header.Get(k)})
	}
	slices.SortFunc(headers, func(a, b header) int { return strings.Compare(a.Key, b.Key) })
	raw, err := json.Marshal(map[string]any{"url": r.URL.String(), "method": r.Method, "headers": headers})
	if err != nil {
		return "", providers.Invalidf("the request of the AWS identity cannot be written")
	}
	return url.QueryEscape(string(raw)), nil
}
