package rig

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/vault/api"
)

// Vault is a real Vault that a test owns: the program of test/vaultserver, and
// a Proxy before it.
type Vault struct {
	// Address is Vault's own, with TLS, and CA the PEM certificate by which it
	// is known.
	Address string
	CA      []byte
	// RootToken and UnsealKey are as good for this Vault only.
	RootToken string
	UnsealKey string
	// Root asks Vault itself, not through the proxy, and may do everything.
	Root *api.Client
	// Proxy has an address and a certificate of its own.
	Proxy *Proxy

	command *exec.Cmd
	ended   chan error
}

// StartVault starts a Vault with nothing in it. Close ends it.
func StartVault(ctx context.Context) (*Vault, error) {
	root, err := findRoot()
	if err != nil {
		return nil, err
	}
	program := filepath.Join(root, "bin", "vaultserver")
	if _, err := os.Stat(program); err != nil {
		return nil, errors.New("bin/vaultserver is missing: run `make bin/vaultserver` (`make test` does)")
	}
	v := &Vault{command: exec.Command(program, "-tls"), ended: make(chan error, 1)}
	v.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	v.command.Stderr = os.Stderr
	out, err := v.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := v.command.Start(); err != nil {
		return nil, fmt.Errorf("start Vault: %w", err)
	}
	if err := v.connect(ctx, out); err != nil {
		return nil, errors.Join(err, v.Close())
	}
	return v, nil
}

// connect reads what the program says about itself, once Vault answers.
func (v *Vault) connect(ctx context.Context, out io.Reader) error {
	line, err := bufio.NewReader(out).ReadBytes('\n')
	go func() { v.ended <- v.command.Wait() }()
	if err != nil {
		return fmt.Errorf("read Vault's address: %w", err)
	}
	var said struct{ Address, CA, RootToken, UnsealKey string }
	if err := json.Unmarshal(line, &said); err != nil {
		return fmt.Errorf("read Vault's address: %w", err)
	}
	v.Address, v.CA, v.RootToken, v.UnsealKey = said.Address, []byte(said.CA), said.RootToken, said.UnsealKey
	target, err := url.Parse(v.Address)
	if err != nil {
		return err
	}
	authorities := x509.NewCertPool()
	authorities.AppendCertsFromPEM(v.CA)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authorities, MinVersion: tls.VersionTLS12}, MaxIdleConnsPerHost: 64}
	v.Proxy = newProxy(target, transport)
	v.Root, err = api.NewClient(&api.Config{Address: v.Address, HttpClient: &http.Client{Transport: transport}, Timeout: 2 * time.Minute})
	if err != nil {
		return err
	}
	v.Root.SetToken(v.RootToken)
	return ctx.Err()
}

// Close ends Vault and the proxy.
func (v *Vault) Close() error {
	if v.Proxy != nil {
		v.Proxy.Close()
	}
	if err := v.command.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop Vault: %w", err)
	}
	select {
	case err := <-v.ended:
		return err
	case <-time.After(time.Minute):
		_ = v.command.Process.Kill()
		return errors.New("Vault did not end within a minute of SIGTERM")
	}
}

// Write writes to a path of Vault's API as root.
func (v *Vault) Write(ctx context.Context, path string, body map[string]any) (*api.Secret, error) {
	answer, err := v.Root.Logical().WriteWithContext(ctx, path, body)
	if err != nil {
		return nil, fmt.Errorf("write %q to Vault: %w", path, err)
	}
	return answer, nil
}

// MountKV mounts a KV engine, version 1 or 2, and waits until it is ready.
func (v *Vault) MountKV(ctx context.Context, mount, version string) error {
	err := v.Root.Sys().MountWithContext(ctx, mount, &api.MountInput{Type: "kv", Options: map[string]string{"version": version}})
	if err != nil {
		return fmt.Errorf("mount KV at %q: %w", mount, err)
	}
	// Version 2 says 400 until it has upgraded an empty store.
	return poll(ctx, fmt.Sprintf("KV at %q", mount), func(ctx context.Context) error {
		_, err := v.Root.Logical().ListWithContext(ctx, strings.Trim(mount, "/")+map[string]string{"1": "/", "2": "/metadata"}[version])
		return err
	})
}

// EnableAuth enables a method of authentication at a path.
func (v *Vault) EnableAuth(ctx context.Context, path, method string) error {
	if err := v.Root.Sys().EnableAuthWithOptionsWithContext(ctx, path, &api.EnableAuthOptions{Type: method}); err != nil {
		return fmt.Errorf("enable auth method %q at %q: %w", method, path, err)
	}
	return nil
}

// Policy writes a policy in Vault's own language.
func (v *Vault) Policy(ctx context.Context, name, rules string) error {
	if err := v.Root.Sys().PutPolicyWithContext(ctx, name, rules); err != nil {
		return fmt.Errorf("write policy %q: %w", name, err)
	}
	return nil
}

// Seal seals Vault: it answers 503 until Unseal.
func (v *Vault) Seal(ctx context.Context) error {
	if err := v.Root.Sys().SealWithContext(ctx); err != nil {
		return fmt.Errorf("seal Vault: %w", err)
	}
	return nil
}

// Unseal ends a Seal.
func (v *Vault) Unseal(ctx context.Context) error {
	status, err := v.Root.Sys().UnsealWithContext(ctx, v.UnsealKey)
	if err != nil {
		return fmt.Errorf("unseal Vault: %w", err)
	}
	if status.Sealed {
		return errors.New("unseal Vault: it is still sealed")
	}
	return nil
}

// VaultReads matches what reads values through the proxy, of KV mounts.
func VaultReads(a Asked) bool {
	return a.Method == http.MethodGet && !strings.HasPrefix(a.Path, "/v1/auth/") && !strings.HasPrefix(a.Path, "/v1/sys/")
}

// VaultLogins matches logins through the proxy.
func VaultLogins(a Asked) bool {
	return strings.HasPrefix(a.Path, "/v1/auth/") && (strings.HasSuffix(a.Path, "/login") || strings.Contains(a.Path, "/login/"))
}
