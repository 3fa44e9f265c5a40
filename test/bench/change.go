package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/gitseal/gitseal/test/bench/result"
)

var configMaps = schema.GroupVersionResource{Version: "v1", Resource: configMap.resource}

// oneChange pushes a commit that changes one ConfigMap of one Application and
// has the webhook told.
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
	// To list all of them would be more work than what is measured.
	only := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", o.name).String()}
	err = follow(ctx, s.dynamic.Resource(configMaps).Namespace(s.apps[o.app].Namespace), only, func(u *unstructured.Unstructured) (bool, error) {
		b, _, _ := unstructured.NestedString(u.Object, "data", "b")
		return b == "changed-"+at, nil
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

// trigger tells the controller of a push, as the Git server would. Without a
// webhook it is asked to sync the one Application.
func (s *stage) trigger(ctx context.Context, app int) error {
	v := s.apps[app]
	v.Now = now()
	switch {
	case s.controller.Webhook != nil:
		v.Webhook = s.running.webhookURL
		return s.controller.Webhook.deliver(ctx, v)
	case s.controller.Request != "":
		return s.request(ctx, v)
	}
	return nil
}

func (w *webhook) deliver(ctx context.Context, v values) error {
	url, err := fill(w.URL, v)
	if err != nil {
		return err
	}
	body, err := fill(w.Body, v)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	if w.Header != "" {
		mac := hmac.New(sha256.New, []byte(w.Secret))
		_, _ = mac.Write([]byte(body))
		request.Header.Set(w.Header, "sha256="+hex.EncodeToString(mac.Sum(nil)))
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("the webhook answers %s", response.Status)
	}
	return nil
}

// pick is the nth object of a kind, counted round and round, first across
// Applications.
func (s *stage) pick(k kind, n int) object {
	app := n % s.workload.apps
	of := slices.DeleteFunc(slices.Clone(s.objects), func(o object) bool { return o.kind != k || o.app != app })
	return of[n/s.workload.apps%len(of)]
}
