package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

func cleanupContext() context.Context { return context.Background() }

// everywhere lets the story's deployer edit in all namespaces.
func (s *story) everywhere(clusterRole string) {
	s.t.Helper()
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "deployer-" + s.ns},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: clusterRole},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Name: "deployer", Namespace: s.ns}},
	}
	if err := sandbox.Client.Create(s.t.Context(), binding); err != nil {
		s.t.Fatal(err)
	}
}

func (s *story) makeNamespace(name string) {
	s.t.Helper()
	if err := sandbox.Client.Create(s.t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
		s.t.Fatal(err)
	}
}

func inNamespace(name, namespace string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: %s}\n", name, namespace)
}

func TestRightsThatAreMissing(t *testing.T) {
	t.Parallel()
	const bind = `create the ServiceAccount if it is missing, and bind it to a Role that allows get, list, watch, create, patch and delete on `
	runRefusals(t, map[string]refusal{
		"a namespace that does not exist": {
			plain:   true,
			prepare: func(r *refused) { r.everywhere("edit") },
			commit:  files(map[string]string{"new.yaml": inNamespace("new", "absent-namespace")}),
			waits:   true,
			reason:  v1alpha1.ReasonNamespaceMissing,
			message: `new.yaml:1: namespace "absent-namespace" does not exist: create it, or add a Namespace object to the repository`,
		},
		"a namespace without rights": {
			plain: true,
			commit: func(r *refused) {
				r.makeNamespace("other-" + r.ns)
				r.write(map[string]string{"new.yaml": inNamespace("new", "other-"+r.ns)})
			},
			waits:   true,
			reason:  v1alpha1.ReasonForbidden,
			message: `ServiceAccount "deployer" of namespace "{ns}" may not watch configmaps in namespace "other-{ns}": ` + bind + "configmaps",
		},
		"a kind without rights": {
			plain:   true,
			commit:  files(map[string]string{"new.yaml": "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: new}\nvalue: 1\n"}),
			waits:   true,
			reason:  v1alpha1.ReasonForbidden,
			message: `ServiceAccount "deployer" of namespace "{ns}" may not watch priorityclasses.scheduling.k8s.io in the whole cluster: ` + bind + "priorityclasses.scheduling.k8s.io",
		},
		"a kind that may be read and not written": {
			plain: true,
			commit: func(r *refused) {
				r.makeNamespace("other-" + r.ns)
				r.everywhere("view")
				r.write(map[string]string{"new.yaml": inNamespace("new", "other-"+r.ns)})
			},
			waits:   true,
			reason:  v1alpha1.ReasonForbidden,
			message: `ServiceAccount "deployer" of namespace "{ns}" may not patch configmaps in namespace "other-{ns}": ` + bind + "configmaps",
		},
		"a ServiceAccount that does not exist": {
			plain: true,
			change: func(r *refused) {
				r.allowImpersonation("ghost")
				r.edit(serviceAccount("ghost"))
			},
			mend:    func(r *refused) { r.edit(serviceAccount("deployer")) },
			waits:   true,
			reason:  v1alpha1.ReasonForbidden,
			message: `ServiceAccount "ghost" of namespace "{ns}" may not watch configmaps in namespace "{ns}": ` + bind + "configmaps",
		},
		"a ServiceAccount that the operator may not act as": {
			plain:  true,
			change: func(r *refused) { r.edit(serviceAccount("ghost")) },
			mend:   func(r *refused) { r.edit(serviceAccount("deployer")) },
			waits:  true,
			reason: v1alpha1.ReasonAccessDenied,
			message: `namespace "{ns}" has not let gitseal act as ServiceAccount "ghost": ` +
				"apply the Role and RoleBinding that `kubectl gitseal init --namespace {ns} --service-account ghost` writes",
		},
	})
}

func serviceAccount(name string) func(*v1alpha1.ApplicationSpec) {
	return func(spec *v1alpha1.ApplicationSpec) { spec.Destination.ServiceAccountName = name }
}

func (s *story) allowImpersonation(account string) {
	s.t.Helper()
	role := &rbacv1.Role{ObjectMeta: meta1("gitseal-access", s.ns)}
	if err := sandbox.Client.Get(s.t.Context(), client.ObjectKeyFromObject(role), role); err != nil {
		s.t.Fatal(err)
	}
	role.Rules[0].ResourceNames = append(role.Rules[0].ResourceNames, account)
	if err := sandbox.Client.Update(s.t.Context(), role); err != nil {
		s.t.Fatal(err)
	}
}

// waitWithout waits until a ServiceAccount has not a right any more.
func (s *story) waitWithout(namespace, account string, what authorizationv1.ResourceAttributes) {
	s.t.Helper()
	eventually(s.t, "the right gone", func(ctx context.Context) error {
		may, err := sandbox.May(ctx, namespace, account, what)
		if may {
			err = errors.New("it is still there")
		}
		return err
	})
}

// A namespace that has not let the operator in is told what to run, and what
// it is told to run is enough.
func TestTheOperatorIsLetIn(t *testing.T) {
	t.Parallel()
	s := newStory(t, "let-in")
	if err := sandbox.Client.Delete(t.Context(), &rbacv1.Role{ObjectMeta: meta1("gitseal-access", s.ns)}); err != nil {
		t.Fatal(err)
	}
	s.waitWithout(v1alpha1.OperatorNamespace, v1alpha1.OperatorServiceAccount,
		authorizationv1.ResourceAttributes{Namespace: s.ns, Verb: "impersonate", Resource: "serviceaccounts", Name: "deployer"})
	s.write(map[string]string{"a.yaml": configMap("a", "1")})
	commit := s.push("first")
	s.create()
	want := `namespace "let-in" has not let gitseal act as ServiceAccount "deployer": ` +
		"apply the Role and RoleBinding that `kubectl gitseal init --namespace let-in --service-account deployer` writes"
	s.waitMessage(v1alpha1.ReasonAccessDenied, want)
	s.legal(status.InProgressStatus)
	manifest, stderr, err := sandbox.Gitseal(t.Context(), s.repo.Dir, nil, "init", "app", "--namespace", s.ns, "--service-account", "deployer",
		"--policy", "None", "--url", s.repo.URL, "--output", "-")
	if err != nil {
		t.Fatalf("init: %v\n%s", err, stderr)
	}
	if _, err := sandbox.Kubectl(t.Context(), manifest, "apply", "--server-side", "--force-conflicts", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	s.waitReady(commit)
	s.legal(status.CurrentStatus)
}

const gadgets = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %[1]s.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {kind: %[2]s, plural: %[1]s}
  versions:
    - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
`

// An unknown kind is waited for, with nothing applied, and comes by itself.
func TestAnUnknownKindIsWaitedFor(t *testing.T) {
	t.Parallel()
	s := newStory(t, "unknown-kind")
	s.everywhere("cluster-admin")
	s.write(map[string]string{"a.yaml": configMap("a", "1"), "b.yaml": "apiVersion: example.com/v1\nkind: Gadget\nmetadata: {name: one}\n"})
	commit := s.push("first")
	s.create()
	want := "b.yaml:1: the cluster does not know kind Gadget of example.com/v1: install its CustomResourceDefinition, or correct apiVersion and kind; nothing is applied until then"
	s.waitMessage(v1alpha1.ReasonKindUnknown, want)
	s.legal(status.InProgressStatus)
	if got := s.members(); len(got) != 0 {
		t.Errorf("objects applied while waiting: %v", got)
	}
	if _, err := sandbox.Kubectl(t.Context(), fmt.Sprintf(gadgets, "gadgets", "Gadget"), "apply", "--server-side", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	s.waitReady(commit)
}
