package main

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"

	"github.com/gitseal/gitseal/test/bench/result"
)

// restart starts the controller anew and waits until it has been through every
// Application once.
func restart(ctx context.Context, s *stage, _ scenario, _ bool) (result.Round, error) {
	if err := s.inPlace(ctx); err != nil {
		return result.Round{}, err
	}
	if _, err := s.settled(ctx); err != nil {
		return result.Round{}, err
	}
	if err := s.halt(); err != nil {
		return result.Round{}, err
	}
	versionsBefore, err := s.versions(ctx)
	if err != nil {
		return result.Round{}, err
	}
	begun := time.Now()
	if err := s.start(ctx); err != nil {
		return result.Round{}, err
	}
	before, err := s.read(ctx)
	if err != nil {
		return result.Round{}, err
	}
	before.own.cpu, before.calls = 0, nil // all that the new process does counts
	if err := s.reconciled(ctx, 0); err != nil {
		return result.Round{}, err
	}
	m := map[string]float64{"wallSeconds": time.Since(begun).Seconds()}
	after, err := s.settled(ctx)
	if err != nil {
		return result.Round{}, err
	}
	versionsAfter, err := s.versions(ctx)
	if err != nil {
		return result.Round{}, err
	}
	m["objects"] = float64(len(versionsBefore))
	m["changedObjects"] = 0
	for id, v := range versionsBefore {
		if versionsAfter[id] != v {
			m["changedObjects"]++
		}
	}
	return s.round(before, after, m), nil
}

// versions reads the resource versions of all objects of the round.
func (s *stage) versions(ctx context.Context) (map[string]string, error) {
	client, err := metadata.NewForConfig(s.config)
	if err != nil {
		return nil, err
	}
	names := map[types.NamespacedName]bool{}
	for _, o := range s.objects {
		names[types.NamespacedName{Namespace: s.apps[o.app].Namespace, Name: o.name}] = true
	}
	found := map[string]string{}
	for k := range s.workload.of {
		resource := schema.GroupVersionResource{Version: "v1", Resource: k.resource}
		if k == deployment {
			resource.Group = "apps"
		}
		list, err := client.Resource(resource).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, err
		}
		for _, o := range list.Items {
			if names[types.NamespacedName{Namespace: o.Namespace, Name: o.Name}] {
				found[k.resource+"/"+o.Namespace+"/"+o.Name] = o.ResourceVersion
			}
		}
	}
	return found, nil
}
