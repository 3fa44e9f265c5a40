//go:build needs

package providers

import (
	_ "golang.org/x/time/rate"
)
