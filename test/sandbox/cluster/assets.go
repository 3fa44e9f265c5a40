package cluster

import (
	"fmt"
	"os"
	"path/filepath"
)

// The programs of a control plane.
const (
	etcdProgram              = "etcd"
	apiServerProgram         = "kube-apiserver"
	controllerManagerProgram = "kube-controller-manager"
	schedulerProgram         = "kube-scheduler"
	kwokProgram              = "kwok"
	kubectlProgram           = "kubectl"
)

// Assets are the paths of the programs, by name. The ones that make workloads
// run are absent when their files are.
type Assets map[string]string

// FindAssets looks for the programs in dir. When envtestDir is set, those that
// such a directory has by convention are taken from there.
func FindAssets(dir, envtestDir string) (Assets, error) {
	found := Assets{}
	core := dir
	if envtestDir != "" {
		core = envtestDir
	}
	for _, name := range []string{etcdProgram, apiServerProgram, kubectlProgram} {
		if err := found.add(core, name); err != nil && name != kubectlProgram {
			return nil, fmt.Errorf("no %s in %q; run `make control-plane`", name, core)
		}
	}
	for _, name := range []string{controllerManagerProgram, schedulerProgram, kwokProgram} {
		if err := found.add(dir, name); err != nil && envtestDir == "" {
			return nil, fmt.Errorf("no %s in %q; run `make control-plane`", name, dir)
		}
	}
	return found, nil
}

func (a Assets) add(dir, name string) error {
	path, err := filepath.Abs(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); err != nil {
		return err
	}
	a[name] = path
	return nil
}

// Kubectl is the path of kubectl, empty when there is none.
func (a Assets) Kubectl() string { return a[kubectlProgram] }

// missing lists the absent programs without which workloads do not run.
func (a Assets) missing() []string {
	var names []string
	for _, name := range []string{controllerManagerProgram, schedulerProgram, kwokProgram} {
		if a[name] == "" {
			names = append(names, name)
		}
	}
	return names
}
