package faults

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

const converted = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.faults.example.com}
spec:
  group: faults.example.com
  names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList}
  scope: Namespaced
  versions:
    - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, x-kubernetes-preserve-unknown-fields: true}}}}}
    - {name: v2, served: true, storage: false, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, x-kubernetes-preserve-unknown-fields: true}}}}}
  conversion:
    strategy: Webhook
    webhook:
      conversionReviewVersions: [v1]
      clientConfig: {url: %q, caBundle: %s}
`

// converter is a conversion webhook that hangs until it is told to work.
func converter(t *testing.T) (manifest string, hung *hanging) {
	t.Helper()
	hung = &hanging{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err != nil {
			return
		}
		about, answer := convert(body)
		hung.hang(request.Context(), about)
		fmt.Fprintf(w, "%s", answer)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(func() {
		hung.work()
		server.CloseClientConnections()
		server.Close()
	})
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return fmt.Sprintf(converted, server.URL, base64.StdEncoding.EncodeToString(ca)), hung
}

// convert answers a ConversionReview: all that differs is the version. About
// names the objects.
func convert(review []byte) (about string, answer []byte) {
	var in struct {
		Request struct {
			UID     string           `json:"uid"`
			Version string           `json:"desiredAPIVersion"`
			Objects []map[string]any `json:"objects"`
		} `json:"request"`
	}
	if err := json.Unmarshal(review, &in); err != nil {
		return "", nil
	}
	for _, o := range in.Request.Objects {
		name, _, _ := unstructured.NestedString(o, "metadata", "name")
		about += name
		o["apiVersion"] = in.Request.Version
	}
	answer, _ = json.Marshal(map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
		"response": map[string]any{"uid": in.Request.UID, "convertedObjects": in.Request.Objects, "result": map[string]any{"status": "Success"}},
	})
	return about, answer
}

// A conversion webhook that never answers stops the Applications that use its
// kind, and nobody else; they say so, and recover.
func TestAConversionWebhookHangs(t *testing.T) {
	t.Parallel()
	s := newStory(t, "hanging")
	other := newStory(t, "healthy")
	manifest, hung := converter(t)
	s.kubectl(manifest, "apply", "--server-side", "-f", "-")
	t.Cleanup(func() { // while the webhook is there: what is left would hold up namespaces of others
		hung.work()
		if _, err := sandbox.Kubectl(context.Background(), "", "delete", "crd", "widgets.faults.example.com", "--timeout=5m"); err != nil {
			t.Error(err)
		}
	})
	if err := sandbox.Serves(t.Context(), "widgets.faults.example.com"); err != nil {
		t.Fatal(err)
	}
	s.kubectl("", "create", "clusterrole", s.ns, "--verb=*", "--resource=widgets.faults.example.com")
	s.kubectl("", "-n", s.ns, "create", "rolebinding", "widgets", "--clusterrole="+s.ns, "--serviceaccount="+s.ns+":deployer")

	other.waitReady(other.begin(2))

	files := map[string]string{}
	for i := range hungApplications {
		files[fmt.Sprintf("a%d/w.yaml", i)] = fmt.Sprintf("apiVersion: faults.example.com/v2\nkind: Widget\nmetadata: {name: w%d}\nspec: {size: 1}\n", i)
		files[fmt.Sprintf("a%d/c.yaml", i)] = configMap(fmt.Sprintf("c%d", i), "1")
	}
	commit := s.push(files)
	apps := make([]*story, hungApplications)
	for i := range apps {
		one := *s
		one.app = newApplication(s.ns, fmt.Sprintf("app%d", i), s.repo.URL)
		one.app.Spec.Source.Path = fmt.Sprintf("a%d", i)
		one.create()
		apps[i] = &one
	}
	other.goesOnBeside(t, hung)
	for _, one := range apps {
		one.waitRefused(v1alpha1.ReasonApplyFailed, "w.yaml:1", "Widget", "the conversion webhook of its kind failed")
	}

	hung.work()
	for i, one := range apps {
		one.waitReady(commit)
		w := &unstructured.Unstructured{}
		w.SetGroupVersionKind(schema.GroupVersionKind{Group: "faults.example.com", Version: "v1", Kind: "Widget"})
		if err := sandbox.Client.Get(t.Context(), types.NamespacedName{Namespace: s.ns, Name: fmt.Sprintf("w%d", i)}, w); err != nil {
			t.Error(err)
		}
	}
}
