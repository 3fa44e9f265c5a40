package kubectlplugin

import (
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// sandboxVariable names the kubeconfig of an API server with our CRDs and
// administrator's rights.
const sandboxVariable = "GITSEAL_TEST_KUBECONFIG"

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"kubectl-gitseal": func() { os.Exit(runScripted(isTerminal)) },
		// The same program, as if all that it writes to were a terminal.
		"kubectl-gitseal-on-terminal": func() { os.Exit(runScripted(func(io.Writer) bool { return true })) },
	})
}

// runScripted is Main, except for what the script says about its surroundings.
func runScripted(terminal func(io.Writer) bool) int {
	s := newSession(genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr})
	s.isTerminal = terminal
	s.clock = scriptedClock()
	return s.execute(context.Background(), os.Args[1:])
}

func scriptedClock() clock.PassiveClock {
	now := os.Getenv("NOW")
	if now == "" {
		return clock.RealClock{}
	}
	t, err := time.Parse(time.RFC3339, now)
	if err != nil {
		panic(err)
	}
	return clocktesting.NewFakePassiveClock(t)
}

func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"age-key": makeKey, "replace": replaceIn, "mode": checkMode},
		Setup: func(env *testscript.Env) error {
			env.Setenv("KUBECONFIG", filepath.Join(env.WorkDir, "no-such-kubeconfig"))
			return nil
		},
	})
}

func TestCluster(t *testing.T) {
	kubeconfig := os.Getenv(sandboxVariable)
	if kubeconfig == "" {
		t.Fatalf("%s is not set: 'make test' starts a control plane and sets it; by hand: "+
			"bin/sandbox up --dir DIR --detach, kubectl apply -f config/crd/bases, export %s=DIR/kubeconfig", sandboxVariable, sandboxVariable)
	}
	c := newTestClient(t, kubeconfig)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/cluster",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"apply":  c.apply,
			"report": c.report,
			"handle": c.handle,
			"may":    c.may,
		},
		Setup: func(env *testscript.Env) error { return c.setup(t, env, kubeconfig) },
	})
}

// cluster is the API server that the scripts talk to, and the operator's part
// in their stories.
type cluster struct{ client.Client }

func newTestClient(t *testing.T, kubeconfig string) *cluster {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatalf("read %s: %v", sandboxVariable, err)
	}
	scheme := newScheme()
	utilruntime.Must(authorizationv1.AddToScheme(scheme))
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatalf("connect to the control plane of %s: %v", sandboxVariable, err)
	}
	return &cluster{c}
}

// setup gives each script two namespaces of its own: $NS for Applications and
// $SYSTEM for the operator.
func (c *cluster) setup(t *testing.T, env *testscript.Env, kubeconfig string) error {
	absolute, err := filepath.Abs(kubeconfig)
	if err != nil {
		return err
	}
	env.Setenv("KUBECONFIG", absolute)
	for _, variable := range []string{"NS", "SYSTEM"} {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "cli-" + strings.ToLower(variable) + "-"}}
		if err := c.Create(t.Context(), namespace); err != nil {
			return fmt.Errorf("create a namespace for the script: %w", err)
		}
		env.Setenv(variable, namespace.Name)
		env.Defer(func() { _ = c.Delete(context.Background(), namespace) })
	}
	return nil
}

// apply FILE creates the objects of our kinds in a file, in $NS: what kubectl
// apply would do, checked by the CRD.
func (c *cluster) apply(ts *testscript.TestScript, neg bool, args []string) {
	for _, document := range strings.Split(ts.ReadFile(args[0]), "\n---\n") {
		var meta metav1.TypeMeta
		ts.Check(yaml.Unmarshal([]byte(document), &meta))
		if meta.APIVersion != v1alpha1.GroupVersion.String() {
			continue
		}
		object := &unstructured.Unstructured{} // as written, without a Go type's zero values
		ts.Check(yaml.Unmarshal([]byte(document), object))
		object.SetNamespace(ts.Getenv("NS"))
		if meta.Kind == string(v1alpha1.KindClusterSecretStore) { // there is one of it for all scripts
			object.SetNamespace("")
			object.SetName(ts.Getenv("NS"))
			ts.Defer(func() { _ = c.Delete(context.Background(), object) })
		}
		err := c.Create(context.Background(), object)
		if neg != (err != nil) {
			ts.Fatalf("apply %s: %v", object.GetName(), err)
		}
	}
}

// report [KIND/]NAME FILE writes a status as the operator would, of an
// Application unless KIND is given.
func (c *cluster) report(ts *testscript.TestScript, _ bool, args []string) {
	kind, name, given := strings.Cut(args[0], "/")
	if !given {
		kind, name = "Application", args[0]
	}
	c.patchStatus(ts, kind, name, map[string]any{}, args[1])
}

// handle APP FILE waits for a requested sync and reports that it was carried
// out, with the status in the file.
func (c *cluster) handle(ts *testscript.TestScript, _ bool, args []string) {
	var requestedAt string
	eventually(ts, "no sync of "+args[0]+" was requested", func() bool {
		app := c.application(ts, args[0])
		requestedAt = app.Annotations[v1alpha1.AnnotationSyncRequestedAt]
		return requestedAt != "" && requestedAt != app.Status.LastHandledSyncAt
	})
	c.patchStatus(ts, "Application", args[0], map[string]any{"lastHandledSyncAt": requestedAt}, args[1])
}

// eventually polls with a deadline: the test watches nothing itself.
func eventually(ts *testscript.TestScript, otherwise string, holds func() bool) {
	for deadline := time.Now().Add(2 * time.Minute); !holds(); <-time.After(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			ts.Fatalf("after 2m: %s", otherwise)
		}
	}
}

func (c *cluster) application(ts *testscript.TestScript, name string) *v1alpha1.Application {
	app := &v1alpha1.Application{}
	ts.Check(c.Get(context.Background(), client.ObjectKey{Namespace: ts.Getenv("NS"), Name: name}, app))
	return app
}

func (c *cluster) patchStatus(ts *testscript.TestScript, kind, name string, status map[string]any, file string) {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
	key := client.ObjectKey{Namespace: ts.Getenv("NS"), Name: name}
	if kind == string(v1alpha1.KindClusterSecretStore) {
		key.Namespace = ""
	}
	ts.Check(c.Get(context.Background(), key, object))
	ts.Check(yaml.Unmarshal([]byte(ts.ReadFile(file)), &status))
	status["observedGeneration"] = object.GetGeneration()
	raw, err := yaml.Marshal(map[string]any{"status": status})
	ts.Check(err)
	raw, err = yaml.YAMLToJSON(raw)
	ts.Check(err)
	ts.Check(c.Status().Patch(context.Background(), object, client.RawPatch(types.MergePatchType, raw)))
}

// may VERB secrets/NAME checks what the operator's ServiceAccount may do in $NS,
// once the API server, which learns of new Roles by a watch, has come to it.
func (c *cluster) may(ts *testscript.TestScript, neg bool, args []string) {
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: "system:serviceaccount:" + ts.Getenv("SYSTEM") + ":" + v1alpha1.OperatorServiceAccount,
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: ts.Getenv("NS"), Verb: args[0], Version: "v1",
			Resource: path.Dir(args[1]), Name: path.Base(args[1]),
		},
	}}
	eventually(ts, fmt.Sprintf("the operator may %s %s = %v, want %v", args[0], args[1], neg, !neg), func() bool {
		asked := review.DeepCopy()
		ts.Check(c.Create(context.Background(), asked))
		return asked.Status.Allowed != neg
	})
}

// replaceIn FILE OLD NEW replaces text in a file. NEW may be @NAME: the
// content of another file.
func replaceIn(ts *testscript.TestScript, _ bool, args []string) {
	content := ts.ReadFile(args[0])
	if !strings.Contains(content, args[1]) {
		ts.Fatalf("%s does not contain %q", args[0], args[1])
	}
	text := args[2]
	if name, isFile := strings.CutPrefix(text, "@"); isFile {
		text = strings.TrimSpace(ts.ReadFile(name))
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.ReplaceAll(content, args[1], text)), 0o600))
}

// makeKey FILE writes a new age identity to FILE and sets $RECIPIENT.
func makeKey(ts *testscript.TestScript, _ bool, args []string) {
	identity, recipient, err := generateIdentity(false)
	ts.Check(err)
	ts.Setenv("RECIPIENT", recipient)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), append([]byte("# a comment\n"), identity.Reveal()...), 0o600))
}

// mode FILE BITS checks the permissions of a file.
func checkMode(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[1] {
		ts.Fatalf("mode of %s = %s, want %s", args[0], got, args[1])
	}
}
