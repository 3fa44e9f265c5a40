package aws_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"

	"github.com/gitseal/gitseal/test/fakecloud/aws"
)

func start(t *testing.T) (*aws.Cloud, *secretsmanager.Client) {
	t.Helper()
	cloud := aws.Start()
	t.Cleanup(cloud.Close)
	return cloud, secretsOf(cloud, cloud.AddUser("tester"))
}

func keys(k aws.AccessKey) sdk.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(k.ID, k.Secret, k.Token)
}

// whole lets answers be read to their end: the SDK closes a request as soon as
// its answer begins, and net/http takes what WriteTo says then for a failure.
type whole struct{}

func (whole) Do(r *http.Request) (*http.Response, error) {
	r.Body = struct{ io.ReadCloser }{r.Body} // without WriteTo
	return http.DefaultClient.Do(r)
}

func secretsOf(c *aws.Cloud, k aws.AccessKey) *secretsmanager.Client {
	return secretsmanager.New(secretsmanager.Options{
		Region: aws.Region, BaseEndpoint: sdk.String(c.URL()), Credentials: keys(k), Retryer: sdk.NopRetryer{}, HTTPClient: whole{},
	})
}

func stsOf(c *aws.Cloud, as sdk.CredentialsProvider) *sts.Client {
	return sts.New(sts.Options{Region: aws.Region, BaseEndpoint: sdk.String(c.URL()), Credentials: as, Retryer: sdk.NopRetryer{}, HTTPClient: whole{}})
}

func code(err error) string {
	var said smithy.APIError
	if errors.As(err, &said) {
		return said.ErrorCode()
	}
	return fmt.Sprint(err)
}

func wantCode(t *testing.T, err error, want string) {
	t.Helper()
	if got := code(err); got != want {
		t.Errorf("error %q, want %q", got, want)
	}
}

func must[T any](out T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

func TestStagesFollowTheVersions(t *testing.T) {
	_, c := start(t)
	ctx, name := t.Context(), sdk.String("app/db")
	v1 := *must(c.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: name, SecretString: sdk.String("one")}))(t).VersionId
	v2 := *must(c.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: name, SecretString: sdk.String("two")}))(t).VersionId
	v3 := *must(c.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: name, SecretString: sdk.String("three"), VersionStages: []string{"AWSPENDING"}}))(t).VersionId

	read := func(in secretsmanager.GetSecretValueInput) string {
		in.SecretId = name
		out, err := c.GetSecretValue(ctx, &in)
		if err != nil {
			return code(err)
		}
		return sdk.ToString(out.SecretString)
	}
	got := []string{
		read(secretsmanager.GetSecretValueInput{}),
		read(secretsmanager.GetSecretValueInput{VersionStage: sdk.String("AWSPREVIOUS")}),
		read(secretsmanager.GetSecretValueInput{VersionStage: sdk.String("AWSPENDING")}),
		read(secretsmanager.GetSecretValueInput{VersionId: &v1}),
		read(secretsmanager.GetSecretValueInput{VersionStage: sdk.String("BLUE")}),
	}
	if diff := cmp.Diff([]string{"two", "one", "three", "one", "ResourceNotFoundException"}, got); diff != "" {
		t.Errorf("values by stage and id (-want +got):\n%s", diff)
	}

	_, err := c.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{SecretId: name, VersionStage: sdk.String("AWSCURRENT"), MoveToVersionId: &v3})
	wantCode(t, err, "InvalidParameterException") // it does not say where the stage is
	must(c.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{
		SecretId: name, VersionStage: sdk.String("AWSCURRENT"), MoveToVersionId: &v3, RemoveFromVersionId: &v2,
	}))(t)
	stages := must(c.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: name}))(t).VersionIdsToStages
	if diff := cmp.Diff(map[string][]string{v2: {"AWSPREVIOUS"}, v3: {"AWSPENDING", "AWSCURRENT"}}, stages); diff != "" {
		t.Errorf("stages (-want +got):\n%s", diff)
	}
	all := must(c.ListSecretVersionIds(ctx, &secretsmanager.ListSecretVersionIdsInput{SecretId: name, IncludeDeprecated: sdk.Bool(true)}))(t)
	if len(all.Versions) != 3 {
		t.Errorf("%d versions, want 3", len(all.Versions))
	}
}

func TestASecretIsFoundByNameAndARN(t *testing.T) {
	cloud, c := start(t)
	cloud.Put("team/app", "value", nil)
	arn := sdk.ToString(must(c.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: sdk.String("team/app")}))(t).ARN)
	cloud.Put("team/app-secret", "v", nil)
	hyphened := cloud.ARN("team/app-secret")
	tests := map[string]struct{ id, want string }{
		"its name":                     {"team/app", ""},
		"its ARN":                      {arn, ""},
		"its ARN without the suffix":   {arn[:len(arn)-7], ""},
		"one that ends as a whole ARN": {strings.TrimSuffix(hyphened, hyphened[len(hyphened)-7:]), "ResourceNotFoundException"},
		"such a secret's ARN":          {hyphened, ""},
		"an ARN with another suffix":   {arn[:len(arn)-6] + "abcdef", "ResourceNotFoundException"},
		"the name and the suffix":      {"team/app" + arn[len(arn)-7:], "ResourceNotFoundException"},
		"another name":                 {"team/other", "ResourceNotFoundException"},
		"no name":                      {"", "ValidationException"},
		"a name in other letter case":  {"Team/app", "ResourceNotFoundException"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := c.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &tt.id})
			if tt.want == "" {
				if err != nil {
					t.Errorf("GetSecretValue(%q): %v", tt.id, err)
				}
				return
			}
			wantCode(t, err, tt.want)
		})
	}
}

func TestABatchAnswersInParts(t *testing.T) {
	cloud, c := start(t)
	var ids []string
	for i := range 18 {
		ids = append(ids, fmt.Sprintf("s%02d", i))
		cloud.Put(ids[i], "value", nil)
	}
	must(c.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: &ids[3]}))(t)
	cloud.Deny("", ids[5])
	ids = append(ids, "missing", "binary")
	must(c.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: sdk.String("binary"), SecretBinary: []byte{0, 255}}))(t)

	out := must(c.BatchGetSecretValue(t.Context(), &secretsmanager.BatchGetSecretValueInput{SecretIdList: ids}))(t)
	failed := map[string]string{}
	for _, e := range out.Errors {
		failed[*e.SecretId] = *e.ErrorCode
	}
	want := map[string]string{"s03": "InvalidRequestException", "s05": "AccessDeniedException", "missing": "ResourceNotFoundException"}
	if diff := cmp.Diff(want, failed); diff != "" || len(out.SecretValues) != 17 {
		t.Errorf("%d values, want 17; errors (-want +got):\n%s", len(out.SecretValues), diff)
	}
	_, err := c.BatchGetSecretValue(t.Context(), &secretsmanager.BatchGetSecretValueInput{SecretIdList: append(ids, "one-more")})
	wantCode(t, err, "ValidationException")
	_, err = c.BatchGetSecretValue(t.Context(), &secretsmanager.BatchGetSecretValueInput{})
	wantCode(t, err, "InvalidParameterException")
}

func TestListsComeInPages(t *testing.T) {
	cloud, c := start(t)
	for i := range 250 {
		cloud.Put(fmt.Sprintf("app/s%03d", i), "value", map[string]string{"tier": fmt.Sprint(i % 2)})
	}
	cloud.Put("other", "value", nil)
	in := &secretsmanager.ListSecretsInput{Filters: []types.Filter{
		{Key: types.FilterNameStringTypeName, Values: []string{"app/"}}, {Key: types.FilterNameStringTypeTagValue, Values: []string{"1"}},
	}}
	var names []string
	for pages := secretsmanager.NewListSecretsPaginator(c, in); pages.HasMorePages(); {
		for _, s := range must(pages.NextPage(t.Context()))(t).SecretList {
			names = append(names, *s.Name)
		}
	}
	if len(names) != 125 || cloud.Calls()["ListSecrets"] != 2 {
		t.Errorf("%d names in %d calls, want 125 in 2", len(names), cloud.Calls()["ListSecrets"])
	}
	values := 0
	filters := &secretsmanager.BatchGetSecretValueInput{Filters: in.Filters}
	for pages := secretsmanager.NewBatchGetSecretValuePaginator(c, filters); pages.HasMorePages(); {
		values += len(must(pages.NextPage(t.Context()))(t).SecretValues)
	}
	if values != 125 || cloud.Calls()["BatchGetSecretValue"] != 7 {
		t.Errorf("%d values in %d calls, want 125 in 7", values, cloud.Calls()["BatchGetSecretValue"])
	}
	_, err := c.ListSecrets(t.Context(), &secretsmanager.ListSecretsInput{NextToken: sdk.String("made up")})
	wantCode(t, err, "InvalidNextTokenException")
}

func TestADeletedSecretCanBeRestored(t *testing.T) {
	cloud, c := start(t)
	cloud.Put("gone", "value", nil)
	id := sdk.String("gone")
	must(c.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: id, RecoveryWindowInDays: sdk.Int64(7)}))(t)
	_, err := c.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: id})
	wantCode(t, err, "InvalidRequestException")
	if must(c.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: id}))(t).DeletedDate == nil {
		t.Error("a secret that is marked for deletion has no DeletedDate")
	}
	must(c.RestoreSecret(t.Context(), &secretsmanager.RestoreSecretInput{SecretId: id}))(t)
	must(c.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: id}))(t)
	must(c.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: id, ForceDeleteWithoutRecovery: sdk.Bool(true)}))(t)
	_, err = c.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: id})
	wantCode(t, err, "ResourceNotFoundException")
}

func TestAValueHas64KiBAtMost(t *testing.T) {
	_, c := start(t)
	for size, want := range map[int]string{65536: "<nil>", 65537: "ValidationException"} {
		_, err := c.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{
			Name: sdk.String(fmt.Sprint(size)), SecretString: sdk.String(strings.Repeat("x", size)),
		})
		wantCode(t, err, want)
	}
}

func TestNobodyIsLetInWithoutAGoodSignature(t *testing.T) {
	cloud, c := start(t)
	cloud.Put("app", "value", nil)
	user := cloud.AddUser("alice")
	role := cloud.AddRole(aws.Role{Name: "reader", Trusts: []string{aws.UserARN("alice")}})
	session := func() aws.AccessKey {
		out := must(stsOf(cloud, keys(user)).AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: sdk.String("t")}))(t)
		return aws.AccessKey{ID: *out.Credentials.AccessKeyId, Secret: *out.Credentials.SecretAccessKey, Token: *out.Credentials.SessionToken}
	}
	expired, other := session(), session()
	cloud.ExpireSessions()
	revoked := session()
	good := session()
	get := func(c *secretsmanager.Client) error {
		_, err := c.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: sdk.String("app")})
		return err
	}
	if err := get(secretsOf(cloud, good)); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		key  aws.AccessKey
		want string
	}{
		"an unknown key":          {aws.AccessKey{ID: "AKIAUNKNOWN", Secret: "x"}, "UnrecognizedClientException"},
		"a wrong secret":          {aws.AccessKey{ID: user.ID, Secret: "x"}, "InvalidSignatureException"},
		"a session without token": {aws.AccessKey{ID: good.ID, Secret: good.Secret}, "UnrecognizedClientException"},
		"another session's token": {aws.AccessKey{ID: good.ID, Secret: good.Secret, Token: other.Token}, "UnrecognizedClientException"},
		"an expired session":      {expired, "ExpiredTokenException"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { wantCode(t, get(secretsOf(cloud, tt.key)), tt.want) })
	}
	cloud.RevokeSessions()
	wantCode(t, get(secretsOf(cloud, revoked)), "UnrecognizedClientException")
	_, err := stsOf(cloud, keys(revoked)).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	wantCode(t, err, "InvalidClientTokenId")
	if err := get(c); err != nil {
		t.Errorf("an access key that is no session: %v", err)
	}
}

func TestRolesAreAssumedByWhomTheyTrust(t *testing.T) {
	cloud, _ := start(t)
	alice := stsOf(cloud, keys(cloud.AddUser("alice")))
	bob := stsOf(cloud, keys(cloud.AddUser("bob")))
	role := cloud.AddRole(aws.Role{Name: "r", Trusts: []string{aws.UserARN("alice")}, ExternalID: "ext", Tags: map[string]string{"team": "a"}})
	good := sts.AssumeRoleInput{
		RoleArn: &role, RoleSessionName: sdk.String("t"), ExternalId: sdk.String("ext"),
		Tags: []ststypes.Tag{{Key: sdk.String("team"), Value: sdk.String("a")}}, TransitiveTagKeys: []string{"team"},
	}
	assume := func(c *sts.Client, change func(*sts.AssumeRoleInput)) error {
		in := good
		change(&in)
		_, err := c.AssumeRole(t.Context(), &in)
		return err
	}
	tests := map[string]struct {
		as     *sts.Client
		change func(*sts.AssumeRoleInput)
		want   string
	}{
		"as it should be":        {alice, func(*sts.AssumeRoleInput) {}, "<nil>"},
		"another user":           {bob, func(*sts.AssumeRoleInput) {}, "AccessDenied"},
		"another external id":    {alice, func(in *sts.AssumeRoleInput) { in.ExternalId = sdk.String("other") }, "AccessDenied"},
		"no tags":                {alice, func(in *sts.AssumeRoleInput) { in.Tags, in.TransitiveTagKeys = nil, nil }, "AccessDenied"},
		"an unknown role":        {alice, func(in *sts.AssumeRoleInput) { in.RoleArn = sdk.String(aws.RoleARN("x")) }, "AccessDenied"},
		"a transitive key alone": {alice, func(in *sts.AssumeRoleInput) { in.TransitiveTagKeys = []string{"stage"} }, "InvalidParameterValue"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { wantCode(t, assume(tt.as, tt.change), tt.want) })
	}
}

func TestTokensAreCheckedAsIAMDoes(t *testing.T) {
	cloud, _ := start(t)
	const issuer, subject = "https://issuer.example", "system:serviceaccount:team:reader"
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	other := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	cloud.AddIssuer(issuer, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Algorithm: "ES256"}}})
	role := cloud.AddRole(aws.Role{Name: "r", Issuer: issuer, Subject: subject, Audience: "sts.amazonaws.com"})
	token := func(k *ecdsa.PrivateKey, iss, sub, aud string, life time.Duration) string {
		signer := must(jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: k, KeyID: "k"}}, nil))(t)
		claims := jwt.Claims{Issuer: iss, Subject: sub, Audience: jwt.Audience{aud}, Expiry: jwt.NewNumericDate(time.Now().Add(life))}
		return must(jwt.Signed(signer).Claims(claims).Serialize())(t)
	}
	tests := map[string]struct{ token, want string }{
		"as it should be":  {token(key, issuer, subject, "sts.amazonaws.com", time.Hour), "<nil>"},
		"another audience": {token(key, issuer, subject, "vault", time.Hour), "InvalidIdentityToken"},
		"another subject":  {token(key, issuer, "system:serviceaccount:team:other", "sts.amazonaws.com", time.Hour), "AccessDenied"},
		"another issuer":   {token(key, "https://evil.example", subject, "sts.amazonaws.com", time.Hour), "InvalidIdentityToken"},
		"another key":      {token(other, issuer, subject, "sts.amazonaws.com", time.Hour), "InvalidIdentityToken"},
		"expired":          {token(key, issuer, subject, "sts.amazonaws.com", -time.Minute), "ExpiredTokenException"},
		"no token":         {"nonsense", "InvalidIdentityToken"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := stsOf(cloud, sdk.AnonymousCredentials{}).AssumeRoleWithWebIdentity(t.Context(), &sts.AssumeRoleWithWebIdentityInput{
				RoleArn: &role, RoleSessionName: sdk.String("t"), WebIdentityToken: &tt.token,
			})
			wantCode(t, err, tt.want)
		})
	}
}

func TestWhatGoesWrongOnPurpose(t *testing.T) {
	cloud, c := start(t)
	cloud.Put("app", "value", nil)
	get := func(ctx context.Context) error {
		_, err := c.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: sdk.String("app")})
		return err
	}
	cloud.Throttle("GetSecretValue", 1, 0)
	wantCode(t, get(t.Context()), "ThrottlingException")
	cloud.Out(aws.InternalError)
	wantCode(t, get(t.Context()), "InternalServiceError")
	cloud.Out(aws.Unavailable)
	wantCode(t, get(t.Context()), "ServiceUnavailable")
	for _, how := range []aws.Outage{aws.Hangup, aws.Garbage} {
		cloud.Out(how)
		var said smithy.APIError
		if err := get(t.Context()); err == nil || errors.As(err, &said) {
			t.Errorf("with outage %v: %v, want an error that is not of the API", how, err)
		}
	}
	cloud.Reset()
	cloud.Delay(time.Hour)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := get(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a call that hangs: %v", err)
	}
	cloud.Reset()
	if err := get(t.Context()); err != nil {
		t.Error(err)
	}
}
