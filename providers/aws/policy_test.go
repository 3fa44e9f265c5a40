package aws

import (
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
