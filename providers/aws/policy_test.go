package aws

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/providers"
)

func TestPolicyAllowsWhatTheUsesTakeAndNothingElse(t *testing.T) {
	value := func(key, version string) providers.Use {
		return providers.Use{Ref: providers.Ref{Key: key, Version: version}}
	}
	tests := map[string]struct {
		uses []providers.Use
		want string
	}{
		"nothing": {nil, `{
  "Version": "2012-10-17",
  "Statement": []
}
`},
		"a pinned version takes no batch": {[]providers.Use{value("db", "AWSPREVIOUS")}, `{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Sid": "ReadValues",
      "Effect": "Allow",
      "Action": [
        "secretsmanager:DescribeSecret",
        "secretsmanager:GetSecretValue"
      ],
      "Resource": [
        "arn:aws:secretsmanager:eu-central-1:123456789012:secret:prod/db-??????"
      ]
    }
  ]
}
`},
		"values once each, metadata, a search": {[]providers.Use{
			value("db", ""), value("db", ""), value("api", ""), {Ref: providers.Ref{Key: "db", Metadata: true}},
			{Find: &providers.Query{Path: "shop/", Tags: map[string]string{"team": "shop"}}},
		}, `{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Sid": "ReadValues",
      "Effect": "Allow",
      "Action": [
        "secretsmanager:DescribeSecret",
        "secretsmanager:GetSecretValue"
      ],
      "Resource": [
        "arn:aws:secretsmanager:eu-central-1:123456789012:secret:prod/api-??????",
        "arn:aws:secretsmanager:eu-central-1:123456789012:secret:prod/db-??????"
      ]
    },
    {
      "Sid": "ReadMetadata",
      "Effect": "Allow",
      "Action": [
        "secretsmanager:DescribeSecret"
      ],
      "Resource": [
        "arn:aws:secretsmanager:eu-central-1:123456789012:secret:prod/db-??????"
      ]
    },
    {
      "Sid": "List",
      "Effect": "Allow",
      "Action": [
        "secretsmanager:ListSecrets"
      ],
      "Resource": [
        "*"
      ]
    },
    {
      "Effect": "Allow",
      "Action": [
        "secretsmanager:GetSecretValue"
      ],
      "Resource": [
        "arn:aws:secretsmanager:eu-central-1:123456789012:secret:prod/shop/*"
      ],
      "Condition": {
        "StringEquals": {
          "secretsmanager:ResourceTag/team": "shop"
        }
      }
    },
    {
      "Sid": "ReadSeveralAtOnce",
      "Effect": "Allow",
      "Action": [
        "secretsmanager:BatchGetSecretValue"
      ],
      "Resource": [
        "*"
      ]
    }
  ]
}
`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			spec := v1alpha1.AWSProvider{Region: "eu-central-1", Prefix: "prod/"}
			got, err := Policy(spec, tt.uses, Account{ID: "123456789012", Partition: "aws"})
			if diff := cmp.Diff(tt.want, string(got)); err != nil || diff != "" {
				t.Errorf("Policy: %v\n%s", err, diff)
			}
		})
	}
}

// IAM reads "*" and "?" as patterns, and no secret has such a name.
func TestPolicyAllowsNoMoreThanOneSecretForAKey(t *testing.T) {
	whole := "arn:aws:secretsmanager:eu-central-1:123456789012:secret:db-AbCdEf"
	tests := map[string]struct {
		use  providers.Use
		want string // the resource
		kind error
	}{
		"a whole ARN":                {providers.Use{Ref: providers.Ref{Key: whole}}, whole, nil},
		"an ARN without its suffix":  {providers.Use{Ref: providers.Ref{Key: strings.TrimSuffix(whole, "-AbCdEf")}}, strings.TrimSuffix(whole, "AbCdEf") + "??????", nil},
		"a pattern":                  {providers.Use{Ref: providers.Ref{Key: "*"}}, "", providers.ErrInvalid},
		"an ARN that is a pattern":   {providers.Use{Ref: providers.Ref{Key: "arn:aws:secretsmanager:*:*:secret:*"}}, "", providers.ErrInvalid},
		"metadata of a pattern":      {providers.Use{Ref: providers.Ref{Key: "d?", Metadata: true}}, "", providers.ErrInvalid},
		"a search below a pattern":   {providers.Use{Find: &providers.Query{Path: "*/x"}}, "", providers.ErrInvalid},
		"a search for the beginning": {providers.Use{Find: &providers.Query{Path: "d"}}, "arn:aws:secretsmanager:eu-central-1:123456789012:secret:d*", nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Policy(v1alpha1.AWSProvider{Region: "eu-central-1"}, []providers.Use{tt.use}, Account{ID: "123456789012", Partition: "aws"})
			if !errors.Is(err, tt.kind) || !strings.Contains(string(got), strconv.Quote(tt.want)) && tt.want != "" {
				t.Errorf("Policy = %s, %v, want resource %q, %v", got, err, tt.want, tt.kind)
			}
		})
	}
}
