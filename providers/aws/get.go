package aws

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
)

const (
	currentStage = "AWSCURRENT"
	versionID    = "uuid/" // before the id of a version; a stage has no prefix

	// aloneFor is how long a right to read batches is not looked for again.
	aloneFor = 15 * time.Minute

	arnSuffix = 7 // a dash and six characters that AWS adds to the name
)

// Names as CreateSecret takes them, and "!", which is in those that other
// services of AWS manage (rds!db-...); ARNs as AWS makes them of these.
var (
	validName = regexp.MustCompile(`^[A-Za-z0-9/_+=.@!-]{1,512}$`)
	validARN  = regexp.MustCompile(`^arn:[a-z0-9-]+:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[A-Za-z0-9/_+=.@!-]{1,519}$`)
	wholeARN  = regexp.MustCompile(`-[A-Za-z0-9]{6}$`)
	// Stages, and the ids of versions.
	validVersion = regexp.MustCompile(`^(uuid/)?[A-Za-z0-9/_+=.@!-]{1,256}$`)
)

// Get implements providers.Provider. Current values are read in one call, an
// older version and metadata take a call each.
func (p *provider) Get(ctx context.Context, refs []providers.Ref) ([]providers.Result, error) {
	results := make([]providers.Result, len(refs))
	current := map[string][]int{} // where the results go, by id
	var down error
	for i, ref := range refs {
		id, err := secretID(p.spec.Prefix, ref)
		switch {
		case err != nil:
			results[i].Err = err
		case !ref.Metadata && (ref.Version == "" || ref.Version == currentStage):
			current[id] = append(current[id], i)
		case down != nil:
			results[i].Err = down
		case ref.Metadata:
			results[i] = p.describe(ctx, id)
			down = ifDown(results[i].Err)
		default:
			results[i] = p.read(ctx, id, ref.Version)
			down = ifDown(results[i].Err)
		}
	}
	for id, result := range p.readCurrent(ctx, slices.Sorted(maps.Keys(current))) {
		for _, i := range current[id] {
			results[i] = result
		}
	}
	return results, nil
}

// secretID is what AWS knows a key by, in a store with a prefix or none.
func secretID(prefix string, ref providers.Ref) (string, error) {
	id := prefix + ref.Key
	switch {
	case ref.Key == "":
		return "", providers.Invalidf("the key is empty")
	case strings.HasPrefix(ref.Key, "arn:") && prefix != "":
		return "", providers.Invalidf("the key is an ARN, which no store with a prefix can read")
	case !validName.MatchString(id) && !validARN.MatchString(id):
		return "", providers.Invalidf("the key is neither the name nor the ARN of a secret: names have up to 512 letters, digits and /_+=.@-")
	case ref.Version != "" && !validVersion.MatchString(ref.Version):
		return "", providers.Invalidf("the version is neither a staging label nor uuid/ and the id of a version")
	}
	return id, nil
}

// ifDown returns an error that the next call would end with, too.
func ifDown(err error) error {
	for _, kind := range []error{providers.ErrUnavailable, providers.ErrThrottled, providers.ErrUnauthenticated, context.Canceled} {
		if errors.Is(err, kind) {
			return err
		}
	}
	return nil
}

// read reads one version of one secret.
func (p *provider) read(ctx context.Context, id, version string) providers.Result {
	in := &secretsmanager.GetSecretValueInput{SecretId: &id}
	if number, ok := strings.CutPrefix(version, versionID); ok {
		in.VersionId = &number
	} else if version != "" {
		in.VersionStage = &version
	}
	var result providers.Result
	err := p.call(ctx, serviceSecrets, func(keys sdk.CredentialsProvider) error {
		out, err := p.secrets.GetSecretValue(ctx, in, as(keys))
		if err != nil {
			return err
		}
		result = found(out.SecretString, out.SecretBinary, out.VersionId)
		return nil
	})
	if err != nil {
		result.Err = p.explain(ctx, id, err)
	}
	return result
}

func found(text *string, binary []byte, version *string) providers.Result {
	if text != nil {
		binary = []byte(*text)
	}
	return providers.Result{Value: secret.NewValue(binary), Version: versionID + sdk.ToString(version)}
}

// explain finds out why a secret cannot be read in its present state. AWS keeps
// what is deleted for some days, and says so in a text only; we look at the
// secret instead. What is marked for deletion is not there.
func (p *provider) explain(ctx context.Context, id string, err error) error {
	var state stateError
	if !errors.As(err, &state) {
		return err
	}
	if described := p.describe(ctx, id); errors.Is(described.Err, providers.ErrNotFound) {
		return described.Err
	}
	return state.public
}

// readCurrent reads the current version of several secrets. One is read by
// itself, which needs fewer rights and has the larger quota.
func (p *provider) readCurrent(ctx context.Context, ids []string) map[string]providers.Result {
	results := make(map[string]providers.Result, len(ids))
	if len(ids) > 1 && p.clock.Now().Unix() >= p.alone.Load() {
		if err := p.readBatch(ctx, ids, results); err != nil {
			if down := ifDown(err); down != nil {
				for _, id := range ids {
					results[id] = providers.Result{Err: down}
				}
				return results
			}
			if errors.Is(err, providers.ErrDenied) {
				p.alone.Store(p.clock.Now().Add(aloneFor).Unix())
			}
		}
	}
	// What is left: a batch may answer less than was asked.
	var down error
	for _, id := range ids {
		if _, ok := results[id]; ok {
			continue
		}
		if down != nil {
			results[id] = providers.Result{Err: down}
			continue
		}
		results[id] = p.read(ctx, id, "")
		down = ifDown(results[id].Err)
	}
	return results
}

// readBatch fills in what BatchGetSecretValue answers. Its error is of the
// batch as a whole.
func (p *provider) readBatch(ctx context.Context, ids []string, results map[string]providers.Result) error {
	var out *secretsmanager.BatchGetSecretValueOutput
	err := p.call(ctx, serviceSecrets, func(keys sdk.CredentialsProvider) (err error) {
		out, err = p.secrets.BatchGetSecretValue(ctx, &secretsmanager.BatchGetSecretValueInput{SecretIdList: ids}, as(keys))
		return err
	})
	if err != nil {
		return err
	}
	for _, id := range ids {
		for _, entry := range out.SecretValues {
			if names(id, sdk.ToString(entry.Name), sdk.ToString(entry.ARN)) {
				results[id] = found(entry.SecretString, entry.SecretBinary, entry.VersionId)
			}
		}
		for _, entry := range out.Errors {
			if id == sdk.ToString(entry.SecretId) {
				results[id] = providers.Result{Err: p.explain(ctx, id, entryError(entry))}
			}
		}
	}
	return nil
}

// names reports whether an id is the name of a secret, or its ARN, with or
// without the characters that AWS adds. What ends with such is a whole ARN, for
// AWS as well:
// https://docs.aws.amazon.com/secretsmanager/latest/userguide/troubleshoot.html#ARN_secretnamehyphen
func names(id, name, arn string) bool {
	return id == name || id == arn || !wholeARN.MatchString(id) && len(arn) == len(id)+arnSuffix && strings.HasPrefix(arn, id+"-")
}

func entryError(entry types.APIErrorType) error {
	e, ok := byCode(serviceSecrets, sdk.ToString(entry.ErrorCode))
	switch {
	case !ok:
		return &providers.Error{Kind: providers.ErrInvalid, Detail: string(serviceSecrets) + " cannot read the secret"}
	case *entry.ErrorCode == codeInvalidRequest:
		return stateError{e}
	}
	return e
}

// describe reads the tags of a secret, as a JSON object. It finds nothing where
// the secret is marked for deletion.
func (p *provider) describe(ctx context.Context, id string) providers.Result {
	var out *secretsmanager.DescribeSecretOutput
	err := p.call(ctx, serviceSecrets, func(keys sdk.CredentialsProvider) (err error) {
		out, err = p.secrets.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &id}, as(keys))
		return err
	})
	if err != nil {
		return providers.Result{Err: err}
	}
	if out.DeletedDate != nil {
		return providers.Result{Err: &providers.Error{Kind: providers.ErrNotFound, Detail: "the secret is marked for deletion"}}
	}
	raw, err := json.Marshal(tagsOf(out.Tags))
	if err != nil {
		return providers.Result{Err: providers.Invalidf("the tags of the secret are no JSON")}
	}
	return providers.Result{Value: secret.NewValue(raw)}
}

func tagsOf(tags []types.Tag) map[string]string {
	out := make(map[string]string, len(tags))
	for _, tag := range tags {
		out[sdk.ToString(tag.Key)] = sdk.ToString(tag.Value)
	}
	return out
}
