package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

func (s *story) kubectl(stdin string, args ...string) {
	s.t.Helper()
	if _, err := sandbox.Kubectl(s.t.Context(), stdin, args...); err != nil {
		s.t.Fatal(err)
	}
}

func (s *story) remove() {
	s.t.Helper()
	if err := sandbox.Client.Delete(s.t.Context(), s.app); err != nil {
		s.t.Fatal(err)
	}
	s.waitGone()
}

// What one object of a revision needs may come with the same revision: a trial
// of the one before the other is there proves nothing.
func TestObjectsThatLeanOnOneAnotherComeInOneCommit(t *testing.T) {
	t.Parallel()
	s := newStory(t, "leaning")
	s.kubectl("", "-n", s.ns, "create", "rolebinding", "admin", "--clusterrole=admin", "--serviceaccount="+s.ns+":deployer")
	s.write(map[string]string{"all.yaml": `apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: mine, namespace: leaning}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get]}]
---
apiVersion: v1
kind: Pod
metadata: {name: bare}
spec: {serviceAccountName: mine, containers: [{name: main, image: registry.example/app:1}]}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: mine}
`})
	s.create()
	s.waitReady(s.push("first"))
}

// However the watches of an Application have changed in its life, it can go.
func TestAnApplicationCanGoAfterItsWatchesChanged(t *testing.T) {
	t.Parallel()
	t.Run("an object in another version of its kind", func(t *testing.T) {
		t.Parallel()
		s := newStory(t, "go-version")
		s.write(map[string]string{"hpa.yaml": `apiVersion: autoscaling/v1
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec: {maxReplicas: 3, minReplicas: 1, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}
`})
		s.create()
		s.waitReady(s.push("first"))
		s.remove()
	})
	t.Run("another ServiceAccount", func(t *testing.T) {
		t.Parallel()
		s := newStory(t, "go-account")
		s.kubectl("", "-n", s.ns, "create", "serviceaccount", "second")
		s.kubectl("", "-n", s.ns, "create", "rolebinding", "second", "--clusterrole=edit", "--serviceaccount="+s.ns+":second")
		s.allowImpersonation("second")
		s.write(map[string]string{"c.yaml": configMap("c", "1")})
		s.create()
		commit := s.push("first")
		s.waitReady(commit)
		if err := s.tryEdit(serviceAccount("second")); err != nil {
			t.Fatal(err)
		}
		s.waitReady(commit)
		s.remove()
	})
	t.Run("a kind that is gone", func(t *testing.T) {
		t.Parallel()
		s := newStory(t, "go-kind")
		s.everywhere("cluster-admin")
		s.kubectl(fmt.Sprintf(gadgets, "gizmos", "Gizmo"), "apply", "--server-side", "-f", "-")
		if err := sandbox.Serves(t.Context(), "gizmos.example.com"); err != nil {
			t.Fatal(err)
		}
		s.write(map[string]string{"c.yaml": configMap("c", "1"), "g.yaml": "apiVersion: example.com/v1\nkind: Gizmo\nmetadata: {name: one}\n"})
		s.create()
		s.waitReady(s.push("first"))
		s.kubectl("", "delete", "crd", "gizmos.example.com", "--wait", "--timeout="+patience.String())
		s.remove()
	})
}

// An object that left Git, and is kept because pruning is off, is no longer
// any of the Application's business.
func TestWhatIsNotPrunedIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	s := newStory(t, "kept-sick")
	s.app.Spec.Sync.Prune = ptr.To(false)
	stuck := strings.Replace(deployment, "containers:", "nodeSelector: {no: such}\n      containers:", 1)
	s.write(map[string]string{"c.yaml": configMap("c", "1"), "web.yaml": stuck})
	s.create()
	s.push("first")
	eventually(t, "the Deployment waited for", func(ctx context.Context) error {
		app, err := s.read(ctx)
		if err != nil {
			return err
		}
		if ready := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionReady); ready == nil || !strings.Contains(ready.Message, `Deployment "web"`) {
			return fmt.Errorf("condition %+v", ready)
		}
		return nil
	})
	s.write(map[string]string{"web.yaml": ""})
	s.waitReady(s.push("less"))
}

// A correction that the API server refuses is not a fight: the refusal stays
// told until the object is back.
func TestACorrectionThatIsRefusedStaysTold(t *testing.T) {
	t.Parallel()
	s := newStory(t, "quota")
	s.write(map[string]string{"b.yaml": configMap("b", "1"), "c.yaml": configMap("c", "1")})
	s.create()
	commit := s.push("first")
	s.waitReady(commit)
	s.kubectl("", "-n", s.ns, "create", "quota", "q", "--hard=count/configmaps=1")
	eventually(t, "the quota counted", func(ctx context.Context) error {
		q, err := get(ctx, s, "q", &corev1.ResourceQuota{})
		if err != nil || len(q.Status.Used) == 0 {
			return errors.Join(err, fmt.Errorf("used %v", q.Status.Used))
		}
		return nil
	})
	s.kubectl("", "-n", s.ns, "delete", "configmap", "c")
	s.waitRefused(v1alpha1.ReasonApplyFailed)

	// Through several retries and past the brake, Ready does not change.
	throughout(t, 6*time.Second, func() error {
		app, err := s.read(t.Context())
		if err != nil {
			return err
		}
		if ready := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionReady); ready.Status != metav1.ConditionFalse || ready.Reason != v1alpha1.ReasonApplyFailed {
			return fmt.Errorf("condition Ready became %+v while an object is missing", ready)
		}
		return nil
	})
	s.kubectl("", "-n", s.ns, "delete", "quota", "q")
	s.waitReady(commit)
}
