package apply

import (
	"encoding/json"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// encode returns what is sent of an object, and its digest. The digest stands
// among the object's annotations, too, so that a restarted operator knows what
// was applied; it covers everything but itself. It is keyed, and values are
// tokens in what it covers, so it confirms no guess. The rules about fields that
// others own are part of it: without them all of the object is applied again.
func (b *builder) encode(o *unstructured.Unstructured, ignored []v1alpha1.IgnoreDifference) (body []byte, digest string, err error) {
	unstructured.RemoveNestedField(o.Object, "metadata", "annotations", v1alpha1.AnnotationDigest)
	body, err = json.Marshal(o.Object)
	if err != nil {
		return nil, "", err
	}
	if digest, err = b.digestOf(body, ignored); err != nil {
		return nil, "", err
	}
	if unstructured.SetNestedField(o.Object, digest, "metadata", "annotations", v1alpha1.AnnotationDigest) != nil {
		return body, digest, nil // its annotations are none, as the API server will say
	}
	body, err = json.Marshal(o.Object)
	return body, digest, err
}

func (b *builder) digestOf(body []byte, ignored []v1alpha1.IgnoreDifference) (string, error) {
	if len(ignored) == 0 {
		return b.digest(body), nil
	}
	rules, err := json.Marshal(ignored)
	if err != nil {
		return "", err
	}
	return b.digest(append(rules, body...)), nil
}
