package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// passing are the fields that hold identity or time, wherever they are. A
// digest covers the namespace, which is another in each cell.
var passing = []string{
	"uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "time",
	"lastTransitionTime", "lastUpdateTime", "appliedAt", "changedAt", "lastHandledSyncAt", "endedAt", "digest", "controller-uid", "batch.kubernetes.io/controller-uid",
}

// normal writes an object without what differs between two runs of the same.
func normal(u *unstructured.Unstructured) string {
	object := u.DeepCopy().Object
	strip(object)
	u = &unstructured.Unstructured{Object: object}
	switch u.GetKind() {
	case "Application":
		normalApplication(u)
	default:
		delete(object, "status") // its controller's, which comes when it comes
	}
	annotations := u.GetAnnotations()
	if annotations[v1alpha1.AnnotationDigest] != "" {
		annotations[v1alpha1.AnnotationDigest] = "there"
		u.SetAnnotations(annotations)
	}
	if entries, ok, _ := unstructured.NestedSlice(object, "metadata", "managedFields"); ok {
		entries = slices.DeleteFunc(entries, func(e any) bool { return e.(map[string]any)["subresource"] == "status" }) // a controller's
		_ = unstructured.SetNestedSlice(object, entries, "metadata", "managedFields")                                   // it was one
	}
	order(object, "metadata", "managedFields")
	order(object, "status", "conditions")
	text, err := json.MarshalIndent(object, "", " ")
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// essence is what of an object only somebody who means it changes.
func essence(u *unstructured.Unstructured) string {
	u = u.DeepCopy()
	delete(u.Object, "status")
	unstructured.RemoveNestedField(u.Object, "metadata", "managedFields")
	return normal(u)
}

// order sorts a list that means a set.
func order(object map[string]any, fields ...string) {
	if list, ok, _ := unstructured.NestedSlice(object, fields...); ok {
		slices.SortFunc(list, func(a, b any) int { return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		_ = unstructured.SetNestedSlice(object, list, fields...) // it was one
	}
}

// normalApplication leaves out the way to the state: how many syncs it took,
// and what each of them counted. What the ApplySet records may be more than is
// there, as a kind that ceased to be served may come back: that it is enough
// is an invariant of its own.
func normalApplication(u *unstructured.Unstructured) {
	for _, a := range []string{v1alpha1.AnnotationPlaces, v1alpha1.ApplySetKindsAnnotation, v1alpha1.ApplySetNamespacesAnnotation} {
		unstructured.RemoveNestedField(u.Object, "metadata", "annotations", a)
	}
	unstructured.RemoveNestedField(u.Object, "metadata", "managedFields")
	unstructured.RemoveNestedField(u.Object, "status", "history")
	unstructured.RemoveNestedField(u.Object, "status", "resources", "drifted") // counts tries
	unstructured.RemoveNestedField(u.Object, "metadata", "annotations", v1alpha1.AnnotationSyncRequestedAt)
}

func strip(v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, name := range passing {
			if _, isTime := v[name].(string); isTime {
				delete(v, name)
			}
		}
		for _, inner := range v {
			strip(inner)
		}
	case []any:
		for _, inner := range v {
			strip(inner)
		}
	}
}
