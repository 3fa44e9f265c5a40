package external

import (
	"context"
	"encoding/base64"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/render"
	"github.com/gitseal/gitseal/internal/secret"
)

const (
	maxSecretBytes = 1 << 20
	// ownMarks begin the labels and annotations by which external-secrets.io
	// knows its Secrets.
	ownMarks = "reconcile." + Group + "/"
	// carried begins the annotations that say how an object is applied.
	carried = "gitseal.dev/"
)

// draft is a Secret that is being made.
type draft struct {
	labels, annotations map[string]string
	data                map[string]secret.Value
}

func newDraft() *draft {
	return &draft{labels: map[string]string{}, annotations: map[string]string{}, data: map[string]secret.Value{}}
}

// object makes the Secret of the values that were resolved.
func (b *builder) object(ctx context.Context) *render.Object {
	m, blueprint := b.manifest, b.manifest.target.template
	d := newDraft()
	if blueprint == nil {
		d.copyMarks(m)
		d.data = b.values
	} else {
		b.fill(ctx, d, blueprint)
	}
	o := d.object(m, b.tokens(d))
	if blueprint != nil && blueprint.secretType != "" {
		o.Object["type"] = blueprint.secretType
	}
	if blueprint != nil && len(blueprint.finalizers) > 0 {
		fields(o, "metadata")["finalizers"] = list(blueprint.finalizers)
	}
	if m.target.immutable {
		o.Object["immutable"] = true
	}
	return &o
}

// object is the Secret that a manifest makes of a draft.
func (d *draft) object(m *Manifest, data map[string]any) render.Object {
	metadata := map[string]any{"name": m.target.name}
	if m.Namespace != "" {
		metadata["namespace"] = m.Namespace
	}
	d.carry(m)
	if len(d.labels) > 0 {
		metadata["labels"] = dictionary(d.labels)
	}
	if len(d.annotations) > 0 {
		metadata["annotations"] = dictionary(d.annotations)
	}
	object := map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}
	return render.Object{Unstructured: &unstructured.Unstructured{Object: object}, Origin: m.Origin}
}

// tokens puts what stands for the values into data.
func (b *builder) tokens(d *draft) map[string]any {
	b.known(d.data)
	data, size := make(map[string]any, len(d.data)), 0
	for key, v := range d.data {
		size += len(key) + v.Len()
		token := b.Values.Add(v, secret.String)
		data[key] = base64.StdEncoding.EncodeToString([]byte(token))
	}
	if size > maxSecretBytes {
		b.fail("spec", problemf("split it over several ExternalSecrets", "makes a Secret of more than 1 MiB"))
	}
	return data
}

// copyMarks copies the ExternalSecret's own labels and annotations, but for those
// that tools keep their books in.
func (d *draft) copyMarks(m *Manifest) {
	maps.Copy(d.labels, m.labels)
	maps.Copy(d.annotations, m.annotations)
	delete(d.annotations, corev1.LastAppliedConfigAnnotation)
	for _, marks := range []map[string]string{d.labels, d.annotations} {
		maps.DeleteFunc(marks, func(key, _ string) bool { return strings.HasPrefix(key, ownMarks) })
	}
}

// carry sets what says how the Secret is applied.
func (d *draft) carry(m *Manifest) {
	for key, value := range m.annotations {
		if isCarried(key) {
			d.annotations[key] = value
		}
	}
	if m.refresh.policy == refreshCreatedOnce {
		d.annotations[v1alpha1.AnnotationApply] = v1alpha1.ApplyOnce
	}
	switch m.target.creation {
	case createOrphan:
		d.annotations[v1alpha1.AnnotationPrune] = v1alpha1.PruneDisabled
	case createMerge:
		d.annotations[v1alpha1.AnnotationPrune] = v1alpha1.PruneRelease
		d.annotations[v1alpha1.AnnotationApply] = v1alpha1.ApplyMerge
	case createOrMerge:
		d.annotations[v1alpha1.AnnotationPrune] = v1alpha1.PruneRelease
	}
}

func isCarried(key string) bool {
	return strings.HasPrefix(key, carried) || key == v1alpha1.AnnotationArgoSyncWave
}

func dictionary(in map[string]string) map[string]any {
	out := make(map[string]any, len(in))
	for key, value := range in {
		out[key] = value
	}
	return out
}

func list(in []string) []any {
	out := make([]any, len(in))
	for i, text := range in {
		out[i] = text
	}
	return out
}
