package aws

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/gitseal/gitseal/providers"
)

const (
	pageSize   = 100    // the most that ListSecrets gives
	maxFound   = 10_000 // secrets that one query finds
	maxPages   = 1_000  // that are looked at for it
	maxPattern = 1024
	maxFilters = 10 // that ListSecrets takes
)

// filterable is what a filter can hold; one that begins with "!" says the
// opposite.
var filterable = regexp.MustCompile(`^[a-zA-Z0-9 :_@/+=.-][a-zA-Z0-9 :_@/+=.!-]{0,511}$`)

// Find implements providers.Finder. A path is the beginning of a name. AWS
// compares the beginnings of tags only; here they are compared whole.
func (p *provider) Find(ctx context.Context, q providers.Query) ([]string, error) {
	if len(q.Name) > maxPattern {
		return nil, providers.Invalidf("find.name.regexp is longer than %d characters", maxPattern)
	}
	pattern, err := regexp.Compile(q.Name)
	if err != nil {
		return nil, providers.Invalidf("find.name.regexp is no regular expression (RE2)")
	}
	in := &secretsmanager.ListSecretsInput{Filters: filters(p.spec.Prefix+q.Path, q.Tags), MaxResults: sdk.Int32(pageSize)}
	var keys []string
	for range maxPages {
		page, err := p.list(ctx, in)
		if err != nil {
			return nil, err
		}
		for _, entry := range page.SecretList {
			if key, ok := p.matches(entry, pattern, q); ok {
				keys = append(keys, key)
			}
		}
		if in.NextToken = page.NextToken; sdk.ToString(in.NextToken) == "" {
			slices.Sort(keys)
			return slices.Compact(keys), nil
		}
		if len(keys) > maxFound {
			break
		}
	}
	return nil, providers.Invalidf("more than %d secrets match, or %d have to be looked at; narrow it down with find.path", maxFound, maxPages*pageSize)
}

func (p *provider) list(ctx context.Context, in *secretsmanager.ListSecretsInput) (out *secretsmanager.ListSecretsOutput, err error) {
	err = p.call(ctx, serviceSecrets, func(keys sdk.CredentialsProvider) (err error) {
		out, err = p.secrets.ListSecrets(ctx, in, as(keys))
		return err
	})
	return out, err
}

// filters let AWS leave out most of what does not match.
func filters(path string, tags map[string]string) []types.Filter {
	var out []types.Filter
	add := func(key types.FilterNameStringType, value string) {
		if filterable.MatchString(value) && len(out) < maxFilters {
			out = append(out, types.Filter{Key: key, Values: []string{value}})
		}
	}
	add(types.FilterNameStringTypeName, path)
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		add(types.FilterNameStringTypeTagKey, key)
	}
	return out
}

// matches returns the key of a secret, which is its name without the prefix of
// the store. One without a current version has nothing to read.
func (p *provider) matches(entry types.SecretListEntry, pattern *regexp.Regexp, q providers.Query) (string, bool) {
	key, ok := strings.CutPrefix(sdk.ToString(entry.Name), p.spec.Prefix)
	if !ok || key == "" || !strings.HasPrefix(key, q.Path) || !pattern.MatchString(key) || entry.DeletedDate != nil || !isCurrent(entry) {
		return "", false
	}
	tags := tagsOf(entry.Tags)
	for name, want := range q.Tags {
		if got, ok := tags[name]; !ok || got != want {
			return "", false
		}
	}
	return key, true
}

func isCurrent(entry types.SecretListEntry) bool {
	for _, stages := range entry.SecretVersionsToStages {
		if slices.Contains(stages, currentStage) {
			return true
		}
	}
	return false
}
