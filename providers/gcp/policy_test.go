package gcp

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/providers"
)

func TestPolicyAllowsWhatTheUsesTakeAndNothingElse(t *testing.T) {
	const member = "serviceAccount:gitseal@p.iam.gserviceaccount.com"
	members := `"members": [
          "` + member + `"
        ]`
	accessor := `{
        "role": "roles/secretmanager.secretAccessor",
        ` + members + `
      }`
	viewer := `{
        "role": "roles/secretmanager.viewer",
        ` + members + `
      }`
	policy := func(resource, bindings string) string {
		return "{\n  \"" + resource + "\": {\n    \"bindings\": [\n      " + bindings + "\n    ]\n  }\n}\n"
	}
	db := providers.Use{Ref: providers.Ref{Key: "db"}}
	tests := map[string]struct {
		spec v1alpha1.GCPSMProvider
		uses []providers.Use
		want string
	}{
		"nothing":           {want: "{}\n"},
		"a value, twice":    {uses: []providers.Use{db, db}, want: policy("projects/p/secrets/db", accessor)},
		"a regional secret": {spec: v1alpha1.GCPSMProvider{Location: "europe-west1"}, uses: []providers.Use{db}, want: policy("projects/p/locations/europe-west1/secrets/db", accessor)},
		"its metadata":      {uses: []providers.Use{{Ref: providers.Ref{Key: "db", Metadata: true}}}, want: policy("projects/p/secrets/db", viewer)},
		"the newest that is enabled": {spec: v1alpha1.GCPSMProvider{SecretVersionSelectionPolicy: "LatestOrFetch"}, uses: []providers.Use{db},
			want: policy("projects/p/secrets/db", accessor+",\n      "+viewer)},
		"a search": {uses: []providers.Use{{Find: &providers.Query{Name: "^db"}}}, want: policy("projects/p", accessor+",\n      "+viewer)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.spec.ProjectID = "p"
			got, err := Policy(tt.spec, tt.uses, member)
			if diff := cmp.Diff(tt.want, string(got)); err != nil || diff != "" {
				t.Errorf("Policy: %v\n%s", err, diff)
			}
		})
	}
}
