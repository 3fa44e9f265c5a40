package main

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"text/template"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/gitseal/gitseal/test/bench/result"
	"github.com/gitseal/gitseal/test/rig"
)

// peers describe the controllers that can be measured without a download.
//
//go:embed peers/*.yaml
var peers embed.FS

// controller describes what is measured. gitseal itself is described like any
// peer, so that all are put to the same test. Texts are Go templates over
// values; CONTRIBUTING.md has an example.
type controller struct {
	Name string `json:"name"`
	// What it is, for the report.
	What string `json:"what"`
	// Secrets is "sops" where it opens SOPS files by itself, and "plain" where
	// it is to be given Secrets in plaintext.
	Secrets string `json:"secrets"`
	// External: it makes Secrets of ExternalSecrets, of a store that the
	// benchmark declares.
	External bool `json:"external"`
	// Processes are the commands to start, with KUBECONFIG of an administrator
	// in the environment; all are metered, with their children. Empty: the
	// operator of this repository, with the rights of config/default.
	Processes [][]string        `json:"processes"`
	Env       map[string]string `json:"env"`
	// Arguments are more arguments for the operator of this repository.
	Arguments []string `json:"arguments"`
	// Install are files of manifests and Setup is one more, once per sandbox;
	// Shared is applied once per namespace of a round, and Application once per
	// Application.
	Install     []string `json:"install"`
	Setup       string   `json:"setup"`
	Shared      string   `json:"shared"`
	Application string   `json:"application"`
	// Resource is what an Application is.
	Resource schema.GroupVersionResource `json:"resource"`
	// Applied and Ready hold once everything of a commit is applied, and once
	// the controller says that all is well.
	Applied []condition `json:"applied"`
	Ready   []condition `json:"ready"`
	// Request is a merge patch of an Application that asks for a sync, and
	// Handled what holds once that is done.
	Request string      `json:"request"`
	Handled []condition `json:"handled"`
	// Webhook tells it of a push, if it listens; otherwise Request does.
	Webhook *webhook `json:"webhook"`
	// CorrectsDrift says whether it is to be put to that test.
	CorrectsDrift bool `json:"correctsDrift"`
	// Label is what marks an object as an Application's; empty if nothing does.
	Label string `json:"label"`
	// Reconciles is the metric that counts finished reconciles, if it has one.
	Reconciles string `json:"reconciles"`
}

// webhook is a request that a Git server would send.
type webhook struct {
	URL  string `json:"url"`
	Body string `json:"body"`
	// Header carries the HMAC-SHA256 of the body under Secret.
	Secret string `json:"secret"`
	Header string `json:"header"`
}

// values are what the texts of a description may use.
type values struct {
	Name      string // of the Application
	Namespace string
	URL       string // of the repository
	Path      string // in the repository
	Branch    string
	Commit    string // what is to be applied
	Objects   int    // of the Application
	Interval  string // between two looks at the repository
	Now       string // different for each request
	Key       string // what the Secret with the age key is called
	Secrets   string // spec.secrets of an Application of this operator
	AgeKey    string // what opens the Secrets of the repository, which are made for this run
	Root      string // of this repository
	Dir       string // scratch space
	Webhook   string // where the operator of this repository listens
}

// loadController reads a description: a file, or the name of one that is here.
func loadController(name string) (*controller, error) {
	raw, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		raw, err = peers.ReadFile("peers/" + name + ".yaml")
	}
	if err != nil {
		return nil, fmt.Errorf("read the description of controller %q: %w", name, err)
	}
	c := &controller{}
	if err := yaml.UnmarshalStrict(raw, c); err != nil {
		return nil, fmt.Errorf("parse the description of controller %q: %w", name, err)
	}
	switch {
	case c.Name == "" || c.Application == "" || c.Resource.Resource == "" || len(c.Ready) == 0:
		return nil, fmt.Errorf("description of controller %q: name, application, resource and ready are needed", name)
	case c.Name != result.Gitseal && len(c.Processes) == 0:
		return nil, fmt.Errorf("description of controller %q: processes are needed", name)
	}
	return c, nil
}

// fill fills in a text of the description.
func fill(text string, v values) (string, error) {
	if !strings.Contains(text, "{{") {
		return text, nil
	}
	t, err := template.New("").Option("missingkey=error").Parse(text)
	if err != nil {
		return "", fmt.Errorf("parse %q: %w", text, err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, v); err != nil {
		return "", fmt.Errorf("fill in %q: %w", text, err)
	}
	return b.String(), nil
}

// running is a controller that was started.
type running struct {
	pids       []int
	metricsURL string // "" if it has none
	webhookURL string
	stop       func() error
}

func (c *controller) start(ctx context.Context, r *rig.Rig, v values, more ...string) (*running, error) {
	if len(c.Processes) == 0 {
		o, err := r.StartOperator(ctx, append(append([]string{"--log-level=info"}, c.Arguments...), more...)...)
		if err != nil {
			return nil, err
		}
		return &running{pids: []int{o.Pid()}, metricsURL: o.MetricsURL, webhookURL: o.WebhookURL, stop: o.Stop}, nil
	}
	p := &running{}
	var commands []*exec.Cmd
	p.stop = func() error { return stopAll(commands) }
	for i, words := range c.Processes {
		command, err := c.command(r, v, words, filepath.Join(v.Dir, fmt.Sprintf("%s-%d.log", c.Name, i)))
		if err != nil {
			return nil, errors.Join(err, p.stop())
		}
		commands = append(commands, command)
		p.pids = append(p.pids, command.Process.Pid)
	}
	return p, nil
}

func (c *controller) command(r *rig.Rig, v values, words []string, logFile string) (*exec.Cmd, error) {
	args := make([]string, len(words))
	for i, w := range words {
		var err error
		if args[i], err = fill(w, v); err != nil {
			return nil, err
		}
	}
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	command := exec.Command(args[0], args[1:]...)
	command.Dir, command.Stdout, command.Stderr = v.Dir, log, io.Writer(log)
	command.Env = append(os.Environ(), "KUBECONFIG="+r.Sandbox.Kubeconfig, "PATH="+r.Bin("control-plane")+":"+os.Getenv("PATH"))
	for name, text := range c.Env {
		value, err := fill(text, v)
		if err != nil {
			return nil, err
		}
		command.Env = append(command.Env, name+"="+value)
	}
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", args[0], err)
	}
	return command, nil
}

// stopAll ends commands with what they have started.
func stopAll(commands []*exec.Cmd) error {
	var errs []error
	for _, c := range commands {
		ended := make(chan struct{})
		go func() { _ = c.Wait(); close(ended) }() // it was told to end; how is no matter
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			errs = append(errs, fmt.Errorf("%s did not end within 10s", c.Path), syscall.Kill(-c.Process.Pid, syscall.SIGKILL))
		}
	}
	return errors.Join(errs...)
}
