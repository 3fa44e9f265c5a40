//go:build needs

package providers

import (
	_ "github.com/hashicorp/vault/api"
	_ "golang.org/x/time/rate"
)
