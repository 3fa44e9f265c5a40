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
	return follow(ctx, s.dynamic.Resource(s.controller.Resource), metav1.ListOptions{}, func(o *unstructured.Unstructured) (bool, error) {
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

// follow hands what is there and every change to see, until it is done. A watch
// that the API server ends is opened again.
func follow(ctx context.Context, resource dynamic.ResourceInterface, options metav1.ListOptions, see func(*unstructured.Unstructured) (done bool, err error)) error {
	for ctx.Err() == nil {
		w, err := resource.Watch(ctx, options)
		if err != nil {
			return err
		}
		done, err := watched(w, see)
		if done || err != nil {
			return err
		}
	}
	return fmt.Errorf("what was waited for did not come: %w", ctx.Err())
}

func watched(w watch.Interface, see func(*unstructured.Unstructured) (done bool, err error)) (done bool, err error) {
	defer w.Stop()
	for e := range w.ResultChan() {
		o, ok := e.Object.(*unstructured.Unstructured)
		if !ok || e.Type == watch.Error {
			return false, fmt.Errorf("watch: %v", e.Object)
		}
		if done, err := see(o); done || err != nil {
			return done, err
		}
	}
	return false, nil
}
