package main

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// patience is how long anything is waited for.
const patience = 10 * time.Minute

// goal is something that all Applications are to come to.
type goal struct {
	name       string
	conditions []condition

	left    map[types.NamespacedName]values
	reached time.Time
}

func newGoal(name string, conditions []condition, apps []values) *goal {
	g := &goal{name: name, conditions: conditions, left: map[types.NamespacedName]values{}}
	for _, v := range apps {
		g.left[types.NamespacedName{Namespace: v.Namespace, Name: v.Name}] = v
	}
	return g
}

// look notes what an Application has come to.
func (g *goal) look(o *unstructured.Unstructured) error {
	key := types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
	v, waiting := g.left[key]
	if !waiting {
		return nil
	}
	ok, err := allHold(g.conditions, o, v)
	if err != nil || !ok {
		return err
	}
	if delete(g.left, key); len(g.left) == 0 {
		g.reached = time.Now()
	}
	return nil
}

// await watches all Applications until they have come to every goal.
func (s *stage) await(ctx context.Context, goals ...*goal) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return s.follow(ctx, s.controller.Resource, func(_ watch.EventType, o *unstructured.Unstructured) (bool, error) {
		left := 0
		for _, g := range goals {
			if err := g.look(o); err != nil {
				return false, err
			}
			left += len(g.left)
		}
		return left == 0, nil
	})
}

// follow hands what is there and every change to see, until it is done.
func (s *stage) follow(ctx context.Context, resource schema.GroupVersionResource, see func(watch.EventType, *unstructured.Unstructured) (done bool, err error)) error {
	w, err := s.dynamic.Resource(resource).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		o, ok := e.Object.(*unstructured.Unstructured)
		if !ok {
			return fmt.Errorf("watch %s: %v", resource.Resource, e.Object)
		}
		if done, err := see(e.Type, o); done || err != nil {
			return err
		}
	}
	return fmt.Errorf("watch %s: what was waited for did not come: %w", resource.Resource, ctx.Err())
}
