package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gitseal/gitseal/test/sandbox/cluster"
	"github.com/gitseal/gitseal/test/sandbox/githttp"
	"github.com/gitseal/gitseal/test/sandbox/process"
	"github.com/gitseal/gitseal/test/sandbox/state"
)

// stopGrace is what a program gets to end by itself. There is nothing to save:
// the sandbox's data ends with it.
const stopGrace = 3 * time.Second

// upOptions are the arguments of `sandbox up`.
type upOptions struct {
	dir       string
	assets    string
	basicAuth string
	detach    bool
}

func runUp(ctx context.Context, args []string, out, diagnostics io.Writer) error {
	var o upOptions
	flags, dirFlag := newFlags("up", diagnostics)
	flags.StringVar(&o.assets, "assets", "bin/control-plane", "directory of the control plane's programs")
	flags.StringVar(&o.basicAuth, "basic-auth", "", "USER:PASSWORD that all repositories need")
	flags.BoolVar(&o.detach, "detach", false, "return when ready, and stay in the background")
	var err error
	if o.dir, err = parse(flags, dirFlag, args); err != nil {
		return err
	}
	if o.basicAuth != "" && !strings.Contains(o.basicAuth, ":") {
		return fmt.Errorf("--basic-auth: want USER:PASSWORD")
	}
	if err := os.MkdirAll(filepath.Join(o.dir, "logs"), 0o700); err != nil {
		return err
	}
	if o.detach {
		return detach(ctx, o, out)
	}
	return up(ctx, o, out)
}

// supervisor is a sandbox in the making, then running.
type supervisor struct {
	options upOptions
	out     io.Writer
	begun   time.Time
	group   *process.Group

	mu    sync.Mutex // over state, once the sandbox is ready
	state *state.Sandbox
}

// up runs a sandbox until the context ends or one of its programs does.
func up(ctx context.Context, o upOptions, out io.Writer) error {
	lock, err := lockDir(o.dir)
	if err != nil {
		return err
	}
	defer lock.Close()

	s := &supervisor{options: o, out: out, begun: time.Now()}
	programs, group := process.NewGroup(ctx)
	s.group = group
	group.Restarted = s.enter
	err = s.run(programs)
	s.printf("stopping")
	group.Stop(stopGrace)
	if removeErr := state.Remove(o.dir); removeErr != nil {
		return errors.Join(err, removeErr)
	}
	s.printf("stopped")
	// To be asked to stop is how a sandbox ends, not how it fails.
	var died *process.DiedError
	if ctx.Err() != nil && !errors.As(err, &died) {
		return nil
	}
	return err
}

// run starts everything and returns when something ends.
func (s *supervisor) run(ctx context.Context) error {
	if err := s.begin(); err != nil {
		return err
	}
	claim, ports, err := claimPorts()
	if err != nil {
		return err
	}
	git, err := s.serveGit(claim)
	if err != nil {
		return err
	}
	defer git.Stop(stopGrace)
	if err := s.startCluster(ctx, ports[:cluster.Ports]); err != nil {
		return err
	}
	s.state.SparePorts = ports[cluster.Ports:]
	if err := s.markReady(); err != nil {
		return err
	}
	s.printf("ready: export KUBECONFIG=%s", s.state.Kubeconfig)
	<-ctx.Done()
	return context.Cause(ctx)
}

func (s *supervisor) markReady() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Ready = true
	return s.state.Write()
}

// begin writes the first state, by which `down` finds even what never got ready.
func (s *supervisor) begin() error {
	self, err := process.Identify(os.Getpid())
	if err != nil {
		return err
	}
	s.state = &state.Sandbox{Dir: s.options.dir, StartedAt: s.begun.UTC(), Supervisor: self}
	return s.state.Write()
}

func (s *supervisor) serveGit(listener net.Listener) (*githttp.Server, error) {
	log, err := os.Create(filepath.Join(s.options.dir, "logs", "git.log"))
	if err != nil {
		return nil, err
	}
	config := githttp.Config{
		Dir:  repositories(s.options.dir),
		User: githttp.DefaultUser, Password: githttp.DefaultPassword,
		Log: log,
	}
	if s.options.basicAuth != "" {
		config.User, config.Password, _ = strings.Cut(s.options.basicAuth, ":")
		config.AuthAlways = true
	}
	server, err := githttp.Serve(listener, config)
	if err != nil {
		return nil, err
	}
	s.state.Git = state.Git{
		URL: server.URL, Dir: config.Dir, PrivatePrefix: githttp.PrivatePrefix,
		AuthAlways: config.AuthAlways, User: config.User, Password: config.Password,
	}
	s.printf("git serves at %s, log %s", server.URL, log.Name())
	return server, s.state.Write()
}

// startCluster starts a control plane, or adopts the one that KUBECONFIG names.
func (s *supervisor) startCluster(ctx context.Context, ports []int) error {
	if foreign := os.Getenv("KUBECONFIG"); foreign != "" {
		return s.adopt(foreign)
	}
	assets, err := cluster.FindAssets(s.options.assets, os.Getenv("KUBEBUILDER_ASSETS"))
	if err != nil {
		return err
	}
	starter := &cluster.Starter{
		Dir: s.options.dir, Assets: assets, Ports: ports, Group: s.group,
		Started: s.enter, Printf: s.printf,
	}
	return starter.Start(ctx, s.state)
}

// adopt copies the kubeconfig of a cluster that the sandbox does not run.
func (s *supervisor) adopt(path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("KUBECONFIG must name one file: %w", err)
	}
	s.state.Kubeconfig = filepath.Join(s.options.dir, "kubeconfig")
	s.printf("KUBECONFIG is set: using the cluster of %s", path)
	return os.WriteFile(s.state.Kubeconfig, raw, 0o600)
}

// enter notes a started child, so that `down` can end it without us.
func (s *supervisor) enter(c *process.Child) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Enter(state.Process{Name: c.Spec.Name, Identity: c.Identity, Log: c.Spec.Log})
	return s.state.Write()
}

func (s *supervisor) printf(format string, args ...any) {
	fmt.Fprintf(s.out, "%6.1fs  %s\n", time.Since(s.begun).Seconds(), fmt.Sprintf(format, args...))
}

// lockDir makes sure that one sandbox at most uses the directory. The kernel
// drops the lock with the process, however that ends.
func lockDir(dir string) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("a sandbox runs in %q already; stop it with `sandbox down --dir %s`", dir, dir), lock.Close())
	}
	return lock, nil
}
