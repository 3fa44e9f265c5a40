package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/gitseal/gitseal/test/bench/result"
	"github.com/gitseal/gitseal/test/rig"
)

var secrets = schema.GroupVersionResource{Version: "v1", Resource: secret.resource}

// outageLasts is how long a store is away, and neighbourCommits how many commits
// of an Application that needs none are followed meanwhile.
const (
	outageLasts      = 75 * time.Second
	neighbourCommits = 5
)

// outages lists the scenarios of many Applications whose values are in one
// store.
func outages(w workload) []scenario {
	targets := []result.Target{
		worst("writes of status while it is away, per Application", "statusWritesPerApplication", 1.1),
		worst("events while it is away", "events", 10),
		worst("requests to it per minute while it is away", "providerRequestsPerMinute", 60),
		worst("Applications that are not Ready at the end of it", "notReady", 0),
		worst("commit of a neighbour that needs no store", "neighbourSeconds", 1),
		worst("until every Secret holds its new value", "recoverySeconds", 75),
		worst("reads until then, per key", "recoveryReadsPerKey", 2),
	}
	return []scenario{
		{kind: "store", workload: w, most: 3, targets: targets, play: outage((*sharedVault).seal),
			what: "every value is due each 10 to 30 seconds, and the one store of all Applications is sealed for 75 seconds; then it is back with other values"},
		{kind: "silent", workload: w, most: 3, targets: targets, play: outage((*sharedVault).silence),
			what: "every value is due each 10 to 30 seconds, and the one store of all Applications does not answer for 75 seconds; then it is back with other values"},
	}
}

// outage takes the store away, in one way or the other, and brings it back.
func outage(begin func(*sharedVault, context.Context) error) func(context.Context, *stage, scenario, bool) (result.Round, error) {
	return func(ctx context.Context, s *stage, _ scenario, _ bool) (result.Round, error) {
		keeper, ok := s.keeper.(*sharedVault)
		if !ok {
			return result.Round{}, fmt.Errorf("workload %q has no store that can be taken away", s.workload.name)
		}
		if err := s.inPlace(ctx); err != nil {
			return result.Round{}, err
		}
		n, err := s.neighbour(ctx)
		if err != nil {
			return result.Round{}, err
		}
		m := map[string]float64{}
		if err := n.commits(ctx, m, "neighbourBefore", neighbourCommits*time.Second); err != nil {
			return result.Round{}, err
		}
		if err := begin(keeper, ctx); err != nil {
			return result.Round{}, err
		}
		r, err := s.away(ctx, keeper, n, m)
		if err != nil {
			return r, err
		}
		return r, s.back(ctx, keeper, m)
	}
}

// away measures while the store is away.
func (s *stage) away(ctx context.Context, keeper *sharedVault, n *neighbour, m map[string]float64) (result.Round, error) {
	asked := keeper.requests()
	before, err := s.read(ctx)
	if err != nil {
		return result.Round{}, err
	}
	if err := n.commits(ctx, m, "neighbour", outageLasts); err != nil {
		return result.Round{}, err
	}
	after, err := s.read(ctx)
	if err != nil {
		return result.Round{}, err
	}
	r := s.round(before, after, m)
	m["providerRequestsPerMinute"] = float64(keeper.requests()-asked) / outageLasts.Minutes()
	m["events"] = float64(r.ServerCalls["POST events"] + r.ServerCalls["PATCH events"] - neighbourCommits)
	m["statusWritesPerApplication"] = float64(r.ServerCalls["PATCH applications/status"]) / float64(s.workload.apps)
	m["notReady"], err = s.notReady(ctx)
	return r, err
}

// back brings the store back, and measures until all Secrets hold what it has.
func (s *stage) back(ctx context.Context, keeper *sharedVault, m map[string]float64) error {
	before, err := s.read(ctx)
	if err != nil {
		return err
	}
	value := "rotated-" + now()
	if err := keeper.restore(ctx, value); err != nil {
		return err
	}
	begun := time.Now()
	keeper.forget()
	if err := s.awaitSecrets(ctx, value); err != nil {
		return err
	}
	m["recoverySeconds"] = time.Since(begun).Seconds()
	m["recoveryReadsPerKey"] = float64(keeper.calls().reads) / sharedKeys
	after, err := s.read(ctx)
	if err != nil {
		return err
	}
	r := s.round(before, after, map[string]float64{})
	m["recoveryCPUSeconds"], m["recoveryOwnCalls"], m["recoveryApplies"] = r.Values["cpuSeconds"], r.Values["ownCalls"], r.Values["applies"]
	m["recoveryStatusWritesPerApplication"] = float64(r.ServerCalls["PATCH applications/status"]) / float64(s.workload.apps)
	return nil
}

// awaitSecrets waits until the Secrets of all Applications hold a value.
func (s *stage) awaitSecrets(ctx context.Context, value string) error {
	left := map[string]bool{}
	for i, o := range s.objects {
		left[s.apps[i].Namespace+"/"+o.name] = true
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	want := base64.StdEncoding.EncodeToString([]byte(value))
	labelled := metav1.ListOptions{LabelSelector: s.controller.Label}
	return follow(ctx, s.dynamic.Resource(secrets), labelled, func(o *unstructured.Unstructured) (bool, error) {
		if got, _, _ := unstructured.NestedString(o.Object, "data", "value"); got == want {
			delete(left, o.GetNamespace()+"/"+o.GetName())
		}
		return len(left) == 0, nil
	})
}

// notReady counts the Applications that are not Ready.
func (s *stage) notReady(ctx context.Context) (float64, error) {
	list, err := s.dynamic.Resource(s.controller.Resource).List(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, err
	}
	ready := newGoal("ready", s.controller.Ready, s.apps)
	for i := range list.Items {
		if err := ready.look(&list.Items[i]); err != nil {
			return 0, err
		}
	}
	return float64(len(ready.left)), nil
}

// neighbour is an Application without secrets, of another repository.
type neighbour struct {
	stage *stage
	app   values
	repo  *rig.Repo
}

const neighbourName = "neighbour"

// neighbour declares one, beside the Applications that need the store.
func (s *stage) neighbour(ctx context.Context) (*neighbour, error) {
	n := &neighbour{stage: s, app: s.apps[0], repo: s.beside}
	if n.repo == nil {
		repo, err := s.rig.Repo(ctx, neighbourName)
		if err != nil {
			return nil, err
		}
		n.repo, s.beside = repo, repo
	}
	n.app.Name, n.app.Path, n.app.URL, n.app.Secrets = neighbourName, neighbourName, n.repo.URL, "{policy: None}"
	if _, err := n.push(ctx); err != nil {
		return nil, err
	}
	return n, s.applyText(ctx, s.controller.Application, n.app)
}

// push commits its one ConfigMap anew, and says what that holds now.
func (n *neighbour) push(ctx context.Context) (string, error) {
	value := "changed-" + now()
	text := strings.Replace(manifest(configMap, neighbourName, 0), "another", value, 1)
	if err := n.repo.Write(map[string]string{neighbourName + "/configmap.yaml": text}); err != nil {
		return "", err
	}
	_, err := n.repo.Push(ctx, "change")
	return value, err
}

// commits pushes a few in the time that there is, and measures how long it
// takes at worst until one is applied.
func (n *neighbour) commits(ctx context.Context, m map[string]float64, name string, lasts time.Duration) error {
	end := time.Now().Add(lasts)
	for i := range neighbourCommits {
		took, err := n.commit(ctx)
		if err != nil {
			return err
		}
		m[name+"Seconds"] = max(m[name+"Seconds"], took.Seconds())
		if err := pause(ctx, time.Until(end)/time.Duration(neighbourCommits-i)); err != nil {
			return err
		}
	}
	return nil
}

func (n *neighbour) commit(ctx context.Context) (time.Duration, error) {
	value, err := n.push(ctx)
	if err != nil {
		return 0, err
	}
	pushed := time.Now()
	v := n.app
	v.Now, v.Webhook = now(), n.stage.running.webhookURL
	if err := n.stage.controller.Webhook.deliver(ctx, v); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	only := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", neighbourName).String()}
	err = follow(ctx, n.stage.dynamic.Resource(configMaps).Namespace(v.Namespace), only, func(u *unstructured.Unstructured) (bool, error) {
		b, _, _ := unstructured.NestedString(u.Object, "data", "b")
		return b == value, nil
	})
	return time.Since(pushed), err
}
