package apply

import (
	"fmt"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

func parsed(t *testing.T, text string) map[string]any {
	t.Helper()
	raw, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var object map[string]any
	if err := utiljson.Unmarshal(raw, &object); err != nil {
		t.Fatal(err)
	}
	return object
}

func TestDifferencesAreNamed(t *testing.T) {
	const pod = "spec: {containers: [{name: main, image: %s, ports: [{containerPort: 80, protocol: TCP}], args: [a, b]}%s]}"
	tests := map[string]struct {
		have, want string
		fields     []string
	}{
		"nothing":                       {"data: {a: x}", "data: {a: x}", nil},
		"a value":                       {"data: {a: x, b: z}", "data: {a: y, b: z}", []string{"data.a"}},
		"a key that is gone":            {"data: {}", "data: {a: y}", []string{"data.a"}},
		"a whole map that is gone":      {"{}", "data: {a: y}", []string{"data.a"}},
		"an empty map that is gone":     {"{}", "data: {}", []string{"data"}},
		"a key that is no plain name":   {"data: {tls.crt: x}", "data: {tls.crt: y}", []string{"data[tls.crt]"}},
		"an element's field":            {fmt.Sprintf(pod, "x", ""), fmt.Sprintf(pod, "y", ""), []string{"spec.containers[name=main].image"}},
		"an element that is gone":       {fmt.Sprintf(pod, "x", ""), fmt.Sprintf(pod, "x", ", {name: side}"), []string{"spec.containers[name=side]"}},
		"an element that is new":        {fmt.Sprintf(pod, "x", ", {name: side}"), fmt.Sprintf(pod, "x", ""), []string{"spec.containers[name=side]"}},
		"the order of elements":         {"l: [{name: a}, {name: b}]", "l: [{name: b}, {name: a}]", []string{"l"}},
		"elements with two keys":        {"p: [{port: 1, protocol: TCP, x: 1}, {port: 1, protocol: UDP}]", "p: [{port: 1, protocol: TCP, x: 2}, {port: 1, protocol: UDP}]", []string{"p[port=1,protocol=TCP].x"}},
		"a plain list":                  {"l: [a, b]", "l: [a, c]", []string{"l[1]"}},
		"a plain list of another size":  {"l: [a, b]", "l: [a]", []string{"l"}},
		"a value of another type":       {"l: [a]", "l: {a: b}", []string{"l"}},
		"what the server writes":        {"metadata: {resourceVersion: '1', generation: 3, managedFields: [], uid: x}\nstatus: {a: b}", "metadata: {resourceVersion: '2'}", nil},
		"our digest":                    {"metadata: {annotations: {gitseal.dev/digest: x}}", "metadata: {annotations: {gitseal.dev/digest: y}}", nil},
		"our digest, where it is alone": {"metadata: {annotations: {gitseal.dev/digest: x}}", "metadata: {}", nil},
		"a label":                       {"metadata: {labels: {a/b: x}}", "metadata: {labels: {a/b: y}}", []string{"metadata.labels[a/b]"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			item := newWorld(t).build(configMap("a"))[0]
			var got []string
			for _, d := range differences(item, parsed(t, tt.have), parsed(t, tt.want)) {
				got = append(got, d.String())
			}
			if !slices.Equal(got, tt.fields) {
				t.Errorf("differences() = %q, want %q", got, tt.fields)
			}
		})
	}
}

// Of what holds values only names that stand in Git are told.
func TestDifferencesOfASecretTellNoValue(t *testing.T) {
	w := newWorld(t)
	item := w.build("apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {password: " + w.token("hunter2", 0) + "}")[0]
	have := parsed(t, "data: {password: eA==}\nlist: [{name: hunter2, x: 1}]")
	want := parsed(t, "data: {password: eQ==}\nlist: [{name: hunter2, x: 2}]")
	if got := fmt.Sprint(differences(item, have, want)); got != "[data.password […]]" {
		t.Errorf("differences() = %s, want the key that stands in Git and nothing of the rest", got)
	}
}

func TestTheManagerThatWroteLastIsNamed(t *testing.T) {
	at := func(manager, fields string, second int64) metav1.ManagedFieldsEntry {
		when := metav1.Unix(second, 0)
		return metav1.ManagedFieldsEntry{Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, Time: &when, FieldsV1: metav1.NewFieldsV1(fields)}
	}
	ours := at(v1alpha1.FieldManager, `{"f:spec":{"f:containers":{"k:{\"name\":\"main\"}":{".":{},"f:image":{}}}}}`, 99)
	ours.Operation = metav1.ManagedFieldsOperationApply
	places := []difference{{{field: "spec", text: "spec"}, {field: "containers"}, {element: map[string]any{"name": "main", "image": "x"}}, {field: "image"}}}
	tests := map[string]struct {
		entries []metav1.ManagedFieldsEntry
		want    string
	}{
		"nobody but us":        {[]metav1.ManagedFieldsEntry{ours}, ""},
		"who owns the field":   {[]metav1.ManagedFieldsEntry{ours, at("edit", `{"f:spec":{"f:containers":{"k:{\"name\":\"main\"}":{"f:image":{}}}}}`, 5)}, "edit"},
		"who owns the list":    {[]metav1.ManagedFieldsEntry{at("edit", `{"f:spec":{"f:containers":{}}}`, 5)}, "edit"},
		"another's element":    {[]metav1.ManagedFieldsEntry{at("edit", `{"f:spec":{"f:containers":{"k:{\"name\":\"side\"}":{"f:image":{}}}}}`, 5)}, ""},
		"the last of several":  {[]metav1.ManagedFieldsEntry{at("new", `{"f:spec":{"f:containers":{}}}`, 7), at("old", `{"f:spec":{"f:containers":{}}}`, 5)}, "new"},
		"another field's":      {[]metav1.ManagedFieldsEntry{at("edit", `{"f:spec":{"f:replicas":{}}}`, 5)}, ""},
		"fields of no meaning": {[]metav1.ManagedFieldsEntry{at("edit", `{`, 5)}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := managerOf(tt.entries, places); got != tt.want {
				t.Errorf("managerOf() = %q, want %q", got, tt.want)
			}
		})
	}
}
