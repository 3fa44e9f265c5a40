package faults

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/test/rig"
)

// held keeps the requests that match at the proxy until release. reached is
// closed when the first is there.
func held(t *testing.T, match func(rig.Asked) bool) (reached <-chan struct{}, release func()) {
	t.Helper()
	first, open := make(chan struct{}, 1), make(chan struct{})
	fault := proxy.Break(match, func(w http.ResponseWriter, request *http.Request) {
		select {
		case first <- struct{}{}:
		default:
		}
		select {
		case <-open:
		case <-request.Context().Done():
			return
		}
		proxy.Pass(w, request)
	})
	released := false
	release = func() {
		fault.End()
		if !released {
			close(open)
		}
		released = true
	}
	t.Cleanup(release)
	return first, release
}

func (s *story) reaches(what string, reached <-chan struct{}) {
	s.t.Helper()
	eventually(s.t, what, func(context.Context) error {
		select {
		case <-reached:
			return nil
		default:
			return fmt.Errorf("not reached")
		}
	})
}

// Rights that go while objects are being sent stop the sync where it is. What
// is in place stays, nothing is pruned, the message says who lacks what, and
// it ends with the rights' return.
func TestRightsGoInMidSync(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		revoke []string
		reason string
		words  []string
	}{
		"the ServiceAccount's RoleBinding": {
			[]string{"rolebinding", "deployer"}, v1alpha1.ReasonForbidden, []string{`ServiceAccount "deployer"`, "may not", "configmaps", "bind it to a Role"},
		},
		"the operator's Role": {
			[]string{"role", "gitseal-access"}, v1alpha1.ReasonAccessDenied, []string{"has not let gitseal act as ServiceAccount \"deployer\"", "kubectl gitseal init"},
		},
		"ServiceAccount and RoleBinding": {
			[]string{"serviceaccount/deployer", "rolebinding/deployer"}, v1alpha1.ReasonForbidden, []string{`ServiceAccount "deployer"`, "create the ServiceAccount"},
		},
	} {
		s := newStory(t, "rights")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.t = t
			commit := s.push(someConfigs(8, "1"))
			s.create()
			s.waitReady(commit)
			before := s.configs()

			reached, release := held(t, func(a rig.Asked) bool {
				return writesIn(s.ns)(a) && strings.HasSuffix(a.Path, "/configmaps/c05")
			})
			files := someConfigs(8, "2")
			files["c07.yaml"] = ""
			commit = s.push(files)
			s.reaches("the middle of the sync", reached)
			s.kubectl("", append([]string{"-n", s.ns, "delete"}, tt.revoke...)...)
			eventually(t, "the rights are gone", s.deployerMayNot)
			release()

			s.waitRefused(tt.reason, tt.words...)
			s.sees(tt.reason, tt.words...)
			after := s.configs()
			if after["c05"] != before["c05"] || after["c07"] != before["c07"] || len(after) != len(before) {
				t.Errorf("objects are %v, were %v", after, before)
			}
			s.kubectl(rig.Access(s.ns, "edit"), "apply", "--server-side", "--force-conflicts", "-f", "-")
			s.waitReady(commit)
			for name, value := range s.waitConfigs(func(now map[string]string) bool { return len(now) == len(before)-1 }) {
				if !strings.HasSuffix(value, "=2") || strings.Split(value, "=")[0] != strings.Split(before[name], "=")[0] {
					t.Errorf("ConfigMap %s is %s, was %s", name, value, before[name])
				}
			}
			if _, err := get(t.Context(), s, "c07", &corev1.ConfigMap{}); !apierrors.IsNotFound(err) {
				t.Errorf("ConfigMap c07: %v, want it pruned", err)
			}
		})
	}
}

// deployerMayNot waits for the API server, which learns of rights by watches.
func (s *story) deployerMayNot(ctx context.Context) error {
	for as, what := range map[string][]string{
		"gitseal-system:gitseal-controller": {"impersonate", "serviceaccounts/deployer"},
		s.ns + ":deployer":                  {"patch", "configmaps"},
	} {
		// "no" comes with a status.
		out, _ := sandbox.Kubectl(ctx, "", append([]string{"-n", s.ns, "--as=system:serviceaccount:" + as, "auth", "can-i"}, what...)...)
		if strings.HasPrefix(out, "no") {
			return nil
		}
	}
	return errors.New("they may")
}

// Rights are those of a user name: Kubernetes does not ask whether the
// ServiceAccount is there when the operator acts as it, as its RoleBindings
// still name it. To delete it alone takes nothing away, and harms nothing.
func TestAServiceAccountThatIsDeletedTakesNoRightsWithIt(t *testing.T) {
	t.Parallel()
	s := newStory(t, "account")
	commit := s.push(someConfigs(3, "1"))
	s.create()
	s.waitReady(commit)
	before := s.configs()
	s.kubectl("", "-n", s.ns, "delete", "serviceaccount", "deployer")
	commit = s.push(map[string]string{"c00.yaml": configMap("c00", "2")})
	s.waitReady(commit)
	after := s.configs()
	delete(before, "c00")
	delete(after, "c00")
	if !maps.Equal(before, after) {
		t.Errorf("objects are %v, were %v", after, before)
	}
}
