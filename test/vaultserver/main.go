// Command vaultserver runs the core of a real Vault on loopback for gitseal's
// tests and demos: in memory, initialized and unsealed, with KV and the methods
// of authentication that gitseal knows. It holds nothing of its own but how a
// core is put together; sealing, quotas and tokens are asked of Vault's API.
//
// Vault is licensed under BUSL-1.1. Nothing that gitseal ships links it.
package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

// started is the one line on standard output, once Vault answers.
type started struct {
	Address string `json:"address"`
	// CA is the PEM certificate that signed the server's; "" without -tls.
	CA        string `json:"ca,omitempty"`
	RootToken string `json:"rootToken"`
	// UnsealKey in hexadecimal; one is enough.
	UnsealKey string `json:"unsealKey"`
}

func main() {
	var o options
	flag.StringVar(&o.listen, "listen", "127.0.0.1:0", "loopback address to listen on")
	flag.BoolVar(&o.tls, "tls", false, "listen with TLS, under a certificate made for this run; the method cert needs it")
	flag.StringVar(&o.logLevel, "log-level", "error", "level of Vault's log, on standard error")
	flag.Parse()
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		log.Fatalf("error: %v", err)
	}
}

type options struct {
	listen   string
	tls      bool
	logLevel string
}

// run serves until the context ends.
func run(ctx context.Context, o options, out io.Writer) error {
	listener, err := listen(ctx, o.listen)
	if err != nil {
		return err
	}
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.LevelFromString(o.logLevel), Output: os.Stderr})
	core, line, err := open(ctx, logger)
	if err != nil {
		return err
	}
	line.Address = "http://" + listener.Addr().String()
	if o.tls {
		listener, line.CA, err = withTLS(listener)
		if err != nil {
			return err
		}
		line.Address = "https://" + listener.Addr().String()
	}
	server := &http.Server{
		Handler: vaulthttp.Handler.Handler(&vault.HandlerProperties{
			Core:           core,
			ListenerConfig: &configutil.Listener{Type: configutil.TCP},
		}),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	if err := json.NewEncoder(out).Encode(line); err != nil {
		return fmt.Errorf("print the address: %w", err)
	}
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
		return errors.Join(server.Close(), core.Shutdown())
	}
}

// listen refuses any address but one of loopback: the root token is printed.
func listen(ctx context.Context, address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("parse -listen: %w", err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("-listen %q is not a loopback address", address)
	}
	var config net.ListenConfig
	return config.Listen(ctx, "tcp", address)
}

// open puts a core together, initializes and unseals it.
func open(ctx context.Context, logger hclog.Logger) (*vault.Core, started, error) {
	storage, err := inmem.NewInmem(nil, logger)
	if err != nil {
		return nil, started{}, fmt.Errorf("make storage: %w", err)
	}
	core, err := vault.NewCore(&vault.CoreConfig{
		Physical:           storage,
		StorageType:        "inmem",
		BuiltinRegistry:    builtins,
		LogicalBackends:    secretEngines,
		CredentialBackends: authMethods,
		DisableMlock:       true,
		Logger:             logger,
		ClusterName:        "gitseal-test",
		DefaultLeaseTTL:    768 * time.Hour,
		MaxLeaseTTL:        768 * time.Hour,
	})
	if err != nil {
		return nil, started{}, fmt.Errorf("make core: %w", err)
	}
	one := &vault.SealConfig{SecretShares: 1, SecretThreshold: 1}
	keys, err := core.Initialize(ctx, &vault.InitParams{BarrierConfig: one})
	if err != nil {
		return nil, started{}, fmt.Errorf("initialize: %w", err)
	}
	if _, err := core.Unseal(keys.SecretShares[0]); err != nil {
		return nil, started{}, fmt.Errorf("unseal: %w", err)
	}
	return core, started{RootToken: keys.RootToken, UnsealKey: hex.EncodeToString(keys.SecretShares[0])}, nil
}
