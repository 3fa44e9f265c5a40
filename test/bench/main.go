// Command bench measures the operator, or a peer that is described to it, on
// the sandbox and writes JSON: wall time, CPU, memory, API calls and etcd
// writes of the scenarios that are chosen, next to the floor: the same objects
// sent by a bare parallel server-side-apply loop.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/gitseal/gitseal/test/bench/result"
)

// maxRounds bounds the namespaces that the key is made for.
const maxRounds = 64

type options struct {
	out        string
	rounds     int
	quick      bool
	controller *controller
	scenarios  []scenario
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctrl.SetLogger(logr.Discard()) // else the client prints that it has none
	o, err := parse(os.Args[1:])
	if err == nil {
		err = run(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func parse(args []string) (o options, err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&o.out, "out", "docs/bench", "directory for the results; empty writes none")
	flags.IntVar(&o.rounds, "rounds", 5, "rounds of each scenario; the dear ones take fewer")
	flags.BoolVar(&o.quick, "quick", false, "small workloads, one round, no long waits: to see that all works")
	names := flags.String("scenario", "", "comma-separated names; empty means all")
	list := flags.Bool("list", false, "list the scenarios")
	of := flags.String("controller", result.Gitseal, "what to measure: a name under test/bench/peers, or a file that describes it")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if o.controller, err = loadController(*of); err != nil {
		return o, err
	}
	if o.scenarios, err = choose(*names, o.quick); err != nil {
		return o, err
	}
	if *list {
		for _, s := range o.scenarios {
			fmt.Printf("%-26s %s\n", s.name(), s.what)
		}
		o.scenarios = nil
	}
	if o.quick {
		o.rounds = 1
	}
	return o, nil
}

// choose finds scenarios by name. The quick ones stay away from large
// workloads, unless they are named.
func choose(names string, quick bool) ([]scenario, error) {
	all := scenarios(quick)
	if names == "" {
		if quick {
			all = slices.DeleteFunc(all, func(s scenario) bool { return s.workload.objects() > 1000 })
		}
		return all, nil
	}
	var chosen []scenario
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(s scenario) bool { return s.name() == name })
		if i < 0 {
			return nil, fmt.Errorf("no scenario %q: -list shows them", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// run plays the scenarios of each workload on one sandbox.
func run(ctx context.Context, o options) error {
	for _, w := range workloads(o.quick) {
		of := slices.DeleteFunc(slices.Clone(o.scenarios), func(s scenario) bool { return s.workload.name != w.name })
		if len(of) == 0 {
			continue
		}
		if err := playAll(ctx, o, w, of); err != nil {
			return err
		}
	}
	return nil
}

func playAll(ctx context.Context, o options, w workload, of []scenario) (err error) {
	s, err := newStage(ctx, w, o.controller)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	for _, scenario := range of {
		if missing := scenario.missing(o.controller); missing != "" {
			say("%s: left out, because the description of %s has no %s", scenario.name(), o.controller.Name, missing)
			continue
		}
		if err := playOne(ctx, o, s, scenario); err != nil {
			return fmt.Errorf("%s: %w", scenario.name(), err)
		}
	}
	return nil
}

func playOne(ctx context.Context, o options, s *stage, of scenario) error {
	r := result.Result{
		Scenario: of.name(), What: of.what, Controller: o.controller.Name,
		Machine: machine(), Workload: s.workload.describe(),
	}
	if o.controller.Name == result.Gitseal {
		r.Targets = of.targets
	}
	rounds := min(o.rounds, of.most)
	for i := range rounds {
		round, err := of.play(ctx, s, of, o.quick)
		if err != nil {
			return err
		}
		r.Rounds = append(r.Rounds, round)
		say("%s: round %d of %d: %s", of.name(), i+1, rounds, oneLine(round))
	}
	r.Complete()
	for _, t := range r.Targets {
		say("%s: %s: %g, target %g, met: %v", of.name(), t.What, t.Got, t.AtMost, t.Met)
	}
	if o.out == "" {
		return nil
	}
	return r.Write(o.out)
}

func oneLine(r result.Round) string {
	var words []string
	for name, v := range r.Values {
		words = append(words, fmt.Sprintf("%s %.4g", name, v))
	}
	slices.Sort(words)
	return fmt.Sprintf("%s; own calls %v; server %v; etcd %v", strings.Join(words, ", "), r.OwnCalls, r.ServerCalls, r.EtcdWrites)
}

func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}
