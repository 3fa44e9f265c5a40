package gcp

import (
	"context"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"

	"cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"google.golang.org/api/iterator"

	"github.com/gitseal/gitseal/providers"
)

// Bounds of a Find: a page costs one of 600 reads a minute.
const (
	pageSize   = 1000
	maxSecrets = 50_000
	maxKeys    = 10_000
)

// Labels of Google Cloud
// (cloud.google.com/secret-manager/docs/creating-and-managing-labels).
var (
	labelKey   = regexp.MustCompile(`^[\p{Ll}\p{Lo}][\p{Ll}\p{Lo}\p{N}_-]{0,62}$`)
	labelValue = regexp.MustCompile(`^[\p{Ll}\p{Lo}\p{N}_-]{0,63}$`)
	path       = regexp.MustCompile(`^[A-Za-z0-9_-]{0,255}$`)
)

// Find implements providers.Finder. Path is what a secret's id begins with; the
// tags are labels. The filter of the service narrows what it answers; what
// counts is compared here.
func (s *store) Find(ctx context.Context, q providers.Query) ([]string, error) {
	name, err := regexp.Compile(q.Name)
	if err != nil {
		return nil, providers.Invalidf("find.name.regexp is no regular expression (RE2)")
	}
	filter, err := filterOf(q)
	if err != nil {
		return nil, err
	}
	keys, seen := []string{}, 0
	list := s.client.ListSecrets(ctx, &secretmanagerpb.ListSecretsRequest{Parent: s.parent, Filter: filter, PageSize: pageSize})
	for {
		found, err := list.Next()
		if errors.Is(err, iterator.Done) {
			slices.Sort(keys)
			return keys, nil
		}
		if err != nil {
			return nil, kindOf(err)
		}
		id := last(found.GetName())
		if strings.HasPrefix(id, q.Path) && name.MatchString(id) && q.HasTags(found.GetLabels()) {
			keys = append(keys, id)
		}
		if seen++; seen > maxSecrets || len(keys) > maxKeys {
			return nil, providers.Invalidf("find gives too many secrets: more than 10,000, or more than 50,000 to look at")
		}
	}
}

func filterOf(q providers.Query) (string, error) {
	if !path.MatchString(q.Path) {
		return "", providers.Invalidf("find.path is what ids begin with: letters, digits, '-' and '_'")
	}
	var terms []string
	for _, k := range slices.Sorted(maps.Keys(q.Tags)) {
		v := q.Tags[k]
		if !labelKey.MatchString(k) || !labelValue.MatchString(v) {
			return "", providers.Invalidf("find.tags are labels: keys and values of lower case letters, digits, '-' and '_'")
		}
		if v == "" {
			terms = append(terms, "labels."+k+":*")
			continue
		}
		terms = append(terms, "labels."+k+"="+v)
	}
	if q.Path != "" {
		terms = append(terms, "name:"+q.Path)
	}
	return strings.Join(terms, " AND "), nil
}

// Check implements providers.Checker: it logs in and lists one secret. To be
// refused by IAM is to be known.
func (s *store) Check(ctx context.Context) (string, error) {
	_, err := s.client.ListSecrets(ctx, &secretmanagerpb.ListSecretsRequest{Parent: s.parent, PageSize: 1}).Next()
	if err != nil && !errors.Is(err, iterator.Done) && !refusedByIAM(err) {
		return "", kindOf(err)
	}
	return s.login.who(), nil
}
