package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/gitseal/gitseal/test/bench/result"
)

// kinds are the scenarios in the order of the page, and the measures that are
// shown of each.
var kinds = []struct {
	kind, title string
	columns     []string
}{
	{"first-sync", "First sync", []string{"appliedSeconds", "readySeconds", "floorSeconds", "timesFloor", "cpuSeconds", "apiServerCPUSeconds", "peakRSSMiB", "rssKiBPerApplication", "ownCalls", "gitRequests"}},
	{"no-op", "No-op sync", []string{"wallSeconds", "cpuMillisPerApplication", "objectCalls", "ownCalls", "gitRequests"}},
	{"requested", "Sync on request", []string{"wallSeconds", "cpuMillisPerApplication", "objectCalls", "ownCalls", "gitRequests"}},
	{"change", "One object in a commit", []string{"appliedSeconds", "cpuSeconds", "objectCalls", "ownCalls", "gitRequests"}},
	{"drift", "Drift", []string{"driftSeconds", "worstSeconds", "patchSeconds", "deleteSeconds", "unlabelSeconds", "samples", "cpuSeconds"}},
	{"restart", "Restart", []string{"wallSeconds", "objects", "changedObjects", "objectCalls", "cpuSeconds", "peakRSSMiB", "ownCalls"}},
	{"idle", "Idle", []string{"callsPerMinute", "objectCalls", "gitRequestsPerMinute", "cpuMillisPerApplicationAndMinute", "etcdPutsPerMinute", "etcdPutsPerMinuteWithout", "rssMiB"}},
	{"store-outage", "A store that is sealed", outageColumns()},
	{"silent-outage", "A store that does not answer", outageColumns()},
}

// outageColumns are first what holds while the store is away, then what its
// return costs.
func outageColumns() []string {
	return []string{"notReady", "statusWritesPerApplication", "events", "providerRequestsPerMinute", "neighbourBeforeSeconds", "neighbourSeconds", "cpuSeconds", "rssMiB",
		"recoverySeconds", "recoveryReadsPerKey", "recoveryOwnCalls", "recoveryStatusWritesPerApplication", "recoveryCPUSeconds"}
}

// meaning explains the measures, in the words of the page.
var meaning = map[string]string{
	"appliedSeconds": "applied", "readySeconds": "Ready", "floorSeconds": "floor", "timesFloor": "applied / floor",
	"cpuSeconds": "CPU", "apiServerCPUSeconds": "API server's CPU", "peakRSSMiB": "peak RSS", "rssMiB": "RSS",
	"rssKiBPerApplication": "RSS per Application", "ownCalls": "calls", "gitRequests": "Git requests", "wallSeconds": "wall",
	"cpuMillisPerApplication": "CPU per Application", "objectCalls": "calls for objects", "driftSeconds": "median", "worstSeconds": "worst",
	"patchSeconds": "patch", "deleteSeconds": "delete", "unlabelSeconds": "unlabel", "samples": "samples per round",
	"objects": "objects in place", "changedObjects": "objects changed", "callsPerMinute": "calls per minute",
	"gitRequestsPerMinute": "Git requests per minute", "cpuMillisPerApplicationAndMinute": "CPU per Application and minute",
	"etcdPutsPerMinute": "etcd puts per minute", "etcdPutsPerMinuteWithout": "without the operator",
	"notReady": "not Ready", "statusWritesPerApplication": "writes of status per Application", "events": "events", "providerRequestsPerMinute": "requests to the store per minute",
	"neighbourBeforeSeconds": "a neighbour's commit before", "neighbourSeconds": "and meanwhile", "recoverySeconds": "until all values are there", "recoveryReadsPerKey": "reads per key until then",
	"recoveryOwnCalls": "calls until then", "recoveryStatusWritesPerApplication": "writes of status per Application until then", "recoveryCPUSeconds": "CPU until then",
}

func page(results []result.Result, note string) string {
	var p strings.Builder
	m := results[0].Machine
	fmt.Fprintf(&p, "<!-- written by `make bench-report` from the JSON beside it -->\n\n# Benchmarks\n\n")
	fmt.Fprintf(&p, "Measured by `make bench` on %s, %d cores, %s of memory, Linux %s, %s. The control plane, the Git server and the benchmark itself share the machine.\n", m.CPU, m.Cores, m.Memory, m.Kernel, m.Go)
	if note != "" {
		fmt.Fprintf(&p, "\n**Of this run:** %s\n", strings.TrimSpace(note))
	}
	p.WriteString(howTo)
	p.WriteString(targets(results))
	for _, k := range kinds {
		of := slices.DeleteFunc(slices.Clone(results), func(r result.Result) bool { return kindOf(r) != k.kind })
		if len(of) == 0 {
			continue
		}
		fmt.Fprintf(&p, "\n## %s\n\n%s.\n\n", k.title, capital(of[0].What))
		p.WriteString(table(of, k.columns))
		for _, c := range charts(of) {
			fmt.Fprintf(&p, "\n![%s](%s)\n", c.title, c.file)
		}
		p.WriteString(calls(of))
	}
	return p.String()
}

// order puts the small before the large, and gitseal before its peers.
func order(results []result.Result) {
	slices.SortFunc(results, func(a, b result.Result) int {
		return cmp.Or(
			cmp.Compare(a.Workload.Applications, b.Workload.Applications), cmp.Compare(a.Workload.ObjectsEach, b.Workload.ObjectsEach),
			cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Controller, b.Controller), cmp.Compare(a.Scenario, b.Scenario))
	})
}

// rank keeps gitseal before its peers.
func rank(r result.Result) int {
	if r.Controller == result.Gitseal {
		return 0
	}
	return 1
}

const howTo = `
How to read it:

- A figure is the median of the rounds; in brackets are the least and the greatest, where they differ. CPU and memory are the operator's process (` + "`/proc`" + `), unless it says otherwise.
- *big-N* is one Application of N objects: 40% ConfigMaps, 30% SOPS Secrets, 20% Services, 10% Deployments. *many-N* is N Applications in one repository and ten namespaces, each of
  five ConfigMaps, three SOPS Secrets and two Services. Deployments have no replicas.
- *vault-1000* and *aws-1000* are one Application of 1,000 ExternalSecrets over 250 keys of four properties each, read as is from a real Vault and over AWS's protocol. Next to them the same
  apply without secrets and the bare reads are measured.
- *outage* is 1,000 Applications in ten namespaces of one ExternalSecret each, over 50 keys behind one ClusterSecretStore of a real Vault. A neighbour is an Application without secrets.
- The *floor* is the same objects, in plaintext, sent by a bare parallel loop of server-side applies: what the API server needs by itself.
- *calls* are counted by the operator itself (` + "`rest_client_requests_total`" + `): exactly its own. *calls for objects*, and the lists of calls, come from the API server's metrics
  (` + "`apiserver_request_total`" + `), less what the benchmark did; the rest of the control plane is in them, which writes Deployments (PUT) and lists everything (LIST). Watches are left out
  there, because the API server counts them when they end.
- etcd's writes are those of the whole control plane.
`

func targets(results []result.Result) string {
	var s strings.Builder
	s.WriteString("\n## Targets\n\n| | target | measured | met |\n|---|---|---|---|\n")
	for _, r := range results {
		for _, t := range r.Targets {
			met := "yes"
			if !t.Met {
				met = "**no**"
			}
			unit := result.Unit(t.Measure)
			fmt.Fprintf(&s, "| %s (%s) | at most %s | %s (%s) | %s |\n", t.What, workloadOf(r), number(t.AtMost, unit), number(t.Got, unit), t.Stat, met)
		}
	}
	return s.String()
}

func table(of []result.Result, columns []string) string {
	columns = slices.DeleteFunc(slices.Clone(columns), func(c string) bool {
		return !slices.ContainsFunc(of, func(r result.Result) bool { _, ok := r.Summary[c]; return ok })
	})
	var s strings.Builder
	s.WriteString("| |")
	for _, c := range columns {
		fmt.Fprintf(&s, " %s |", cmp.Or(meaning[c], c))
	}
	s.WriteString(" rounds |\n|---|" + strings.Repeat("---|", len(columns)+1) + "\n")
	for _, r := range of {
		fmt.Fprintf(&s, "| %s |", label(r))
		for _, c := range columns {
			stat, ok := r.Summary[c]
			if !ok {
				s.WriteString(" |")
				continue
			}
			fmt.Fprintf(&s, " %s |", figure(stat, result.Unit(c)))
		}
		fmt.Fprintf(&s, " %d |\n", len(r.Rounds))
	}
	return s.String()
}

func figure(stat result.Stat, unit string) string {
	if stat.Min == stat.Max {
		return number(stat.Median, unit)
	}
	return fmt.Sprintf("%s (%s–%s)", number(stat.Median, unit), number(stat.Min, ""), number(stat.Max, ""))
}

// calls lists the calls of the last round of each result.
func calls(of []result.Result) string {
	var s strings.Builder
	s.WriteString("\n<details><summary>Calls of the last round</summary>\n\n| | by the operator's own count | by the API server's | etcd |\n|---|---|---|---|\n")
	for _, r := range of {
		last := r.Rounds[len(r.Rounds)-1]
		fmt.Fprintf(&s, "| %s | %s | %s | %s |\n", label(r), listed(last.OwnCalls), listed(last.ServerCalls), listed(last.EtcdWrites))
	}
	s.WriteString("\n</details>\n")
	return s.String()
}

func listed(counts map[string]int) string {
	var words []string
	for _, key := range slices.Sorted(maps.Keys(counts)) {
		words = append(words, fmt.Sprintf("%s: %d", key, counts[key]))
	}
	return cmp.Or(strings.Join(words, ", "), "none")
}

func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
