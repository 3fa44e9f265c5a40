package gcp

import (
	"encoding/json"
	"strings"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/providers"
)

type iamPolicy struct {
	Bindings []binding `json:"bindings"`
}

type binding struct {
	Role    string   `json:"role"`
	Members []string `json:"members"`
}

const (
	roleAccessor = "roles/secretmanager.secretAccessor"
	roleViewer   = "roles/secretmanager.viewer"
)

// Policy writes an IAM policy for each resource, as a JSON object by resource
// name, that lets a member do what the uses take and nothing else: to read
// versions, and to look at a secret itself where that is needed.
func Policy(spec v1alpha1.GCPSMProvider, uses []providers.Use, member string) ([]byte, error) {
	roles := map[string]map[string]bool{} // by resource
	grant := func(resource, role string) {
		if roles[resource] == nil {
			roles[resource] = map[string]bool{}
		}
		roles[resource][role] = true
	}
	parent, err := parentOf(&spec, "")
	if err != nil {
		return nil, err
	}
	project, _, _ := strings.Cut(parent, "/locations/")
	for _, u := range uses {
		if u.Find != nil { // what a search finds is not known before
			grant(project, roleAccessor)
			grant(project, roleViewer)
			continue
		}
		resource := parent + "/secrets/" + u.Ref.Key
		if u.Ref.Metadata {
			grant(resource, roleViewer)
			continue
		}
		grant(resource, roleAccessor)
		if spec.SecretVersionSelectionPolicy == "LatestOrFetch" && u.Ref.Version == "" {
			grant(resource, roleViewer)
		}
	}
	policies := map[string]iamPolicy{}
	for resource, of := range roles {
		var p iamPolicy
		for _, role := range []string{roleAccessor, roleViewer} {
			if of[role] {
				p.Bindings = append(p.Bindings, binding{Role: role, Members: []string{member}})
			}
		}
		policies[resource] = p
	}
	raw, err := json.MarshalIndent(policies, "", "  ")
	return append(raw, '\n'), err
}
