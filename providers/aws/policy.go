package aws

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/providers"
)

// Account says whose secrets an IAM policy is about.
type Account struct {
	// ID has twelve digits; "*" is any.
	ID string
	// Partition is aws, aws-cn or aws-us-gov.
	Partition string
}

type policy struct {
	Version   string
	Statement []statement
}

type statement struct {
	Sid       string `json:",omitempty"`
	Effect    string
	Action    []string
	Resource  []string
	Condition map[string]map[string]string `json:",omitempty"`
}

// anySuffix stands for the characters that AWS adds to a name.
const anySuffix = "-??????"

// Policy writes the IAM policy, as JSON, that lets a store's identity do what
// the uses take and nothing else. A secret's ARN ends in six characters that
// AWS chose; where a use does not name them, any six will do.
func Policy(spec v1alpha1.AWSProvider, uses []providers.Use, account Account) ([]byte, error) {
	arn := func(name string) string {
		return strings.Join([]string{"arn", account.Partition, "secretsmanager", spec.Region, account.ID, "secret", name}, ":")
	}
	read, described := map[string]bool{}, map[string]bool{}
	batched, searches := false, []statement(nil)
	for _, u := range uses {
		if u.Find != nil {
			found, err := search(arn, spec.Prefix, *u.Find)
			if err != nil {
				return nil, fmt.Errorf("find.path %q: %w", u.Find.Path, err)
			}
			searches = append(searches, found)
			continue
		}
		resource, err := resourceOf(arn, spec.Prefix, u.Ref)
		switch {
		case err != nil:
			return nil, fmt.Errorf("key %q: %w", u.Ref.Key, err)
		case u.Ref.Metadata:
			described[resource] = true
		default:
			read[resource] = true
			batched = batched || u.Ref.Version == "" || u.Ref.Version == currentStage
		}
	}
	p := policy{Version: "2012-10-17", Statement: []statement{}}
	// To describe a secret tells one that is about to be deleted from one that may
	// not be read.
	p.add("ReadValues", []string{"secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"}, read)
	p.add("ReadMetadata", []string{"secretsmanager:DescribeSecret"}, described)
	if len(searches) > 0 {
		p.add("List", []string{"secretsmanager:ListSecrets"}, map[string]bool{"*": true})
		p.Statement = append(p.Statement, searches...)
	}
	if batched || len(searches) > 0 { // it takes no resource; what it reads takes GetSecretValue
		p.add("ReadSeveralAtOnce", []string{"secretsmanager:BatchGetSecretValue"}, map[string]bool{"*": true})
	}
	raw, err := json.MarshalIndent(p, "", "  ")
	return append(raw, '\n'), err
}

func (p *policy) add(sid string, actions []string, resources map[string]bool) {
	if len(resources) > 0 {
		p.Statement = append(p.Statement, statement{Sid: sid, Effect: "Allow", Action: actions, Resource: slices.Sorted(maps.Keys(resources))})
	}
}

// resourceOf is one secret, and never more: IAM knows patterns, and names of
// secrets hold none.
func resourceOf(arn func(string) string, prefix string, ref providers.Ref) (string, error) {
	id, err := secretID(prefix, ref)
	switch {
	case err != nil:
		return "", err
	case wholeARN.MatchString(id) && strings.HasPrefix(id, "arn:"):
		return id, nil
	case strings.HasPrefix(id, "arn:"):
		return id + anySuffix, nil
	}
	return arn(id) + anySuffix, nil
}

// search allows to read what a search can find. A name is a regular
// expression, which IAM does not know: path and tags narrow it down.
func search(arn func(string) string, prefix string, q providers.Query) (statement, error) {
	start := prefix + q.Path
	if start != "" && !validName.MatchString(start) {
		return statement{}, providers.Invalidf("no name of a secret begins so")
	}
	s := statement{Effect: "Allow", Action: []string{"secretsmanager:GetSecretValue"}, Resource: []string{arn(start + "*")}}
	for key, value := range q.Tags {
		if s.Condition == nil {
			s.Condition = map[string]map[string]string{"StringEquals": {}}
		}
		s.Condition["StringEquals"]["secretsmanager:ResourceTag/"+key] = value
	}
	return s, nil
}
