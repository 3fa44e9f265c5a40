// Package rig is a sandbox with the operator on it, for the tests and
// benchmarks that look at gitseal from outside: a real control plane and Git
// server, the manifests of config/default, and the operator's own program
// running with exactly the rights that those manifests give.
package rig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// Rig is one running sandbox.
type Rig struct {
	// Root is the root of this repository, Dir the sandbox's directory.
	Root string
	Dir  string
	// Sandbox says where everything is.
	Sandbox Sandbox
	// Config and Client are the administrator's.
	Config *rest.Config
	Client client.WithWatch

	operators []*Operator
	taken     int // of the spare ports
}

// Sandbox is what the sandbox program writes about itself.
type Sandbox struct {
	Kubeconfig string `json:"kubeconfig"`
	Kubectl    string `json:"kubectl"`
	Etcd       *struct {
		URL    string `json:"url"`
		Prefix string `json:"prefix"`
	} `json:"etcd"`
	Git struct {
		URL           string `json:"url"`
		Dir           string `json:"dir"`
		PrivatePrefix string `json:"privatePrefix"`
		User          string `json:"user"`
		Password      string `json:"password"`
	} `json:"git"`
	SparePorts []int `json:"sparePorts"`
}

// Start brings a sandbox up in dir and installs config/default on it. Close
// takes it down.
func Start(ctx context.Context, dir string) (*Rig, error) {
	root, err := findRoot()
	if err != nil {
		return nil, err
	}
	r := &Rig{Root: root, Dir: dir}
	for _, program := range []string{"sandbox", "gitseal-controller", "kubectl-gitseal", "control-plane/kube-apiserver"} {
		if _, err := os.Stat(r.Bin(program)); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("bin/%s is missing: run `make build control-plane` (`make test` does)", program)
		}
	}
	if out, err := r.command(ctx, r.Bin("sandbox"), "up", "--dir", dir, "--assets", r.Bin("control-plane"), "--detach").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("start the sandbox: %w\n%s", err, out)
	}
	if err := r.connect(); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	if err := r.install(ctx); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Main runs the tests of a package on a sandbox with an operator, and returns
// the exit code. Ready is told of both before the tests begin.
func Main(tests interface{ Run() int }, ready func(*Rig, *Operator)) int {
	return MainAs(tests, func(r *Rig) (*Operator, error) { return r.StartOperator(context.Background()) }, ready)
}

// MainAs does as Main, with an operator that is launched in another way.
func MainAs(tests interface{ Run() int }, launch func(*Rig) (*Operator, error), ready func(*Rig, *Operator)) int {
	code, err := mainOn(tests, launch, ready)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func mainOn(tests interface{ Run() int }, launch func(*Rig) (*Operator, error), ready func(*Rig, *Operator)) (code int, err error) {
	dir, err := os.MkdirTemp("", "gitseal-test-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	r, err := Start(context.Background(), dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	o, err := launch(r)
	if err != nil {
		return 0, err
	}
	ready(r, o)
	return tests.Run(), nil
}

// Close stops everything that Start started.
func (r *Rig) Close() error {
	for _, o := range r.operators {
		_ = o.Stop() // whoever started it may have stopped it already
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if out, err := r.command(ctx, r.Bin("sandbox"), "down", "--dir", r.Dir).CombinedOutput(); err != nil {
		return fmt.Errorf("stop the sandbox: %w\n%s", err, out)
	}
	return nil
}

// Stores is the directory below which file stores keep their values.
func (r *Rig) Stores() string { return filepath.Join(r.Dir, "stores") }

// Plugins is the directory of the sockets of provider plugins.
func (r *Rig) Plugins() string { return filepath.Join(r.Dir, "plugins") }

// Bin is the path of a program under bin/.
func (r *Rig) Bin(name string) string { return filepath.Join(r.Root, "bin", name) }

// command runs without the variables that would choose another cluster, and
// without what is remembered of another one at the same address.
func (r *Rig) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir, c.Env = r.Root, []string{"KUBECACHEDIR=" + filepath.Join(r.Dir, "kubecache")}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "KUBECONFIG=") && !strings.HasPrefix(v, "KUBECACHEDIR=") {
			c.Env = append(c.Env, v)
		}
	}
	return c
}

// Kubectl runs kubectl as the administrator and returns what it prints.
func (r *Rig) Kubectl(ctx context.Context, stdin string, args ...string) (string, error) {
	c := r.command(ctx, r.Sandbox.Kubectl, append([]string{"--kubeconfig", r.Sandbox.Kubeconfig}, args...)...)
	c.Stdin = strings.NewReader(stdin)
	out, err := c.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// Gitseal runs kubectl-gitseal as the administrator in a directory.
func (r *Rig) Gitseal(ctx context.Context, dir string, env []string, args ...string) (stdout, stderr string, err error) {
	c := r.command(ctx, r.Bin("kubectl-gitseal"), args...)
	c.Dir = dir
	c.Env = append(append(c.Env, "KUBECONFIG="+r.Sandbox.Kubeconfig), env...)
	var o, e strings.Builder
	c.Stdout, c.Stderr = &o, &e
	err = c.Run()
	return o.String(), e.String(), err
}

func (r *Rig) connect() error {
	raw, err := os.ReadFile(filepath.Join(r.Dir, "sandbox.json"))
	if err != nil {
		return fmt.Errorf("read the sandbox's state: %w", err)
	}
	if err := json.Unmarshal(raw, &r.Sandbox); err != nil {
		return fmt.Errorf("read the sandbox's state: %w", err)
	}
	r.Config, err = clientcmd.BuildConfigFromFlags("", r.Sandbox.Kubeconfig)
	if err != nil {
		return fmt.Errorf("read the sandbox's kubeconfig: %w", err)
	}
	r.Config.QPS, r.Config.WarningHandler = -1, rest.NoWarnings{}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme, apiextensionsv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return err
		}
	}
	r.Client, err = client.NewWithWatch(r.Config, client.Options{Scheme: scheme})
	return err
}

// install applies what a user would.
func (r *Rig) install(ctx context.Context) error {
	if _, err := r.Kubectl(ctx, "", "apply", "--server-side", "-k", filepath.Join(r.Root, "config", "default")); err != nil {
		return err
	}
	return r.Serves(ctx, "applications", "secretstores", "clustersecretstores")
}

// Serves waits until the API server serves resources whose definitions were just
// applied. `kubectl wait` fails on a definition that has no conditions yet.
func (r *Rig) Serves(ctx context.Context, resources ...string) error {
	return poll(ctx, fmt.Sprintf("the kinds %v", resources), func(ctx context.Context) error {
		_, err := r.Kubectl(ctx, "", "get", strings.Join(resources, ","))
		return err
	})
}

// pollPatience is for machines that do much else besides.
const pollPatience = 5 * time.Minute

// poll repeats what is tried until it succeeds, and returns its last error where
// it does not in time.
func poll(ctx context.Context, what string, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, pollPatience)
	defer cancel()
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Namespace creates a namespace with a ServiceAccount "deployer" that may edit
// in it, and lets the operator act as that and read the Secrets named. It waits
// until these rights are in force.
func (r *Rig) Namespace(ctx context.Context, name string, secrets ...string) error {
	ns := &corev1.Namespace{}
	ns.Name = name
	if err := r.Client.Create(ctx, ns); err != nil {
		return fmt.Errorf("create namespace %q: %w", name, err)
	}
	if _, err := r.Kubectl(ctx, Access(name, "edit", secrets...), "apply", "--server-side", "-f", "-"); err != nil {
		return err
	}
	return r.waitRights(ctx, name)
}

var errNoRights = errors.New("they are not in force")

// waitRights waits until the API server lets the operator act as the deployer of
// a namespace, and that edit in it: it learns of a Role a moment later.
func (r *Rig) waitRights(ctx context.Context, namespace string) error {
	return poll(ctx, fmt.Sprintf("the rights in namespace %q", namespace), func(ctx context.Context) error {
		acts, err1 := r.May(ctx, v1alpha1.OperatorNamespace, v1alpha1.OperatorServiceAccount,
			authorizationv1.ResourceAttributes{Namespace: namespace, Verb: "impersonate", Resource: "serviceaccounts", Name: "deployer"})
		edits, err2 := r.May(ctx, namespace, "deployer",
			authorizationv1.ResourceAttributes{Namespace: namespace, Verb: "patch", Resource: "configmaps"})
		if acts && edits {
			return nil
		}
		return errors.Join(errNoRights, err1, err2)
	})
}

// May reports whether a ServiceAccount has a right.
func (r *Rig) May(ctx context.Context, namespace, account string, what authorizationv1.ResourceAttributes) (bool, error) {
	review := &authorizationv1.SubjectAccessReview{}
	review.Spec.User, review.Spec.ResourceAttributes = "system:serviceaccount:"+namespace+":"+account, &what
	if err := r.Client.Create(ctx, review); err != nil {
		return false, fmt.Errorf("review the rights of ServiceAccount %q: %w", account, err)
	}
	return review.Status.Allowed, nil
}

// Access is the manifest of what a namespace needs: the deployer, its rights,
// and the operator's Role.
func Access(namespace, clusterRole string, secrets ...string) string {
	rules := `  - {apiGroups: [""], resources: [serviceaccounts], resourceNames: [deployer], verbs: [impersonate]}
`
	if len(secrets) > 0 {
		rules += fmt.Sprintf("  - {apiGroups: [\"\"], resources: [secrets], resourceNames: [%s], verbs: [get, watch]}\n", strings.Join(secrets, ", "))
	}
	return fmt.Sprintf(`apiVersion: v1
kind: ServiceAccount
metadata: {name: deployer, namespace: %[1]s}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: deployer, namespace: %[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: %[2]s}
subjects:
  - {kind: ServiceAccount, name: deployer, namespace: %[1]s}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: gitseal-access, namespace: %[1]s}
rules:
%[3]s---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: gitseal-access, namespace: %[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: gitseal-access}
subjects:
  - {kind: ServiceAccount, name: gitseal-controller, namespace: gitseal-system}
`, namespace, clusterRole, rules)
}

func findRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "config", "default")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("the root of the repository is not above the working directory")
		}
		dir = parent
	}
}

// Halt kills a program of the sandbox, and keeps it down until Resume.
func (r *Rig) Halt(ctx context.Context, program string) error { return r.sandbox(ctx, "halt", program) }

// Resume lets a program run again. It may take a moment to serve.
func (r *Rig) Resume(ctx context.Context, program string) error {
	return r.sandbox(ctx, "resume", program)
}

func (r *Rig) sandbox(ctx context.Context, verb, program string) error {
	if out, err := r.command(ctx, r.Bin("sandbox"), verb, "--dir", r.Dir, program).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", verb, program, err, out)
	}
	return nil
}
