//go:build needs

package providers

import (
	_ "cloud.google.com/go/secretmanager/apiv1"
	_ "github.com/hashicorp/vault/api"
	_ "github.com/tidwall/gjson"
	_ "golang.org/x/oauth2/google"
	_ "golang.org/x/time/rate"
	_ "google.golang.org/api/option"
	_ "google.golang.org/protobuf/proto"
)
