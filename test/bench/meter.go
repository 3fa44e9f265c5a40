package main

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/rest"

	"github.com/gitseal/gitseal/test/bench/result"
)

// reading is the state of all counters at one moment.
type reading struct {
	own     usage // of the controller
	server  usage // of the API server
	calls   map[string]int
	mine    map[string]int // what the benchmark itself did
	objects map[string]int
	etcd    map[string]int
	git     int
}

func (s *stage) read(ctx context.Context) (r reading, err error) {
	r.own, r.server = used(s.running.pids), used(s.serverPids())
	if s.running.metricsURL != "" {
		own, err := scrape(ctx, http.DefaultClient, s.running.metricsURL)
		if err != nil {
			return r, err
		}
		r.calls = sum(own, "rest_client_requests_total", "method")
	}
	httpClient, err := rest.HTTPClientFor(s.rig.Config)
	if err != nil {
		return r, err
	}
	server, err := scrape(ctx, httpClient, s.rig.Config.Host+"/metrics")
	if err != nil {
		return r, err
	}
	r.objects, r.mine = serverCalls(server), s.calls.read()
	etcd, err := scrape(ctx, http.DefaultClient, s.rig.Sandbox.Etcd.URL+"/metrics")
	if err != nil {
		return r, err
	}
	r.etcd = map[string]int{
		"put": total(sum(etcd, "etcd_mvcc_put_total")), "delete": total(sum(etcd, "etcd_mvcc_delete_total")),
	}
	r.git = s.gitRequests()
	return r, nil
}

// serverCalls counts by verb, resource and subresource. A watch is counted
// when it ends, which says little: watches are left out.
func serverCalls(metrics []byte) map[string]int {
	counts := map[string]int{}
	for key, n := range sum(metrics, "apiserver_request_total", "verb", "resource", "subresource") {
		words := strings.Fields(key)
		if len(words) < 2 || words[0] == "WATCH" {
			continue
		}
		key = words[0] + " " + words[1]
		if len(words) > 2 {
			key += "/" + words[2]
		}
		counts[key] += n
	}
	return counts
}

// serverPids finds the API server's process in what the sandbox says of itself.
func (s *stage) serverPids() []int {
	raw, err := os.ReadFile(filepath.Join(s.dir, "sandbox.json"))
	if err != nil {
		return nil
	}
	var state struct {
		Processes []struct {
			Name string `json:"name"`
			PID  int    `json:"pid"`
		} `json:"processes"`
	}
	if json.Unmarshal(raw, &state) != nil {
		return nil
	}
	var pids []int
	for _, p := range state.Processes {
		if p.Name == "kube-apiserver" {
			pids = append(pids, p.PID)
		}
	}
	return pids
}

// settled reads the counters once the controller uses next to no CPU any more.
// Until then they are not touched: to serve them takes CPU, too.
func (s *stage) settled(ctx context.Context) (reading, error) {
	const quiet, next = 500 * time.Millisecond, 0.02
	last := used(s.running.pids)
	for {
		select {
		case <-ctx.Done():
			return reading{}, ctx.Err()
		case <-time.After(quiet):
		}
		now := used(s.running.pids)
		if now.cpu-last.cpu < next {
			return s.read(ctx)
		}
		last = now
	}
}

// round completes a round with what was used since a reading.
func (s *stage) round(before, after reading, measures map[string]float64) result.Round {
	r := result.Round{
		Values: measures, OwnCalls: difference(before.calls, after.calls),
		EtcdWrites: difference(before.etcd, after.etcd), ServerCalls: map[string]int{},
	}
	measures["cpuSeconds"] = after.own.cpu - before.own.cpu
	measures["apiServerCPUSeconds"] = after.server.cpu - before.server.cpu
	measures["rssMiB"], measures["peakRSSMiB"] = after.own.rss, after.own.peakRSS
	measures["objectCalls"], measures["applies"] = 0, 0
	measures["ownCalls"] = float64(total(r.OwnCalls))
	measures["gitRequests"] = float64(after.git - before.git)
	mine := difference(before.mine, after.mine)
	for key, n := range difference(before.objects, after.objects) {
		if n -= mine[key]; n != 0 && s.concerns(key) {
			r.ServerCalls[key] = n
		}
	}
	for _, resource := range s.workload.resources() {
		for key, n := range r.ServerCalls {
			if _, of, _ := strings.Cut(key, " "); of == resource && s.fromController(key) {
				measures["objectCalls"] += float64(n)
				if strings.HasPrefix(key, "APPLY ") {
					measures["applies"] += float64(n)
				}
			}
		}
	}
	return r
}

// fromController says whether the rest of the control plane would not make
// such a call: it updates Deployments by PUT, and lists everything.
func (s *stage) fromController(key string) bool {
	verb, _, _ := strings.Cut(key, " ")
	return verb != "PUT" && verb != "LIST"
}

// concerns says whether a call is about the workload or what belongs to it.
func (s *stage) concerns(key string) bool {
	_, resource, _ := strings.Cut(key, " ")
	resource, _, _ = strings.Cut(resource, "/")
	return slices.Contains(append(s.workload.resources(), s.controller.Resource.Resource, "events"), resource)
}
