package e2e

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// startPlugin runs the sample plugin until it listens, and gives what ends it.
func (s *story) startPlugin(program, name, file string) (end func()) {
	s.t.Helper()
	socket := filepath.Join(sandbox.Plugins(), name+".sock")
	cmd := exec.Command(program, "-socket", socket, "-file", file)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	ended := false
	end = func() {
		if !ended {
			ended = true
			_ = cmd.Process.Signal(syscall.SIGTERM)
			_ = cmd.Wait()
		}
	}
	s.t.Cleanup(end)
	eventually(s.t, "the plugin at "+socket, func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
		if err != nil {
			return err
		}
		return conn.Close()
	})
	return end
}

// A program beside the operator serves values; it may go and come back, while
// what it gave stays.
func TestAPluginServesValues(t *testing.T) {
	t.Parallel()
	s := newStory(t, "store-plugin")
	program, file := filepath.Join(t.TempDir(), "envfile"), filepath.Join(t.TempDir(), "app.env")
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", program, "./test/plugins/envfile")
	build.Dir = sandbox.Root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the sample plugin: %v\n%s", err, out)
	}
	if err := os.WriteFile(file, []byte("SHOP_PASSWORD=from-the-plugin\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	store := &v1alpha1.ClusterSecretStore{ObjectMeta: metav1.ObjectMeta{Name: s.ns}}
	store.Spec.Provider.Plugin = &v1alpha1.PluginProvider{Name: "envfile", Config: map[string]string{"prefix": "SHOP_"}}
	store.Spec.Access = []v1alpha1.StoreAccess{{Namespaces: []string{s.ns}}}
	store.Spec.RetrySettings = quickly()
	if err := sandbox.Client.Create(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	s.app.Spec.Secrets.Policy = v1alpha1.PolicyExternal
	s.write(map[string]string{"db.yaml": externalManifest("db", `
secretStoreRef: {kind: ClusterSecretStore, name: store-plugin}
data: [{secretKey: password, remoteRef: {key: PASSWORD}}]
`)})
	commit := s.push("before there is a plugin")
	s.create()
	s.waitRefused(v1alpha1.ReasonStoreUnavailable)

	end := s.startPlugin(program, "envfile", file)
	s.waitReady(commit)
	s.wantData("db", map[string]string{"password": "from-the-plugin"})
	end()
	if err := os.WriteFile(file, []byte("SHOP_PASSWORD=another one from the plugin\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.startPlugin(program, "envfile", file)
	s.refreshed()
	s.wantData("db", map[string]string{"password": "another one from the plugin"})
}
