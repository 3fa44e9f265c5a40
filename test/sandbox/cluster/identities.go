package cluster

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// identity is a user of the API server who shows a token.
type identity struct {
	user   string
	groups string
	token  string
}

// newIdentities makes up a token for the administrator and for each component.
// The components have the names that the built-in roles are bound to.
func newIdentities() map[string]identity {
	identities := map[string]identity{
		"admin":                  {user: "admin", groups: "system:masters"},
		controllerManagerProgram: {user: "system:kube-controller-manager"},
		schedulerProgram:         {user: "system:kube-scheduler"},
		kwokProgram:              {user: "kwok", groups: "system:masters"},
	}
	for name, i := range identities {
		i.token = rand.Text()
		identities[name] = i
	}
	return identities
}

// writeTokens writes the API server's token file.
func writeTokens(path string, identities map[string]identity) error {
	var lines strings.Builder
	for _, i := range identities {
		fmt.Fprintf(&lines, "%s,%s,%s,%q\n", i.token, i.user, i.user, i.groups)
	}
	return os.WriteFile(path, []byte(lines.String()), 0o600)
}

// writeKubeconfigs writes one for the administrator at path and one for each
// component into the directory dir.
func writeKubeconfigs(path, dir, url string, ca []byte, identities map[string]identity) error {
	for name, i := range identities {
		target := path
		if name != "admin" {
			target = filepath.Join(dir, name+".kubeconfig")
		}
		if err := os.WriteFile(target, kubeconfig(url, ca, i), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func kubeconfig(url string, ca []byte, i identity) []byte {
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: sandbox
clusters:
- name: sandbox
  cluster:
    server: %s
    certificate-authority-data: %s
users:
- name: %[3]q
  user:
    token: %[4]s
contexts:
- name: sandbox
  context:
    cluster: sandbox
    user: %[3]q
    namespace: default
`, url, base64.StdEncoding.EncodeToString(ca), i.user, i.token)
}
