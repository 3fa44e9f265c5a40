package main

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"

	"github.com/gitseal/gitseal/test/bench/result"
)

// meddling is a way to spoil an object, and how to see that it is mended.
type meddling struct {
	name   string
	spoil  func(context.Context, dynamic.ResourceInterface, string) error
	spoilt func(watch.EventType, *unstructured.Unstructured) bool
}

func (s *stage) meddlings() []meddling {
	patch := func(body string) func(context.Context, dynamic.ResourceInterface, string) error {
		return func(ctx context.Context, r dynamic.ResourceInterface, name string) error {
			_, err := r.Patch(ctx, name, types.MergePatchType, []byte(body), metav1.PatchOptions{FieldManager: "meddler"})
			return err
		}
	}
	all := []meddling{
		{"patch", patch(`{"data":{"b":"meddled"}}`), func(_ watch.EventType, u *unstructured.Unstructured) bool {
			b, _, _ := unstructured.NestedString(u.Object, "data", "b")
			return b == "meddled"
		}},
		{"delete", func(ctx context.Context, r dynamic.ResourceInterface, name string) error {
			return r.Delete(ctx, name, metav1.DeleteOptions{})
		}, func(e watch.EventType, _ *unstructured.Unstructured) bool { return e == watch.Deleted }},
	}
	if label := s.controller.Label; label != "" {
		all = append(all, meddling{"unlabel", patch(fmt.Sprintf(`{"metadata":{"labels":{%q:null}}}`, label)), func(_ watch.EventType, u *unstructured.Unstructured) bool {
			return u.GetLabels()[label] == ""
		}})
	}
	return all
}

// drift meddles with one ConfigMap after the other and takes the time from the
// answer to the meddling until the object is mended.
func drift(ctx context.Context, s *stage, _ scenario, quick bool) (result.Round, error) {
	if err := s.inPlace(ctx); err != nil {
		return result.Round{}, err
	}
	before, err := s.settled(ctx)
	if err != nil {
		return result.Round{}, err
	}
	samples := 20
	if quick {
		samples = 3
	}
	m := map[string]float64{"samples": float64(samples)}
	var all []float64
	n := time.Now().Nanosecond() // objects that were meddled with before are left alone
	for _, how := range s.meddlings() {
		var of []float64
		for range samples {
			n++
			took, err := s.meddle(ctx, how, s.pick(configMap, n))
			if err != nil {
				return result.Round{}, fmt.Errorf("%s: %w", how.name, err)
			}
			of = append(of, took.Seconds())
		}
		sum := result.Sum(of)
		m[how.name+"Seconds"], m[how.name+"WorstSeconds"] = sum.Median, sum.Max
		all = append(all, of...)
	}
	sum := result.Sum(all)
	m["driftSeconds"], m["worstSeconds"] = sum.Median, sum.Max
	after, err := s.settled(ctx)
	if err != nil {
		return result.Round{}, err
	}
	return s.round(before, after, m), nil
}

func (s *stage) meddle(ctx context.Context, how meddling, o object) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	objects := s.dynamic.Resource(configMaps).Namespace(s.apps[o.app].Namespace)
	w, err := objects.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + o.name})
	if err != nil {
		return 0, err
	}
	defer w.Stop()
	if err := how.spoil(ctx, objects, o.name); err != nil {
		return 0, err
	}
	begun, seen := time.Now(), false
	for e := range w.ResultChan() {
		u, ok := e.Object.(*unstructured.Unstructured)
		if !ok {
			return 0, fmt.Errorf("watch %s: %v", o.name, e.Object)
		}
		switch spoilt := how.spoilt(e.Type, u); {
		case spoilt:
			seen = true
		case seen:
			return time.Since(begun), nil
		}
	}
	return 0, fmt.Errorf("%s was not mended: %w", o.name, ctx.Err())
}
