package plugin_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
	"github.com/gitseal/gitseal/providers/plugin"
	"github.com/gitseal/gitseal/providers/providertest"
)

// playing is set in the process of a plugin: this program is both.
const playing = "GITSEAL_TEST_PLUGIN"

func TestMain(m *testing.M) {
	if dir := os.Getenv(playing); dir != "" {
		if err := play(context.Background(), dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func TestConformance(t *testing.T) {
	top := shortDir(t)
	providertest.Run(t, providertest.Subject{
		Backend: plugin.Backend(top),
		New:     func(t *testing.T) *providertest.Server { return newServer(t, top) },
		Without: map[providertest.Feature]string{
			providertest.Network: "a socket of this machine is no network; what hangs is tested below",
		},
		OddKeys: []string{"a b", "Käse", "../../etc", "a/b", "{{ . }}", strings.Repeat("x", 2048)},
		BadKeys: []string{strings.Repeat("x", 2049), "\xff\xfe"},
	})
}

// process is a plugin in a process of its own.
type process struct {
	t    *testing.T
	dir  string // how it is told what to do
	cmd  *exec.Cmd
	told orders
}

// orders are what the plugin finds in its directory, each time.
type orders struct {
	Values   map[string][][]byte
	Tags     map[string]map[string]string
	Denied   map[string]bool
	Throttle *int64 // milliseconds to wait
}

func newServer(t *testing.T, top string) *providertest.Server {
	t.Helper()
	server, _ := startPlugin(t, top)
	return server
}

func startPlugin(t *testing.T, top string) (*providertest.Server, *process) {
	t.Helper()
	dir := filepath.Join(top, "p"+strings.ToLower(rand.Text()[:10]))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, dir: dir, told: orders{Values: map[string][][]byte{}, Tags: map[string]map[string]string{}, Denied: map[string]bool{}}}
	p.tell()
	p.start()
	t.Cleanup(p.kill)
	return &providertest.Server{
		Store: storeOf(filepath.Base(dir), "open sesame"),
		Wrong: ptr(storeOf(filepath.Base(dir), "open barley")),
		Put: func(key string, content []byte) string {
			p.told.Values[key] = append(p.told.Values[key], content)
			p.tell()
			return fmt.Sprint(len(p.told.Values[key]))
		},
		Tag:  func(key string, tags map[string]string) { p.told.Tags[key] = tags; p.tell() },
		Deny: func(key string) { p.told.Denied[key] = true; p.tell() },
		Throttle: func(after time.Duration) {
			p.told.Throttle = ptr(after.Milliseconds())
			p.tell()
		},
		Outage: p.kill,
		Recover: func() {
			p.told.Throttle = nil
			p.tell()
			p.start()
		},
		Revoke:       func() { p.kill(); p.start() },
		Logins:       func() int { return p.count("opens") },
		Requests:     func() int { return p.count("gets") },
		Confidential: []string{"open sesame", "open barley", "the plugin says hunter2"},
	}, p
}

func ptr[T any](v T) *T { return &v }

// shortDir is one whose sockets have names that the system can hold.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gs") //nolint:usetesting // its name would be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func storeOf(name, password string) providers.Store {
	return providers.Store{
		Credentials: passwords{password},
		Spec: v1alpha1.StoreProvider{Plugin: &v1alpha1.PluginProvider{
			Name: name, Config: map[string]string{"realm": "test"},
			Credentials: []v1alpha1.PluginCredential{{Name: "password", SecretRef: v1alpha1.SecretKeySelector{Name: "plugin", Key: "password"}}},
		}},
	}
}

type passwords struct{ password string }

func (p passwords) Secret(v1alpha1.SecretKeySelector) (secret.Value, error) {
	return secret.NewValue([]byte(p.password)), nil
}
func (passwords) CA(v1alpha1.CAProvider) ([]byte, error)                  { return nil, nil }
func (passwords) ConfigMap(v1alpha1.ConfigMapKeySelector) (string, error) { return "", nil }
func (passwords) Token(context.Context, v1alpha1.ServiceAccountSelector, []string, time.Duration) (providers.Token, error) {
	return providers.Token{}, nil
}
func (passwords) Annotations(context.Context, v1alpha1.ServiceAccountSelector) (map[string]string, error) {
	return nil, nil
}

func (p *process) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// tell replaces the orders in one step.
func (p *process) tell() {
	p.t.Helper()
	raw, err := json.Marshal(p.told)
	p.must(err)
	p.must(os.WriteFile(filepath.Join(p.dir, "new"), raw, 0o600))
	p.must(os.Rename(filepath.Join(p.dir, "new"), filepath.Join(p.dir, "orders")))
}

// start runs the plugin until it listens, unless it runs.
func (p *process) start() {
	p.t.Helper()
	if p.cmd != nil {
		return
	}
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), playing+"="+p.dir)
	p.cmd.Stderr = os.Stderr
	p.must(p.cmd.Start())
	eventually(p.t, func() error {
		c, err := net.Dial("unix", p.dir+".sock")
		if err == nil {
			err = c.Close()
		}
		return err
	})
}

// stop holds the plugin up until it may go on.
func (p *process) stop() (goOn func()) {
	p.t.Helper()
	pid := p.cmd.Process.Pid
	p.must(syscall.Kill(pid, syscall.SIGSTOP))
	var status syscall.WaitStatus
	_, err := syscall.Wait4(pid, &status, syscall.WUNTRACED, nil) // each of its threads takes a while
	p.must(err)
	if !status.Stopped() {
		p.t.Fatalf("the plugin ended: %v", status)
	}
	return func() { p.must(syscall.Kill(pid, syscall.SIGCONT)) }
}

// eventually waits until something succeeds.
func eventually(t *testing.T, try func() error) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; <-time.After(5 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after a minute still: %v", err)
		}
	}
}

func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	p.cmd = nil
}

func (p *process) count(what string) int {
	p.t.Helper()
	info, err := os.Stat(filepath.Join(p.dir, what))
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	p.must(err)
	return int(info.Size())
}
