package cluster

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
)

//go:embed kwok.yaml
var kwokConfig []byte

// layout is where everything of one control plane is.
type layout struct {
	dir     string
	etcdURL string
	peerURL string
	apiURL  string
	apiPort int
	token   string
	ca      []byte
}

// newLayout prepares the directory. Every start begins with an empty cluster,
// because keys and tokens of an earlier one are gone.
func newLayout(dir string, ports []int) (*layout, error) {
	l := &layout{
		dir:     dir,
		etcdURL: fmt.Sprintf("http://127.0.0.1:%d", ports[0]),
		peerURL: fmt.Sprintf("http://127.0.0.1:%d", ports[1]),
		apiURL:  fmt.Sprintf("https://127.0.0.1:%d", ports[2]),
		apiPort: ports[2],
	}
	for _, name := range []string{"etcd", "pki"} {
		if err := os.RemoveAll(l.path(name)); err != nil {
			return nil, err
		}
		if err := os.MkdirAll(l.path(name), 0o700); err != nil {
			return nil, err
		}
	}
	return l, l.writeFiles()
}

func (l *layout) writeFiles() error {
	var err error
	if l.ca, err = writePKI(l.path("pki")); err != nil {
		return fmt.Errorf("write keys and certificates: %w", err)
	}
	identities := newIdentities()
	l.token = identities["admin"].token
	if err := writeTokens(l.path("pki/tokens.csv"), identities); err != nil {
		return err
	}
	if err := os.WriteFile(l.path("kwok.yaml"), kwokConfig, 0o600); err != nil {
		return err
	}
	return writeKubeconfigs(l.path("kubeconfig"), l.path("pki"), l.apiURL, l.ca, identities)
}

func (l *layout) path(elements ...string) string {
	return filepath.Join(append([]string{l.dir}, elements...)...)
}
