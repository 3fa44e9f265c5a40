// Package cluster starts a Kubernetes control plane whose nodes are played by
// kwok, and says when it is ready for use. It owns the programs' configuration;
// running and stopping processes is the business of package process.
package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gitseal/gitseal/test/sandbox/process"
	"github.com/gitseal/gitseal/test/sandbox/state"
)

// Ports is how many ports a control plane needs.
const Ports = 3

// Starter starts one control plane.
type Starter struct {
	Dir    string
	Assets Assets
	// Ports of loopback that nobody else takes.
	Ports []int
	Group *process.Group
	// Started is told of every program as soon as it runs.
	Started func(*process.Child) error
	// Printf prints one line of progress.
	Printf func(format string, args ...any)
}

// Start brings the control plane up, returns when it is ready, and enters
// where it is into the state.
func (s *Starter) Start(ctx context.Context, sandbox *state.Sandbox) error {
	l, err := newLayout(s.Dir, s.Ports)
	if err != nil {
		return err
	}
	sandbox.Kubeconfig = l.path("kubeconfig")
	sandbox.Kubectl = s.Assets.Kubectl()
	sandbox.APIServer = &state.APIServer{URL: l.apiURL, CAFile: l.path("pki/ca.crt"), Token: l.token}
	sandbox.Etcd = &state.Etcd{URL: l.etcdURL, Prefix: "/registry/"}

	api := newClient(l.apiURL, l.token, l.ca)
	if err := s.startCore(ctx, l, api); err != nil {
		return err
	}
	return s.startWorkloads(ctx, l, api)
}

// startCore starts what stores and serves objects.
func (s *Starter) startCore(ctx context.Context, l *layout, api *client) error {
	begun := time.Now()
	if err := s.launch(etcdProgram, l.etcdFlags()); err != nil {
		return err
	}
	// The API server waits for etcd by itself, and loads meanwhile.
	if err := s.launch(apiServerProgram, l.apiServerFlags()); err != nil {
		return err
	}
	if err := waitFor(ctx, "the API server", api.serverReady); err != nil {
		return err
	}
	s.Printf("etcd serves at %s", l.etcdURL)
	s.Printf("kube-apiserver is ready at %s after %s", l.apiURL, since(begun))
	return waitFor(ctx, "namespace default", api.defaultNamespaceExists) // made once it is ready
}

// startWorkloads starts what acts on objects.
func (s *Starter) startWorkloads(ctx context.Context, l *layout, api *client) error {
	begun := time.Now()
	flags := map[string][]string{
		controllerManagerProgram: l.controllerManagerFlags(),
		schedulerProgram:         l.schedulerFlags(),
		kwokProgram:              l.kwokFlags(),
	}
	for _, name := range []string{controllerManagerProgram, schedulerProgram, kwokProgram} {
		if s.Assets[name] == "" {
			continue
		}
		if err := s.launch(name, flags[name]); err != nil {
			return err
		}
	}
	if err := api.createNodes(ctx); err != nil {
		return err
	}
	if missing := s.Assets.missing(); len(missing) > 0 {
		s.Printf("no %s: workloads will not become ready", strings.Join(missing, ", "))
	}
	return s.waitForWorkloads(ctx, api, begun)
}

// waitForWorkloads waits for what each of the started programs has to do first.
func (s *Starter) waitForWorkloads(ctx context.Context, api *client, begun time.Time) error {
	waits := []struct {
		needs, what string
		check       func(context.Context) error
	}{
		{controllerManagerProgram, "the aggregated ClusterRoles", api.rolesAggregated},
		{controllerManagerProgram, "the default ServiceAccount", api.defaultAccountExists},
		{kwokProgram, "the nodes", api.nodesReady},
	}
	for _, w := range waits {
		// The controller manager also lifts the taint that new nodes have.
		if s.Assets[w.needs] == "" || s.Assets[controllerManagerProgram] == "" {
			continue
		}
		if err := waitFor(ctx, w.what, w.check); err != nil {
			return err
		}
		s.Printf("%s: ready after %s", w.what, since(begun))
	}
	return nil
}

func (s *Starter) launch(name string, flags []string) error {
	child, err := s.Group.Start(process.Spec{
		Name: name,
		Path: s.Assets[name],
		Args: flags,
		Dir:  s.Dir,
		Env:  []string{"HOME=" + s.Dir, "PATH=" + os.Getenv("PATH")},
		Log:  filepath.Join(s.Dir, "logs", name+".log"),
		Halt: state.HaltPath(s.Dir, name),
	})
	if err != nil {
		return err
	}
	s.Printf("%s runs as process %d, log %s", name, child.Identity.PID, child.Spec.Log)
	return s.Started(child)
}

func since(begun time.Time) string {
	return fmt.Sprintf("%.1fs", time.Since(begun).Seconds())
}
