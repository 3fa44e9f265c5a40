package e2e

import (
	"context"
	"fmt"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

func (s *story) widget(ctx context.Context) error {
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Widget"})
	if err := sandbox.Client.Get(ctx, types.NamespacedName{Namespace: s.ns, Name: "one"}, o); err != nil {
		return err
	}
	if size, _, _ := unstructured.NestedInt64(o.Object, "spec", "size"); size != 3 {
		return fmt.Errorf("size %d, want 3", size)
	}
	return nil
}

// A kind may go and come back: what the Application has of it does, too, and is
// watched as before.
func TestAKindThatGoesAndComesBackIsWatchedAgain(t *testing.T) {
	t.Parallel()
	s := newStory(t, "kind-returns")
	s.everywhere("cluster-admin")
	definition := fmt.Sprintf(gadgets, "widgets", "Widget")
	install := func() {
		s.kubectl(definition, "apply", "--server-side", "-f", "-")
		if err := sandbox.Serves(t.Context(), "widgets.example.com"); err != nil {
			t.Fatal(err)
		}
	}
	install()
	s.app.Spec.Source.Git.Interval.Duration = 5e9
	s.write(map[string]string{"c.yaml": configMap("c", "1"), "w.yaml": "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: one}\nspec: {size: 3}\n"})
	s.create()
	commit := s.push("first")
	s.waitReady(commit)
	s.kubectl("", "delete", "crd", "widgets.example.com", "--wait", "--timeout="+patience.String())
	s.waitRefused(v1alpha1.ReasonKindUnknown)
	install()
	s.waitReady(commit)
	eventually(t, "the object back", s.widget)
	s.kubectl("", "-n", s.ns, "patch", "widget", "one", "--type=merge", "-p", `{"spec":{"size":4}}`)
	eventually(t, "its drift corrected", s.widget)
}

// A revoked right is told, what is there is left, and the return of the right
// is enough to go on.
func TestARightThatIsRevokedAndGivenBack(t *testing.T) {
	t.Parallel()
	s := newStory(t, "right-returns")
	s.write(map[string]string{"a.yaml": configMap("a", "1")})
	s.create()
	commit := s.push("first")
	s.waitReady(commit)
	s.kubectl("", "-n", s.ns, "delete", "rolebinding", "deployer")
	s.waitWithout(s.ns, "deployer", authorizationv1.ResourceAttributes{Namespace: s.ns, Verb: "patch", Resource: "configmaps"})
	s.by("mallory", "configmap", "a", `{"data":{"key":"by hand"}}`)
	s.waitRefused(v1alpha1.ReasonForbidden)
	s.wantConfigKey("a", "key", "by hand")
	s.letIn("edit")
	s.wantConfigKey("a", "key", "1")
	s.waitReady(commit)
}
