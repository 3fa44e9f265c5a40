//go:build needs

package providers

import (
	_ "github.com/hashicorp/vault/api"
	_ "github.com/tidwall/gjson"
	_ "golang.org/x/time/rate"
)
