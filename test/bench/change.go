package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/gitseal/gitseal/test/bench/result"
)

var configMaps = schema.GroupVersionResource{Version: "v1", Resource: configMap.resource}

// oneChange pushes a commit that changes one ConfigMap of one Application and
// asks for a sync of that, as a webhook would.
func oneChange(ctx context.Context, s *stage, _ scenario, _ bool) (result.Round, error) {
	if err := s.inPlace(ctx); err != nil {
		return result.Round{}, err
	}
	before, err := s.settled(ctx)
	if err != nil {
		return result.Round{}, err
	}
	at := now()
	o := s.pick(configMap, time.Now().Nanosecond())
	content := strings.Replace(o.text, "b: another", fmt.Sprintf("b: changed-%s", at), 1)
	begun := time.Now()
	if err := s.push(ctx, map[string]string{o.file(): content}); err != nil {
		return result.Round{}, err
	}
	pushed := time.Now()
	if err := s.trigger(ctx, o.app); err != nil {
		return result.Round{}, err
	}
	err = s.follow(ctx, configMaps, func(_ watch.EventType, u *unstructured.Unstructured) (bool, error) {
		b, _, _ := unstructured.NestedString(u.Object, "data", "b")
		return u.GetName() == o.name && u.GetNamespace() == s.apps[o.app].Namespace && b == "changed-"+at, nil
	})
	if err != nil {
		return result.Round{}, err
	}
	m := map[string]float64{"appliedSeconds": time.Since(pushed).Seconds(), "pushSeconds": pushed.Sub(begun).Seconds()}
	after, err := s.settled(ctx)
	if err != nil {
		return result.Round{}, err
	}
	return s.round(before, after, m), nil
}

// trigger tells the controller of a push.
func (s *stage) trigger(ctx context.Context, app int) error {
	if s.controller.Request == "" {
		return nil
	}
	v := s.apps[app]
	v.Now = now()
	return s.request(ctx, v)
}

// pick is the nth object of a kind, counted round and round, first across
// Applications.
func (s *stage) pick(k kind, n int) object {
	app := n % s.workload.apps
	of := slices.DeleteFunc(slices.Clone(s.objects), func(o object) bool { return o.kind != k || o.app != app })
	return of[n/s.workload.apps%len(of)]
}
