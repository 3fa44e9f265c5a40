package main

import (
	"context"

	"github.com/gitseal/gitseal/test/bench/result"
)

// scenario is something to measure on a workload. The scenarios of a workload
// are played in order on one sandbox; each leaves a controller that runs and
// Applications that are Ready, and brings that about where it is not so.
type scenario struct {
	kind     string
	workload workload
	what     string
	// most is how many rounds at most are worth their time.
	most    int
	targets []result.Target
	play    func(ctx context.Context, s *stage, of scenario, quick bool) (result.Round, error)
}

func (s scenario) name() string { return s.kind + "-" + s.workload.name }

// missing names what the description of a controller would need.
func (s scenario) missing(c *controller) string {
	switch {
	case s.workload.keeper != "" && !c.External:
		return "external"
	case s.kind == "restart" && c.Reconciles == "":
		return "reconciles"
	case s.kind == "drift" && !c.CorrectsDrift:
		return "correctsDrift"
	case s.workload.keeper == sharedVaultName && (c.Webhook == nil || c.Label == ""):
		return "webhook or label"
	case (s.kind == "idle" || s.kind == "no-op") && c.Reconciles == "":
		return "reconciles"
	case s.kind == "no-op" && c.Webhook == nil:
		return "webhook"
	case s.kind == "requested" && c.Request == "":
		return "request"
	}
	return ""
}

func median(what, measure string, atMost float64) result.Target {
	return result.Target{What: what, Measure: measure, Stat: "median", AtMost: atMost}
}

func worst(what, measure string, atMost float64) result.Target {
	return result.Target{What: what, Measure: measure, Stat: "max", AtMost: atMost}
}

// scenarios lists all, and the figures to reach.
func scenarios(quick bool) []scenario {
	var all []scenario
	for _, w := range workloads(quick) {
		if w.keeper != "" {
			all = append(all, kept(w)...)
			continue
		}
		many := w.apps > 1
		large := w.objects() > 1000
		first := scenario{kind: "first-sync", workload: w, most: 5, play: firstSync,
			what: "nothing is there; the Applications are created, and are Ready"}
		if large {
			first.most = 3
		}
		switch w.name {
		case "big-1000":
			first.targets = []result.Target{median("first sync of 1,000 objects, times the floor", "timesFloor", 1.3)}
		case "many-100":
			first.targets = []result.Target{
				median("first sync of 100 Applications", "readySeconds", 5),
				median("CPU of the first sync of 100 Applications", "cpuSeconds", 5),
			}
		case "many-1000":
			first.targets = []result.Target{worst("peak memory at 1,000 Applications of 10 objects", "peakRSSMiB", 250)}
		}
		all = append(all, first,
			scenario{kind: "no-op", workload: w, most: 3, play: noOp,
				what: "a webhook tells of a push that brought nothing; every Application looks",
				targets: []result.Target{
					worst("API calls for objects of a no-op", "objectCalls", 0),
					median("CPU of a no-op, per Application", "cpuMillisPerApplication", 1),
				}},
			scenario{kind: "requested", workload: w, most: 3, play: requested,
				what: "somebody asks for a sync of every Application, and nothing has changed; the status of each says that it was done",
				targets: []result.Target{
					worst("API calls for objects of a sync that was asked for", "objectCalls", 0),
				}},
			change(w, many))
		if !large || many {
			all = append(all, scenario{kind: "drift", workload: w, most: 3, play: drift,
				what: "an object is patched, deleted or unlabelled behind the controller's back, and corrected",
				targets: []result.Target{
					median("drift to corrected", "driftSeconds", 0.5), worst("drift to corrected, worst", "worstSeconds", 2),
				}})
		}
		if large {
			all = append(all, scenario{kind: "restart", workload: w, most: 3, play: restart,
				what:    "the controller is started anew, with everything in place",
				targets: []result.Target{worst("objects that a restart changes", "changedObjects", 0)}})
		}
		if many && large {
			all = append(all, scenario{kind: "idle", workload: w, most: 1, play: idle,
				what:    "nothing happens for three minutes; each Application looks at Git once a minute",
				targets: []result.Target{worst("API calls for objects while idle", "objectCalls", 0), worst("calls per minute but for the leases", "callsPerMinute", 1)}})
		}
	}
	return all
}

func change(w workload, many bool) scenario {
	s := scenario{kind: "change", workload: w, most: 5, play: oneChange,
		what: "a commit changes one object, and a webhook tells of it; from the end of the push until it is applied"}
	if many {
		s.targets = []result.Target{
			median("push to applied of one object", "appliedSeconds", 1),
			worst("objects applied for a commit that changes one", "applies", 1),
		}
	}
	return s
}
