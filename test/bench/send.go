package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
)

func newRawClient(config *rest.Config) (rest.Interface, error) {
	config = rest.CopyConfig(config)
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	config.GroupVersion = &schema.GroupVersion{}
	return rest.UnversionedRESTClientFor(config)
}

// floor sends all objects of a new round, in plaintext, by a bare loop. That
// is what the same work takes if there is nothing to decide.
func (s *stage) floor(ctx context.Context) (time.Duration, error) {
	if err := s.prepare(ctx); err != nil {
		return 0, err
	}
	paths, bodies := make([]string, len(s.objects)), make([][]byte, len(s.objects))
	for i, o := range s.objects {
		body, err := o.json()
		if err != nil {
			return 0, err
		}
		paths[i], bodies[i] = o.path(s.apps[o.app].Namespace), body
	}
	begun := time.Now()
	var g errgroup.Group
	g.SetLimit(parallel)
	for i := range paths {
		g.Go(func() error {
			return s.raw.Patch(types.ApplyYAMLPatchType).AbsPath(paths[i]).
				Param("fieldManager", "floor").Param("force", "true").Body(bodies[i]).Do(ctx).Error()
		})
	}
	err := g.Wait()
	return time.Since(begun), err
}

// applyText applies the objects of a description's text.
func (s *stage) applyText(ctx context.Context, text string, v values) error {
	filled, err := fill(text, v)
	if err != nil {
		return err
	}
	for document := range strings.SplitSeq(filled, "\n---\n") {
		var o unstructured.Unstructured
		if err := yaml.Unmarshal([]byte(document), &o.Object); err != nil {
			return fmt.Errorf("parse %q: %w", document, err)
		}
		if len(o.Object) == 0 {
			continue
		}
		if err := s.apply(ctx, &o); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) apply(ctx context.Context, o *unstructured.Unstructured) error {
	resource := s.controller.Resource
	if gvk := o.GroupVersionKind(); gvk.Group != resource.Group || gvk.Version != resource.Version || !strings.EqualFold(gvk.Kind+"s", resource.Resource) {
		mapping, err := s.rig.Client.RESTMapper().RESTMapping(gvk.GroupKind(), gvk.Version)
		if err != nil {
			return err
		}
		resource = mapping.Resource
	}
	_, err := s.dynamic.Resource(resource).Namespace(o.GetNamespace()).
		Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: "bench", Force: true})
	return err
}
