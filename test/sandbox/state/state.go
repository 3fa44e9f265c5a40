// Package state owns sandbox.json, by which a running sandbox tells others
// where everything is. It must not start or stop anything.
package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/gitseal/gitseal/test/sandbox/process"
)

// Sandbox is the content of sandbox.json.
type Sandbox struct {
	// Ready is set last: until then the rest may be incomplete.
	Ready      bool      `json:"ready"`
	Dir        string    `json:"dir"`
	StartedAt  time.Time `json:"startedAt"`
	Kubeconfig string    `json:"kubeconfig,omitempty"`
	// Kubectl is the path of a kubectl that fits the cluster.
	Kubectl string `json:"kubectl,omitempty"`
	// APIServer and Etcd are absent when KUBECONFIG chose another cluster.
	APIServer *APIServer `json:"apiServer,omitempty"`
	Etcd      *Etcd      `json:"etcd,omitempty"`
	Git       Git        `json:"git"`
	// SparePorts of loopback are for what runs beside the sandbox: no other
	// sandbox takes them.
	SparePorts []int `json:"sparePorts"`

	Supervisor process.Identity `json:"supervisor"`
	Processes  []Process        `json:"processes,omitempty"`
}

// APIServer is how to reach the cluster without a kubeconfig.
type APIServer struct {
	URL    string `json:"url"`
	CAFile string `json:"caFile"`
	// Token belongs to the user "admin" of the group system:masters.
	Token string `json:"token"`
}

// Etcd is how to read the cluster's raw data. It speaks plain HTTP without
// authentication on loopback: gRPC, and JSON under /v3/.
type Etcd struct {
	URL string `json:"url"`
	// Prefix is what every key of Kubernetes begins with.
	Prefix string `json:"prefix"`
}

// Git is how to reach the Git server: clone URL + "/NAME.git".
type Git struct {
	URL string `json:"url"`
	// Dir holds the bare repositories, as NAME.git.
	Dir string `json:"dir"`
	// PrivatePrefix marks the repositories that need the credentials even
	// when AuthAlways is false.
	PrivatePrefix string `json:"privatePrefix"`
	AuthAlways    bool   `json:"authAlways"`
	User          string `json:"user"`
	Password      string `json:"password"`
}

// Process is one child of the supervisor.
type Process struct {
	Name string `json:"name"`
	process.Identity
	Log string `json:"log"`
}

// Path is where the sandbox of the directory keeps its state.
func Path(dir string) string { return filepath.Join(dir, "sandbox.json") }

// HaltPath is the file that keeps a program of the sandbox down while it is there.
func HaltPath(dir, program string) string { return filepath.Join(dir, program+".halted") }

// Enter notes a process, in place of an earlier one of the same name.
func (s *Sandbox) Enter(p Process) {
	s.Processes = slices.DeleteFunc(s.Processes, func(q Process) bool { return q.Name == p.Name })
	s.Processes = append(s.Processes, p)
}

// Process returns the program of a name.
func (s *Sandbox) Process(name string) (Process, bool) {
	at := slices.IndexFunc(s.Processes, func(p Process) bool { return p.Name == name })
	if at < 0 {
		return Process{}, false
	}
	return s.Processes[at], true
}

// Read returns the state, or nil when the directory has no sandbox.
func Read(dir string) (*Sandbox, error) {
	raw, err := os.ReadFile(Path(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s := &Sandbox{}
	if err := json.Unmarshal(raw, s); err != nil {
		return nil, fmt.Errorf("parse %q: %w", Path(dir), err)
	}
	return s, nil
}

// Write replaces the state at once, so that no reader sees half of it.
func (s *Sandbox) Write() error {
	raw, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	tmp := Path(s.Dir) + ".new"
	if err := os.WriteFile(tmp, append(raw, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, Path(s.Dir))
}

// Remove deletes the state; it is no error when there is none.
func Remove(dir string) error {
	if err := os.Remove(Path(dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Alive lists the processes that still run, by name.
func (s *Sandbox) Alive() []string {
	var names []string
	if s.Supervisor.Alive() {
		names = append(names, "supervisor")
	}
	for _, p := range s.Processes {
		if p.Alive() {
			names = append(names, p.Name)
		}
	}
	return names
}
